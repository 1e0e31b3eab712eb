//! The state of a process on Windows.

use std::ffi::{CStr, c_char, c_int};
use std::mem;
use std::os::windows::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use windows_sys::Win32::Foundation::STATUS_CONTROL_C_EXIT;
use windows_sys::Win32::System::Console::{CTRL_C_EVENT, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler};
use windows_sys::Win32::System::Diagnostics::Debug::GetErrorMode;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;

use crate::support::process::{output, python};

/// Copies the installation of a Python without `imaplib`, with room for it in a folder; prints the place of the usual
/// standard library.
const MAKE_HOME: &str = r"
import imaplib, os, shutil, sys, zipfile
home, stdlib = sys.argv[1], os.path.dirname(imaplib.__file__)
without = shutil.ignore_patterns('imaplib.*', '*.zip', 'site-packages', 'test')
# The default, copy2, calls CopyFile2, which Wine 8 lacks.
shutil.copytree(sys.base_prefix, home, ignore=without, copy_function=shutil.copyfile, dirs_exist_ok=True)
if zipfile.is_zipfile(stdlib):
    # As a zip file, too: a thousand files take Wine half a minute.
    copy = os.path.join(home, os.path.basename(stdlib))
    with zipfile.ZipFile(stdlib) as packed, zipfile.ZipFile(copy, 'w') as without_it:
        for name in packed.namelist():
            if not name.startswith('imaplib.'):
                without_it.writestr(name, packed.read(name))
os.makedirs(os.path.join(home, 'Lib'), exist_ok=True)
print(stdlib)
";

/// Gives the process a console of its own: Ctrl-C reaches all processes of a console.
pub(super) fn in_a_terminal_of_its_own(command: &mut Command) -> &mut Command {
    command.creation_flags(CREATE_NO_WINDOW)
}

/// Lets Ctrl-C have an effect: the process that started the tests may ignore it, which is inherited.
pub(super) fn as_in_the_foreground() {
    // SAFETY: this is the state at a process's start.
    assert!(unsafe { SetConsoleCtrlHandler(None, 0) } != 0);
}

/// Does to this process what Ctrl-C in its console does.
pub(super) fn press_ctrl_c() {
    // SAFETY: any process must expect it.
    assert!(unsafe { GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0) } != 0, "this process has a console");
}

/// Returns `true` if Ctrl-C has ended the process.
pub(super) fn has_ended_by_ctrl_c(output: &Output) -> bool {
    // Wine ends such a process with 0, as a test that has passed does, which says so.
    let code = output.status.code();
    let says_nothing = !String::from_utf8_lossy(&output.stdout).contains("test result");
    (code == Some(STATUS_CONTROL_C_EXIT) || code == Some(0)) && says_nothing
}

/// Handles Ctrl-C; the result becomes `true` when it has come.
pub(super) fn handle_ctrl_c() -> &'static AtomicBool {
    static HAS_COME: AtomicBool = AtomicBool::new(false);
    unsafe extern "system" fn handle(event: u32) -> i32 {
        HAS_COME.store(event == CTRL_C_EVENT, Ordering::Relaxed);
        1
    }
    // SAFETY: the handler only stores.
    assert!(unsafe { SetConsoleCtrlHandler(Some(handle), 1) } != 0);
    &HAS_COME
}

type Signal = unsafe extern "C" fn(c_int, libc::sighandler_t) -> libc::sighandler_t;

/// Returns the dispositions of signals, with those of SIGINT and SIGTERM first: of this program's C runtime, and of
/// Python's, which may be another one.
pub(super) fn dispositions() -> Vec<libc::sighandler_t> {
    // SAFETY: a function of this name has this type.
    let of_python = unsafe { of_pythons_c_runtime::<Signal>(c"signal") };
    let dispositions = [libc::signal, of_python].map(|signal: Signal| {
        [libc::SIGINT, libc::SIGTERM, libc::SIGABRT].map(|number| {
            // SAFETY: restores the disposition, while no signal is sent.
            unsafe {
                let disposition = signal(number, libc::SIG_IGN);
                signal(number, disposition);
                disposition
            }
        })
    });
    dispositions.concat()
}

/// Returns a function of the C runtime with which Python is built.
///
/// # Safety
///
/// `F` is the type of a function of this name.
unsafe fn of_pythons_c_runtime<F: Copy>(name: &CStr) -> F {
    // SAFETY: the library stays loaded: Python's DLL, which is linked, needs it. The names are NUL-terminated.
    unsafe {
        let library = GetModuleHandleA(c"ucrtbase.dll".as_ptr().cast());
        let function = GetProcAddress(library, name.as_ptr().cast()).expect("a function of the C runtime");
        mem::transmute_copy(&function)
    }
}

type SetLocale = unsafe extern "C" fn(c_int, *const c_char) -> *mut c_char;

/// Returns the locales of both C runtimes, and the error mode.
pub(super) fn settings() -> Vec<String> {
    // SAFETY: a function of this name has this type.
    let of_python = unsafe { of_pythons_c_runtime::<SetLocale>(c"setlocale") };
    let locales = [libc::setlocale, of_python].map(|setlocale: SetLocale| {
        // SAFETY: queries a name, which is copied before any other call.
        unsafe { CStr::from_ptr(setlocale(libc::LC_ALL, ptr::null())) }.to_string_lossy().into_owned()
    });
    // SAFETY: only a query.
    let error_mode = unsafe { GetErrorMode() };
    [&locales[..], &[error_mode.to_string()]].concat()
}

/// Makes a home for Python without `imaplib`; returns the folder for one, and the place of the usual one.
pub(super) fn make_home(home: &Path) -> (PathBuf, PathBuf) {
    let stdlib = output(Command::new(python()).args(["-c", MAKE_HOME]).arg(home));
    (home.join("Lib"), stdlib.into())
}
