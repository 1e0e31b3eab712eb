//! The interpreter: found, started once, entered through one gate, left politely. All `unsafe` is here and below.
#![allow(unsafe_code)]

mod interpreter;
mod openssl;

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;

pub(super) use self::interpreter::home;
use self::interpreter::{check_version, initialize, stdlib};
use super::gate;
use crate::error::{Error, ErrorKind, Result};
use crate::events;

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

/// Runs `work` attached to the interpreter, which is started on first use.
///
/// The caller must hold no lock that another thread takes while attached: lock first, then attach.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> Result<T>) -> Result<T> {
    // Whoever is attached while another thread starts would keep it from ever attaching.
    let started =
        STARTED.get().unwrap_or_else(|| detached(|| events::deferred(|| STARTED.get_or_init(start))));
    started.clone()?;
    if is_forked() {
        return Err(Error::forked());
    }
    let _pass = gate::enter()?;
    // SAFETY: this call only reads whether an interpreter runs; it needs no GIL.
    if unsafe { ffi::Py_IsInitialized() } == 0 {
        return Err(Error::new(ErrorKind::Closed, "the host has finalised Python"));
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

fn runtime_error(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Runtime, text)
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
    openssl::outlive_the_exit(py);
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

/// Where OpenSSL cleans up when the process exits, a thread that is inside it crashes: calls end before.
fn leave_politely() {
    extern "C" fn close() {
        gate::close_with_the_process();
    }
    // SAFETY: `close` is a plain function that does not unwind: it locks, waits and returns.
    let registered: c_int = unsafe { libc::atexit(close) };
    if registered != 0 {
        events::emit(|| tracing::warn!("no exit hook: a process that exits during a call may crash"));
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

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
