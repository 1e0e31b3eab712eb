//! The state of a process on Unix.

use std::ffi::{CStr, c_int};
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::process::of_this_process;

/// Returns the command unchanged: a process sends a signal to itself alone.
pub(super) fn in_a_terminal_of_its_own(command: &mut Command) -> &mut Command {
    command
}

/// Restores the default of SIGINT: a shell may start tests in the background with SIGINT ignored.
pub(super) fn as_in_the_foreground() {
    // SAFETY: the default is the state at a process's start.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}

/// Does to this process what Ctrl-C in its terminal does.
pub(super) fn press_ctrl_c() {
    // SAFETY: any process must expect a signal.
    unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
}

/// Returns `true` if Ctrl-C has ended the process.
pub(super) fn has_ended_by_ctrl_c(output: &Output) -> bool {
    output.status.signal() == Some(libc::SIGINT)
}

/// Handles Ctrl-C; the result becomes `true` when it has come.
pub(super) fn handle_ctrl_c() -> &'static AtomicBool {
    static HAS_COME: AtomicBool = AtomicBool::new(false);
    extern "C" fn handle(_: c_int) {
        HAS_COME.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler only stores, which is allowed in any signal handler.
    unsafe { libc::signal(libc::SIGINT, handle as extern "C" fn(c_int) as libc::sighandler_t) };
    &HAS_COME
}

/// Returns the dispositions of signals, with those of SIGINT and SIGTERM first.
pub(super) fn dispositions() -> Vec<libc::sighandler_t> {
    let all = [libc::SIGINT, libc::SIGTERM, libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP, libc::SIGUSR1];
    all.map(disposition).to_vec()
}

fn disposition(signal: c_int) -> libc::sighandler_t {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only a query; `action` has room for the result, and zeroes are a valid value.
    unsafe {
        assert_eq!(libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()), 0);
        action.assume_init().sa_sigaction
    }
}

/// Returns the locale and the mask of new files.
pub(super) fn settings() -> Vec<String> {
    // SAFETY: queries a name, which is copied before any other call.
    let locale = unsafe { CStr::from_ptr(libc::setlocale(libc::LC_ALL, std::ptr::null())) };
    // SAFETY: restores the mask, with no other thread here to see it in between.
    let mask = unsafe {
        let mask = libc::umask(0o22);
        libc::umask(mask);
        mask
    };
    vec![locale.to_string_lossy().into_owned(), format!("{mask:o}")]
}

/// Makes a home for Python without `imaplib`; returns the folder for one, and the place of the usual one.
pub(super) fn make_home(home: &Path) -> (PathBuf, PathBuf) {
    let maps = fs::read_to_string(of_this_process("maps")).unwrap();
    let libpython =
        maps.lines().find_map(|line| line.split_whitespace().last().filter(|it| it.contains("libpython3")));
    let libpython = Path::new(libpython.unwrap());
    // Other Pythons may have theirs beside it.
    let name = libpython.file_name().unwrap().to_str().unwrap().trim_start_matches("lib");
    let name = name.split(".so").next().unwrap();
    let mut folders = libpython.ancestors().map(|home| home.join("lib").join(name));
    let stdlib = folders.find(|folder| folder.join("encodings").is_dir()).unwrap();
    let folder = home.join("lib").join(name);
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(&stdlib).unwrap().map(Result::unwrap) {
        if entry.file_name() != "imaplib.py" && entry.file_name() != "__pycache__" {
            symlink(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    (folder, stdlib)
}
