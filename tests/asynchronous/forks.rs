//! A child process made by `fork`, where futures and streams can't go on.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pymail::{AsyncImap, Credentials, ErrorKind, ImapConfig, Server};

use crate::executor::{Runtime, Wakes, poll, poll_next};
use crate::idle::passes;
use crate::mail_site::ALICE;
use crate::support::script::Script;

#[test]
fn a_forked_child_gets_errors_and_waits_for_nothing() {
    passes("forks::forks");
}

#[test]
#[ignore = "runs in a child process of the test above"]
#[allow(unsafe_code, reason = "forks")]
fn forks() {
    let server = Script::imap(&["IDLE"]).start();
    let config = ImapConfig::new(
        Server::unencrypted("localhost").port(server.port()),
        Credentials::new(ALICE, "secret"),
    );
    let imap = Runtime::Tokio.block_on(AsyncImap::connect(config)).unwrap();
    let mut stream = imap.consume();
    // SAFETY: the child polls futures, which is what is tested, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let wakes = Arc::<Wakes>::default();
        let is_runtime = |error: &pymail::Error| error.kind() == ErrorKind::Runtime;
        let call = matches!(poll(pin!(imap.noop()), &wakes), Poll::Ready(Err(error)) if is_runtime(&error));
        let wait = pin!(imap.wait(Duration::from_secs(3_600)));
        let wait = matches!(poll(wait, &wakes), Poll::Ready(Err(error)) if is_runtime(&error));
        let item = poll_next(&mut stream, &wakes);
        let item = matches!(item, Poll::Ready(Some(Err(error))) if is_runtime(&error));
        drop((stream, imap));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!(call && wait && item))) };
    }
    let mut status = -1;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    Runtime::Tokio.block_on(imap.noop()).unwrap();
}
