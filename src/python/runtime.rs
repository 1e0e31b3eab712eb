//! Finds and starts the interpreter, attaches calls to it, and keeps them out at the end of the process.
//!
//! # Start
//!
//! Once for a process, by the first call, on whichever thread that is; other callers wait, detached:
//!
//! 1. The version of libpython is compared with that of the build.
//! 2. If the host has started no interpreter, an isolated one is started, with the standard library beside libpython.
//! 3. On Unix, OpenSSL is told to leave out its cleanup; `signal` and `ssl` are imported; the action of SIGINT is restored.
//! 4. In a host's Python, an `atexit` hook is registered; in any process, one of the C library, which on Windows
//!    `std::process::exit` does not call: there, all other threads have ended when a DLL cleans up.
//!
//! A failure is kept, and is the error of every later call.
//!
//! # End
//!
//! The interpreter is never finalised: other threads may be anywhere in it. Exit hooks run last in, first out, so that
//! ours run before those of `ssl` and OpenSSL.
#![allow(unsafe_code)]

mod interpreter;
#[cfg(unix)]
mod openssl;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;

pub(super) use self::interpreter::home;
use self::interpreter::{HOME, check_stdlib, check_version, initialize, runtime_error};
use self::system::prevent_exit_cleanup;
pub(super) use self::system::{SigintAction, ThreadId, this_thread};
#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;
use super::errors::import_error;
use super::exit_guard;
use super::sigint::keeping_sigint;
use super::threads::is_attached;
use crate::error::{Error, ErrorKind, Result};
use crate::events;

/// The result of starting the interpreter, which can't be tried again in the same process.
static STARTED: OnceLock<Result<()>> = OnceLock::new();

/// The process that started Python; 0 before that.
///
/// Set before the start, so that a child that is forked in the middle of it is told, too.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// `true` if pymail has started the interpreter, and not the host.
///
/// A host's interpreter keeps its settings, such as that of the garbage collector, and gets an `atexit` hook.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// Starts the interpreter with the standard library in `home`; `None` means the one that belongs to libpython.
///
/// A home must be set before any other use of Python; the same one may be set again.
///
/// # Errors
///
/// `Runtime` when there is no standard library or Python can't be started; `Config` when it runs with another home.
pub(crate) fn start_in(home: Option<PathBuf>) -> Result<()> {
    if let Some(home) = home {
        // SAFETY: this call only reads whether an interpreter runs; it needs no GIL.
        let is_running = STARTED.get().is_some() || unsafe { ffi::Py_IsInitialized() } != 0;
        if !is_running {
            check_stdlib(&home)?;
        }
        if HOME.get() != Some(&home) && (is_running || HOME.set(home).is_err()) {
            return Err(Error::config("Python is already running, with another home"));
        }
    }
    attached(|_| Ok(()))
}

/// Runs `work` attached to the interpreter, which is started on first use.
///
/// The caller must hold no lock that another thread takes while attached: lock first, then attach.
///
/// May be nested: a thread that is attached stays so, and is counted once more.
///
/// # Errors
///
/// `Runtime` when Python can't be started, and in a forked child; `Closed` when the process or the host's interpreter
/// is ending; the errors of `work`.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> Result<T>) -> Result<T> {
    // Detached, since a thread that starts the interpreter must attach to it.
    let started =
        STARTED.get().unwrap_or_else(|| detached(|| events::deferred(|| STARTED.get_or_init(start))));
    started.clone()?;
    if is_forked() {
        return Err(Error::forked());
    }
    let _pass = exit_guard::enter()?;
    // SAFETY: this call only reads whether an interpreter runs; it needs no GIL.
    if unsafe { ffi::Py_IsInitialized() } == 0 {
        return Err(Error::new(ErrorKind::Closed, "the host has finalised Python"));
    }
    Python::attach(work)
}

/// Returns `true` if this process was forked from the one that started Python.
///
/// In a forked process another thread's lock, such as the GIL, is never released.
pub(crate) fn is_forked() -> bool {
    let process = PROCESS.load(Ordering::Relaxed);
    process != 0 && process != std::process::id()
}

/// Runs `wait`, which may block, detached from the interpreter, even when the caller is attached to it.
pub(crate) fn detached<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
    // A thread that is not attached need not detach. If it attached first, it would wait for other threads, could enter
    // an interpreter that another thread has half started (free-threaded builds have no GIL to prevent that), or panic
    // in one that is ending.
    if is_forked() || !is_attached() {
        return wait();
    }
    Python::attach(|py| py.detach(wait))
}

/// Starts the interpreter unless the host has, imports its modules, and registers the exit hooks.
///
/// Runs once: [`STARTED`] keeps all threads out of a half-started interpreter.
fn start() -> Result<()> {
    check_version()?;
    PROCESS.store(std::process::id(), Ordering::Relaxed);
    // SAFETY: as above.
    if unsafe { ffi::Py_IsInitialized() } == 0 {
        IS_OURS.store(true, Ordering::Relaxed);
        initialize(&home()?)?;
    }
    Python::initialize();
    keeping_sigint(|| Python::attach(import_modules))?;
    if !IS_OURS.load(Ordering::Relaxed) {
        close_before_finalisation()?;
    }
    close_before_exit();
    Ok(())
}

/// Imports the modules that register `atexit` hooks, so that ours, registered later, runs before those.
fn import_modules(py: Python<'_>) -> Result<()> {
    prevent_exit_cleanup(py);
    without_collector(py, || {
        for module in ["signal", "ssl"] {
            py.import(module).map_err(|e| import_error(py, module, &e))?;
        }
        Ok(())
    })
}

/// Runs `work` with the garbage collector disabled, unless the interpreter is the host's.
///
/// Imports create many objects and no garbage: the collector would run again and again for nothing.
pub(super) fn without_collector<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    if !IS_OURS.load(Ordering::Relaxed) {
        return work();
    }
    let collector = py.import("gc");
    let on = |gc: &Bound<'_, PyModule>| gc.call_method0("isenabled")?.extract::<bool>();
    let disabled = collector.ok().filter(|gc| on(gc).unwrap_or(false) && gc.call_method0("disable").is_ok());
    let done = work();
    if let Some(gc) = disabled {
        let _ = gc.call_method0("enable");
    }
    done
}

/// Registers an `atexit` hook in the host's Python: its finalisation would end threads in the middle of a call.
fn close_before_finalisation() -> Result<()> {
    let registered = Python::attach(|py| {
        let close = PyCFunction::new_closure(py, None, None, |args, _| args.py().detach(exit_guard::close))?;
        py.import("atexit")?.call_method1("register", (close,)).map(drop)
    });
    registered.map_err(|_| runtime_error("can't register an exit hook in the host's Python"))
}

/// Registers an exit hook of the process: where OpenSSL cleans up at exit, a thread that is using it would crash.
fn close_before_exit() {
    extern "C" fn close() {
        exit_guard::close_at_exit();
    }
    // SAFETY: `close` is a plain function that does not unwind: it locks, waits and returns.
    let registered: c_int = unsafe { libc::atexit(close) };
    if registered != 0 {
        events::emit(|| {
            tracing::warn!("can't register an exit hook: a process that exits during a call may crash");
        });
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[cfg(unix)]
    #[test]
    #[ignore = "forks; runs in a child process of a test in python::tests"]
    fn in_a_fork() {
        attached(|_| Ok(())).unwrap();
        // SAFETY: the child only takes an error and leaves, without running the harness's code.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let is_refused = attached(|_| Ok(())).is_err_and(|error| error.kind() == ErrorKind::Runtime);
            // SAFETY: ends the child at once, without the parent's exit hooks.
            unsafe { libc::_exit(c_int::from(!is_refused)) };
        }
        let mut status: c_int = -1;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }

    /// Needs the GIL or, in a free-threaded build, a pause of all attached threads.
    fn collect(py: Python<'_>) {
        py.import("gc").unwrap().call_method0("collect").unwrap();
    }

    #[test]
    fn a_detached_thread_does_not_attach_in_order_to_wait() {
        attached(|_| {
            let (done, is_done) = std::sync::mpsc::channel();
            // Not joined: the test would hang if that thread waited for this one, which is attached.
            std::thread::spawn(move || detached(|| done.send(())));
            is_done.recv_timeout(std::time::Duration::from_secs(60)).expect("it does not wait");
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
