//! New refresh tokens reach the app before the access token that came with them is used.

use std::process::{self, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, io, thread};

use pymail::oauth::{Client, Endpoints, RefreshToken, TokenSource};
use pymail::{ErrorKind, TokenRequest};
use rstest::rstest;
use tempfile::TempDir;

use crate::support::process::{started, wait_until};
use crate::support::token_server::{Fault, TokenServer};
use crate::{LONG, USER, ask, assert_hidden, client, renew};

fn rotating() -> TokenServer {
    let server = TokenServer::start();
    server.change(|settings| settings.rotates = true);
    server
}

/// Returns the refresh tokens that the server has received.
fn sent(server: &TokenServer) -> Vec<String> {
    server.received("/token").iter().map(|it| it.form["refresh_token"].clone()).collect()
}

/// The refresh tokens that an app was to keep.
#[derive(Clone, Default)]
struct Offered(Arc<Mutex<Vec<String>>>);

impl Offered {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Returns a source with this token, whose new ones are kept as `keep` says; it gets the number of those before.
    fn source(
        &self,
        server: &TokenServer,
        token: &str,
        keep: impl Fn(usize, &RefreshToken) -> io::Result<()> + Send + Sync + 'static,
    ) -> TokenSource {
        let Self(offered) = self.clone();
        client(server).refresh_token(RefreshToken::new(token), move |token| {
            let before = offered.lock().unwrap().len();
            offered.lock().unwrap().push(token.reveal().to_owned());
            keep(before, token)
        })
    }
}

#[rstest]
fn each_new_refresh_token_is_handed_to_the_app_and_used_next() {
    let (server, offered) = (rotating(), Offered::default());
    let first = server.sign_in(USER);
    let source = offered.source(&server, &first, |_, _| Ok(()));
    let token = ask(&source).unwrap();
    assert_eq!(offered.all().len(), 1);
    renew(&source, &token).unwrap();
    let kept = offered.all();
    assert_eq!((kept.len(), sent(&server)), (2, vec![first, kept[0].clone()]));
}

#[rstest]
fn a_refresh_token_that_stays_the_same_is_not_handed_out() {
    let (server, offered) = (TokenServer::start(), Offered::default());
    let source = offered.source(&server, &server.sign_in(USER), |_, _| Ok(()));
    renew(&source, &ask(&source).unwrap()).unwrap();
    assert_eq!((offered.all().len(), server.requests()), (0, 2));
}

#[rstest]
fn a_refresh_token_that_was_not_kept_is_offered_again_before_any_use() {
    let (server, offered) = (rotating(), Offered::default());
    let source = offered.source(&server, &server.sign_in(USER), |before, token| match before {
        0 => Err(io::Error::other(format!("disk full at {}", token.reveal()))),
        1 => panic!("a panic of the app"),
        _ => Ok(()),
    });
    let error = ask(&source).unwrap_err();
    assert!(error.is_transient() && error.retry_after().is_some(), "{error:?}");
    assert_eq!(error.to_string(), "the new refresh token could not be kept: disk full at (..)");
    wait_until("the second offer", || {
        offered.all().len() == 1 && ask(&source).is_err() || offered.all().len() > 1
    });
    wait_until("the third offer", || ask(&source).is_ok());
    let offered = offered.all();
    assert_eq!((offered.len(), server.requests()), (3, 1));
    assert!(offered.iter().all(|token| *token == offered[0]));
}

#[rstest]
fn an_access_token_stays_unused_while_the_app_stores_the_refresh_token() {
    let (server, offered) = (rotating(), Offered::default());
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let wait = Arc::clone(&gate);
    let source = offered.source(&server, &server.sign_in(USER), move |_, _| {
        drop(wait.lock());
        Ok(())
    });
    let request = TokenRequest::new(Duration::from_millis(50));
    wait_until("the offer", || source.token(request).is_err() && offered.all().len() == 1);
    assert!(source.token(request).is_err());
    drop(closed);
    ask(&source).unwrap();
    assert_eq!((offered.all().len(), server.requests()), (1, 1));
}

/// The process has died, or the response was lost: the app has the old refresh token only.
#[rstest]
fn a_new_refresh_token_that_was_lost_needs_a_sign_in_unless_the_server_is_patient(
    #[values(false, true)] is_patient: bool,
) {
    let (server, offered) = (rotating(), Offered::default());
    let old = server.sign_in(USER);
    server.next([Fault::Lost]);
    let lost = offered.source(&server, &old, |_, _| Ok(()));
    let error = ask(&lost).unwrap_err();
    assert_eq!((error.kind(), offered.all().len()), (ErrorKind::Connect, 0), "{error}");
    drop(lost);

    if is_patient {
        server.change(|settings| settings.grace = LONG);
    }
    let restarted = offered.source(&server, &old, |_, _| Ok(()));
    let kind = ask(&restarted).map(drop).map_err(|error| {
        assert!(error.to_string().contains("invalid_grant"), "{error}");
        assert_hidden(&format!("{error:?}"));
        error.kind()
    });
    assert_eq!(kind, if is_patient { Ok(()) } else { Err(ErrorKind::SignInNeeded) });
    assert_eq!(offered.all().len(), usize::from(is_patient));
}

/// A process of its own dies while it is to keep the new refresh token: before it has stored it, and after.
#[rstest]
fn a_process_that_dies_at_a_rotation_goes_on_if_it_has_stored_the_new_token(
    #[values(false, true)] has_stored: bool,
) {
    let (server, folder) = (rotating(), TempDir::new().unwrap());
    let file = folder.path().join("refresh-token");
    fs::write(&file, server.sign_in(USER)).unwrap();
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", "rotation::a_process_that_dies", "--nocapture"]);
    process.env("PYMAIL_TEST_FILE", &file).env("PYMAIL_TEST_HTTP_PORT", server.http_port().to_string());
    process.env("PYMAIL_TEST_STORES", has_stored.to_string());
    let output = started(|| process.output()).unwrap();
    assert_eq!((has_aborted(output.status), server.requests()), (true, 1), "{output:?}");

    let kept = fs::read_to_string(&file).unwrap();
    let kind =
        ask(&Offered::default().source(&server, &kept, |_, _| Ok(()))).map(drop).map_err(|it| it.kind());
    assert_eq!(kind, if has_stored { Ok(()) } else { Err(ErrorKind::SignInNeeded) });
}

#[cfg(unix)]
fn has_aborted(status: ExitStatus) -> bool {
    const SIGABRT: i32 = 6;
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(SIGABRT)
}

/// Windows has several codes for it; a test that failed ends with 101.
#[cfg(windows)]
fn has_aborted(status: ExitStatus) -> bool {
    ![Some(0), Some(101)].contains(&status.code())
}

/// Does nothing unless another test has started this process.
#[test]
fn a_process_that_dies() {
    let Some(file) = env::var_os("PYMAIL_TEST_FILE") else { return };
    let (port, stores) =
        (env::var("PYMAIL_TEST_HTTP_PORT").unwrap(), env::var("PYMAIL_TEST_STORES").unwrap());
    let token = RefreshToken::new(fs::read_to_string(&file).unwrap());
    let client = Client::new(Endpoints::new(format!("http://127.0.0.1:{port}/token")), "app");
    let source = client.refresh_token(token, move |new| {
        if stores == "true" {
            fs::write(&file, new.reveal())?;
        }
        process::abort()
    });
    drop(ask(&source));
}

#[rstest]
fn a_source_goes_on_with_the_refresh_token_of_another_sign_in() {
    let (server, offered) = (rotating(), Offered::default());
    let first = server.sign_in(USER);
    let source = offered.source(&server, &first, |_, _| Ok(()));
    server.revoke(&first);
    assert_eq!(ask(&source).unwrap_err().kind(), ErrorKind::SignInNeeded);
    let second = server.sign_in(USER);
    source.replace_refresh_token(RefreshToken::new(&second));
    ask(&source).unwrap();
    assert_eq!((sent(&server), offered.all().len()), (vec![first, second], 1));
}

#[rstest]
fn the_answer_to_a_refresh_token_that_was_replaced_meanwhile_is_dropped() {
    let (server, offered) = (rotating(), Offered::default());
    let first = server.sign_in(USER);
    let source = offered.source(&server, &first, |_, _| Ok(()));
    server.revoke(&first);
    server.change(|settings| settings.holds = true);
    let second = server.sign_in(USER);
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&source));
        wait_until("the request", || server.requests() == 1);
        source.replace_refresh_token(RefreshToken::new(&second));
        server.change(|settings| settings.holds = false);
        asking.join().unwrap().unwrap();
    });
    assert_eq!((sent(&server), offered.all().len()), (vec![first, second], 1));
}

/// The app has stored its own, and then the one that its function was still busy with.
#[rstest]
fn after_an_older_refresh_token_that_is_being_kept_the_app_gets_its_own_again() {
    let (server, offered) = (rotating(), Offered::default());
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let wait = Arc::clone(&gate);
    let source = offered.source(&server, &server.sign_in(USER), move |_, _| {
        drop(wait.lock());
        Ok(())
    });
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&source));
        wait_until("the offer", || offered.all().len() == 1);
        server.change(|settings| settings.rotates = false);
        let second = server.sign_in(USER);
        source.replace_refresh_token(RefreshToken::new(&second));
        drop(closed);
        asking.join().unwrap().unwrap();
        assert_eq!(offered.all()[1..], [second]);
    });
}
