//! The interpreter: found, started once, entered through one gate, left politely. All `unsafe` is here.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use super::gate;
use crate::error::{Error, ErrorKind, Result};

/// The outcome of the one start; it can't be tried again in the same process.
static STARTED: OnceLock<Result<()>> = OnceLock::new();

/// The home that the host has named.
static HOME: OnceLock<PathBuf> = OnceLock::new();

/// The process that started Python; 0 before that.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Whether the interpreter is our own, and not the host's.
static OURS: AtomicBool = AtomicBool::new(false);

/// Starts the interpreter, with the standard library of this home if one is named.
pub(crate) fn start_in(home: Option<PathBuf>) -> Result<()> {
    if let Some(home) = home {
        // SAFETY: this call only reads whether an interpreter runs; it needs no GIL.
        let is_running = STARTED.get().is_some() || unsafe { ffi::Py_IsInitialized() } != 0;
        if !is_running && !home.join(stdlib()).is_dir() {
            return Err(runtime_error(format!("no {} in {}", stdlib(), home.display())));
        }
        if HOME.get() != Some(&home) && (is_running || HOME.set(home).is_err()) {
            return Err(Error::config("Python runs already, with another home"));
        }
    }
    attached(|_| Ok(()))
}

/// Where the standard library is in its home; one that lacks this can't be used, nor tried again.
fn stdlib() -> String {
    format!("lib/python{}/encodings", env!("PYMAIL_PYTHON_VERSION"))
}

/// Runs `work` attached to the interpreter, which is started on first use.
///
/// The caller must hold no lock that another thread takes while attached: lock first, then attach.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> Result<T>) -> Result<T> {
    // Whoever is attached while another thread starts would keep it from ever attaching.
    let started = STARTED.get().unwrap_or_else(|| detached(|| STARTED.get_or_init(start)));
    started.clone()?;
    if is_forked() {
        return Err(Error::forked());
    }
    let _pass = gate::enter()?;
    // SAFETY: this call only reads whether an interpreter runs; it needs no GIL.
    if unsafe { ffi::Py_IsInitialized() } == 0 {
        return Err(Error::new(ErrorKind::Stopped, "the host has finalised Python"));
    }
    Python::attach(work)
}

/// Whether this process was forked from the one that started Python: in it, the GIL, or a lock of the interpreter's,
/// may be held for ever.
pub(crate) fn is_forked() -> bool {
    let process = PROCESS.load(Ordering::Relaxed);
    process != 0 && process != std::process::id()
}

/// Runs `wait`, which may block, detached from the interpreter, even when the caller is attached to it.
pub(crate) fn detached<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
    // Who is not attached has nothing to let go of. Attaching for that would wait for others, enter an interpreter
    // that another thread has half started, which no GIL need keep anybody from, or panic in one that ends.
    if is_forked() || !is_attached() {
        return wait();
    }
    Python::attach(|py| py.detach(wait))
}

/// Whether this thread is attached, through us or by a host. Always true where there are subinterpreters.
pub(super) fn is_attached() -> bool {
    // SAFETY: both only read what is known of the interpreter and this thread, and may be called at any time.
    unsafe { ffi::Py_IsInitialized() != 0 && ffi::PyGILState_Check() != 0 }
}

/// Which thread this is; `std` can't say so any more when it ends.
pub(super) fn this_thread() -> libc::pthread_t {
    // SAFETY: it may be called at any time.
    unsafe { libc::pthread_self() }
}

/// Makes Python ready.
fn start() -> Result<()> {
    check_version()?;
    PROCESS.store(std::process::id(), Ordering::Relaxed);
    // SAFETY: as above.
    if unsafe { ffi::Py_IsInitialized() } == 0 {
        OURS.store(true, Ordering::Relaxed);
        initialize(&home()?)?;
    }
    Python::initialize();
    keeping_interrupts(|| Python::attach(import_modules))?;
    if !OURS.load(Ordering::Relaxed) {
        leave_before_the_host()?;
    }
    leave_politely();
    Ok(())
}

/// A program can load another libpython than it was built with, when it has no rpath.
fn check_version() -> Result<()> {
    // SAFETY: returns a static string; may be called before initialization.
    let running = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) }.to_string_lossy();
    let built = env!("PYMAIL_PYTHON_VERSION");
    if is_version(&running, built) {
        return Ok(());
    }
    Err(runtime_error(format!("built for Python {built}, but the libpython that was loaded is {running}")))
}

/// Whether that is the Python that was built with: objects of the free-threaded 3.14 have another shape than 3.14's.
fn is_version(running: &str, built: &str) -> bool {
    let (version, is_free) = built.strip_suffix('t').map_or((built, false), |version| (version, true));
    let is_same = running.strip_prefix(version).is_some_and(|rest| rest.starts_with(['.', ' ', '+']));
    is_same && running.contains("free-threading build") == is_free
}

fn runtime_error(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Runtime, text)
}

/// The folder above the standard library that belongs to the libpython in this process.
///
/// Left to itself, CPython looks for the first `python3` on PATH, which may be another one.
pub(super) fn home() -> Result<PathBuf> {
    if let Some(home) = HOME.get() {
        return Ok(home.clone());
    }
    let library = libpython().ok_or_else(|| runtime_error("can't tell where libpython was loaded from"))?;
    let stdlib = stdlib();
    let built_with = option_env!("PYMAIL_PYTHON_LIB_DIR").map(Path::new);
    let homes = library.ancestors().chain(built_with.into_iter().flat_map(Path::ancestors));
    let found = homes.into_iter().find(|dir| dir.join(&stdlib).is_dir());
    found.map(Path::to_owned).ok_or_else(|| {
        runtime_error(format!(
            "no {stdlib} in any folder above {}: ship the standard library",
            library.display()
        ))
    })
}

/// The file that holds CPython's code: a shared libpython, or the program itself when it is static.
fn libpython() -> Option<PathBuf> {
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
    // Links are followed: in a virtual environment or a package they lead to the real installation.
    std::fs::canonicalize(OsStr::from_bytes(name.to_bytes())).ok()
}

/// Starts an isolated interpreter: no environment, no user site, no signal handlers, no `site`.
fn initialize(home: &Path) -> Result<()> {
    let program = home.join(format!("bin/python{}", env!("PYMAIL_PYTHON_VERSION")));
    let (home, program) = (c_path(home)?, c_path(&program)?);
    // SAFETY: no interpreter exists, and `STARTED` lets one thread in here. Both configurations are
    // initialised by CPython before they are read, and cleared after; the strings outlive the calls.
    unsafe {
        let mut pre = MaybeUninit::<ffi::PyPreConfig>::zeroed();
        ffi::PyPreConfig_InitIsolatedConfig(pre.as_mut_ptr());
        // Whatever the host's locale is: each other one takes a codec, which may not have been shipped.
        pre.assume_init_mut().utf8_mode = 1;
        check(ffi::Py_PreInitialize(pre.as_ptr()))?;
        let mut config = MaybeUninit::<ffi::PyConfig>::zeroed();
        ffi::PyConfig_InitIsolatedConfig(config.as_mut_ptr());
        let config = config.assume_init_mut();
        config.site_import = 0;
        config.install_signal_handlers = 0;
        config.write_bytecode = 0;
        let outcome = configure_and_run(config, &program, &home);
        ffi::PyConfig_Clear(config);
        outcome?;
        // The interpreter starts with this thread attached; nobody must be, between calls.
        ffi::PyEval_SaveThread();
    }
    Ok(())
}

/// # Safety
/// `config` is initialised, and the interpreter is not.
unsafe fn configure_and_run(config: &mut ffi::PyConfig, program: &CStr, home: &CStr) -> Result<()> {
    let whole: *mut ffi::PyConfig = config;
    // SAFETY: the fields belong to `config`, the strings are NUL-terminated.
    unsafe {
        check(ffi::PyConfig_SetBytesString(whole, &raw mut (*whole).program_name, program.as_ptr()))?;
        check(ffi::PyConfig_SetBytesString(whole, &raw mut (*whole).home, home.as_ptr()))?;
        check(ffi::Py_InitializeFromConfig(whole))
    }
}

fn check(status: ffi::PyStatus) -> Result<()> {
    // SAFETY: `status` was made by CPython; its message is static.
    unsafe {
        if ffi::PyStatus_Exception(status) == 0 {
            return Ok(());
        }
        let text = if status.err_msg.is_null() { c"no reason given" } else { CStr::from_ptr(status.err_msg) };
        Err(runtime_error(format!("Python does not start: {}", text.to_string_lossy())))
    }
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| runtime_error("NUL in the path of libpython"))
}

/// Importing imaplib imports signal, which takes the host's Ctrl-C: SIGINT is put back as it was.
fn keeping_interrupts<T>(import: impl FnOnce() -> T) -> T {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the disposition of SIGINT, changes nothing.
    let known = unsafe { libc::sigaction(libc::SIGINT, std::ptr::null(), before.as_mut_ptr()) } == 0;
    let imported = import();
    if known {
        // SAFETY: `before` was filled in above.
        unsafe { libc::sigaction(libc::SIGINT, before.as_ptr(), std::ptr::null_mut()) };
    }
    imported
}

/// Lets the host's Python handle a Ctrl-C that came while our code ran.
pub(super) fn hand_back_interrupt() {
    // SAFETY: only sets a flag, which the interpreter's main thread looks at; needs no GIL.
    unsafe { ffi::PyErr_SetInterrupt() };
}

/// Imports what registers `atexit` hooks of its own, so that ours, registered later, runs first.
fn import_modules(py: Python<'_>) -> Result<()> {
    without_collector(py, || {
        for module in ["signal", "ssl"] {
            py.import(module).map_err(|e| super::convert::import_error(py, module, &e))?;
        }
        Ok(())
    })
}

/// Imports make much and leave no garbage: the collector, which would look for some again and again, rests.
///
/// A host's own collector is left alone.
pub(super) fn without_collector<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    if !OURS.load(Ordering::Relaxed) {
        return work();
    }
    let collector = py.import("gc");
    let on = |gc: &Bound<'_, PyModule>| gc.call_method0("isenabled")?.extract::<bool>();
    let resting = collector.ok().filter(|gc| on(gc).unwrap_or(false) && gc.call_method0("disable").is_ok());
    let done = work();
    if let Some(gc) = resting {
        let _ = gc.call_method0("enable");
    }
    done
}

/// A host's interpreter ends with its main program; whoever waits for it then is ended by it, in the middle of a call.
fn leave_before_the_host() -> Result<()> {
    let registered = Python::attach(|py| {
        let close = PyCFunction::new_closure(py, None, None, |args, _| args.py().detach(gate::close))?;
        py.import("atexit")?.call_method1("register", (close,)).map(drop)
    });
    registered.map_err(|_| runtime_error("no exit hook in the host's Python"))
}

/// A process that exits while a thread is inside TLS crashes: calls end before OpenSSL does.
fn leave_politely() {
    extern "C" fn close() {
        gate::close_with_the_process();
    }
    // SAFETY: `close` is a plain function that does not unwind: it locks, waits and returns.
    let registered: c_int = unsafe { libc::atexit(close) };
    if registered != 0 {
        tracing::warn!("no exit hook: a process that exits during a call may crash");
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn the_home_is_that_of_the_libpython_in_this_process() {
        let home = home().unwrap();
        assert!(libpython().unwrap().starts_with(&home));
        let version = format!("lib/python{}/imaplib.py", env!("PYMAIL_PYTHON_VERSION"));
        assert!(home.join(version).is_file());
    }

    #[test]
    #[ignore = "forks; runs in a child process of a test in python::tests"]
    fn in_a_fork() {
        attached(|_| Ok(())).unwrap();
        // SAFETY: the child only takes an error and leaves, without running the harness's code.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let told = attached(|_| Ok(())).is_err_and(|error| error.kind() == ErrorKind::Runtime);
            // SAFETY: ends the child at once, without the parent's exit hooks.
            unsafe { libc::_exit(c_int::from(!told)) };
        }
        let mut status: c_int = -1;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }

    /// Needs the GIL, and where there is none, that all who are attached come to a halt.
    fn collect(py: Python<'_>) {
        py.import("gc").unwrap().call_method0("collect").unwrap();
    }

    #[test]
    fn another_version_and_another_build_are_another_python() {
        let free = "3.14.7 free-threading build (v3.14.7) [GCC 12.2.0]";
        let usual = "3.14.7 (v3.14.7) [GCC 12.2.0]";
        assert!(is_version(usual, "3.14") && is_version(free, "3.14t") && is_version("3.14+ (main)", "3.14"));
        assert!(!is_version(free, "3.14") && !is_version(usual, "3.14t"));
        assert!(!is_version(usual, "3.1") && !is_version(free, "3.13t"));
    }

    #[test]
    fn nobody_attaches_in_order_to_wait_detached() {
        attached(|_| {
            let (done, is_done) = std::sync::mpsc::channel();
            // Not joined: it would hang with the test if it waited for who is attached here.
            std::thread::spawn(move || detached(|| done.send(())));
            is_done.recv_timeout(std::time::Duration::from_secs(60)).expect("it waits for nobody");
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_verb_called_while_attached_does_not_hold_the_gil() {
        let lock = Mutex::new(());
        attached(|py| {
            std::thread::scope(|threads| {
                let (ready, is_ready) = std::sync::mpsc::channel();
                let lock = &lock;
                threads.spawn(move || {
                    let held = lock.lock();
                    ready.send(()).unwrap();
                    attached(|py| {
                        collect(py);
                        Ok(())
                    })
                    .unwrap();
                    drop(held);
                });
                is_ready.recv().unwrap();
                // `py` is held here: waiting for the lock while attached would never end.
                let _ = py;
                detached(|| drop(lock.lock()));
            });
            Ok(())
        })
        .unwrap();
    }
}
