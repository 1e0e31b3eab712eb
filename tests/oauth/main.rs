//! The feature `oauth`, against a token server over HTTPS, and Dovecot with its tokens.

mod browser;
mod device;
mod failures;
mod handles;
mod log;
mod proxies;
mod rotation;
mod sharing;

use std::sync::OnceLock;
use std::time::Duration;

use pymail::oauth::{Client, Endpoints, RefreshToken, TokenSource};
use pymail::{AccessToken, TokenRequest};
use pymail_test_support as support;

use crate::support::events::Events;
use crate::support::token_server::{CLIENT_SECRET, TokenServer};

/// A time that no test reaches.
const LONG: Duration = Duration::from_secs(80);

const USER: &str = "alice@example.test";

/// Returns a client of this server.
fn client(server: &TokenServer) -> Client {
    let endpoints =
        Endpoints::new(server.url("token")).device_authorization(server.url("device_authorization"));
    Client::new(endpoints, "app").secret(CLIENT_SECRET).add_root_certificate_pem(server.ca_pem())
}

/// Returns a source with a new refresh token of [`USER`], which stores no other one.
fn source(server: &TokenServer) -> TokenSource {
    client(server).refresh_token(RefreshToken::new(server.sign_in(USER)), |_| Ok(()))
}

fn ask(source: &TokenSource) -> pymail::Result<AccessToken> {
    source.token(TokenRequest::new(LONG))
}

/// Asks for another token than this one.
fn renew(source: &TokenSource, stale: &AccessToken) -> pymail::Result<AccessToken> {
    source.token(TokenRequest::for_another(stale.id(), LONG))
}

/// Returns the events of all tests of this process.
fn events() -> Events {
    static EVENTS: OnceLock<Events> = OnceLock::new();
    let start = || {
        let events = Events::default();
        tracing::subscriber::set_global_default(events.clone()).unwrap();
        events
    };
    EVENTS.get_or_init(start).clone()
}

/// Fails if a text has the client secret or a token of the server in it.
#[track_caller]
fn assert_hidden(text: &str) {
    for secret in [CLIENT_SECRET, "refresh-token-", "device-code-", "eyJ"] {
        assert!(!text.contains(secret), "{text}");
    }
}
