//! Outcomes of messages when the SMTP server closes the connection, is busy, or replies unexpectedly.

use std::time::Duration;

use pymail::{Credentials, ErrorKind, Message, Result, Server, Smtp, SmtpConfig, State};
use rstest::rstest;

use super::{BRIEFLY, MARKED, MINUTE, NEVER, open, smtp, smtp_config};
use crate::mail_site::{ALICE, message};
use crate::support::process::wait_until;
use crate::support::script::{Heard, Script, Scripted, Step};

const PIPELINING: &[&str] = &["PIPELINING"];
const ONE_BY_ONE: &[&str] = &[];

const BUSY: &str = "421 4.7.0 come back later\r\n";

fn closing() -> Step {
    Step::SayAndClose(BUSY.into())
}

fn messages(numbers: std::ops::Range<usize>) -> Vec<Message> {
    numbers.map(|n| message(&n.to_string(), "hello")).collect()
}

/// Returns the ids of the messages that the server received, in order; an empty id for a message without data.
fn arrived(server: &Scripted) -> Vec<String> {
    let subject =
        |text: &str| text.lines().find_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned);
    let id = |subject: String| subject.rsplit(' ').next().unwrap_or_default().to_owned();
    server.data().iter().map(|data| subject(&data.text).map(id).unwrap_or_default()).collect()
}

fn kinds<T>(outcomes: &[Result<T>]) -> Vec<Option<ErrorKind>> {
    outcomes.iter().map(|outcome| outcome.as_ref().err().map(pymail::Error::kind)).collect()
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_connection_lost_after_the_final_dot_is_an_unknown_outcome_without_a_resend(#[case] extensions: &[&str]) {
    let server = Script::smtp(extensions).on(".", |heard| Step::Close.when(heard.nth == 1)).start();
    let smtp = smtp(&server);
    let error = smtp.send(&message("1", "hello")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    assert_eq!((arrived(&server), server.connections()), (vec!["1".into()], 1));
    assert!(smtp.send(&message("2", "hello")).unwrap().all_accepted());
    assert_eq!((arrived(&server), server.connections()), (vec!["1".into(), "2".into()], 2));
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn after_an_unknown_outcome_the_rest_goes_out_once_on_a_new_connection(#[case] extensions: &[&str]) {
    let server = Script::smtp(extensions).on(".", |heard| Step::Close.when(heard.nth == 3)).start();
    let outcomes = smtp(&server).send_all(&messages(0..6));
    let unknown = Some(ErrorKind::OutcomeUnknown);
    assert_eq!(kinds(&outcomes), [None, None, unknown, None, None, None]);
    assert_eq!(arrived(&server), ["0", "1", "2", "3", "4", "5"]);
    let on: Vec<usize> = server.data().iter().map(|data| data.connection).collect();
    assert_eq!(on, [1, 1, 1, 2, 2, 2]);
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_message_is_resent_once_after_a_connection_lost_before_the_final_dot(
    #[case] extensions: &[&str],
    #[values("MAIL", "RCPT", "DATA")] at: &str,
) {
    let server = Script::smtp(extensions).on(at, |heard| Step::Close.when(heard.nth == 2)).start();
    let outcomes = smtp(&server).send_all(&messages(0..3));
    assert_eq!(kinds(&outcomes), [None; 3]);
    assert_eq!((arrived(&server), server.connections()), (vec!["0".into(), "1".into(), "2".into()], 2));
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_large_message_is_resent_once_after_a_connection_lost_within_its_data(#[case] extensions: &[&str]) {
    // More than all buffers of the connection hold.
    let large = message("1", vec![b'a'; 16 << 20]);
    let lost = |heard: &Heard| Step::Close.when(heard.connection == 1);
    let server = Script::smtp(extensions).on("> ", lost).start();
    assert!(smtp(&server).send(&large).unwrap().all_accepted());
    assert_eq!((arrived(&server), server.connections()), (vec!["1".into()], 2));
}

/// The server does not reply to DATA, or reads no more after the first line of the message.
#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn messages_that_are_not_sent_by_the_deadline_name_sending_as_what_timed_out(
    #[case] extensions: &[&str],
    #[values("DATA", "> ")] at: &str,
) {
    let silent = |heard: &Heard| if heard.text.starts_with('>') { stall() } else { Step::Nothing };
    let server = Script::smtp(extensions).on(at, silent).start();
    let config = smtp_config(&server, Credentials::none()).timeout(Duration::from_secs(15));
    let large = |id| message(id, vec![b'a'; 16 << 20]); // more than all buffers of the connection hold
    let outcomes = Smtp::connect(config).unwrap().send_all(&[large("1"), message("2", "hello")]);
    for error in outcomes.into_iter().map(Result::unwrap_err) {
        assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::Timeout, "sending timed out after 15 s"));
    }
    assert_eq!((arrived(&server), server.connections()), (Vec::new(), 1));
}

/// Keeps the connection open without reading, until the process ends.
fn stall() -> Step {
    loop {
        std::thread::park();
    }
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_server_that_limits_a_connection_to_20_messages_gets_all_100_once(#[case] extensions: &[&str]) {
    let server = Script::smtp(extensions).on("MAIL", |heard| closing().when(heard.here > 20)).start();
    let outcomes = smtp(&server).send_all(&messages(0..100));
    assert_eq!(kinds(&outcomes), [None; 100]);
    assert_eq!(arrived(&server), (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(server.connections(), 5);
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_recipient_that_makes_the_server_close_the_connection_fails_only_its_message(
    #[case] extensions: &[&str],
) {
    let server = Script::smtp(extensions).on("RCPT TO:<busy@", |_| closing()).start();
    let busy = |id| Message::new(id, ALICE, "busy@example.test", "hello");
    let outcomes = smtp(&server).send_all(&[
        message("1", "a"),
        busy("2"),
        message("3", "a"),
        message("4", "a"),
        busy("5"),
    ]);
    let codes: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(|error| error.code())).collect();
    assert_eq!(codes, [None, Some(Some("421")), None, None, Some(Some("421"))], "{outcomes:?}");
    assert_eq!(arrived(&server), ["1", "3", "4"]);
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn sending_ends_after_a_few_messages_when_the_server_closes_the_connection_on_each(
    #[case] extensions: &[&str],
    #[values(Step::Close, closing())] step: Step,
) {
    let server = Script::smtp(extensions).on("MAIL", move |_| step.clone()).start();
    let outcomes = smtp(&server).send_all(&messages(0..350));
    assert_eq!(kinds(&outcomes), [Some(ErrorKind::Disconnected); 350]);
    assert!(server.connections() <= 10, "{} connections", server.connections());
    assert_eq!(arrived(&server), Vec::<String>::new());
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn when_every_recipient_is_refused_a_server_that_requests_the_data_gets_none(#[case] extensions: &[&str]) {
    let server = Script::smtp(extensions).says("RCPT TO:<unknown@", "550 5.1.1 unknown\r\n").start();
    let unknown = Message::new("1", ALICE, ["unknown@example.test", "unknown@example.org"], "hello");
    let outcomes = smtp(&server).send_all(&[unknown, message("2", "hello")]);
    assert_eq!(kinds(&outcomes), [Some(ErrorKind::Refused), None]);
    assert_eq!(outcomes[0].as_ref().unwrap_err().code(), Some("550"));
    let mut texts: Vec<String> = server.data().into_iter().map(|data| data.text).collect();
    assert!(texts.pop().unwrap().ends_with("aGVsbG8=\r\n"), "the second message");
    // Without PIPELINING, DATA is not sent at all.
    assert_eq!(texts, vec![String::new(); extensions.len()]);
    assert_eq!((server.heard("RSET").len(), server.connections()), (1, 1));
}

#[rstest]
fn a_354_reply_to_the_final_dot_is_an_unknown_outcome() {
    let server =
        Script::smtp(PIPELINING).on(".", |heard| Step::say("354 go ahead\r\n").when(heard.nth == 1)).start();
    let smtp = smtp(&server);
    assert_eq!(smtp.send(&message("1", "hello")).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert!(smtp.send(&message("2", "hello")).unwrap().all_accepted());
    assert_eq!((arrived(&server), server.connections()), (vec!["1".into(), "2".into()], 2));
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_421_after_the_final_dot_refuses_the_message_and_the_rest_uses_a_new_connection(
    #[case] extensions: &[&str],
) {
    let server = Script::smtp(extensions).on(".", |heard| closing().when(heard.nth == 2)).start();
    let outcomes = smtp(&server).send_all(&messages(0..4));
    assert_eq!(kinds(&outcomes), [None, Some(ErrorKind::Refused), None, None]);
    assert_eq!(outcomes[1].as_ref().unwrap_err().code(), Some("421"));
    assert_eq!((arrived(&server).join(" "), server.connections()), ("0 1 2 3".into(), 2));
}

#[rstest]
fn a_421_greeting_is_a_connect_error_with_its_code() {
    let server = Script::smtp(&[]).on("GREETING", |_| closing()).start();
    let error = Smtp::connect(smtp_config(&server, Credentials::none())).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connect, Some("421")), "{error:?}");
    assert!(error.is_transient());
}

#[rstest]
#[case::enhanced("535 5.7.8 who are you?")]
#[case::plain("535 who are you?")]
#[case::exchange("535 5.7.3 Authentication unsuccessful")]
fn a_refused_password_is_an_auth_error_without_a_retry(#[case] no: &'static str) {
    let server = logging_in(&["AUTH PLAIN"], no);
    let smtp = Smtp::connect(smtp_config(&server, Credentials::new(ALICE, MARKED))).unwrap();
    for _ in 0..3 {
        let error = smtp.noop().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, no.get(..3)), "{error:?}");
        assert!(error.is_permanent() && error.to_string().contains("make a new handle"), "{error:?}");
        assert_eq!(smtp.status().state, State::AuthFailed);
    }
    assert_eq!((server.heard("AUTH").len(), server.connections()), (2, 2));
}

#[rstest]
#[case::too_weak("534 5.7.9 Application-specific password required", ErrorKind::Auth, 60)]
#[case::required("530 5.7.0 authenticate first", ErrorKind::Auth, 60)]
#[case::encryption("538 5.7.11 not so openly", ErrorKind::Auth, 60)]
#[case::security_defaults("535 5.7.139 the user's security defaults", ErrorKind::Auth, 60)]
#[case::locked("535 5.7.0 Too many failures", ErrorKind::Auth, 60)]
#[case::policy("550 5.7.1 not from here", ErrorKind::Refused, 60)]
#[case::maybe_the_password("454 4.7.0 invalid username or password", ErrorKind::Auth, 60)]
#[case::temporary("454 4.7.0 not now", ErrorKind::Refused, 600)]
#[case::temporary_within("535 4.7.0 not now", ErrorKind::Refused, 600)]
fn a_login_refused_for_another_or_an_unclear_reason_is_retried_later(
    #[case] no: &'static str,
    #[case] kind: ErrorKind,
    #[case] seconds: u64,
) {
    let server = logging_in(&["AUTH PLAIN"], no);
    let config = smtp_config(&server, Credentials::new(ALICE, MARKED));
    // A wait that depends on the backoff is ten times as long.
    let smtp = Smtp::connect(config.backoff(MINUTE, NEVER)).unwrap();
    let whole = std::time::Duration::from_secs(seconds);
    for _ in 0..40 {
        let error = smtp.noop().unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, no.get(..3)), "{error:?}");
        assert!(error.is_transient(), "{error:?}");
        assert!(error.retry_after().is_some_and(|wait| wait > whole / 2 && wait <= whole), "{error:?}");
        assert_eq!(smtp.status().state, State::Throttled);
    }
    assert_eq!((server.heard("AUTH").len(), server.connections()), (2, 2));
}

#[rstest]
#[case::full("RCPT", "552 5.2.2 mailbox full", ErrorKind::Refused, true)]
#[case::system_full(".", "554 5.3.1 system full", ErrorKind::Refused, true)]
#[case::put_off("MAIL", "550 4.7.1 come back later", ErrorKind::Refused, true)]
#[case::many("RCPT", "552 5.5.3 too many recipients", ErrorKind::Refused, true)]
#[case::too_large(".", "554 5.3.4 too large", ErrorKind::TooLarge, false)]
#[case::too_large_for_one("RCPT", "550 5.2.3 too large for this mailbox", ErrorKind::TooLarge, false)]
#[case::unknown("RCPT", "550 5.1.1 no such user", ErrorKind::Refused, false)]
fn an_enhanced_code_decides_whether_a_refusal_is_transient(
    #[case] at: &str,
    #[case] no: &str,
    #[case] kind: ErrorKind,
    #[case] is_transient: bool,
) {
    let server = Script::smtp(PIPELINING).says(at, format!("{no}\r\n")).start();
    let error = smtp(&server).send(&message("1", "a")).unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (kind, is_transient), "{error:?}");
    assert_eq!(error.code(), no.get(..3));
}

#[rstest]
fn an_enhanced_code_decides_whether_the_refusal_of_one_recipient_is_transient() {
    let server = Script::smtp(PIPELINING).says("RCPT TO:<full@", "552 5.2.2 mailbox full\r\n").start();
    let both = Message::new("1", ALICE, [ALICE, "full@example.test"], "a");
    let receipt = smtp(&server).send(&both).unwrap();
    let errors: Vec<_> = receipt.refused().filter_map(|answer| answer.result().err()).collect();
    assert!(errors.len() == 1 && errors[0].is_transient(), "{errors:?}");
}

/// A server that closes the connection after the first login, and refuses the second.
fn logging_in(extensions: &[&str], no: &str) -> Scripted {
    let no = Step::Say(format!("{no}\r\n"));
    let script = Script::smtp(extensions).on("AUTH", move |heard| no.clone().when(heard.connection == 2));
    script.on("NOOP", |heard| Step::Close.when(heard.connection == 1)).start()
}

#[rstest]
fn without_starttls_no_password_is_sent() {
    let server = Script::smtp(&["AUTH PLAIN LOGIN"]).start();
    let error = starttls(&server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert_eq!(server.heard("AUTH"), Vec::<String>::new());
}

#[rstest]
#[case::refused("454 4.7.0 not now\r\n")]
#[case::unkept("220 go ahead\r\n250 but there is no TLS here\r\n")]
fn when_starttls_fails_no_password_is_sent(#[case] answer: &'static str) {
    let server = Script::smtp(&["STARTTLS", "AUTH PLAIN LOGIN"])
        .on("STARTTLS", move |_| Step::SayAndClose(answer.into()))
        .start();
    let error = starttls(&server).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Tls | ErrorKind::Connect), "{error:?}");
    assert_eq!(server.heard("AUTH"), Vec::<String>::new());
}

fn starttls(server: &Scripted) -> Result<Smtp> {
    let encrypted = Server::starttls("localhost").port(server.port());
    Smtp::connect(SmtpConfig::new(encrypted, Credentials::new(ALICE, MARKED)).timeout(BRIEFLY))
}

#[rstest]
#[case::politely(closing())]
#[case::without_a_word(Step::Close)]
fn a_connection_closed_at_a_heartbeat_is_replaced(#[case] step: Step) {
    let server = Script::smtp(&[]).on("NOOP", move |heard| step.clone().when(heard.nth == 1)).start();
    let soon = SmtpConfig::new(open(&server), Credentials::none()).heartbeat(Duration::from_millis(200));
    let smtp = Smtp::connect(soon.timeout(BRIEFLY)).unwrap();
    wait_until("the new connection's heartbeat", || server.heard("NOOP").len() > 1);
    assert_eq!((smtp.status().state, server.connections()), (State::Connected, 2));
    assert_eq!(smtp.status().last_error.unwrap().kind(), ErrorKind::Disconnected);
}
