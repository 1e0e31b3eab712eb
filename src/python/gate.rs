//! The gate that calls enter the interpreter through, until the process ends, or the host's interpreter does.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result};

/// How long whoever ends waits for calls that are under way.
const EXIT_WAIT: Duration = Duration::from_secs(2);

static GATE: Gate = Gate { state: Mutex::new(Calls { running: 0, closed: false }), left: Condvar::new() };

struct Gate {
    state: Mutex<Calls>,
    left: Condvar,
}

struct Calls {
    running: usize,
    closed: bool,
}

/// A call inside the gate.
pub(super) struct Pass(());

/// Lets a call in, unless the gate is closed.
pub(super) fn enter() -> Result<Pass> {
    let mut state = GATE.state.lock();
    if state.closed {
        return Err(Error::new(ErrorKind::Stopped, "the process is ending"));
    }
    state.running += 1;
    Ok(Pass(()))
}

/// Lets no further call in, and waits for those that are.
pub(super) fn close() {
    let mut state = GATE.state.lock();
    state.closed = true;
    if state.running > 0 {
        GATE.left.wait_while_for(&mut state, |state| state.running > 0, EXIT_WAIT);
    }
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
