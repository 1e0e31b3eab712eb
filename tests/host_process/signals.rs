//! Signals, and Ctrl-C in a terminal or console.

use std::ffi::c_int;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use pymail::Imap;
use rstest::rstest;

use super::{child, imap, passes, round_trip, system};
use crate::fixtures::embedded;
use crate::mail_site::Site;
use crate::support::process::started;

/// Long enough for a process to end by a signal.
const LONG: Duration = Duration::from_secs(30);

#[rstest]
fn signals_have_the_dispositions_that_the_host_gave_them(#[from(embedded)] site: Site) {
    passes(&mut child("signals::looks_at_its_signals", &site));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn looks_at_its_signals() {
    system::as_in_the_foreground();
    let handler = handle_sigterm();
    let before = system::dispositions();
    assert_eq!(before[..2], [libc::SIG_DFL, handler]);
    round_trip();
    assert_eq!(system::dispositions(), before);
}

/// Handles SIGTERM, and returns the handler.
fn handle_sigterm() -> libc::sighandler_t {
    extern "C" fn handle(_: c_int) {}
    let handler = handle as extern "C" fn(c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, which is allowed in any signal handler.
    unsafe { libc::signal(libc::SIGTERM, handler) };
    handler
}

#[rstest]
fn ctrl_c_ends_a_host_that_did_not_ask_otherwise(#[from(embedded)] site: Site) {
    let mut child = child("signals::waits_and_gets_ctrl_c", &site);
    let child = system::in_a_terminal_of_its_own(&mut child);
    let output = started(|| child.output()).unwrap();
    assert!(system::has_ended_by_ctrl_c(&output), "{output:?}");
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn waits_and_gets_ctrl_c() {
    system::as_in_the_foreground();
    let imap = busy();
    system::press_ctrl_c();
    let since = Instant::now();
    while since.elapsed() < LONG && imap.noop().is_ok() {}
    panic!("Ctrl-C has no effect");
}

#[rstest]
fn ctrl_c_reaches_the_hosts_own_handler_and_calls_go_on(#[from(embedded)] site: Site) {
    passes(system::in_a_terminal_of_its_own(&mut child("signals::handles_ctrl_c", &site)));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn handles_ctrl_c() {
    system::as_in_the_foreground();
    let has_come = system::handle_ctrl_c();
    let imap = busy();
    system::press_ctrl_c();
    let since = Instant::now();
    while !has_come.load(Ordering::Relaxed) && since.elapsed() < LONG {
        imap.noop().unwrap();
    }
    assert!(has_come.load(Ordering::Relaxed));
    imap.noop().unwrap();
    assert_eq!(imap.stats().reconnects, 0);
}

/// Returns a handle that another thread keeps busy.
fn busy() -> Imap {
    let imap = imap();
    let busy = imap.clone();
    thread::spawn(move || while busy.noop().is_ok() {});
    imap.noop().unwrap();
    imap
}
