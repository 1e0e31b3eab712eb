//! Each reply is matched to its command: goodbyes, surplus replies, refusals before the end of a message.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pymail::{Credentials, Error, ErrorKind, Message, Result, Smtp, State};
use rstest::rstest;

use super::{MARKED, smtp, smtp_config};
use crate::mail_site::{ALICE, message};
use crate::support::script::{Heard, Script, Scripted, Step};

const PIPELINING: &[&str] = &["PIPELINING"];
const ONE_BY_ONE: &[&str] = &[];

fn messages(numbers: std::ops::Range<usize>) -> Vec<Message> {
    numbers.map(|n| message(&n.to_string(), "hello")).collect()
}

/// Returns the ids of the messages that the server received, in order.
fn arrived(server: &Scripted) -> String {
    let subject =
        |text: &str| text.lines().find_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned);
    let id = |subject: String| subject.rsplit(' ').next().unwrap_or_default().to_owned();
    let ids = server.data().into_iter().map(|data| subject(&data.text).map_or("?".into(), id));
    ids.collect::<Vec<String>>().join(" ")
}

fn fails<T>(result: Result<T>) -> Error {
    result.map(drop).unwrap_err()
}

#[rstest]
fn an_unsolicited_reply_while_idle_is_not_taken_for_the_reply_to_the_next_message(
    #[values(PIPELINING, ONE_BY_ONE)] extensions: &[&str],
    #[values(
        "421 4.4.2 timeout",
        "451 4.4.2 Timeout waiting for data from client.",
        "554 5.4.0 Error: idle for too long",
        "221 2.0.0 bye",
        "250 and another thing",
        "what?",
        "45"
    )]
    goodbye: &'static str,
    #[values(true, false)] hangs_up: bool,
) {
    let last = format!("250 queued\r\n{goodbye}\r\n");
    let step = if hangs_up { Step::SayAndClose(last) } else { Step::Say(last) };
    let server = Script::smtp(extensions).on(".", move |heard| step.clone().when(heard.nth == 1)).start();
    let smtp = smtp(&server);
    for id in ["1", "2", "3"] {
        assert!(smtp.send(&message(id, "a")).unwrap().all_accepted());
    }
    assert_eq!((arrived(&server), server.connections()), ("1 2 3".into(), 2));
}

/// The server sent it before it read MAIL.
#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_goodbye_in_reply_to_mail_resends_the_message_on_a_new_connection(
    #[case] extensions: &[&str],
    #[values("451 4.4.2 timeout\r\n", "554 5.4.0 idle for too long\r\n", "421 4.4.2 timeout\r\n")]
    goodbye: &'static str,
) {
    let late = |heard: &Heard| heard.connection == 1 && heard.here == 2;
    let server = Script::smtp(extensions)
        .on("MAIL", move |heard| Step::SayAndClose(goodbye.into()).when(late(heard)))
        .start();
    let smtp = smtp(&server);
    for id in ["1", "2", "3"] {
        assert!(smtp.send(&message(id, "a")).unwrap().all_accepted());
    }
    assert_eq!((arrived(&server), server.connections()), ("1 2 3".into(), 2));
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_server_that_refuses_and_closes_after_some_messages_gets_the_rest_on_new_connections(
    #[case] extensions: &[&str],
) {
    let enough = |heard: &Heard| heard.here > 3;
    let server = Script::smtp(extensions)
        .on("MAIL", move |heard| Step::SayAndClose("450 4.7.1 enough\r\n".into()).when(enough(heard)))
        .start();
    let outcomes = smtp(&server).send_all(&messages(0..9));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((arrived(&server), server.connections()), ("0 1 2 3 4 5 6 7 8".into(), 3));
}

#[rstest]
fn a_sender_refused_with_a_closed_connection_is_refused_once() {
    let no = || Step::SayAndClose("550 5.7.1 not from here\r\n".into());
    let server = Script::smtp(ONE_BY_ONE).on("MAIL", move |_| no()).start();
    let error = fails(smtp(&server).send(&message("1", "a")));
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("550")), "{error:?}");
    assert_eq!(server.connections(), 1);
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_refused_sender_keeps_the_connection(#[case] extensions: &[&str]) {
    let is_refused = Mutex::new(false);
    let refuses = move |heard: &Heard| {
        let mut is_refused = is_refused.lock().unwrap();
        let verb = heard.text.get(..4).unwrap_or_default();
        if verb == "MAIL" {
            *is_refused = heard.text.contains("mallory");
        }
        let no = Step::say("550 5.7.1 not from here\r\n");
        no.when(*is_refused && ["MAIL", "RCPT", "DATA"].contains(&verb))
    };
    let server = Script::smtp(extensions).on("", refuses).start();
    let smtp = smtp(&server);
    let from = |sender: &str| Message::new("1", sender, ALICE, "hello");
    let all = ["bob@example.test", "mallory@example.test"].map(from);
    let codes: Vec<_> =
        all.iter().cycle().take(4).map(|m| smtp.send(m).map_or(0, |receipt| receipt.code)).collect();
    assert_eq!((codes, server.connections()), (vec![250, 0, 250, 0], 1));
}

#[rstest]
#[case::closing("421 4.4.2 timeout\r\n")]
#[case::for_now("451 4.4.2 timeout\r\n")]
#[case::for_good("554 5.4.0 idle for too long\r\n")]
fn a_goodbye_in_reply_to_noop_makes_a_new_connection(#[case] goodbye: &'static str) {
    let server = Script::smtp(ONE_BY_ONE)
        .on("NOOP", move |heard| Step::SayAndClose(goodbye.into()).when(heard.nth == 1))
        .start();
    let smtp = smtp(&server);
    smtp.noop().unwrap();
    assert_eq!((server.connections(), smtp.status().state), (2, State::Connected));
}

#[rstest]
#[case("500 unknown command\r\n")]
#[case("502 5.5.1 not implemented\r\n")]
fn a_server_that_does_not_implement_noop_is_alive(#[case] no: &'static str) {
    let server = Script::smtp(ONE_BY_ONE).says("NOOP", no).start();
    let smtp = smtp(&server);
    smtp.noop().unwrap();
    smtp.noop().unwrap();
    assert_eq!((server.connections(), server.heard("NOOP").len()), (1, 2));
}

#[rstest]
#[case::closing("421 4.4.2 timeout\r\n")]
#[case::for_now("451 4.4.2 timeout\r\n")]
#[case::for_good("554 5.4.0 idle for too long\r\n")]
fn a_goodbye_in_reply_to_rset_sends_the_next_message_on_a_new_connection(
    #[case] goodbye: &'static str,
    #[values(PIPELINING, ONE_BY_ONE)] extensions: &[&str],
) {
    let server = Script::smtp(extensions)
        .says("RCPT TO:<unknown@", "550 5.1.1 unknown\r\n")
        .says("DATA", "354 go ahead\r\n")
        .on("RSET", move |heard| Step::SayAndClose(goodbye.into()).when(heard.nth == 1))
        .start();
    let unknown = Message::new("0", ALICE, "unknown@example.test", "hello");
    let outcomes = smtp(&server).send_all(&[unknown, message("1", "a"), message("2", "a")]);
    assert_eq!(outcomes[0].as_ref().unwrap_err().code(), Some("550"));
    assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((arrived(&server).trim_start_matches("? "), server.connections()), ("1 2", 2));
}

/// A server that keeps the transaction open after DATA and accepts MAIL only after RSET; recipients accumulate.
fn keeps_transactions_open(extensions: &[&str]) -> Script {
    let open = Mutex::new(HashSet::new());
    let nested = move |heard: &Heard| {
        let mut open = open.lock().unwrap();
        if heard.text.eq_ignore_ascii_case("RSET") {
            open.remove(&heard.connection);
            return Step::Usual;
        }
        let is_mail = heard.text.starts_with("MAIL");
        Step::say("503 5.5.1 nested MAIL command\r\n").when(is_mail && !open.insert(heard.connection))
    };
    Script::smtp(extensions).on("", nested)
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_nested_mail_command_is_repeated_after_rset(#[case] extensions: &[&str]) {
    let server = keeps_transactions_open(extensions).start();
    let smtp = smtp(&server);
    let mut outcomes: Vec<_> = messages(0..4).iter().map(|message| smtp.send(message)).collect();
    outcomes.extend(smtp.send_all(&messages(4..9)));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((arrived(&server), server.connections()), ("0 1 2 3 4 5 6 7 8".into(), 1));
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_nested_mail_command_within_send_all_is_repeated_after_rset(#[case] extensions: &[&str]) {
    let server = keeps_transactions_open(extensions).start();
    let outcomes = smtp(&server).send_all(&messages(0..5));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((arrived(&server), server.connections()), ("0 1 2 3 4".into(), 1));
}

#[rstest]
#[case::pipelining(PIPELINING)]
#[case::one_by_one(ONE_BY_ONE)]
fn a_session_that_refuses_mail_with_503_for_good_is_replaced(#[case] extensions: &[&str]) {
    let stale = |heard: &Heard| heard.connection == 1 && heard.here > 1;
    let server = Script::smtp(extensions)
        .on("MAIL", move |heard| Step::say("503 5.5.1 say hello first\r\n").when(stale(heard)))
        .start();
    let outcomes = smtp(&server).send_all(&messages(0..3));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((arrived(&server), server.connections()), ("0 1 2".into(), 2));
    let never = Script::smtp(extensions).says("MAIL", "503 5.5.1 log in first\r\n").start();
    let error = fails(smtp(&never).send(&message("1", "a")));
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("503")), "{error:?}");
    assert_eq!(never.connections(), 1);
}

/// Otherwise the recipients would get an empty message.
#[rstest]
fn a_server_that_requests_the_data_of_a_refused_sender_gets_no_empty_message() {
    let server = Script::smtp(PIPELINING).says("MAIL", "550 5.7.1 not from here\r\n").start();
    let error = fails(smtp(&server).send(&message("1", "a")));
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("550")), "{error:?}");
    assert_eq!(arrived(&server), "");
}

/// Takes this step once, after 1,000 lines of data.
fn in_the_midst(script: Script, step: Step) -> Script {
    let lines = AtomicUsize::new(0);
    script.on("> ", move |_| step.clone().when(lines.fetch_add(1, Ordering::SeqCst) == 1_000))
}

fn large(megabytes: usize) -> Message {
    message("1", vec![b'a'; megabytes << 20])
}

#[rstest]
#[case::too_large("552 5.3.4 message too big\r\n", ErrorKind::TooLarge)]
#[case::content("554 5.7.1 no such content\r\n", ErrorKind::Refused)]
#[case::of_two_lines("554-5.7.1 no such\r\n554 5.7.1 content\r\n", ErrorKind::Refused)]
#[case::for_now("451 4.3.0 disk full\r\n", ErrorKind::Refused)]
fn a_refusal_within_data_is_reported_and_the_message_uploaded_once(
    #[values(PIPELINING, ONE_BY_ONE)] extensions: &[&str],
    #[case] no: &'static str,
    #[case] kind: ErrorKind,
    #[values(true, false)] hangs_up: bool,
) {
    let step = if hangs_up { Step::SayAndClose(no.into()) } else { Step::say(no) };
    let server = in_the_midst(Script::smtp(extensions), step).start();
    let smtp = smtp(&server);
    let outcomes = smtp.send_all(&[large(1), message("2", "a")]);
    let error = outcomes[0].as_ref().unwrap_err();
    assert_eq!((error.kind(), error.code()), (kind, no.get(..3)), "{error:?}");
    assert!(outcomes[1].is_ok() && smtp.send(&message("3", "a")).is_ok(), "{outcomes:?}");
    assert_eq!(server.connections(), 2);
    assert_eq!(server.heard("DATA").len(), 3, "no upload is repeated");
}

#[rstest]
fn a_small_message_refused_before_its_data_fails_alone(
    #[values(PIPELINING, ONE_BY_ONE)] extensions: &[&str],
    #[values(true, false)] hangs_up: bool,
) {
    let no = "354 go ahead\r\n554 5.7.1 on second thoughts, no\r\n";
    let step = if hangs_up { Step::SayAndClose(no.into()) } else { Step::say(no) };
    let server = Script::smtp(extensions).on("DATA", move |heard| step.clone().when(heard.nth == 1)).start();
    let outcomes = smtp(&server).send_all(&messages(0..3));
    let error = outcomes[0].as_ref().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("554")), "{error:?}");
    assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((arrived(&server), server.connections()), ("1 2".into(), 2));
}

#[rstest]
fn a_goodbye_within_data_resends_the_message_once() {
    let busy = Step::SayAndClose("421 4.3.2 shutting down\r\n".into());
    let server = in_the_midst(Script::smtp(PIPELINING), busy).start();
    // More than all buffers of the connection hold.
    assert!(smtp(&server).send(&large(16)).unwrap().all_accepted());
    assert_eq!((arrived(&server), server.connections()), ("1".into(), 2));
}

#[rstest]
#[case::closing("421 4.7.0 too busy, try again in 5 minutes\r\n", "421")]
#[case::for_now("451 4.3.0 not now, try again in 5 minutes\r\n", "451")]
fn a_transient_refusal_of_ehlo_is_a_connect_error_with_code_and_wait(
    #[case] busy: &'static str,
    #[case] code: &str,
    #[values(true, false)] hangs_up: bool,
) {
    let step = if hangs_up { Step::SayAndClose(busy.into()) } else { Step::say(busy) };
    let server = Script::smtp(&["AUTH PLAIN"]).on("EHLO", move |_| step.clone()).start();
    let error = fails(Smtp::connect(smtp_config(&server, Credentials::new(ALICE, MARKED))));
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connect, Some(code)), "{error:?}");
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(300)));
    assert_eq!(server.heard("HELO"), Vec::<String>::new());
}

#[rstest]
#[case("500 unknown\r\n")]
#[case("502 5.5.1 not implemented\r\n")]
#[case("504 5.5.4 no\r\n")]
#[case("550 no\r\n")]
fn a_permanent_refusal_of_ehlo_is_followed_by_helo(#[case] no: &'static str) {
    let server = Script::smtp(PIPELINING).says("EHLO", no).says("HELO", "250 script\r\n").start();
    assert!(smtp(&server).send(&message("1", "a")).unwrap().all_accepted());
    assert_eq!((server.heard("HELO").len(), server.connections()), (1, 1));
}

#[rstest]
fn a_permanent_refusal_of_ehlo_with_a_closed_connection_is_that_code() {
    let no = || Step::SayAndClose("554 5.7.1 you are on a list\r\n".into());
    let server = Script::smtp(PIPELINING).on("EHLO", move |_| no()).start();
    let error = fails(Smtp::connect(smtp_config(&server, Credentials::none())));
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connect, Some("554")), "{error:?}");
}

#[rstest]
#[case("554 5.7.1 no SMTP service here\r\n", "554")]
#[case("521 5.3.2 this host takes no mail\r\n", "521")]
#[case("421 4.3.2 not now, retry in 10 minutes\r\n", "421")]
fn a_greeting_that_refuses_is_a_connect_error_with_its_code(#[case] no: &'static str, #[case] code: &str) {
    let server = Script::smtp(PIPELINING).says("GREETING", no).start();
    let error = fails(Smtp::connect(smtp_config(&server, Credentials::none())));
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connect, Some(code)), "{error:?}");
    assert_eq!(error.retry_after(), no.contains("10 minutes").then_some(Duration::from_secs(600)));
}

/// Servers refuse `localhost` and host names without a domain.
#[rstest]
fn the_name_in_ehlo_is_fully_qualified_or_an_address_literal() {
    let server = Script::smtp(PIPELINING).start();
    let _one = smtp(&server);
    let _other =
        Smtp::connect(smtp_config(&server, Credentials::none()).hello_name("app.example.org")).unwrap();
    let said = server.heard("EHLO");
    let name = said[0].split(' ').nth(1).unwrap();
    let is_full = name.contains('.') && !name.to_lowercase().contains("local");
    assert!(name == "[127.0.0.1]" || name == "[IPv6:::1]" || is_full, "{name}");
    assert_eq!(said[1], "ehlo app.example.org");
}

#[rstest]
#[case::for_now("452 4.5.3 Too many messages in this session, reconnect\r\n")]
#[case::for_good("550 5.7.0 Too many mails per connection\r\n")]
#[case::login_is_gone("530 5.7.0 Authentication required\r\n")]
fn a_refusal_of_the_session_resends_the_message_on_a_new_connection(
    #[values(PIPELINING, ONE_BY_ONE)] extensions: &[&str],
    #[values("MAIL", "RCPT")] at: &str,
    #[case] no: &'static str,
) {
    let server = Script::smtp(extensions).on(at, move |heard| Step::say(no).when(heard.here > 2)).start();
    let smtp = smtp(&server);
    let mut outcomes: Vec<_> = messages(0..3).iter().map(|message| smtp.send(message)).collect();
    outcomes.extend(smtp.send_all(&messages(3..6)));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    // `?` is an empty message, for a server that requests the data although no recipient was accepted.
    let arrived = arrived(&server).replace("? ", "");
    assert_eq!((&*arrived, server.connections()), ("0 1 2 3 4 5", 3));
    let never = Script::smtp(extensions).says(at, no).start();
    assert_eq!(fails(Smtp::send(&self::smtp(&never), &message("1", "a"))).kind(), ErrorKind::Refused);
    assert_eq!(never.connections(), 1);
}

#[rstest]
#[case("555 5.5.4 Unsupported option: SIZE=300\r\n")]
#[case("501 Syntax error in parameters\r\n")]
fn mail_is_repeated_without_size_for_a_server_that_rejects_the_parameter(
    #[values(&["SIZE 100000", "PIPELINING"], &["SIZE 100000"])] extensions: &[&str],
    #[case] no: &'static str,
) {
    let refused = AtomicUsize::new(0);
    let server = Script::smtp(extensions).on("", move |heard| {
        if heard.text.starts_with("MAIL") {
            refused.store(heard.text.contains("SIZE=").into(), Ordering::SeqCst);
            return Step::say(no).when(heard.text.contains("SIZE="));
        }
        let is_part = heard.text.starts_with("RCPT") || heard.text.starts_with("DATA");
        Step::say("503 5.5.1 MAIL first\r\n").when(is_part && refused.load(Ordering::SeqCst) == 1)
    });
    let server = server.start();
    let outcomes = smtp(&server).send_all(&messages(0..3));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((arrived(&server), server.connections()), ("0 1 2".into(), 1));
}

#[rstest]
fn blank_lines_and_lines_without_a_code_are_not_replies() {
    let greeting = "220-script\r\n   Use by the unauthorized is prohibited.\r\n\r\n220 ready\r\n\r\n";
    let server = Script::smtp(PIPELINING)
        .says("GREETING", greeting)
        .says(".", "\r\n250-queued\r\nas number 7\r\n250 ok\r\n\r\n")
        .start();
    let smtp = smtp(&server);
    for id in ["1", "2", "3"] {
        assert!(smtp.send(&message(id, "a")).unwrap().all_accepted());
    }
    assert_eq!((arrived(&server), server.connections()), ("1 2 3".into(), 1));
}

#[rstest]
fn a_second_greeting_is_not_the_reply_to_ehlo() {
    let server = Script::smtp(&["AUTH PLAIN"]).says("GREETING", "220 proxy\r\n220 script\r\n").start();
    let smtp = Smtp::connect(smtp_config(&server, Credentials::new(ALICE, MARKED))).unwrap();
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
    assert_eq!((arrived(&server), server.connections()), ("1".into(), 1));
}
