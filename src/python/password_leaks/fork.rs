//! Errors of handles in a forked child.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::fmt::Debug;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::scripted::{at, waiting};
use super::support::script::Script;
use super::{EVENTS, Shown, USER, error_path, imap_config, leaks, panics, shown, smtp_config};
use crate::python::tests::{child, passes};
use crate::{ErrorKind, Imap, Message, Result, Smtp};

/// Seconds after which a child that hangs is killed.
const PATIENCE: u32 = 60;

/// Runs in a process of its own: another test's thread could hold a lock that the child waits for.
#[test]
fn no_handle_in_a_forked_child_shows_the_password() {
    passes(&mut child("python::password_leaks::fork::in_forked_children"));
}

#[test]
#[ignore = "forks; runs in a child process of the test above"]
fn in_forked_children() {
    let paths = vec![
        error_path("a forked child's IMAP handle", imap),
        error_path("a forked child's SMTP handle", smtp),
    ];
    assert_eq!(leaks(paths), Vec::<String>::new());
}

fn imap() -> Shown {
    let server = waiting(&["MOVE", "UIDPLUS"]).start();
    let config = imap_config(at(&server)).dead_letters(1);
    let mut handle = Some(Imap::connect(config.clone()).unwrap());
    let batch = handle.as_ref().unwrap().fetch().unwrap();
    let uids = handle.as_ref().unwrap().search("UNDELETED").unwrap();
    assert_eq!((batch.len(), uids.len()), (1, 1));
    let mut batch = Some(batch);
    let told = in_a_child(|| {
        let (imap, batch) = (handle.take().unwrap(), batch.take().unwrap());
        let mut told = vec![
            refused(imap.fetch()),
            refused(imap.fetch_and_ack()),
            refused(batch.ack()),
            refused(imap.ack(&batch)),
            refused(imap.reject(&batch, "no such account")),
            refused(imap.noop()),
            refused(imap.search("ALL")),
            refused(imap.fetch_uids(&uids)),
            refused(imap.copy(&uids, "elsewhere")),
            refused(imap.move_to(&uids, "elsewhere")),
            refused(imap.delete(&uids)),
            refused(imap.close()),
            refused(Imap::connect(config.clone())),
        ];
        told.push(format!("{imap:?} {:?} {:?} {:?}", batch.into_deliveries(), imap.status(), imap.stats()));
        told
    });
    // The drop in the child has changed nothing in the parent.
    batch.unwrap().ack().unwrap();
    assert_eq!(server.connections(), 1, "the child has left the connection alone");
    told
}

fn smtp() -> Shown {
    let server = Script::smtp(&["AUTH PLAIN"]).start();
    let config = smtp_config(at(&server));
    let mut handle = Some(Smtp::connect(config.clone()).unwrap());
    let message = Message::new("1", USER, [USER], "hello");
    let told = in_a_child(|| {
        let smtp = handle.take().unwrap();
        let mut told: Shown =
            smtp.send_all(&[message.clone(), message.clone()]).into_iter().map(refused).collect();
        told.extend([refused(smtp.send(&message)), refused(smtp.noop()), refused(smtp.close())]);
        told.push(refused(Smtp::connect(config.clone())));
        told.push(format!("{smtp:?} {:?} {:?}", smtp.status(), smtp.stats()));
        told
    });
    assert!(handle.unwrap().send(&message).unwrap().all_accepted());
    assert_eq!(
        (server.connections(), server.data().len()),
        (1, 1),
        "the child has left the connection alone"
    );
    told
}

/// Returns the text of a verb's error; asserts that the verb fails because of the fork.
fn refused<T: Debug>(outcome: Result<T>) -> String {
    assert!(outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Runtime));
    shown(outcome)
}

/// Runs `show` in a forked child; returns its texts, and the events and panics of the child.
fn in_a_child(show: impl FnOnce() -> Shown) -> Shown {
    let (mut hears, says) = std::io::pipe().unwrap();
    // SAFETY: the child shows what it has to show and leaves, without running the harness's code.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: only sets a timer, whose signal has no handler.
        unsafe { libc::alarm(PATIENCE) };
        let shown = catch_unwind(AssertUnwindSafe(show));
        let all = (shown.unwrap_or_default(), format!("{} {}", EVENTS.text(), panics()));
        let said = serde_json::to_writer(&says, &all);
        // SAFETY: ends the child at once, without the parent's exit hooks.
        unsafe { libc::_exit(c_int::from(said.is_err())) };
    }
    drop(says);
    let mut text = String::new();
    hears.read_to_string(&mut text).unwrap();
    let mut status: c_int = -1;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    let (mut all, rest): (Shown, String) = serde_json::from_str(&text).unwrap();
    assert!(!all.is_empty(), "the child panicked: {rest}");
    all.push(rest);
    all
}
