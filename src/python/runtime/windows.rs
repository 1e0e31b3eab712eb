//! The interpreter on Windows: the file of its DLL, its standard library, paths in its configuration, SIGINT, threads.

use std::ffi::{CStr, OsString, c_int, c_void};
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use pyo3::Python;
use pyo3::ffi;
use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW,
    GetModuleHandleExW, GetProcAddress,
};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

use super::runtime_error;
use crate::error::Result;

/// Separates a home from a second folder, for extension modules.
pub(super) const HOME_SEPARATOR: char = ';';

/// The units of UTF-16 in the longest path, with its NUL.
const LONGEST_PATH: usize = 32_768;

/// The identity of a thread.
pub(in crate::python) type ThreadId = u32;

/// Returns this thread's identity; `std` has none for a thread that is ending.
pub(in crate::python) fn this_thread() -> ThreadId {
    // SAFETY: allowed at any time.
    unsafe { GetCurrentThreadId() }
}

/// Returns the DLL that has CPython's code.
fn module() -> Option<HMODULE> {
    let mut module = std::ptr::null_mut();
    // By the address of data: that of a function would be in our own program, in the table of its imports.
    // SAFETY: the text is a static one of CPython's. No reference is counted, so none has to be released.
    let is_found = unsafe {
        GetModuleHandleExW(
            GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
            ffi::Py_GetVersion().cast(),
            &raw mut module,
        )
    };
    (is_found != 0).then_some(module)
}

/// Returns the file of that DLL.
pub(super) fn libpython() -> Option<PathBuf> {
    let mut name = vec![0; LONGEST_PATH];
    // SAFETY: the buffer has the size that is passed.
    let length = unsafe { GetModuleFileNameW(module()?, name.as_mut_ptr(), u32::try_from(name.len()).ok()?) };
    let name = name.get(..usize::try_from(length).ok()?).filter(|name| !name.is_empty())?;
    Some(PathBuf::from(OsString::from_wide(name)))
}

/// Returns the paths in a home of which one must exist: the standard library as a folder, or as the zip of the
/// embeddable package.
pub(super) fn stdlib() -> Vec<String> {
    vec![r"Lib\encodings".into(), zip()]
}

/// Returns the program that runs the Python of a home.
pub(super) fn program(home: &Path) -> PathBuf {
    home.join("python.exe")
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
    let path = wide(path)?;
    // SAFETY: the field belongs to `config`, the string is NUL-terminated.
    Ok(unsafe { ffi::PyConfig_SetString(config, field, path.as_ptr()) })
}

/// Sets where modules are: the folders of a home, installed or embeddable. Python would look for extension modules in
/// `DLLs` and beside the app, and the embeddable package has them beside its DLL.
///
/// # Safety
///
/// `config` is initialised, and the interpreter is not.
pub(super) unsafe fn set_module_folders(config: *mut ffi::PyConfig, home: &Path) -> Result<ffi::PyStatus> {
    let places = [home.join(zip()), home.join("DLLs"), home.join("Lib"), home.to_owned()];
    for place in places {
        let place = wide(&place)?;
        // SAFETY: the list belongs to `config`, the string is NUL-terminated.
        let status =
            unsafe { ffi::PyWideStringList_Append(&raw mut (*config).module_search_paths, place.as_ptr()) };
        // SAFETY: the status was made by CPython.
        if unsafe { ffi::PyStatus_Exception(status) } != 0 {
            return Ok(status);
        }
    }
    // SAFETY: the field belongs to `config`; the other call returns a value.
    unsafe {
        (*config).module_search_paths_set = 1;
        Ok(ffi::PyStatus_Ok())
    }
}

/// Returns a path as CPython takes it.
fn wide(path: &Path) -> Result<Vec<u16>> {
    let mut path: Vec<u16> = plain(path).as_os_str().encode_wide().collect();
    if path.contains(&0) {
        return Err(runtime_error("NUL in the path of the Python DLL"));
    }
    path.push(0);
    Ok(path)
}

/// Returns the name of the standard library of the embeddable package.
fn zip() -> String {
    let version = env!("PYMAIL_PYTHON_VERSION").trim_end_matches('t').replace('.', "");
    format!("python{version}.zip")
}

/// Returns the path without the prefix `\\?\`, which `std::fs::canonicalize` adds: Python would append `/`, which is no
/// separator after that.
fn plain(path: &Path) -> &Path {
    let rest = path.to_str().and_then(|text| text.strip_prefix(r"\\?\"));
    rest.filter(|rest| rest.as_bytes().get(1) == Some(&b':')).map_or(path, Path::new)
}

/// The action of Python's C runtime for SIGINT, a Ctrl-C in the console.
///
/// A program that is built with mingw has another C runtime, whose `signal` does not know of it.
pub(in crate::python) struct SigintAction(Handler);

type Handler = *mut c_void;

impl SigintAction {
    /// Returns the present action.
    pub(in crate::python) fn get() -> Option<Self> {
        let get = function(c"PyOS_getsig")?;
        // SAFETY: the function has this type in all versions, and needs no GIL.
        let get = unsafe { std::mem::transmute::<Handler, unsafe extern "C" fn(c_int) -> Handler>(get) };
        // SAFETY: as above.
        Some(Self(unsafe { get(libc::SIGINT) }))
    }

    /// Makes it the action again.
    pub(in crate::python) fn restore(self) {
        let Some(set) = function(c"PyOS_setsig") else { return };
        // SAFETY: as above.
        unsafe {
            let set = std::mem::transmute::<Handler, unsafe extern "C" fn(c_int, Handler) -> Handler>(set);
            set(libc::SIGINT, self.0);
        }
    }
}

/// Returns a function of the DLL's. PyO3's `PyOS_getsig` returns a pointer that can't be null, as the default action is.
fn function(name: &CStr) -> Option<Handler> {
    // SAFETY: the module stays loaded, and the name is NUL-terminated.
    let found = unsafe { GetProcAddress(module()?, name.as_ptr().cast()) };
    found.map(|function| function as Handler)
}

/// Does nothing: when a DLL cleans up at exit, Windows has ended all other threads.
pub(super) fn prevent_exit_cleanup(_: Python<'_>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_prefix_of_a_drive_is_left_out() {
        assert_eq!(plain(Path::new(r"\\?\C:\Ä b")), Path::new(r"C:\Ä b"));
        for other in [r"C:\a", r"\\server\share", r"\\?\UNC\server\share", r"\\?\Volume{1}\a"] {
            assert_eq!(plain(Path::new(other)), Path::new(other));
        }
    }
}
