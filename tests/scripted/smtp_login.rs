//! Logins to servers that offer more mechanisms than they accept, prompt in other words, or close the connection.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pymail::{Credentials, Error, ErrorKind, Result, Smtp, State};
use rstest::rstest;

use super::{MARKED, assert_hidden, smtp_config};
use crate::mail_site::{ALICE, message, shown};
use crate::support::script::{Heard, Script, Scripted, Step};

const ALL: &str = "AUTH PLAIN LOGIN CRAM-MD5";
const WELCOME: &str = "235 2.7.0 welcome\r\n";
const WRONG: &str = "535 5.7.8 wrong\r\n";

fn encoded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// Returns the response of AUTH PLAIN for a password.
fn plain(password: &str) -> String {
    encoded(&format!("\0{ALICE}\0{password}"))
}

fn login(server: &Scripted) -> Result<Smtp> {
    login_with(server, MARKED)
}

fn login_with(server: &Scripted, password: &str) -> Result<Smtp> {
    Smtp::connect(smtp_config(server, Credentials::new(ALICE, password)))
}

fn refused(server: &Scripted) -> Error {
    login(server).map(drop).unwrap_err()
}

/// Adds the prompts of AUTH LOGIN to a script, and its reply to the right password.
fn prompting(script: Script, prompts: [&'static str; 2], password: &str, answer: &'static str) -> Script {
    let [user, secret] = prompts.map(|prompt| format!("{prompt}\r\n"));
    let script = script.says("AUTH LOGIN", user).says(&encoded(ALICE), secret);
    script.on(&encoded(password), move |_| Step::say(answer))
}

const PROMPTS: [&str; 2] = ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"];

#[rstest]
#[case::unknown("504 5.7.4 Unrecognized authentication type")]
#[case::too_weak("534 5.7.9 mechanism is too weak")]
#[case::unknown_to_qq("502 Invalid input")]
#[case::failed_at_naver("553 5.3.0 Auth failure")]
#[case::wrong("535 5.7.8 wrong")]
#[case::misunderstood("501 5.5.4 Syntax error")]
#[case::unheard_of("500 what?")]
#[case::for_now("454 4.7.0 Temporary authentication failure")]
fn after_a_refusal_the_next_offered_mechanism_is_tried(#[case] no: &'static str) {
    let script = Script::smtp(&[ALL]).says("AUTH PLAIN", format!("{no}\r\n"));
    let server = prompting(script, PROMPTS, MARKED, WELCOME).start();
    let smtp = login(&server).unwrap();
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
    assert_eq!((server.connections(), server.heard("AUTH CRAM").len()), (1, 0));
    let told = server.heard("AUTH PLAIN ");
    assert_eq!(told.len(), 1, "the password once by each mechanism: {told:?}");
}

/// RFC 2195, section 2.
#[rstest]
fn cram_md5_answers_the_challenge_when_nothing_else_is_accepted() {
    let script = Script::smtp(&[ALL]).says("AUTH PLAIN", WRONG).says("AUTH LOGIN", "504 5.5.4 no\r\n");
    let challenge = encoded("<1896.697170952@postoffice.reston.mci.net>");
    let answer = encoded("tim b913a602c7eda7a495b4e6e7334d3890");
    let server = script.says("AUTH CRAM-MD5", format!("334 {challenge}\r\n")).says(&answer, WELCOME).start();
    Smtp::connect(smtp_config(&server, Credentials::new("tim", "tanstaaftanstaaf"))).unwrap();
}

#[rstest]
#[case::no_base64("334 <1896.697@example.org>\r\n")]
#[case::nothing_to_sign("334 =\r\n")]
#[case::nothing_at_all("334\r\n")]
fn a_challenge_that_can_not_be_read_is_cancelled(#[case] challenge: &'static str) {
    let server = Script::smtp(&["AUTH CRAM-MD5"]).says("AUTH", challenge).says("*", "501 fine\r\n").start();
    assert_eq!(refused(&server).code(), Some("501"));
    assert_eq!(server.heard("*").len(), 1);
}

#[rstest]
fn a_wrong_password_is_sent_once_by_each_mechanism_and_ends_the_handle() {
    let script = Script::smtp(&[ALL])
        .on("NOOP", |heard| Step::Close.when(heard.connection == 1))
        .on("AUTH PLAIN", |heard| Step::say(WRONG).when(heard.connection == 2))
        .on("AUTH CRAM", |_| Step::say("504 5.5.4 no\r\n"));
    let server = prompting(script, PROMPTS, MARKED, WRONG).start();
    let smtp = login(&server).unwrap();
    for _ in 0..3 {
        let error = smtp.noop().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, Some("535")), "{error:?}");
        assert_hidden(&error);
    }
    assert_eq!((smtp.status().state, server.connections()), (State::AuthFailed, 2));
    let secrets = server.heard(&plain(MARKED)).len() + server.heard(&encoded(MARKED)).len();
    assert_eq!((server.heard("AUTH PLAIN ").len(), secrets, server.heard("AUTH").len()), (2, 1, 4));
}

#[rstest]
#[case::by_the_password(["535 5.7.8 wrong", "504 5.5.4 no"], "535")]
#[case::by_the_password_last(["504 5.5.4 no", "535 5.7.8 wrong"], "535")]
#[case::by_the_password_among_logins(["534 5.7.9 too weak", "535 5.7.8 wrong"], "535")]
#[case::by_what_passes(["454 4.7.0 not now", "535 5.7.8 wrong"], "454")]
#[case::by_what_is_about_logins(["534 5.7.9 get an app password", "504 5.5.4 no"], "534")]
#[case::by_the_first_word(["535 5.7.8 wrong", "454 4.7.0 too many wrong ones"], "535")]
#[case::by_what_came_before_a_goodbye(["535 5.7.8 wrong", "421 4.7.0 too many errors"], "535")]
fn of_several_refusals_the_clearest_is_reported(#[case] refusals: [&'static str; 2], #[case] code: &str) {
    let [first, second] = refusals.map(|refusal| format!("{refusal}\r\n"));
    let server =
        Script::smtp(&["AUTH PLAIN LOGIN"]).says("AUTH PLAIN", first).says("AUTH LOGIN", second).start();
    let error = refused(&server);
    assert_eq!(error.code(), Some(code), "{error:?}");
}

/// A second connection for another mechanism would count as one more wrong password.
#[rstest]
#[case::politely(Step::SayAndClose("535 5.7.8 wrong\r\n421 4.7.0 bye\r\n".into()))]
#[case::without_a_word(Step::SayAndClose(WRONG.into()))]
fn a_connection_closed_after_a_refusal_reports_that_refusal(#[case] step: Step) {
    let server = Script::smtp(&[ALL]).on("AUTH", move |_| step.clone()).start();
    let error = refused(&server);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, Some("535")), "{error:?}");
    assert_eq!((server.connections(), server.heard("AUTH PLAIN").len()), (1, 1));
}

#[rstest]
#[case::old("AUTH=PLAIN LOGIN")]
#[case::lower("auth plain")]
#[case::mixed("Auth=Login Plain")]
#[case::unknown_first("AUTH GSSAPI NTLM XOAUTH2 PLAIN")]
#[case::commas("AUTH LOGIN,PLAIN")]
#[case::blanks("AUTH   PLAIN  ")]
#[case::equals("AUTH =PLAIN")]
fn mechanisms_are_parsed_in_every_spelling(#[case] offer: &str) {
    let server = Script::smtp(&[offer]).start();
    login(&server).unwrap();
    assert_eq!(server.heard("AUTH"), [format!("AUTH PLAIN {}", plain(MARKED))]);
}

#[rstest]
#[case::offered_twice(&["AUTH=LOGIN", "AUTH PLAIN"])]
#[case::offered_in_two_lines(&["AUTH LOGIN", "AUTH CRAM-MD5 PLAIN"])]
fn mechanisms_of_several_lines_are_combined(#[case] offers: &[&str]) {
    let server = Script::smtp(offers).start();
    login(&server).unwrap();
    assert_eq!(server.heard("AUTH PLAIN").len(), 1);
}

#[rstest]
#[case::empty("334 \r\n")]
#[case::bare("334\r\n")]
#[case::words("334 go on\r\n")]
#[case::base64("334 UGFzc3dvcmQ6\r\n")]
#[case::lines("334-well\r\n334 go on\r\n")]
fn plain_is_repeated_for_a_server_that_ignores_the_initial_response(#[case] prompt: &str) {
    let server = Script::smtp(&["AUTH PLAIN"]).says("AUTH", prompt).says(&plain(MARKED), WELCOME).start();
    let smtp = login(&server).unwrap();
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
    assert_eq!(server.heard(&plain(MARKED)).len(), 1);
}

#[rstest]
fn plain_is_sent_without_an_initial_response_to_a_server_that_rejects_one() {
    let script = Script::smtp(&["AUTH PLAIN"]).says("AUTH PLAIN ", "501 5.5.2 one word too many\r\n");
    let server = script.says("AUTH PLAIN", "334 \r\n").says(&plain(MARKED), WELCOME).start();
    login(&server).unwrap();
}

/// RFC 4954, section 4: an initial response must fit into a command line of 512 octets.
#[rstest]
fn a_long_password_is_not_sent_as_an_initial_response() {
    let long = "x".repeat(600);
    let script = Script::smtp(&["AUTH PLAIN"]).says("AUTH PLAIN ", "500 line too long\r\n");
    let server = script.says("AUTH PLAIN", "334 \r\n").says(&plain(&long), WELCOME).start();
    login_with(&server, &long).unwrap();
    assert_eq!(server.heard("AUTH"), ["AUTH PLAIN"]);
}

#[rstest]
#[case::no_base64(["334 Who are you?", "334 Enter your password"])]
#[case::empty(["334 ", "334 "])]
#[case::bare(["334", "334"])]
#[case::swapped(["334 UGFzc3dvcmQ6", "334 VXNlcm5hbWU6"])]
#[case::another_language(["334 QmVudXR6ZXI=", "334 S2VubndvcnQ="])]
fn the_text_of_logins_prompts_does_not_matter(#[case] prompts: [&'static str; 2]) {
    let server = prompting(Script::smtp(&["AUTH LOGIN"]), prompts, MARKED, WELCOME).start();
    let smtp = login(&server).unwrap();
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
}

#[rstest]
fn login_sends_the_user_as_an_initial_response_where_the_server_requires_it() {
    let user = format!("AUTH LOGIN {}", encoded(ALICE));
    let script = Script::smtp(&["AUTH LOGIN"]).says(&user, "334 \r\n").says("AUTH LOGIN", "501 no\r\n");
    let server = script.says(&encoded(MARKED), WELCOME).start();
    login(&server).unwrap();
}

#[rstest]
#[case::of_many_lines("235-2.7.0 welcome\r\n235-2.7.0 to all\r\n235 2.7.0 of this\r\n")]
#[case::bare("235\r\n")]
#[case::logged_in_already("503 5.5.1 already authenticated\r\n")]
fn every_form_of_success_is_a_login(#[case] yes: &'static str) {
    let server = Script::smtp(&["AUTH PLAIN"]).says("AUTH", yes).start();
    let smtp = login(&server).unwrap();
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
}

#[rstest]
#[case::plain("AUTH PLAIN")]
#[case::login("AUTH LOGIN")]
fn endless_prompts_end_the_login(#[case] offer: &str) {
    let server = Script::smtp(&[offer]).on("", |heard| {
        Step::say("334 more\r\n").when(heard.text != "GREETING" && !heard.text.starts_with("ehlo"))
    });
    let server = server.start();
    let error = refused(&server);
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:?}");
    assert_eq!(server.heard("*").len(), 1);
}

#[rstest]
#[case::plain("AUTH PLAIN")]
#[case::login("AUTH LOGIN")]
fn a_non_ascii_password_is_sent_as_utf_8(#[case] offer: &str) {
    let password = "p\u{e4}\u{df}w\u{f6}rd \u{1F600}";
    let script = Script::smtp(&[offer]).on("AUTH PLAIN", |heard| {
        Step::say(WRONG).when(!heard.text.ends_with(&plain("p\u{e4}\u{df}w\u{f6}rd \u{1F600}")))
    });
    let server = prompting(script, PROMPTS, password, WELCOME).start();
    login_with(&server, password).unwrap();
}

#[rstest]
fn a_refused_non_ascii_password_is_in_no_error() {
    let password = "\u{e9}\u{15d}\u{17e}\u{1F600}";
    let script = Script::smtp(&[ALL]).says("AUTH PLAIN", WRONG).says("AUTH CRAM", WRONG);
    let server = prompting(script, PROMPTS, password, WRONG).start();
    let error = login_with(&server, password).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    let text = shown(&error).to_lowercase();
    for secret in ["\u{e9}", "\u{15d}", "\u{17e}", "\u{1F600}", "xe9", "15d", "17e", "1f600", "w6nf"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[rstest]
#[case::plain("AUTH PLAIN")]
#[case::login("AUTH LOGIN")]
fn a_password_that_the_server_sends_back_is_in_no_error(#[case] offer: &str) {
    let echo = |heard: &Heard| Step::Say(format!("535 5.7.8 {}\r\n", heard.text));
    let alone = encoded(MARKED);
    let script = Script::smtp(&[offer]).on("AUTH PLAIN", echo).says(&encoded(ALICE), "334 \r\n");
    let server = script.on(&alone, echo).start();
    let error = refused(&server);
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    assert_hidden(&error);

    let raw = Script::smtp(&[offer])
        .says("AUTH", format!("535-5.7.8 {MARKED}\r\n535 5.7.8 AUTH PLAIN {alone}\r\n"))
        .start();
    assert_hidden(&refused(&raw));
}

#[rstest]
#[case::none(&[])]
#[case::unknown(&["AUTH GSSAPI NTLM"])]
#[case::empty(&["AUTH"])]
fn a_server_without_a_supported_mechanism_is_an_auth_error(#[case] offers: &[&str]) {
    let server = Script::smtp(offers).start();
    let error = refused(&server);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, None), "{error:?}");
    assert!(error.to_string().contains("no supported login mechanism"), "{error}");
    assert_eq!(server.heard("AUTH"), Vec::<String>::new());
}

#[rstest]
fn a_login_after_a_permanent_refusal_of_ehlo_fails_with_that_code() {
    let server =
        Script::smtp(&[ALL]).says("EHLO", "550 5.7.1 not you\r\n").says("HELO", "250 ok\r\n").start();
    let error = refused(&server);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("550")), "{error:?}");
}
