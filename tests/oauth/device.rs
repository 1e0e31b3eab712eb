//! Signing in by a device code.

use std::thread;
use std::time::Duration;

use pymail::ErrorKind;
use pymail::oauth::DeviceSignIn;
use rstest::rstest;
use serde_json::json;

use crate::support::process::wait_until;
use crate::support::token_server::{Fault, Response, TokenServer};
use crate::{LONG, USER, ask, assert_hidden, client};

fn sign_in(server: &TokenServer) -> DeviceSignIn {
    client(server).scopes(["mail", "offline_access"]).sign_in_by_device().unwrap()
}

/// Waits for the first poll, and then acts as the user.
fn after_a_poll(server: &TokenServer, sign_in: &DeviceSignIn, act: impl FnOnce()) -> pymail::Result<()> {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| sign_in.wait(LONG).map(drop));
        wait_until("a poll", || server.requests() > 0);
        act();
        waiting.join().unwrap()
    })
}

#[rstest]
fn the_user_signs_in_on_another_device() {
    let server = TokenServer::start();
    let sign_in = sign_in(&server);
    assert_eq!(sign_in.verification_uri(), "https://localhost/device");
    assert!(sign_in.verification_uri_complete().is_none() && sign_in.time_left() <= Duration::from_secs(300));
    assert_hidden(&format!("{sign_in:?}"));
    assert_eq!(server.received("/device_authorization")[0].form["scope"], "mail offline_access");
    let error = sign_in.wait(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);

    server.approve(sign_in.user_code(), USER);
    let refresh_token = sign_in.wait(LONG).unwrap();
    ask(&client(&server).refresh_token(refresh_token, |_| Ok(()))).unwrap();
}

#[rstest]
fn polls_go_on_while_the_user_is_busy_and_the_server_is_away() {
    let server = TokenServer::start();
    server.next([Fault::Answer(Response::json(200, &device_response()))]);
    let sign_in = sign_in(&server);
    // Google says 428 for a user that is busy.
    server.next([Fault::error(428, "authorization_pending"), Fault::page(503)]);
    server.next([Fault::Answer(Response::json(200, &json!({ "access_token": "a", "refresh_token": "r" })))]);
    assert_eq!(sign_in.wait(LONG).unwrap().reveal(), "r");
    assert_eq!(server.requests(), 3);
}

fn device_response() -> serde_json::Value {
    json!({ "device_code": "device-code-0", "user_code": "ABCD", "verification_url": "https://g.example/" })
}

/// Takes 6 s: the first interval, and that after `slow_down`.
#[rstest]
fn a_server_that_asks_for_slower_polls_gets_them() {
    let server = TokenServer::start();
    let sign_in = sign_in(&server);
    server.next([Fault::error(400, "slow_down")]);
    let approve = || server.approve(sign_in.user_code(), USER);
    after_a_poll(&server, &sign_in, approve).unwrap();
    assert_eq!(server.requests(), 2);
}

#[rstest]
fn a_user_who_refuses_must_sign_in_again() {
    let server = TokenServer::start();
    let sign_in = sign_in(&server);
    let error = after_a_poll(&server, &sign_in, || server.deny(sign_in.user_code())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SignInNeeded);
    assert!(error.to_string().contains("access_denied"), "{error}");
    assert_hidden(&format!("{error:?}"));
}

#[rstest]
fn a_code_that_has_expired_needs_another_sign_in() {
    let server = TokenServer::start();
    let sign_in = sign_in(&server);
    let error = after_a_poll(&server, &sign_in, || server.expire_device_codes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SignInNeeded);
    assert!(error.to_string().contains("expired_token"), "{error}");
}

#[rstest]
fn a_sign_in_is_cancelled_at_once_even_if_the_server_is_silent(#[values(false, true)] is_silent: bool) {
    let server = TokenServer::start();
    let sign_in = sign_in(&server);
    if is_silent {
        server.next([Fault::Silent]);
    }
    let error = after_a_poll(&server, &sign_in, || sign_in.cancel()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(sign_in.wait(LONG).unwrap_err().kind(), ErrorKind::Closed);
}

#[rstest]
#[case::no_refresh_token(json!({ "access_token": "a" }), "offline_access")]
#[case::wrong_scope(json!({ "error": "invalid_scope" }), "invalid_scope")]
fn a_sign_in_that_gives_no_refresh_token_is_an_error_of_configuration(
    #[case] response: serde_json::Value,
    #[case] text: &str,
) {
    let server = TokenServer::start();
    let sign_in = sign_in(&server);
    server.next([Fault::Answer(Response::json(200, &response))]);
    let error = sign_in.wait(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(text), "{error}");
}

#[rstest]
#[case::no_code(json!({ "user_code": "A", "verification_uri": "https://g.example/" }), "no device_code")]
#[case::script(
    json!({ "device_code": "device-code-0", "user_code": "A", "verification_uri": "javascript:alert(1)" }),
    "no URL of HTTPS"
)]
#[case::local_file(
    json!({ "device_code": "device-code-0", "user_code": "A", "verification_uri": "file:///etc/passwd" }),
    "HTTPS"
)]
fn a_start_that_cannot_be_used_is_an_error_in_words(#[case] response: serde_json::Value, #[case] text: &str) {
    let server = TokenServer::start();
    server.next([Fault::Answer(Response::json(200, &response))]);
    let error = client(&server).sign_in_by_device().unwrap_err();
    assert!(error.kind() == ErrorKind::Connect && error.to_string().contains(text), "{error}");
    assert_hidden(&format!("{error:?}"));
}
