//! Greetings and logins that fail, and the password, which goes nowhere else.

use std::time::Duration;

use pymail::{Credentials, ErrorKind, Imap, ImapConfig, Server, State};
use rstest::rstest;

use super::{BRIEFLY, MARKED, MINUTE, NEVER, assert_hidden, imap, imap_config, open};
use crate::mail_site::ALICE;
use crate::support::script::{Script, Scripted, Step};

/// Hangs up after the first login, and refuses the second.
fn logging_in(no: &'static str) -> Scripted {
    Script::imap(&[])
        .on("NOOP", |heard| Step::Close.when(heard.connection == 1))
        .on("LOGIN", move |heard| Step::Say(format!("TAG {no}\r\n")).when(heard.connection == 2))
        .start()
}

#[rstest]
#[case::connections("NO [ALERT] Too many simultaneous connections", "ALERT", true)]
#[case::unavailable("NO [UNAVAILABLE] the directory sleeps", "UNAVAILABLE", true)]
#[case::server_bug("NO [SERVERBUG] internal error", "SERVERBUG", true)]
#[case::busy("BAD server busy", "BAD", true)]
#[case::misunderstood("BAD what?", "BAD", false)]
fn a_login_that_the_server_defers_is_an_error_and_is_retried_later(
    #[case] no: &'static str,
    #[case] code: &str,
    #[case] passes: bool,
) {
    let server = logging_in(no);
    let imap = Imap::connect(imap_config(&server).backoff(MINUTE, NEVER)).unwrap();
    let wait = if passes { 10 * MINUTE } else { MINUTE };
    for _ in 0..40 {
        let error = imap.noop().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some(code)), "{error:?}");
        assert!(error.is_transient(), "{error:?}");
        assert!(error.retry_after().is_some_and(|left| left > wait / 2 && left <= wait), "{error:?}");
        assert_eq!(imap.status().state, State::Throttled);
    }
    assert_eq!((server.heard("LOGIN").len(), server.connections()), (2, 2));
}

#[rstest]
#[case::without_a_code("NO Login failed.", None)]
#[case::app_password("NO [ALERT] Application-specific password required", Some("ALERT"))]
#[case::privacy("NO [PRIVACYREQUIRED] use TLS", Some("PRIVACYREQUIRED"))]
#[case::admin("NO [CONTACTADMIN] call us", Some("CONTACTADMIN"))]
#[case::locked(
    "NO [AUTHENTICATIONFAILED] Too many failed attempts, try again later",
    Some("AUTHENTICATIONFAILED")
)]
fn a_login_refused_without_a_clear_reason_is_tried_again_after_a_minute_and_not_at_once(
    #[case] no: &'static str,
    #[case] code: Option<&str>,
) {
    let server = logging_in(no);
    let imap = imap(&server);
    for _ in 0..40 {
        let error = imap.noop().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, code), "{error:?}");
        assert!(error.is_transient(), "{error:?}");
        assert!(error.retry_after().is_some_and(|wait| wait > Duration::from_secs(30)), "{error:?}");
        assert_eq!(imap.status().state, State::Throttled);
    }
    assert_eq!((server.heard("LOGIN").len(), server.connections()), (2, 2));
}

#[rstest]
#[case::without_a_code("NO Login failed.")]
#[case::with_a_code("NO [AUTHENTICATIONFAILED] who are you?")]
fn the_first_login_that_is_refused_is_an_error_at_once(#[case] no: &str) {
    let server = Script::imap(&[]).says("LOGIN", format!("TAG {no}\r\n")).start();
    let error = Imap::connect(imap_config(&server)).unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Auth, false), "{error:?}");
    assert_eq!(server.connections(), 1);
}

#[rstest]
#[case::with_a_code("NO [AUTHENTICATIONFAILED] who are you?", "AUTHENTICATIONFAILED")]
#[case::not_allowed("NO [AUTHORIZATIONFAILED] not you", "AUTHORIZATIONFAILED")]
#[case::expired("NO [EXPIRED] your password is from last year", "EXPIRED")]
fn a_refused_password_ends_the_handle_and_the_error_says_how_to_go_on(
    #[case] no: &'static str,
    #[case] code: &str,
) {
    let server = logging_in(no);
    let imap = imap(&server);
    for _ in 0..3 {
        let error = imap.noop().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, Some(code)), "{error:?}");
        assert!(error.is_permanent() && error.to_string().contains("make a new handle"), "{error:?}");
        assert_eq!(imap.status().state, State::AuthFailed);
    }
    assert_eq!((server.heard("LOGIN").len(), server.connections()), (2, 2));
}

const UMLAUT: &str = "réception";

/// Makes a server that accepts only these lines of a login, one after the other.
fn taking(offers: &[&str], lines: &'static [&'static str]) -> Script {
    let (last, others) = lines.split_last().unwrap();
    let ask =
        |script: Script, line: &&'static str| script.on(line, |_| Step::say("+ Was? <nicht base64>\r\n"));
    let script = others.iter().fold(Script::imap(offers), ask);
    script.on(last, |_| Step::say("TAG OK welcome\r\n")).on("LOGIN", |_| Step::say("TAG NO not so\r\n"))
}

fn log_in(server: &Scripted, user: &str, password: &str) -> pymail::Result<Imap> {
    let config = ImapConfig::new(open(server), Credentials::new(user, password));
    Imap::connect(config.heartbeat(NEVER).timeout(BRIEFLY))
}

#[rstest]
#[case::in_a_literal("alice", &[], &[r#"LOGIN "alice" {10}"#, "réception"])]
#[case::both_in_literals("élise", &[], &["LOGIN {6}", "élise {10}", "réception"])]
#[case::plain("alice", &["AUTH=PLAIN"], &["AUTHENTICATE PLAIN", "AGFsaWNlAHLDqWNlcHRpb24="])]
#[case::plain_with_sasl_ir("alice", &["AUTH=PLAIN", "SASL-IR"], &["AUTHENTICATE PLAIN", "AGFsaWNlAHLDqWNlcHRpb24="])]
#[case::login_mechanism("alice", &["LOGINDISABLED", "AUTH=LOGIN"], &["AUTHENTICATE LOGIN", "YWxpY2U=", "csOpY2VwdGlvbg=="])]
#[case::nothing_offered("alice", &["LOGINDISABLED"], &["AUTHENTICATE PLAIN", "AGFsaWNlAHLDqWNlcHRpb24="])]
fn a_password_beyond_ascii_is_sent_by_a_mechanism_that_the_server_offers(
    #[case] user: &str,
    #[case] offers: &[&str],
    #[case] lines: &'static [&'static str],
) {
    let server = taking(offers, lines).start();
    log_in(&server, user, UMLAUT).unwrap();
    assert_eq!((server.connections(), server.heard(lines[lines.len() - 1]).len()), (1, 1));
}

#[rstest]
#[case(r#"quo"te"#, r#"LOGIN "alice" "quo\"te""#)]
#[case(r"back\slash", r#"LOGIN "alice" "back\\slash""#)]
#[case("per%cent %s", r#"LOGIN "alice" "per%cent %s""#)]
#[case("{5}", r#"LOGIN "alice" "{5}""#)]
#[case("  ", r#"LOGIN "alice" "  ""#)]
fn a_password_with_signs_is_quoted(#[case] password: &str, #[case] line: &'static str) {
    let server = Script::imap(&["AUTH=PLAIN"]).start();
    log_in(&server, "alice", password).unwrap();
    assert_eq!(server.heard("LOGIN"), [line]);
}

#[rstest]
#[case::no("TAG NO mechanism not supported\r\n")]
#[case::bad("TAG BAD what?\r\n")]
#[case::cannot("TAG NO [CANNOT] not so\r\n")]
fn another_mechanism_is_tried_when_one_is_refused_for_no_clear_reason(
    #[case] no: &'static str,
    #[values("s3cret", UMLAUT)] password: &str,
) {
    let refused = if password.is_ascii() { "LOGIN" } else { "AUTHENTICATE PLAIN" };
    let server = Script::imap(&["AUTH=PLAIN"])
        .says(refused, no)
        .on("NOOP", |heard| Step::Close.when(heard.nth == 1))
        .on("AUTHENTICATE", |_| Step::say("+ \r\n"))
        .on("LOGIN", |heard| Step::say("+ \r\n").when(heard.text.ends_with('}')))
        .start();
    let imap = log_in(&server, "alice", password).unwrap();
    let ways = || server.heard("LOGIN").len() + server.heard("AUTHENTICATE").len();
    assert_eq!((ways(), server.connections()), (2, 1));
    imap.noop().unwrap();
    assert_eq!((ways(), server.connections()), (3, 2), "the next login is in the way that has worked");
}

#[rstest]
#[case("TAG NO [AUTHENTICATIONFAILED] wrong\r\n", ErrorKind::Auth)]
#[case("TAG NO [UNAVAILABLE] the directory sleeps\r\n", ErrorKind::Refused)]
#[case("TAG NO [ALERT] Application-specific password required\r\n", ErrorKind::Auth)]
fn no_other_mechanism_is_tried_when_the_server_gives_a_reason(
    #[case] no: &'static str,
    #[case] kind: ErrorKind,
    #[values("s3cret", UMLAUT)] password: &str,
) {
    let server =
        Script::imap(&["AUTH=PLAIN", "AUTH=LOGIN"]).says("LOGIN", no).says("AUTHENTICATE", no).start();
    let error = log_in(&server, "alice", password).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(server.heard("LOGIN").len() + server.heard("AUTHENTICATE").len(), 1);
}

#[rstest]
fn a_server_that_hangs_up_after_a_refusal_has_refused() {
    let server = Script::imap(&["AUTH=PLAIN"])
        .says("LOGIN", "TAG NO not for you\r\n")
        .on("AUTHENTICATE", |_| Step::Close)
        .start();
    let error = log_in(&server, "alice", "s3cret").unwrap_err();
    assert!(error.kind() == ErrorKind::Auth && error.to_string().contains("not for you"), "{error:?}");
}

/// Some providers refuse SELECT to a client that has not sent ID.
#[rstest]
#[case::announced_at_once(&["ID"], "TAG OK welcome\r\n", "* ID NIL\r\nTAG OK done\r\n")]
#[case::announced_after_the_login(&[], "TAG OK [CAPABILITY IMAP4rev1 ID] welcome\r\n", "* ID NIL\r\nTAG OK done\r\n")]
#[case::announced_before_it_only(&["ID"], "TAG OK [CAPABILITY IMAP4rev1] welcome\r\n", "* ID NIL\r\nTAG OK done\r\n")]
#[case::refused(&["ID"], "TAG OK welcome\r\n", "TAG NO we know you\r\n")]
#[case::misunderstood(&["ID"], "TAG OK welcome\r\n", "TAG BAD what?\r\n")]
fn id_is_sent_before_select_and_tells_nothing_of_the_user(
    #[case] offers: &[&str],
    #[case] welcome: &str,
    #[case] answer: &str,
) {
    let server = Script::imap(offers).says("LOGIN", welcome).says("ID", answer).start();
    drop(imap(&server));
    let said = format!("ID (\"name\" \"pymail\" \"version\" \"{}\")", env!("CARGO_PKG_VERSION"));
    assert_eq!(server.heard("ID"), [said]);
    let all = server.heard("");
    let at = |word: &str| all.iter().position(|line| line.starts_with(word)).unwrap();
    assert!(at("LOGIN") < at("ID") && at("ID") < at("SELECT"), "{all:?}");
}

#[rstest]
fn a_server_without_the_capability_id_gets_no_id() {
    let server = Script::imap(&["IDLE"]).start();
    drop(imap(&server));
    assert_eq!(server.heard("ID"), Vec::<String>::new());
}

/// Exchange sends this when it has lost its own backend, until a new connection is made.
#[rstest]
#[case::a_noop("NOOP", |imap: &Imap| imap.noop())]
#[case::a_search("UID SEARCH", |imap: &Imap| imap.search("ALL").map(drop))]
#[case::a_fetch("UID SEARCH", |imap: &Imap| imap.fetch().map(drop))]
fn a_connection_without_a_backend_is_replaced(
    #[case] at: &str,
    #[case] verb: impl Fn(&Imap) -> pymail::Result<()>,
    #[values("BAD", "NO")] no: &str,
) {
    let no = format!("TAG {no} User is authenticated but not connected.\r\n");
    let server = Script::imap(&[]).on(at, move |heard| Step::say(&*no).when(heard.connection == 1)).start();
    let imap = imap(&server);
    verb(&imap).unwrap();
    assert_eq!(server.connections(), 2);
}

#[rstest]
#[case::no("NO [AUTHENTICATIONFAILED] bad")]
#[case::bad("BAD what is")]
fn a_password_that_the_server_sends_back_is_shown_nowhere(#[case] no: &'static str) {
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
fn no_password_follows_an_invalid_greeting(
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
    ImapConfig::new(encrypted, Credentials::new(ALICE, MARKED)).heartbeat(NEVER).timeout(BRIEFLY)
}

#[rstest]
#[case::read_only("* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-ONLY] look, don't touch\r\n", "READ-ONLY")]
#[case::without_uidvalidity("* 9 EXISTS\r\nTAG OK [READ-WRITE] done\r\n", "UIDVALIDITY")]
fn an_inbox_that_can_not_be_worked_with_is_refused(#[case] select: &str, #[case] code: &str) {
    let server = Script::imap(&[]).says("SELECT", select).start();
    let error = Imap::connect(imap_config(&server)).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some(code)), "{error:?}");
}

#[rstest]
fn a_password_in_the_middle_of_a_long_strange_line_is_not_cut_before_it_is_hidden() {
    let line = format!("!{}{MARKED} again\r\n", "x".repeat(95));
    let server = Script::imap(&[]).says("NOOP", line).start();
    let error = imap(&server).noop().unwrap_err();
    assert!(error.to_string().contains("xxx(..)"), "{error}");
}
