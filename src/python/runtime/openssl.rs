//! Keeps OpenSSL from cleaning up when the process exits.

use std::ffi::{CString, c_int, c_void};

use pyo3::prelude::*;

/// `OPENSSL_INIT_NO_ATEXIT` of `openssl/crypto.h`.
const NO_ATEXIT: u64 = 0x0008_0000;

/// `OPENSSL_init_crypto`, since OpenSSL 1.1.0.
type Init = unsafe extern "C" fn(u64, *const c_void) -> c_int;

/// Initialises OpenSSL without its exit hook; has no effect if the host has used OpenSSL before.
///
/// The hook frees memory that the system takes back anyway. A thread that has used OpenSSL, and is in the middle of a
/// call or ends while the hook runs, would crash.
///
/// Where the function is not found, the exit guard alone protects calls.
pub(super) fn prevent_exit_cleanup(py: Python<'_>) {
    // By way of the extension module: the process may have another OpenSSL than the one that Python's `ssl` uses.
    let Some(extension) = extension(py) else { return };
    // SAFETY: Python is about to load the same file in the same way. It stays loaded, and so does what it needs.
    let library = unsafe { libc::dlopen(extension.as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return; // the import of `ssl` reports the reason
    }
    // SAFETY: a function of this name has this type, and ignores flags that it does not know.
    unsafe {
        let symbol = libc::dlsym(library, c"OPENSSL_init_crypto".as_ptr());
        if !symbol.is_null() {
            std::mem::transmute::<*mut c_void, Init>(symbol)(NO_ATEXIT, std::ptr::null());
        }
    }
}

/// Returns the path of `ssl`'s extension module, if it is a file.
///
/// `None` also where `ssl` is built into libpython.
fn extension(py: Python<'_>) -> Option<CString> {
    // Not from `importlib.machinery`, which may not have been shipped; this module is built in.
    let finder = py.import("_frozen_importlib_external").ok()?.getattr("PathFinder").ok()?;
    let found = finder.call_method1("find_spec", ("_ssl",)).ok()?;
    CString::new(found.getattr("origin").ok()?.extract::<String>().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::attached;
    use super::*;
    use crate::python::tests::child;
    use crate::python::tests::support::process::started;

    const USABLE: c_int = 7;

    #[test]
    fn openssl_can_be_used_to_the_very_end_of_a_process() {
        let output =
            started(|| child("python::runtime::openssl::tests::uses_it_last_of_all").output()).unwrap();
        assert_eq!(output.status.code(), Some(USABLE), "{output:?}");
    }

    #[test]
    #[ignore = "ends its process; runs in a child process of the test above"]
    fn uses_it_last_of_all() {
        extern "C" fn last() {
            let used = |py: Python<'_>| py.import("ssl")?.call_method0("create_default_context").map(drop);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(if Python::attach(used).is_ok() { USABLE } else { 1 }) };
        }
        // SAFETY: `last` does not unwind. What is registered first runs last.
        assert_eq!(unsafe { libc::atexit(last) }, 0);
        attached(|_| Ok(())).unwrap();
        std::process::exit(0);
    }
}
