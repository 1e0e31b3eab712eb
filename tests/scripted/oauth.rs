//! Logins by access token, and their refusals.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pymail::{AccessToken, Credentials, Error, ErrorKind, Imap, ImapConfig, Smtp, TokenRequest};
use rstest::rstest;

use super::{BRIEFLY, NEVER, open, smtp_config};
use crate::mail_site::{ALICE, TAG, message, shown};
use crate::support::script::{Heard, Script, Scripted, Step};

/// Its pieces are easy to find, in clear and in base64.
pub(super) const MARKED: &str = "ya29.s3cret-t0ken_s3cret-t0ken";

const IR: &[&str] = &["AUTH=OAUTHBEARER", "AUTH=XOAUTH2", "AUTH=PLAIN"];
const BOTH: &[&str] = &["AUTH PLAIN OAUTHBEARER XOAUTH2"];

/// The JSON of Google's refusals, and of RFC 7628, section 3.2.2.
pub(super) const REASON: &str =
    r#"{"status":"invalid_token","schemes":"bearer","scope":"https://mail.example.test/"}"#;

pub(super) fn encoded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// The requests that a provider has got; its nth token ends with `.n`, but the first, which has no number.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Vec<bool>>>);

impl Asked {
    pub(super) fn renewals(&self) -> Vec<bool> {
        self.0.lock().unwrap().clone()
    }

    /// Returns credentials whose provider answers the nth request by `answer(n)`, n from 1.
    pub(super) fn by(
        &self,
        answer: impl Fn(usize) -> pymail::Result<AccessToken> + Send + Sync + 'static,
    ) -> Credentials {
        let asked = self.clone();
        Credentials::oauth2(ALICE, move |request: TokenRequest| {
            let nth = {
                let mut asked = asked.0.lock().unwrap();
                asked.push(request.renew);
                asked.len()
            };
            answer(nth)
        })
    }

    pub(super) fn credentials(&self) -> Credentials {
        self.by(|nth| Ok(AccessToken::new(token(nth))))
    }
}

/// Returns the nth token.
pub(super) fn token(nth: usize) -> String {
    if nth == 1 { MARKED.to_owned() } else { format!("{MARKED}.{nth}") }
}

fn xoauth2(token: &str) -> String {
    encoded(&format!("user={ALICE}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

fn bearer(server: &Scripted, token: &str) -> String {
    let port = server.port();
    encoded(&format!("n,a={ALICE},\u{1}host=localhost\u{1}port={port}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

pub(super) fn imap_config(server: &Scripted, credentials: Credentials) -> ImapConfig {
    ImapConfig::new(open(server), credentials).tag(TAG).heartbeat(NEVER).timeout(BRIEFLY)
}

pub(super) fn imap(server: &Scripted, credentials: Credentials) -> pymail::Result<Imap> {
    Imap::connect(imap_config(server, credentials))
}

pub(super) fn smtp(server: &Scripted, credentials: Credentials) -> pymail::Result<Smtp> {
    Smtp::connect(smtp_config(server, credentials))
}

/// Checks that no token is shown, in any encoding in which it was sent, in whole or in part.
pub(super) fn assert_hidden(error: &Error) {
    let text = shown(error);
    for secret in ["s3cret", "czNjcmV0", "MzY3JldA", "zM2NyZX"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[rstest]
#[case::standard(IR, "OAUTHBEARER")]
#[case::of_microsoft(&["AUTH=XOAUTH2", "AUTH=PLAIN"], "XOAUTH2")]
fn imap_logs_in_by_the_mechanism_that_is_offered(#[case] offers: &[&str], #[case] mechanism: &str) {
    let server = Script::imap(offers).says("AUTHENTICATE", "+ \r\n").start();
    let asked = Asked::default();
    imap(&server, asked.credentials()).unwrap().noop().unwrap();
    let sent = if mechanism == "XOAUTH2" { xoauth2(MARKED) } else { bearer(&server, MARKED) };
    assert_eq!(server.heard("AUTHENTICATE"), [format!("AUTHENTICATE {mechanism}")]);
    assert_eq!((server.heard(&sent).len(), server.heard("LOGIN").len()), (1, 0));
    assert_eq!(asked.renewals(), [false]);
}

#[rstest]
#[case::standard(BOTH, "OAUTHBEARER")]
#[case::of_microsoft(&["AUTH LOGIN XOAUTH2"], "XOAUTH2")]
fn smtp_logs_in_by_the_mechanism_that_is_offered(#[case] offers: &[&str], #[case] mechanism: &str) {
    let server = Script::smtp(offers).start();
    let asked = Asked::default();
    let smtp = smtp(&server, asked.credentials()).unwrap();
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
    let sent = if mechanism == "XOAUTH2" { xoauth2(MARKED) } else { bearer(&server, MARKED) };
    assert_eq!(server.heard("AUTH"), [format!("AUTH {mechanism} {sent}")]);
    assert_eq!(asked.renewals(), [false]);
}

/// The begin of a response in base64, by OAUTHBEARER and by XOAUTH2.
const BEARER: &str = "bixhPW";
pub(super) const XOAUTH2: &str = "dXNlcj";

/// Makes a server that takes tokens by XOAUTH2, except where a rule for [`XOAUTH2`] says otherwise.
pub(super) fn microsoft(answer: impl Fn(&Heard) -> Step + Send + Sync + 'static) -> Script {
    Script::imap(&["AUTH=XOAUTH2", "IDLE"]).says("AUTHENTICATE", "+ \r\n").on(XOAUTH2, answer)
}

/// Answers a token with a reason, and the answer to that, of any mechanism, with this refusal.
fn with_reason(script: Script, reason: &str, no: &'static str) -> Script {
    let challenge = if no.starts_with("TAG") { "+" } else { "334" };
    let reason = format!("{challenge} {}\r\n", encoded(reason));
    script
        .says(BEARER, &*reason)
        .says(XOAUTH2, &*reason)
        .says("AUTH OAUTHBEARER ", &*reason)
        .says("AUTH XOAUTH2 ", &*reason)
        .says("AQ==", no)
        .on("", move |heard| Step::say(no).when(heard.text.is_empty()))
}

const FAILED: &str = "TAG NO [AUTHENTICATIONFAILED] Authentication failed.\r\n";
const NOT_YOU: &str = "535 5.7.8 not you\r\n";

#[rstest]
fn a_refused_token_is_asked_for_anew_once_and_imap_keeps_the_reason(
    #[values("AUTH=OAUTHBEARER", "AUTH=XOAUTH2")] mechanism: &str,
) {
    let script = Script::imap(&[mechanism]).says("AUTHENTICATE", "+ \r\n");
    let server = with_reason(script, REASON, FAILED).start();
    let asked = Asked::default();
    let error = imap(&server, asked.credentials()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    let refusal = error.token_refusal().unwrap();
    assert_eq!((&*refusal.status, &*refusal.scope), ("invalid_token", "https://mail.example.test/"));
    assert!(error.is_transient() && error.to_string().contains("invalid_token"), "{error:?}");
    assert_eq!((asked.renewals(), server.connections()), (vec![false, true], 2));
    assert_hidden(&error);
}

#[rstest]
fn a_refused_token_is_asked_for_anew_once_and_smtp_keeps_the_reason(
    #[values("AUTH OAUTHBEARER", "AUTH XOAUTH2")] mechanism: &str,
) {
    let server = with_reason(Script::smtp(&[mechanism]), REASON, NOT_YOU).start();
    let asked = Asked::default();
    let error = smtp(&server, asked.credentials()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, Some("535")), "{error:?}");
    assert_eq!(error.token_refusal().unwrap().status, "invalid_token");
    assert_eq!((asked.renewals(), server.connections()), (vec![false, true], 2));
    assert!(error.is_transient());
    assert_hidden(&error);
}

#[rstest]
#[case::microsoft("NO AUTHENTICATE failed.", None)]
#[case::gmail("NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", Some("AUTHENTICATIONFAILED"))]
#[case::gmail_alert("NO [ALERT] Invalid credentials (Failure)", Some("ALERT"))]
#[case::expired("NO [EXPIRED] the token has ended", Some("EXPIRED"))]
fn a_token_that_imap_refuses_without_a_reason_is_renewed(
    #[case] no: &'static str,
    #[case] code: Option<&str>,
) {
    let server = microsoft(move |_| Step::Say(format!("TAG {no}\r\n"))).start();
    let asked = Asked::default();
    let error = imap(&server, asked.credentials()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, code), "{error:?}");
    assert!(error.is_transient() && error.token_refusal().is_none(), "{error:?}");
    assert_eq!((asked.renewals(), server.connections()), (vec![false, true], 2));
    assert_eq!(server.heard(XOAUTH2).len(), 2);
}

#[rstest]
#[case::unavailable("NO [UNAVAILABLE] Temporary authentication failure", ErrorKind::Refused)]
#[case::busy("BAD Server busy", ErrorKind::Refused)]
#[case::misunderstood("BAD what?", ErrorKind::Refused)]
#[case::blocked("NO this account is blocked", ErrorKind::Auth)]
#[case::admin("NO [CONTACTADMIN] call us", ErrorKind::Auth)]
fn no_new_token_is_asked_for_when_imap_refuses_for_another_cause(
    #[case] no: &'static str,
    #[case] kind: ErrorKind,
) {
    let server = microsoft(move |_| Step::Say(format!("TAG {no}\r\n"))).start();
    let asked = Asked::default();
    let error = imap(&server, asked.credentials()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!((asked.renewals(), server.connections()), (vec![false], 1));
}

#[rstest]
#[case::of_microsoft("535 5.7.3 Authentication unsuccessful", ErrorKind::Auth, true)]
#[case::of_google("535 5.7.8 Username and Password not accepted", ErrorKind::Auth, true)]
#[case::by_a_policy(
    "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria",
    ErrorKind::Auth,
    false
)]
#[case::by_the_daemon(
    "535 5.7.8 Error: authentication failed: Connection lost to authentication server",
    ErrorKind::Auth,
    false
)]
#[case::for_now("454 4.7.0 Temporary authentication failure", ErrorKind::Refused, false)]
#[case::too_busy("421 4.7.0 try again later", ErrorKind::Refused, false)]
#[case::of_basic_logins("550 5.7.30 Basic authentication is not supported", ErrorKind::Refused, false)]
fn smtp_tells_a_refused_token_from_a_policy(
    #[case] no: &'static str,
    #[case] kind: ErrorKind,
    #[case] is_renewed: bool,
) {
    let server = Script::smtp(&["AUTH LOGIN XOAUTH2"]).says("AUTH", format!("{no}\r\n")).start();
    let asked = Asked::default();
    let error = smtp(&server, asked.credentials()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (kind, no.get(..3)), "{error:?}");
    let renewals = if is_renewed { vec![false, true] } else { vec![false] };
    assert_eq!((server.connections(), asked.renewals()), (renewals.len(), renewals));
}

#[rstest]
#[case::cannot("NO [CANNOT] not so")]
#[case::bad("BAD what?")]
#[case::no("NO unsupported mechanism")]
fn imap_tries_the_other_mechanism_where_one_is_not_taken_and_prefers_it_from_then_on(
    #[case] no: &'static str,
) {
    let server = Script::imap(IR)
        .on("AUTHENTICATE OAUTHBEARER", move |_| Step::Say(format!("TAG {no}\r\n")))
        .says("AUTHENTICATE XOAUTH2", "+ \r\n")
        .on("NOOP", |heard| Step::Close.when(heard.nth == 1))
        .start();
    let asked = Asked::default();
    imap(&server, asked.credentials()).unwrap().noop().unwrap();
    let names = ["OAUTHBEARER", "XOAUTH2", "XOAUTH2"].map(|name| format!("AUTHENTICATE {name}"));
    assert_eq!((server.heard("AUTHENTICATE"), server.connections()), (names.to_vec(), 2));
    assert_eq!(asked.renewals(), [false, false]);
}

#[rstest]
#[case::unknown("504 5.5.4 Unrecognized authentication type")]
#[case::misunderstood("500 what?")]
fn smtp_tries_the_other_mechanism_where_one_is_not_taken(#[case] no: &'static str) {
    let server = Script::smtp(BOTH).says("AUTH OAUTHBEARER", format!("{no}\r\n")).start();
    let asked = Asked::default();
    smtp(&server, asked.credentials()).unwrap();
    assert_eq!(server.heard("AUTH XOAUTH2"), [format!("AUTH XOAUTH2 {}", xoauth2(MARKED))]);
    assert_eq!((server.connections(), asked.renewals()), (1, vec![false]));
}

#[rstest]
fn no_token_is_sent_to_a_server_that_takes_none() {
    let (inbox, relay) = (Script::imap(&["AUTH=PLAIN"]).start(), Script::smtp(&["AUTH PLAIN LOGIN"]).start());
    let asked = Asked::default();
    let errors = [
        imap(&inbox, asked.credentials()).map(drop).unwrap_err(),
        smtp(&relay, asked.credentials()).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, None), "{error:?}");
        assert!(error.to_string().contains("no login by access token"), "{error}");
    }
    assert_eq!(asked.renewals(), [false, false]);
    let sent = [inbox.heard("AUTHENTICATE"), inbox.heard("LOGIN"), relay.heard("AUTH")];
    assert!(sent.iter().all(Vec::is_empty), "{sent:?}");
}

/// Returns credentials whose only token has this length.
fn of_length(length: usize) -> Credentials {
    Asked::default().by(move |_| Ok(AccessToken::new(MARKED.repeat(length).split_at(length).0)))
}

/// RFC 4954, section 4: an initial response must fit into a command line of 512 octets.
#[rstest]
fn smtp_sends_a_long_token_after_the_challenge() {
    let script = Script::smtp(&["AUTH XOAUTH2"]).on("AUTH XOAUTH2 ", |heard| {
        let (has_room, taken) = (heard.text.len() <= 510, Step::say("235 welcome\r\n"));
        if has_room { taken } else { Step::say("500 line too long\r\n") }
    });
    let server = script.says("AUTH XOAUTH2", "334 \r\n").says(XOAUTH2, "235 welcome\r\n").start();
    let lengths: Vec<usize> = (320..340).chain([3_000, 9_000]).collect();
    for length in &lengths {
        smtp(&server, of_length(*length)).unwrap();
    }
    let lines = server.heard("AUTH XOAUTH2 ");
    assert!(lines.iter().all(|line| line.len() <= 510) && !lines.is_empty(), "{}", lines.len());
    assert_eq!((server.heard("AUTH").len(), server.connections()), (lengths.len(), lengths.len()));
}

#[rstest]
fn a_token_that_no_server_takes_is_a_config_error_before_anything_is_sent() {
    let (inbox, relay) = (Script::imap(IR).start(), Script::smtp(BOTH).start());
    let errors = [
        imap(&inbox, of_length(6_200)).map(drop).unwrap_err(),
        smtp(&relay, of_length(9_300)).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert!(error.to_string().contains("too long"), "{error}");
        assert_hidden(&error);
    }
    assert_eq!((inbox.connections(), relay.connections()), (0, 0));
}

#[rstest]
#[case::rejected("AUTH XOAUTH2 ", "501 5.5.2 one word too many\r\n")]
#[case::ignored("AUTH XOAUTH2 ", "334 \r\n")]
#[case::ignored_in_words("AUTH XOAUTH2 ", "334 go on\r\n")]
fn smtp_repeats_a_token_for_a_server_that_does_not_take_it_with_the_command(
    #[case] line: &str,
    #[case] answer: &str,
) {
    let script = Script::smtp(&["AUTH XOAUTH2"]).says(line, answer).says("AUTH XOAUTH2", "334 \r\n");
    let server = script.says(XOAUTH2, "235 welcome\r\n").start();
    smtp(&server, Asked::default().credentials()).unwrap();
    assert_eq!(server.heard(&xoauth2(MARKED)).len(), 1);
}

/// A challenge that is not answered would take the reply of the next command.
#[rstest]
#[case::an_empty_object("{}")]
#[case::a_list("[1, 2]")]
#[case::a_word("no")]
#[case::other_types(r#"{"status":[1],"scope":{"a":2}}"#)]
#[case::no_text("\u{0}\u{1}")]
#[case::without_text(r#"{"status":"","scope":""}"#)]
#[case::deep(&"[".repeat(5_000))]
fn a_reason_that_can_not_be_read_is_answered_and_left_out(#[case] reason: &str) {
    let script = Script::imap(&["AUTH=XOAUTH2"]).says("AUTHENTICATE", "+ \r\n");
    let inbox = with_reason(script, reason, FAILED).start();
    let relay = with_reason(Script::smtp(&["AUTH XOAUTH2"]), reason, NOT_YOU).start();
    let (asked, same) = (Asked::default(), Asked::default());
    let errors = [
        imap(&inbox, asked.credentials()).map(drop).unwrap_err(),
        smtp(&relay, same.credentials()).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
        assert!(error.token_refusal().is_none(), "{error:?}");
        assert_hidden(&error);
    }
    assert_eq!((asked.renewals(), same.renewals()), (vec![false, true], vec![false, true]));
}

/// JSON can name half of a character, which is no text. The refusal is of a token all the same, and ends no handle.
#[rstest]
#[case::escaped(r#"{"status":"\ud800","scope":"mail"}"#.into())]
#[case::in_octets([&b"{\"status\":\""[..], &[0xED, 0xA0, 0x80], &b"\",\"scope\":\"mail\"}"[..]].concat())]
fn a_reason_with_half_a_character_is_one(#[case] reason: Vec<u8>) {
    let reason = format!("{}\r\n", BASE64_STANDARD.encode(reason));
    let inbox = {
        let reason = format!("+ {reason}");
        let script = microsoft(move |_| Step::Say(reason.clone()));
        script.on("", |heard| Step::say(FAILED).when(heard.text.is_empty())).start()
    };
    let relay = Script::smtp(&["AUTH XOAUTH2"])
        .says("AUTH", format!("334 {reason}"))
        .on("", |heard| Step::say(NOT_YOU).when(heard.text.is_empty()))
        .start();
    let asked = [Asked::default(), Asked::default()];
    let errors = [
        imap(&inbox, asked[0].credentials()).map(drop).unwrap_err(),
        smtp(&relay, asked[1].credentials()).map(drop).unwrap_err(),
    ];
    for (error, asked) in errors.iter().zip(asked) {
        assert!(error.kind() == ErrorKind::Auth && error.is_transient(), "{error:?}");
        assert_eq!((&*error.token_refusal().unwrap().scope, asked.renewals()), ("mail", vec![false, true]));
    }
}

#[rstest]
fn a_reason_is_bounded_and_printable() {
    let reason = format!(r#"{{"status":401,"scope":"a\n\u0007{}"}}"#, "x".repeat(5_000));
    let script = Script::imap(&["AUTH=XOAUTH2"]).says("AUTHENTICATE", "+ \r\n");
    let server = with_reason(script, &reason, FAILED).start();
    let error = imap(&server, Asked::default().credentials()).unwrap_err();
    let refusal = error.token_refusal().unwrap();
    assert_eq!(refusal.status, "401");
    assert!(refusal.scope.starts_with("a \u{FFFD}x") && refusal.scope.chars().count() < 420, "{refusal:?}");
}

/// A server may close the connection in place of the final refusal.
#[rstest]
fn a_reason_counts_also_if_the_connection_is_lost_behind_it() {
    let reason = encoded(REASON);
    let inbox = microsoft(move |_| Step::Say(format!("+ {reason}\r\n")))
        .on("", |heard| Step::Close.when(heard.text.is_empty()))
        .start();
    let asked = Asked::default();
    let error = imap(&inbox, asked.credentials()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    assert_eq!(error.token_refusal().unwrap().status, "invalid_token");
    assert_eq!(asked.renewals(), [false, true]);

    let relay = Script::smtp(&["AUTH XOAUTH2"])
        .says("AUTH", format!("334 {}\r\n", encoded(REASON)))
        .on("", |heard| Step::Close.when(heard.text.is_empty()))
        .start();
    let error = smtp(&relay, Asked::default().credentials()).unwrap_err();
    assert_eq!((error.kind(), relay.connections()), (ErrorKind::Auth, 2), "{error:?}");
    assert_eq!(error.token_refusal().unwrap().status, "invalid_token");
}

#[rstest]
#[case::in_a_no(|sent: &str| Step::Say(format!("TAG NO {sent}\r\n")))]
#[case::in_a_code(|sent: &str| Step::Say(format!("TAG NO [X-{sent}] no\r\n")))]
#[case::in_a_bye(|sent: &str| Step::SayAndClose(format!("* BYE {sent}\r\n")))]
#[case::alone(|sent: &str| Step::SayAndClose(format!("{sent}\r\n")))]
#[case::in_part(|sent: &str| Step::Say(format!("TAG NO not {}\r\n", &sent[20..])))]
#[case::in_clear(|_: &str| Step::Say(format!("TAG NO Bearer {MARKED} is not known\r\n")))]
fn a_token_that_imap_sends_back_is_in_no_error(#[case] echo: fn(&str) -> Step) {
    let server = microsoft(move |heard| echo(&heard.text)).start();
    assert_hidden(&imap(&server, of_length(40)).unwrap_err());
    assert_hidden(&imap(&server, of_length(3_000)).unwrap_err());
    assert!(server.heard(XOAUTH2).len() > 1);
}

#[rstest]
#[case::whole(|sent: &str| format!("535 5.7.8 {sent}\r\n"))]
#[case::in_part(|sent: &str| format!("535 5.7.8 {}\r\n", &sent[30..sent.len().min(400)]))]
#[case::in_clear(|_: &str| format!("535 5.7.8 {MARKED}\r\n"))]
fn a_token_that_smtp_sends_back_is_in_no_error(#[case] echo: fn(&str) -> String) {
    let again = move |heard: &Heard| {
        let has_token = heard.text.len() > 20;
        if has_token { Step::Say(echo(&heard.text)) } else { Step::Usual }
    };
    let server =
        Script::smtp(&["AUTH XOAUTH2"]).on("AUTH", again).says("AUTH", "334 \r\n").on(XOAUTH2, again).start();
    assert_hidden(&smtp(&server, of_length(40)).map(drop).unwrap_err());
    assert_hidden(&smtp(&server, of_length(3_000)).map(drop).unwrap_err());
}

#[rstest]
fn a_reason_that_repeats_the_token_does_not_show_it() {
    let reason = format!(r#"{{"status":"{MARKED}","scope":"{MARKED} mail"}}"#);
    let script = Script::imap(&["AUTH=XOAUTH2"]).says("AUTHENTICATE", "+ \r\n");
    let error = imap(&with_reason(script, &reason, FAILED).start(), of_length(MARKED.len())).unwrap_err();
    assert_hidden(&error);
    assert_eq!(error.token_refusal().unwrap().scope, "(..) mail");
}
