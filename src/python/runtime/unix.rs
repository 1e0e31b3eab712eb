//! The interpreter on Unix: the file of libpython, its standard library, paths in its configuration, SIGINT, threads.

use std::ffi::{CStr, CString, OsStr, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use pyo3::ffi;

pub(super) use super::openssl::prevent_exit_cleanup;
use super::runtime_error;
use crate::error::Result;

/// Separates a home from a second folder, for extension modules.
pub(super) const HOME_SEPARATOR: char = ':';

/// The identity of a thread.
pub(in crate::python) type ThreadId = libc::pthread_t;

/// Returns this thread's identity; `std` has none for a thread that is ending.
pub(in crate::python) fn this_thread() -> ThreadId {
    // SAFETY: allowed at any time.
    unsafe { libc::pthread_self() }
}

/// Returns the file that has CPython's code: a shared libpython, or the program itself when libpython is static.
pub(super) fn libpython() -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let symbol = ffi::Py_IsInitialized as *const c_void;
    // SAFETY: `symbol` is the address of a function in this process and `info` has room for the answer,
    // whose name, where there is one, lives as long as the library is loaded.
    let name = unsafe {
        if libc::dladdr(symbol, info.as_mut_ptr()) == 0 || info.assume_init_ref().dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.assume_init_ref().dli_fname)
    };
    // Symbolic links are resolved: in a virtual environment or a package they lead to the real installation.
    std::fs::canonicalize(OsStr::from_bytes(name.to_bytes())).ok()
}

/// Returns the paths in a home of which one must exist: that of the standard library.
pub(super) fn stdlib() -> Vec<String> {
    vec![format!("lib/python{}/encodings", env!("PYMAIL_PYTHON_VERSION"))]
}

/// Returns the program that runs the Python of a home.
pub(super) fn program(home: &Path) -> PathBuf {
    home.join(format!("bin/python{}", env!("PYMAIL_PYTHON_VERSION")))
}

/// Does nothing: Python finds all modules by its home.
///
/// # Safety
///
/// None is needed.
#[expect(clippy::unnecessary_wraps, reason = "as on Windows")]
pub(super) unsafe fn set_module_folders(_: *mut ffi::PyConfig, _: &Path) -> Result<ffi::PyStatus> {
    // SAFETY: returns a value.
    Ok(unsafe { ffi::PyStatus_Ok() })
}

/// Sets a path in the configuration of the interpreter.
///
/// # Safety
///
/// `field` is one of `config`, which is initialised, and the interpreter is not.
pub(super) unsafe fn set_path(
    config: *mut ffi::PyConfig,
    field: *mut *mut libc::wchar_t,
    path: &Path,
) -> Result<ffi::PyStatus> {
    let path = CString::new(path.as_os_str().as_bytes());
    let path = path.map_err(|_| runtime_error("NUL in the path of libpython"))?;
    // SAFETY: the field belongs to `config`, the string is NUL-terminated.
    Ok(unsafe { ffi::PyConfig_SetBytesString(config, field, path.as_ptr()) })
}

/// The action of the process for SIGINT.
pub(in crate::python) struct SigintAction(libc::sigaction);

impl SigintAction {
    /// Returns the present action.
    pub(in crate::python) fn get() -> Option<Self> {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: reads the action for SIGINT and changes nothing; after a success, `action` is filled in.
        unsafe {
            let is_known = libc::sigaction(libc::SIGINT, std::ptr::null(), action.as_mut_ptr()) == 0;
            is_known.then(|| Self(action.assume_init()))
        }
    }

    /// Makes it the action again.
    pub(in crate::python) fn restore(self) {
        // SAFETY: an action that the system has returned.
        unsafe { libc::sigaction(libc::SIGINT, &raw const self.0, std::ptr::null_mut()) };
    }
}
