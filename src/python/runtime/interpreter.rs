//! Checks the version of libpython, finds its standard library, and starts an isolated interpreter.
//!
//! The home is the first folder that has the standard library: the one that `Runtime::home` names, those above the
//! libpython that is loaded, or those above the one that the crate was built with. The environment is not read: neither
//! PYTHONHOME and PYTHONPATH, nor `python3` on PATH.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pyo3::ffi;

use super::system::{self, HOME_SEPARATOR, libpython};
use crate::error::{Error, ErrorKind, Result};

/// The home that the host has named.
pub(super) static HOME: OnceLock<PathBuf> = OnceLock::new();

/// Makes an error of the kind `Runtime`.
pub(super) fn runtime_error(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Runtime, text)
}

/// Checks that libpython has the version that pymail was built with: without an rpath another one may be loaded.
pub(super) fn check_version() -> Result<()> {
    // SAFETY: returns a static string; may be called before initialization.
    let running = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) }.to_string_lossy();
    let built = env!("PYMAIL_PYTHON_VERSION");
    if is_version(&running, built) {
        return Ok(());
    }
    Err(runtime_error(format!("built for Python {built}, but the libpython that was loaded is {running}")))
}

/// Returns `true` if the version and the build are the same: free-threaded builds lay out objects in another way.
///
/// A version is compared up to its second number: 3.11.2 and 3.11.9 have the same binary interface.
fn is_version(running: &str, built: &str) -> bool {
    let (version, is_free) = built.strip_suffix('t').map_or((built, false), |version| (version, true));
    let is_same = running.strip_prefix(version).is_some_and(|rest| rest.starts_with(['.', ' ', '+']));
    is_same && running.contains("free-threading build") == is_free
}

/// Returns `true` if a home has the standard library, as far as CPython needs it first.
///
/// Without it a start fails, and can't be tried again: its existence is checked before.
fn has_stdlib(home: &Path) -> bool {
    system::stdlib().iter().any(|path| home.join(path).exists())
}

/// Checks that a home has the standard library, and a path that CPython takes as one.
pub(super) fn check_stdlib(home: &Path) -> Result<()> {
    if !has_stdlib(home) {
        return Err(runtime_error(format!("no {} in {}", stdlib(), home.display())));
    }
    check_separator(home)
}

fn check_separator(home: &Path) -> Result<()> {
    if home.to_string_lossy().contains(HOME_SEPARATOR) {
        return Err(runtime_error(format!(
            "Python can't have a home with {HOME_SEPARATOR}: {}",
            home.display()
        )));
    }
    Ok(())
}

/// Returns the name of the standard library in errors.
fn stdlib() -> String {
    system::stdlib().join(" or ")
}

/// Returns the folder above the standard library that belongs to the libpython in this process.
///
/// By itself, CPython would take the home of the first `python3` on PATH, which may be another version.
pub(in crate::python) fn home() -> Result<PathBuf> {
    if let Some(home) = HOME.get() {
        return Ok(home.clone());
    }
    let library = libpython().ok_or_else(|| runtime_error("can't tell where libpython was loaded from"))?;
    let built_with = option_env!("PYMAIL_PYTHON_LIB_DIR").map(Path::new);
    let homes = library.ancestors().chain(built_with.into_iter().flat_map(Path::ancestors));
    let found = homes.into_iter().find(|dir| has_stdlib(dir));
    found.map(Path::to_owned).ok_or_else(|| {
        runtime_error(format!(
            "no {} in any folder above {}: ship the standard library",
            stdlib(),
            library.display()
        ))
    })
}

/// Starts an isolated interpreter: no environment, no user site, no signal handlers, no `site`.
pub(super) fn initialize(home: &Path) -> Result<()> {
    check_separator(home)?;
    // SAFETY: no interpreter exists, and `STARTED` lets one thread in here. Both configurations are
    // initialised by CPython before they are read, and cleared after; the strings outlive the calls.
    unsafe {
        let mut pre = MaybeUninit::<ffi::PyPreConfig>::zeroed();
        ffi::PyPreConfig_InitIsolatedConfig(pre.as_mut_ptr());
        // UTF-8 for any locale of the host: another encoding needs a codec that may not have been shipped.
        pre.assume_init_mut().utf8_mode = 1;
        check(ffi::Py_PreInitialize(pre.as_ptr()))?;
        let mut config = MaybeUninit::<ffi::PyConfig>::zeroed();
        ffi::PyConfig_InitIsolatedConfig(config.as_mut_ptr());
        let config = config.assume_init_mut();
        config.site_import = 0;
        config.install_signal_handlers = 0;
        config.write_bytecode = 0;
        let outcome = configure_and_run(config, home);
        ffi::PyConfig_Clear(config);
        outcome?;
        // The interpreter starts with this thread attached; between calls, no thread is.
        ffi::PyEval_SaveThread();
    }
    Ok(())
}

/// Sets the program's name and the home, and starts the interpreter.
///
/// # Safety
///
/// `config` is initialised, and the interpreter is not.
unsafe fn configure_and_run(config: &mut ffi::PyConfig, home: &Path) -> Result<()> {
    let whole: *mut ffi::PyConfig = config;
    // SAFETY: the fields belong to `config`.
    unsafe {
        check(system::set_path(whole, &raw mut (*whole).program_name, &system::program(home))?)?;
        check(system::set_path(whole, &raw mut (*whole).home, home)?)?;
        check(system::set_module_folders(whole, home)?)?;
        check(ffi::Py_InitializeFromConfig(whole))
    }
}

/// Converts the status of a start into a result.
fn check(status: ffi::PyStatus) -> Result<()> {
    // SAFETY: `status` was made by CPython; its message is static.
    unsafe {
        if ffi::PyStatus_Exception(status) == 0 {
            return Ok(());
        }
        let text = if status.err_msg.is_null() { c"no reason given" } else { CStr::from_ptr(status.err_msg) };
        Err(runtime_error(format!("can't start Python: {}", text.to_string_lossy())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_that_of_the_libpython_in_this_process() {
        let home = home().unwrap();
        assert!(libpython().unwrap().starts_with(&home));
        assert!(has_stdlib(&home));
    }

    #[test]
    fn a_home_that_cpython_would_split_is_refused() {
        let home = format!("a{HOME_SEPARATOR}b");
        let error = check_separator(Path::new(&home)).unwrap_err();
        assert!(error.to_string().contains(&home), "{error}");
        check_separator(Path::new("a b")).unwrap();
    }

    #[test]
    fn another_version_and_another_build_are_another_python() {
        let free = "3.14.7 free-threading build (v3.14.7) [GCC 12.2.0]";
        let usual = "3.14.7 (v3.14.7) [GCC 12.2.0]";
        assert!(is_version(usual, "3.14") && is_version(free, "3.14t") && is_version("3.14+ (main)", "3.14"));
        assert!(!is_version(free, "3.14") && !is_version(usual, "3.14t"));
        assert!(!is_version(usual, "3.1") && !is_version(free, "3.13t"));
    }
}
