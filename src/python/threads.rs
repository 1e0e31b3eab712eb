//! Tells if this thread is attached to the interpreter.
#![allow(unsafe_code)]

use pyo3::ffi;

/// Returns `true` if this thread is attached, by pymail or by the host; always `true` where there are subinterpreters.
pub(super) fn is_attached() -> bool {
    // SAFETY: both calls only read the state of the interpreter and of this thread, and are allowed at any time.
    unsafe { ffi::Py_IsInitialized() != 0 && ffi::PyGILState_Check() != 0 }
}
