//! Keeps calls out of an interpreter that is about to end, with the process or with the host's interpreter.
//!
//! ```text
//!  calls:   enter ─▶ Pass ─▶ drop            enter ─▶ Closed
//!  exit:                  close ─ waits for the passes, 2 s at most ─▶ OpenSSL and Python clean up ─▶ end
//! ```
//!
//! At the end of a process, OpenSSL frees what a thread in the middle of TLS still uses, and a host's Python stops
//! threads where they are. A call that takes longer than 2 s is left in there: a process must end.
//!
//! The lock is held for counting only, never while a thread attaches: it needs no order with the GIL.

use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::runtime::{ThreadId, this_thread};
use super::threads::is_attached;
use crate::error::{Error, ErrorKind, Result};

/// The longest time for which the end of the process waits for running calls.
const EXIT_WAIT: Duration = Duration::from_secs(2);

static GUARD: ExitGuard = ExitGuard {
    calls: Mutex::new(Calls { running: 0, is_closed: false, exiting: None }),
    done: Condvar::new(),
};

/// The running calls of this process, and a signal for when the last one is done.
struct ExitGuard {
    calls: Mutex<Calls>,
    /// Notified when the last running call is done after [`close`].
    done: Condvar,
}

/// The state of the guard.
struct Calls {
    /// The count of calls inside the interpreter.
    running: usize,
    /// `true` once no further call may enter.
    is_closed: bool,
    /// The thread that ends the process; `None` before, and where only a host's Python ends.
    exiting: Option<ThreadId>,
}

/// A running call; it is counted until the drop.
pub(super) struct Pass(());

/// Lets a call enter the interpreter.
///
/// # Errors
///
/// `Closed` once the interpreter is about to end.
pub(super) fn enter() -> Result<Pass> {
    let mut calls = GUARD.calls.lock();
    if calls.is_closed {
        outlast_exit(&mut calls);
        return Err(Error::new(ErrorKind::Closed, "the process is exiting"));
    }
    calls.running += 1;
    Ok(Pass(()))
}

/// Delays a call that comes during the exit, so that its thread does not end before the process does.
///
/// If the host has used OpenSSL before pymail, OpenSSL cleans up at exit, and a thread that has used it and ends
/// meanwhile crashes. Neither the thread that ends the process waits, nor an attached one; the others wait 2 s at most,
/// since an exit hook may be waiting for them.
fn outlast_exit(calls: &mut MutexGuard<'_, Calls>) {
    if calls.exiting.is_some_and(|exiting| exiting != this_thread()) && !is_attached() {
        GUARD.done.wait_while_for(calls, |_| true, EXIT_WAIT);
    }
}

/// Lets no further call enter, and waits for the running ones, 2 s at most.
///
/// Must be called detached, since running calls need the GIL to end.
pub(super) fn close() {
    let mut calls = GUARD.calls.lock();
    calls.is_closed = true;
    if calls.running > 0 {
        GUARD.done.wait_while_for(&mut calls, |calls| calls.running > 0, EXIT_WAIT);
    }
}

/// Does the same as [`close`] when this thread ends the process, and remembers the thread: it must not wait for itself
/// when it drops a handle in a later exit hook.
pub(super) fn close_at_exit() {
    GUARD.calls.lock().exiting = Some(this_thread());
    close();
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut calls = GUARD.calls.lock();
        calls.running -= 1;
        if calls.is_closed && calls.running == 0 {
            GUARD.done.notify_all();
        }
    }
}
