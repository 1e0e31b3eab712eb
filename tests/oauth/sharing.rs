//! One request for all that ask.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pymail::oauth::TokenSource;
use pymail::{AccessToken, ErrorKind, TokenId, TokenRequest};
use rstest::rstest;

use crate::support::process::wait_until;
use crate::support::token_server::{Fault, TokenServer};
use crate::{LONG, ask, renew, source};

const THREADS: usize = 1_000;

/// Has many threads ask at a time, while the token server holds its answer back.
fn ask_at_once(
    server: &TokenServer,
    source: &TokenSource,
    request: TokenRequest,
) -> Vec<pymail::Result<AccessToken>> {
    let (before, asking) = (server.requests(), AtomicUsize::new(0));
    server.change(|settings| settings.holds = true);
    thread::scope(|scope| {
        let ask = || {
            asking.fetch_add(1, Ordering::SeqCst);
            source.token(request)
        };
        let spawn = |_| thread::Builder::new().stack_size(128 * 1_024).spawn_scoped(scope, ask).unwrap();
        let threads: Vec<_> = (0..THREADS).map(spawn).collect();
        wait_until("all threads", || asking.load(Ordering::SeqCst) == THREADS && server.requests() > before);
        server.change(|settings| settings.holds = false);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn ids(results: &[pymail::Result<AccessToken>]) -> Vec<TokenId> {
    let mut ids: Vec<TokenId> = results.iter().map(|result| result.as_ref().unwrap().id()).collect();
    ids.dedup();
    ids
}

#[rstest]
fn a_thousand_threads_share_one_request_and_one_renewal() {
    let server = TokenServer::start();
    let source = source(&server);
    let first = ids(&ask_at_once(&server, &source, TokenRequest::new(LONG)));
    assert_eq!((first.len(), server.requests()), (1, 1));

    let second = ids(&ask_at_once(&server, &source, TokenRequest::for_another(first[0], LONG)));
    assert_eq!((second.len(), server.requests()), (1, 2));
    assert_ne!(first, second);
    // A handle that was slow to notice that the first token is of no use.
    let late = source.token(TokenRequest::for_another(first[0], LONG)).unwrap();
    assert_eq!((late.id(), server.requests()), (second[0], 2));
}

#[rstest]
fn a_thousand_threads_share_one_failure_and_its_wait() {
    let server = TokenServer::start();
    let source = source(&server);
    server.next([Fault::retry_after(503, "30")]);
    for result in ask_at_once(&server, &source, TokenRequest::new(LONG)) {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect);
        let wait = error.retry_after().unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(30), "{wait:?}");
    }
    assert_eq!(server.requests(), 1);
}

#[rstest]
fn each_waits_for_its_own_time_and_the_request_goes_on() {
    let server = TokenServer::start();
    let source = source(&server);
    server.change(|settings| settings.holds = true);
    let error = source.token(TokenRequest::new(Duration::from_millis(50))).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("no answer"), "{error}");
    server.change(|settings| settings.holds = false);
    ask(&source).unwrap();
    assert_eq!(server.requests(), 1);
}

#[rstest]
fn a_token_is_kept_until_its_end_or_a_refusal(#[values(true, false)] tells_life: bool) {
    let server = TokenServer::start();
    server.change(|settings| settings.tells_life = tells_life);
    let source = source(&server);
    let token = ask(&source).unwrap();
    assert_eq!((ask(&source).unwrap(), token.get_expires_at().is_some()), (token.clone(), tells_life));
    let other = renew(&source, &token).unwrap();
    assert_eq!((ask(&source).unwrap().id(), server.requests()), (other.id(), 2));
    assert_ne!(token.id(), other.id());
}

#[rstest]
fn a_token_that_has_ended_is_replaced() {
    let server = TokenServer::start();
    server.change(|settings| settings.life = Duration::ZERO);
    let source = source(&server);
    assert_ne!(ask(&source).unwrap(), ask(&source).unwrap());
    assert_eq!(server.requests(), 2);
}

#[rstest]
fn no_timeout_is_too_long() {
    let server = TokenServer::start();
    let client = crate::client(&server).timeout(Duration::MAX);
    client.client_credentials().token(TokenRequest::new(Duration::MAX)).unwrap();
}
