//! Streams that wait for mail: they block no threads.

use std::env;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pymail::{AsyncImap, Credentials, ImapConfig, Push, Server};

use crate::executor::{Runtime, Wakes, poll_next, threads};
use crate::mail_site::ALICE;
use crate::support::process::{started, wait_until};
use crate::support::script::Script;

const STREAMS: usize = 50;

/// The threads of all idle connections: the waiter, and a worker for each beat under way.
const WORKERS: usize = 3;

/// Runs an ignored test in a process of its own.
pub fn passes(name: &str) {
    let args = ["--ignored", "--exact", name, "--test-threads=1"];
    let output = started(|| Command::new(env::current_exe().unwrap()).args(args).output()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn fifty_streams_that_wait_have_no_threads() {
    passes("idle::waits_with_fifty_streams");
}

#[test]
#[ignore = "runs in a child process of the test above, which has no other threads"]
fn waits_with_fifty_streams() {
    let server = Script::imap(&["IDLE"]).start();
    let config = || {
        let account = Credentials::new(ALICE, "secret");
        let never = Duration::from_secs(3_600);
        let server = Server::unencrypted("localhost").port(server.port());
        ImapConfig::new(server, account).heartbeat(never).recheck(never)
    };
    let wakes = Arc::<Wakes>::default();
    let handles: Vec<AsyncImap> = Runtime::Tokio.block_on(async {
        let mut handles = Vec::new();
        for _ in 0..STREAMS {
            handles.push(AsyncImap::connect(config()).await.unwrap());
        }
        handles
    });
    let mut streams: Vec<_> = handles.iter().map(AsyncImap::consume).collect();
    wait_until("all to idle", || {
        assert!(streams.iter_mut().all(|stream| poll_next(stream, &wakes).is_pending()));
        handles.iter().all(|imap| imap.status().push == Some(Push::Idle))
    });
    wait_until("the other threads to end", || {
        threads("pymail-call") == 0 && threads("pymail") <= 1 + WORKERS
    });
    let quiet = wakes.count();
    assert!(streams.iter_mut().all(|stream| poll_next(stream, &wakes).is_pending()));
    assert_eq!(wakes.count(), quiet, "nothing wakes a stream that waits");
    assert_eq!(threads("pymail-call"), 0, "nor does a poll begin a call");
}
