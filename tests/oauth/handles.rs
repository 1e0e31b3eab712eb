//! Handles on Dovecot, with tokens of a source.

use std::thread;
use std::time::Duration;

use pymail::oauth::{RefreshToken, TokenSource};
use pymail::{ErrorKind, Imap, ImapConfig, Server, State};
use rstest::rstest;

use crate::support::TAG;
use crate::support::dovecot::{Dovecot, DovecotOptions, HOST};
use crate::support::process::wait_until;
use crate::support::token_server::{Fault, TokenServer};
use crate::{USER, ask, assert_hidden, client, source};

fn dovecot() -> Dovecot {
    let token_mechanisms = "oauthbearer xoauth2".to_owned();
    Dovecot::with(&DovecotOptions { token_mechanisms, ..DovecotOptions::default() })
}

fn config(dovecot: &Dovecot, source: &TokenSource) -> ImapConfig {
    let server = Server::tls(HOST).port(dovecot.imaps_port()).add_root_certificate_pem(dovecot.ca_pem());
    let config = ImapConfig::new(server, source.credentials(USER)).tag(TAG);
    config.heartbeat(Duration::from_secs(3_600)).max_connects_per_minute(1_000)
}

fn connect(dovecot: &Dovecot, source: &TokenSource) -> pymail::Result<Imap> {
    Imap::connect(config(dovecot, source))
}

#[rstest]
fn many_handles_of_one_account_make_one_request_and_one_renewal() {
    let (dovecot, server) = (dovecot(), TokenServer::start());
    let source = source(&server);
    // Dovecot refuses the first token of all handles.
    server.change(|settings| settings.scope = "calendar".to_owned());
    ask(&source).unwrap();
    server.change(|settings| settings.scope = "mail".to_owned());
    thread::scope(|scope| {
        let connect = || connect(&dovecot, &source).unwrap().noop().unwrap();
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(connect)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(server.requests(), 2);
}

#[cfg(feature = "async")]
#[rstest]
fn futures_take_their_tokens_from_the_same_source() {
    let (dovecot, server) = (dovecot(), TokenServer::start());
    let source = source(&server);
    connect(&dovecot, &source).unwrap().noop().unwrap();
    smol::block_on(async {
        let imap = pymail::AsyncImap::connect(config(&dovecot, &source)).await.unwrap();
        imap.noop().await.unwrap();
    });
    assert_eq!(server.requests(), 1);
}

/// Ends the session, and has the next token asked for.
fn end(dovecot: &Dovecot, source: &TokenSource) {
    dovecot.kick(USER);
    source.replace_refresh_token(RefreshToken::new("refresh-token-of-no-use"));
}

#[rstest]
fn a_handle_rests_while_the_grant_is_gone_and_goes_on_after_a_sign_in() {
    let (dovecot, server) = (dovecot(), TokenServer::start());
    let source = source(&server);
    let imap = connect(&dovecot, &source).unwrap();
    end(&dovecot, &source);
    wait_until("the lost grant", || imap.noop().is_err_and(|error| error.kind() == ErrorKind::SignInNeeded));
    let error = imap.noop().unwrap_err();
    assert_eq!((error.kind(), imap.status().state), (ErrorKind::SignInNeeded, State::SignInNeeded));
    assert!(error.to_string().contains("invalid_grant"), "{error}");
    assert_hidden(&format!("{error:?} {imap:?} {:?}", imap.status()));

    source.replace_refresh_token(RefreshToken::new(server.sign_in(USER)));
    imap.signed_in().unwrap();
    imap.noop().unwrap();
    assert_eq!(imap.status().state, State::Connected);
}

#[rstest]
fn a_handle_tells_of_a_wrong_configuration_and_lives() {
    let (dovecot, server) = (dovecot(), TokenServer::start());
    let source = source(&server);
    let imap = connect(&dovecot, &source).unwrap();
    server.change(|settings| settings.fault = Some(Fault::error(401, "invalid_client")));
    end(&dovecot, &source);
    wait_until("the refusal", || imap.noop().is_err_and(|error| error.kind() == ErrorKind::Config));
    assert!(imap.noop().unwrap_err().to_string().contains("invalid_client"));
    server.change(|settings| settings.fault = None);
    source.replace_refresh_token(RefreshToken::new(server.sign_in(USER)));
    wait_until("another session", || imap.noop().is_ok());
}

#[rstest]
fn a_handle_waits_while_the_token_server_is_down() {
    let (dovecot, server) = (dovecot(), TokenServer::start());
    server.next([Fault::retry_after(503, "2")]);
    let source = client(&server).refresh_token(RefreshToken::new(server.sign_in(USER)), |_| Ok(()));
    let error = connect(&dovecot, &source).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Connect, Some(Duration::from_secs(2))));
    wait_until("the end of the wait", || connect(&dovecot, &source).is_ok());
    assert_eq!(server.requests(), 2);
}
