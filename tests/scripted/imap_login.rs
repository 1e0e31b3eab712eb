//! Greetings and logins that fail, and where the password goes then: nowhere.

use pymail::{Credentials, ErrorKind, Imap, ImapConfig, Server, State};
use rstest::rstest;

use super::{BRIEFLY, MARKED, NEVER, assert_hidden, imap, imap_config};
use crate::site::ALICE;
use crate::support::script::{Script, Scripted, Step};

/// Hangs up after the first login, and says no to the second.
fn logging_in(no: &'static str) -> Scripted {
    Script::imap(&[])
        .on("NOOP", |heard| Step::Close.when(heard.connection == 1))
        .on("LOGIN", move |heard| Step::Say(format!("TAG {no}\r\n")).when(heard.connection == 2))
        .start()
}

#[rstest]
#[case::alert("NO [ALERT] Too many simultaneous connections", "ALERT")]
#[case::unavailable("NO [UNAVAILABLE] the directory sleeps", "UNAVAILABLE")]
#[case::busy("BAD server busy", "BAD")]
fn a_login_refused_for_another_reason_than_the_password_is_tried_again(
    #[case] no: &'static str,
    #[case] code: &str,
) {
    let server = logging_in(no);
    let imap = imap(&server);
    let error = imap.noop().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some(code)), "{error:?}");
    assert_eq!(imap.status().state, State::Disconnected);
    imap.noop().unwrap();
    assert_eq!((imap.status().state, server.connections()), (State::Connected, 3));
}

#[rstest]
#[case::with_a_code("NO [AUTHENTICATIONFAILED] who are you?", Some("AUTHENTICATIONFAILED"))]
#[case::not_allowed("NO [AUTHORIZATIONFAILED] not you", Some("AUTHORIZATIONFAILED"))]
#[case::expired("NO [EXPIRED] your password is from last year", Some("EXPIRED"))]
#[case::without_a_code("NO Login failed.", None)]
fn a_refused_password_is_an_auth_error_and_not_tried_again(
    #[case] no: &'static str,
    #[case] code: Option<&str>,
) {
    let server = logging_in(no);
    let imap = imap(&server);
    for _ in 0..3 {
        let error = imap.noop().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, code), "{error:?}");
        assert_eq!(imap.status().state, State::Refused);
    }
    assert_eq!((server.heard("LOGIN").len(), server.connections()), (2, 2));
}

#[rstest]
#[case::no("NO [AUTHENTICATIONFAILED] bad")]
#[case::bad("BAD what is")]
fn a_server_that_sends_the_password_back_shows_it_to_nobody(#[case] no: &'static str) {
    let server =
        Script::imap(&[]).on("LOGIN", move |heard| Step::Say(format!("TAG {no} {}\r\n", heard.text))).start();
    assert_hidden(&Imap::connect(imap_config(&server)).unwrap_err());
    assert!(server.heard("LOGIN")[0].contains("s3cret"));
    let raw = Script::imap(&[]).says("LOGIN", format!("TAG {no} {MARKED}\r\n")).start();
    assert_hidden(&Imap::connect(imap_config(&raw)).unwrap_err());
}

#[rstest]
#[case::logged_in_already("* PREAUTH welcome back\r\n", ErrorKind::Tls)]
#[case::goodbye("* BYE too busy\r\n", ErrorKind::Connect)]
#[case::another_protocol("220 mail.example.test ESMTP\r\n", ErrorKind::Connect)]
fn no_password_follows_a_greeting_that_is_none(
    #[case] greeting: &str,
    #[case] kind: ErrorKind,
    #[values(false, true)] encrypted: bool,
) {
    let server = Script::imap(&["STARTTLS"]).says("GREETING", greeting).start();
    let config = if encrypted { starttls(&server) } else { imap_config(&server) };
    let error = Imap::connect(config).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(server.heard("LOGIN"), Vec::<String>::new());
}

#[rstest]
fn without_starttls_no_password_is_sent() {
    let server = Script::imap(&[]).start();
    let error = Imap::connect(starttls(&server)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert_eq!(server.heard("LOGIN"), Vec::<String>::new());
}

#[rstest]
#[case::refused("TAG NO not now\r\n")]
#[case::misunderstood("TAG BAD what?\r\n")]
#[case::unkept("TAG OK go ahead\r\n* OK but there is no TLS here\r\n")]
fn when_starttls_fails_no_password_is_sent(#[case] answer: &'static str) {
    let server =
        Script::imap(&["STARTTLS"]).on("STARTTLS", move |_| Step::SayAndClose(answer.into())).start();
    let error = Imap::connect(starttls(&server)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Tls | ErrorKind::Connect), "{error:?}");
    assert_eq!(server.heard("LOGIN"), Vec::<String>::new());
}

fn starttls(server: &Scripted) -> ImapConfig {
    let encrypted = Server::starttls("localhost").port(server.port());
    ImapConfig::new(encrypted, Credentials::new(ALICE, MARKED)).heartbeat(NEVER).deadline(BRIEFLY)
}

#[rstest]
#[case::read_only("* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-ONLY] look, don't touch\r\n", "READ-ONLY")]
#[case::without_uidvalidity("* 9 EXISTS\r\nTAG OK [READ-WRITE] done\r\n", "UIDVALIDITY")]
fn an_inbox_that_can_not_be_worked_with_is_refused(#[case] select: &str, #[case] code: &str) {
    let server = Script::imap(&[]).says("SELECT", select).start();
    let error = Imap::connect(imap_config(&server)).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some(code)), "{error:?}");
}
