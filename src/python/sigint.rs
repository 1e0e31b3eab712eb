//! Leaves SIGINT (Ctrl-C) to the host.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use pyo3::ffi;

/// Runs `import` and restores the handler of SIGINT afterwards.
///
/// Importing imaplib imports signal, which replaces the default action: Ctrl-C would no longer end the host.
///
/// Another thread that changes the action meanwhile loses its change; the imports take milliseconds, once.
pub(super) fn keeping_sigint<T>(import: impl FnOnce() -> T) -> T {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: reads the action for SIGINT and changes nothing.
    let is_known = unsafe { libc::sigaction(libc::SIGINT, std::ptr::null(), before.as_mut_ptr()) } == 0;
    let imported = import();
    if is_known {
        // SAFETY: `before` was filled in above.
        unsafe { libc::sigaction(libc::SIGINT, before.as_ptr(), std::ptr::null_mut()) };
    }
    imported
}

/// Makes the host's Python handle a Ctrl-C that was raised as an exception in our code.
pub(super) fn hand_back_interrupt() {
    // SAFETY: only sets a flag, which the interpreter's main thread reads; needs no GIL.
    unsafe { ffi::PyErr_SetInterrupt() };
}
