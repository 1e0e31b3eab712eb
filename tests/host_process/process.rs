//! The process: signals, environment, locale, output, forks.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CStr, CString, c_int};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::catch_unwind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use pymail::{ErrorKind, Runtime};
use rstest::rstest;

use super::{child, imap, passes, round_trip, smtp};
use crate::fixtures::embedded;
use crate::mail_site::{Site, message};
use crate::support::process::of_this_process;

/// Long enough for a process to end by a signal.
const LONG: Duration = Duration::from_secs(30);

#[rstest]
fn signals_have_the_dispositions_that_the_host_gave_them(#[from(embedded)] site: Site) {
    passes(&mut child("process::looks_at_its_signals", &site));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn looks_at_its_signals() {
    extern "C" fn handle(_: c_int) {}
    let handler = handle as extern "C" fn(c_int) as libc::sighandler_t;
    as_in_the_foreground();
    // SAFETY: the handler does nothing, which is allowed in any signal handler.
    unsafe { libc::signal(libc::SIGTERM, handler) };
    let all = [libc::SIGINT, libc::SIGTERM, libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP, libc::SIGUSR1];
    let before = all.map(disposition);
    assert_eq!((before[0], before[1]), (libc::SIG_DFL, handler));
    round_trip();
    assert_eq!(all.map(disposition), before);
}

/// Restores the default of SIGINT: a shell may start tests in the background with SIGINT ignored.
fn as_in_the_foreground() {
    // SAFETY: the default is the state at a process's start.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}

fn disposition(signal: c_int) -> libc::sighandler_t {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only a query; `action` has room for the result, and zeroes are a valid value.
    unsafe {
        assert_eq!(libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()), 0);
        action.assume_init().sa_sigaction
    }
}

#[rstest]
fn ctrl_c_ends_a_host_that_did_not_ask_otherwise(#[from(embedded)] site: Site) {
    let output = child("process::waits_and_gets_ctrl_c", &site).output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGINT), "{output:?}");
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn waits_and_gets_ctrl_c() {
    as_in_the_foreground();
    let imap = imap();
    let busy = imap.clone();
    thread::spawn(move || while busy.noop().is_ok() {});
    imap.noop().unwrap();
    // SAFETY: any process must expect a signal.
    unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
    let since = Instant::now();
    while since.elapsed() < LONG && imap.noop().is_ok() {}
}

#[rstest]
fn pythons_variables_and_what_lies_in_the_folder_change_nothing(#[from(embedded)] site: Site) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home/.local/lib");
    let version = |minor| home.join(format!("python3.{minor}/site-packages"));
    let mut folders: Vec<_> = (9..16).map(version).collect();
    folders.push(folder.path().to_owned());
    for folder in &folders {
        fs::create_dir_all(folder).unwrap();
        for module in ["imaplib", "smtplib", "ssl", "sitecustomize", "usercustomize", "startup"] {
            fs::write(folder.join(format!("{module}.py")), "raise SystemExit('hostile')\n").unwrap();
        }
    }
    let mut child = child("process::makes_a_round_trip", &site);
    child.current_dir(folder.path()).env("HOME", folder.path().join("home"));
    child.env("PYTHONPATH", folder.path()).env("PYTHONHOME", folder.path());
    child.env("PYTHONSTARTUP", folder.path().join("startup.py")).env("PYTHONINSPECT", "1");
    passes(child.env("PYTHONUSERBASE", folder.path().join("home/.local")).env("PYTHONVERBOSE", "1"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn makes_a_round_trip() {
    round_trip();
}

#[rstest]
fn locale_environment_and_folder_stay_as_they_are(#[from(embedded)] site: Site) {
    passes(child("process::looks_around", &site).env("LC_ALL", "C.UTF-8"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn looks_around() {
    let before = surroundings();
    round_trip();
    assert_eq!(surroundings(), before);
}

fn surroundings() -> (String, BTreeMap<String, String>, String, libc::mode_t) {
    // SAFETY: queries a name, which is copied before any other call.
    let locale = unsafe { CStr::from_ptr(libc::setlocale(libc::LC_ALL, std::ptr::null())) };
    let locale = locale.to_string_lossy().into_owned();
    // SAFETY: restores the mask, with no other thread here to see it in between.
    let mask = unsafe {
        let mask = libc::umask(0o22);
        libc::umask(mask);
        mask
    };
    (locale, env::vars().collect(), env::current_dir().unwrap().display().to_string(), mask)
}

#[rstest]
fn nothing_is_written_to_stdout_or_stderr(#[from(embedded)] site: Site) {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("written");
    passes(child("process::says_nothing", &site).env("CHILD_FILE", &written));
    assert_eq!(fs::read_to_string(written).unwrap(), "");
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn says_nothing() {
    let file = CString::new(env::var("CHILD_FILE").unwrap()).unwrap();
    // SAFETY: plain descriptors of this process; its test harness writes nothing meanwhile.
    unsafe {
        let file = libc::open(file.as_ptr(), libc::O_CREAT | libc::O_WRONLY | libc::O_APPEND, 0o600);
        let (out, err) = (libc::dup(1), libc::dup(2));
        assert!(file >= 0 && libc::dup2(file, 1) == 1 && libc::dup2(file, 2) == 2);
        let done = catch_unwind(round_trip);
        assert!(libc::dup2(out, 1) == 1 && libc::dup2(err, 2) == 2);
        done.unwrap();
    }
}

#[rstest]
fn a_forked_childs_handle_is_an_error_and_the_parents_goes_on(#[from(embedded)] site: Site) {
    passes(&mut child("process::forks", &site));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn forks() {
    let (imap, smtp) = (imap(), smtp());
    // SAFETY: the child only collects errors and exits, without the harness's code and the parent's exit hooks.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_refused = |error: pymail::Error| error.kind() == ErrorKind::Runtime;
        let told = imap.noop().is_err_and(is_refused)
            && smtp.send(&message("1", "")).is_err_and(is_refused)
            && imap.close().is_err_and(is_refused);
        drop((imap, smtp));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(c_int::from(!told)) };
    }
    let mut status: c_int = -1;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    imap.noop().unwrap();
    smtp.noop().unwrap();
    assert_eq!((imap.stats().reconnects, smtp.stats().reconnects), (0, 0));
}

#[rstest]
fn a_host_may_name_another_home_for_python(#[from(embedded)] site: Site) {
    // As an app that ships a standard library of its own.
    let maps = fs::read_to_string(of_this_process("maps")).unwrap();
    let libpython =
        maps.lines().find_map(|line| line.split_whitespace().last().filter(|it| it.contains("libpython3")));
    let libpython = Path::new(libpython.unwrap());
    // Other Pythons may have theirs beside it.
    let name = libpython.file_name().unwrap().to_str().unwrap().trim_start_matches("lib");
    let name = name.split(".so").next().unwrap();
    let mut folders = libpython.ancestors().map(|home| home.join("lib").join(name));
    let stdlib = folders.find(|folder| folder.join("encodings").is_dir()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (folder, mark) = (home.path().join("lib").join(name), home.path().join("mark"));
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(&stdlib).unwrap().map(Result::unwrap) {
        if entry.file_name() != "imaplib.py" && entry.file_name() != "__pycache__" {
            symlink(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    // Its imaplib reports that it is the one in use.
    let imaplib = fs::read_to_string(stdlib.join("imaplib.py")).unwrap();
    fs::write(
        folder.join("imaplib.py"),
        imaplib + "\nimport os\nopen(os.environ['CHILD_MARK'], 'x').close()\n",
    )
    .unwrap();
    passes(child("process::names_its_home", &site).env("CHILD_HOME", home.path()).env("CHILD_MARK", &mark));
    assert!(mark.is_file());
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn names_its_home() {
    let start = |home: &str| Runtime::new().home(home).start().map_err(|error| error.kind());
    let home = env::var("CHILD_HOME").unwrap();
    assert_eq!(start("/nonexistent"), Err(ErrorKind::Runtime));
    assert_eq!(start(&home), Ok(()));
    round_trip();
    assert_eq!((start(&home), start("/nonexistent")), (Ok(()), Err(ErrorKind::Config)));
    assert_eq!(Runtime::new().start().map_err(|error| error.kind()), Ok(()));
}
