//! The gate that calls enter the interpreter through, until the process ends, or the host's interpreter does.

use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::runtime::{is_attached, this_thread};
use crate::error::{Error, ErrorKind, Result};

/// How long whoever ends waits for calls that are under way.
const EXIT_WAIT: Duration = Duration::from_secs(2);

static GATE: Gate =
    Gate { state: Mutex::new(Calls { running: 0, closed: false, exiting: None }), left: Condvar::new() };

struct Gate {
    state: Mutex<Calls>,
    left: Condvar,
}

struct Calls {
    running: usize,
    closed: bool,
    /// Who ends the process.
    exiting: Option<libc::pthread_t>,
}

/// A call inside the gate.
pub(super) struct Pass(());

/// Lets a call in, unless the gate is closed.
pub(super) fn enter() -> Result<Pass> {
    let mut state = GATE.state.lock();
    if state.closed {
        wait_for_the_end(&mut state);
        return Err(Error::new(ErrorKind::Closed, "the process is ending"));
    }
    state.running += 1;
    Ok(Pass(()))
}

/// Where a host used OpenSSL before we could keep it from cleaning up at exit, a thread that has used it and ends
/// meanwhile crashes with it: whoever calls now learns of the exit too late to end in time.
///
/// Who ends the process must go on, and so must whoever waits for a thread in an exit hook: not for ever.
fn wait_for_the_end(state: &mut MutexGuard<'_, Calls>) {
    if state.exiting.is_some_and(|exiting| exiting != this_thread()) && !is_attached() {
        GATE.left.wait_while_for(state, |_| true, EXIT_WAIT);
    }
}

/// Lets no further call in, and waits for those that are.
pub(super) fn close() {
    let mut state = GATE.state.lock();
    state.closed = true;
    if state.running > 0 {
        GATE.left.wait_while_for(&mut state, |state| state.running > 0, EXIT_WAIT);
    }
}

/// The same when the process ends, with this thread.
pub(super) fn close_with_the_process() {
    GATE.state.lock().exiting = Some(this_thread());
    close();
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = GATE.state.lock();
        state.running -= 1;
        if state.closed && state.running == 0 {
            GATE.left.notify_all();
        }
    }
}
