//! Leaves SIGINT (Ctrl-C) to the host.
#![allow(unsafe_code)]

use pyo3::ffi;

use super::runtime::SigintAction;

/// Runs `import` and restores the action for SIGINT afterwards.
///
/// Importing imaplib imports signal, which replaces the default action: Ctrl-C would no longer end the host.
///
/// Another thread that changes the action meanwhile loses its change; the imports take milliseconds, once.
pub(super) fn keeping_sigint<T>(import: impl FnOnce() -> T) -> T {
    let before = SigintAction::get();
    let imported = import();
    if let Some(action) = before {
        action.restore();
    }
    imported
}

/// Makes the host's Python handle a Ctrl-C that was raised as an exception in our code.
pub(super) fn hand_back_interrupt() {
    // SAFETY: only sets a flag, which the interpreter's main thread reads; needs no GIL.
    unsafe { ffi::PyErr_SetInterrupt() };
}
