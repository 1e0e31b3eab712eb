//! Token servers that fail, each in its way: the kind of the error, its words, and no secret in them.

use std::time::{Duration, SystemTime};

use pymail::oauth::{Client, Endpoints, MICROSOFT_APP_SCOPE, RefreshToken};
use pymail::{Error, ErrorKind};
use rstest::rstest;

use crate::support::certs::Authority;
use crate::support::process::wait_until;
use crate::support::token_server::{CLIENT_SECRET, Fault, Response, TokenServer};
use crate::{USER, ask, assert_hidden, client, events, source};

fn answer(status: u16, body: impl Into<String>) -> Fault {
    Fault::Answer(Response::new(status, "application/json", body))
}

fn error_of(server: &TokenServer, client: &Client) -> Error {
    let source = client.refresh_token(RefreshToken::new(server.sign_in(USER)), |_| Ok(()));
    let events = events();
    let error = ask(&source).unwrap_err();
    assert_hidden(&format!("{error:?}{error:#}{source:?}{client:?}"));
    wait_until("the event", || events.text().contains(&error.to_string()));
    assert_hidden(&events.text());
    error
}

#[rstest]
#[case::revoked(Fault::error(400, "invalid_grant"), ErrorKind::SignInNeeded, "invalid_grant")]
#[case::wrong_client(Fault::error(401, "invalid_client"), ErrorKind::Config, "invalid_client")]
#[case::unauthorized(Fault::error(400, "unauthorized_client"), ErrorKind::Config, "unauthorized_client")]
#[case::wrong_scope(Fault::error(400, "invalid_scope"), ErrorKind::Config, "invalid_scope")]
#[case::wrong_address(Fault::page(404), ErrorKind::Config, "HTTP 404, no error of OAuth")]
#[case::redirect(
    Fault::Answer(Response::new(302, "text/plain", "").with_header("Location", "https://localhost:1/")),
    ErrorKind::Config,
    "redirects"
)]
#[case::busy_now(Fault::error(400, "temporarily_unavailable"), ErrorKind::Connect, "temporarily_unavailable")]
#[case::gateway(Fault::page(502), ErrorKind::Connect, "HTTP 502")]
#[case::page(Fault::page(200), ErrorKind::Connect, "not JSON")]
#[case::rubbish(answer(200, "\u{1}\u{2}{{{"), ErrorKind::Connect, "not JSON")]
#[case::empty(answer(200, ""), ErrorKind::Connect, "not JSON")]
#[case::no_token(answer(200, "{}"), ErrorKind::Connect, "no access_token")]
#[case::empty_token(
    answer(200, r#"{"access_token":"","token_type":"Bearer"}"#),
    ErrorKind::Connect,
    "no access_token"
)]
#[case::other_type(answer(200, r#"{"access_token":"eyJ","token_type":"mac"}"#), ErrorKind::Connect, "Bearer")]
#[case::big(answer(200, "x".repeat(10_000_000)), ErrorKind::Connect, "over 65536 octets")]
#[case::lost(Fault::Lost, ErrorKind::Connect, "the token server localhost:")]
fn failures_are_told_apart(#[case] fault: Fault, #[case] kind: ErrorKind, #[case] text: &str) {
    let server = TokenServer::start();
    server.next([fault]);
    let error = error_of(&server, &client(&server));
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(text), "{error}");
    assert_eq!(error.is_transient(), kind == ErrorKind::Connect);
}

#[rstest]
#[case::down(Fault::retry_after(503, "700"), 700)]
#[case::too_many(Fault::retry_after(429, "700"), 700)]
fn no_request_is_made_before_the_time_that_the_server_names(#[case] fault: Fault, #[case] wait: u64) {
    let server = TokenServer::start();
    server.next([fault]);
    let source = source(&server);
    assert_eq!(ask(&source).unwrap_err().retry_after(), Some(Duration::from_secs(wait)));
    let rest = ask(&source).unwrap_err().retry_after().unwrap();
    assert!(rest < Duration::from_secs(wait));
    assert_eq!(server.requests(), 1);
}

#[rstest]
#[case::too_many(Fault::page(429))]
#[case::of_oauth(Fault::error(400, "slow_down"))]
fn a_busy_server_that_names_no_time_has_five_seconds(#[case] fault: Fault) {
    let server = TokenServer::start();
    server.next([fault]);
    assert_eq!(ask(&source(&server)).unwrap_err().retry_after(), Some(Duration::from_secs(5)));
}

#[rstest]
fn a_wait_may_be_a_date() {
    let server = TokenServer::start();
    // So far away that the clock makes no difference.
    server.next([Fault::retry_after(503, "Fri, 31 Dec 9999 23:59:59 GMT")]);
    let error = ask(&source(&server)).unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3_600)));
}

#[rstest]
fn a_silent_server_is_an_error_after_the_timeout() {
    let server = TokenServer::start();
    server.next([Fault::Silent]);
    let error = error_of(&server, &client(&server).timeout(Duration::from_millis(300)));
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("no answer within 300ms"), "{error}");
}

#[rstest]
fn a_certificate_for_another_name_is_not_accepted() {
    let server = TokenServer::named("other.example");
    let error = error_of(&server, &client(&server));
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(server.requests(), 0);
}

#[rstest]
fn a_certificate_of_an_unknown_authority_is_not_accepted() {
    let server = TokenServer::start();
    let client = Client::new(Endpoints::new(server.url("token")), "app").secret(CLIENT_SECRET);
    let other = client.clone().add_root_certificate_pem(Authority::new().pem());
    for client in [client, other] {
        assert_eq!(error_of(&server, &client).kind(), ErrorKind::Tls);
    }
    assert_eq!(server.requests(), 0);
}

#[rstest]
fn settings_that_cannot_work_are_errors_of_configuration() {
    let server = TokenServer::start();
    let at = |url: &str| client(&server).clone_with(url);
    let clients = [
        at("http://login.example/token"),
        at("login.example"),
        client(&server).add_root_certificate_pem("no certificate"),
        client(&server).proxy("http://alice:client secret 4b1d@"),
    ];
    for client in clients {
        assert_eq!(error_of(&server, &client).kind(), ErrorKind::Config);
    }
    let error = client(&server).clone_with(&server.url("token")).sign_in_by_device().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

trait CloneWith {
    fn clone_with(&self, url: &str) -> Client;
}

impl CloneWith for Client {
    /// Returns a client of this token endpoint alone.
    fn clone_with(&self, url: &str) -> Client {
        Client::new(Endpoints::new(url), "app").secret(CLIENT_SECRET)
    }
}

#[rstest]
fn a_closed_port_is_a_transient_error() {
    let server = TokenServer::start();
    let error = error_of(&server, &client(&server).clone_with("https://localhost:1/token"));
    assert!(error.kind() == ErrorKind::Connect && error.retry_after().is_some(), "{error:?}");
}

#[rstest]
fn a_token_server_of_this_machine_needs_no_tls() {
    let server = TokenServer::start();
    let url = format!("http://127.0.0.1:{}/token", server.http_port());
    ask(&client(&server).clone_with(&url).client_credentials()).unwrap();
}

#[rstest]
fn an_app_gets_tokens_of_its_own_by_its_secret(#[values(false, true)] in_header: bool) {
    let server = TokenServer::start();
    let app = client(&server).scopes([MICROSOFT_APP_SCOPE]);
    let source = if in_header { app.secret_in_header() } else { app }.client_credentials();
    let before = SystemTime::now();
    let token = ask(&source).unwrap();
    assert!(token.get_expires_at().unwrap() >= before + Duration::from_secs(3_600));
    let form = &server.received("/token")[0].form;
    let field = |name: &str| form.get(name).map(String::as_str);
    assert_eq!(field("grant_type"), Some("client_credentials"));
    assert_eq!((field("client_id"), field("client_secret")), (Some("app"), Some(CLIENT_SECRET)));
    assert_eq!((field("scope"), field("refresh_token")), (Some(MICROSOFT_APP_SCOPE), None));
    assert_eq!(field("by_header").is_some(), in_header);
}

#[rstest]
fn a_wrong_secret_is_an_error_of_configuration() {
    let server = TokenServer::start();
    let error = ask(&client(&server).secret("wrong").client_credentials()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("invalid_client: as the test wants it"), "{error}");
}
