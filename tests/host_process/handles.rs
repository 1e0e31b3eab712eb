//! Handles: shared, dropped anywhere, and left behind at a process's end.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use pymail::{Delivery, Imap, Message, Smtp};
use rstest::rstest;

use super::{child, imap, passes, smtp};
use crate::fixtures::embedded;
use crate::mail_site::{ALICE, Site};
use crate::support::process::{Stopwatch, started};
use crate::support::usage::{open_sockets, thread_names};

/// Under Wine a process takes much longer to start.
const EXITS: usize = if cfg!(windows) { 40 } else { 300 };

const ALL_DROPPED: i32 = 7;

/// Longer on Windows, where a [`Stopwatch`] counts the waits for a CPU, too.
const A_MOMENT: Duration = Duration::from_secs(if cfg!(windows) { 5 } else { 1 });

static FOR_EXIT: Mutex<Vec<(Imap, Smtp)>> = Mutex::new(Vec::new());

#[rstest]
fn a_panic_in_the_hosts_code_passes_through_and_leaves_the_handle_usable(#[from(embedded)] site: Site) {
    passes(&mut child("handles::panics", &site));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn panics() {
    let imap = imap();
    let sent = ["1", "2"].map(|id| Message::new(id, ALICE, ALICE, "hello"));
    assert!(smtp().send_all(&sent).into_iter().all(|sent| sent.unwrap().all_accepted()));
    let mut batch = imap.fetch().unwrap();
    while batch.len() < sent.len() {
        batch = imap.fetch().unwrap();
    }
    let mine = |delivery: &Delivery| -> bool { panic!("the host's own, at {}", delivery.uid()) };
    let panics = |what: &dyn Fn()| {
        let panicked = catch_unwind(AssertUnwindSafe(what)).unwrap_err();
        assert!(panicked.downcast_ref::<String>().is_some_and(|text| text.starts_with("the host's own")));
    };
    panics(&|| imap.deliveries().for_each(|delivery| assert!(mine(&delivery.unwrap()))));
    panics(&|| imap.ack(batch.iter().filter(|delivery| mine(delivery))).unwrap());
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 2);
    assert_eq!(imap.stats().reconnects, 0);
}

#[rstest]
fn handles_may_be_dropped_while_unwinding_in_another_thread_and_never(#[from(embedded)] site: Site) {
    passes(&mut child("handles::drops_everywhere", &site));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn drops_everywhere() {
    static KEPT: OnceLock<(Imap, Smtp)> = OnceLock::new();
    thread_local!(static LOCAL: OnceLock<Imap> = const { OnceLock::new() });
    KEPT.get_or_init(|| (imap(), smtp()));
    let unwound = catch_unwind(|| {
        let _handles = (imap(), smtp());
        panic!("while both are there");
    });
    assert!(unwound.is_err());
    let (imap, smtp) = (imap(), smtp());
    thread::spawn(move || drop((imap, smtp))).join().unwrap();
    // Dropped at the thread's end, after its last statement.
    thread::spawn(|| LOCAL.with(|local| drop(local.set(self::imap())))).join().unwrap();
    KEPT.get().unwrap().0.noop().unwrap();
}

#[rstest]
fn handles_may_be_dropped_while_their_process_exits(#[from(embedded)] site: Site) {
    let output = started(|| child("handles::drops_at_exit", &site).output()).unwrap();
    assert_eq!(output.status.code(), Some(ALL_DROPPED), "{output:?}");
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn drops_at_exit() {
    extern "C" fn drop_one() {
        drop(FOR_EXIT.lock().unwrap().pop());
    }
    extern "C" fn drop_the_last() {
        drop_one();
        let left = FOR_EXIT.lock().unwrap().len();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(if left == 0 { ALL_DROPPED } else { 1 }) };
    }
    thread_local!(static LOCAL: OnceLock<Imap> = const { OnceLock::new() });
    // The hook that is registered last runs first: one runs before pymail's own hook, one after it.
    // SAFETY: neither unwinds: no lock of theirs is held during a panic.
    unsafe { libc::atexit(drop_the_last) };
    FOR_EXIT.lock().unwrap().extend([(imap(), smtp()), (imap(), smtp())]);
    // SAFETY: as above.
    unsafe { libc::atexit(drop_one) };
    LOCAL.with(|local| drop(local.set(imap())));
    // SAFETY: may be called in any state. Windows' own way to exit, that of `std`, calls no hooks.
    unsafe { libc::exit(0) };
}

#[rstest]
fn a_process_may_end_in_the_middle_of_tls_traffic(#[from(embedded)] site: Site) {
    let ends = |from: usize| {
        for turn in (from..EXITS).step_by(2) {
            let way = ["exit", "return"][turn / 2 % 2];
            let mut child = child("handles::ends_in_the_middle", &site);
            let output = started(|| child.env("CHILD_WAY", way).output()).unwrap();
            let wanted = if way == "exit" { 7 } else { 0 };
            assert_eq!(output.status.code(), Some(wanted), "{turn}, {way}: {output:?}");
        }
    };
    thread::scope(|threads| {
        threads.spawn(|| ends(0));
        threads.spawn(|| ends(1));
    });
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn ends_in_the_middle() {
    thread_local!(static LOCAL: OnceLock<Imap> = const { OnceLock::new() });
    LOCAL.with(|local| drop(local.set(imap())));
    let imap = imap();
    for _ in 0..4 {
        let imap = imap.clone();
        thread::spawn(move || while imap.noop().is_ok() {});
    }
    (0..10).for_each(|_| imap.noop().unwrap());
    if env::var("CHILD_WAY").unwrap() == "exit" {
        std::process::exit(7);
    }
    // The harness returns from `main` while the threads still run.
    std::mem::forget(imap);
}

#[rstest]
fn a_dropped_handle_leaves_no_thread_and_no_socket(#[from(embedded)] site: Site) {
    passes(&mut child("handles::drops_its_handles", &site));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn drops_its_handles() {
    let before = (thread_names(), open_sockets());
    for _ in 0..3 {
        let imap = imap();
        let clone = imap.clone();
        drop(imap);
        assert!(thread_names().len() > before.0.len() && open_sockets() > before.1, "while a clone is there");
        drop(clone);
    }
    // The kernel lists a joined thread for a moment longer.
    let watch = Stopwatch::start();
    while (thread_names(), open_sockets()) != before && watch.elapsed() < A_MOMENT {
        thread::yield_now();
    }
    assert_eq!((thread_names(), open_sockets()), before);
}

#[rstest]
fn many_threads_share_a_handle(#[from(embedded)] site: Site) {
    let imap = site.imap();
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| (0..20).for_each(|_| imap.noop().unwrap()));
        }
    });
    assert!(imap.status().last_error.is_none());
}
