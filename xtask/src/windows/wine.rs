//! Wine, with a prefix (its folder of a Windows installation) under `target/`.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::python::{self, Python};
use crate::{Outcome, run};

const WINE: &str = "/usr/lib/wine/wine64";

/// A DLL of Windows from which Rust's standard library takes random octets, and that Wine 8 lacks.
const RANDOM: &str = include_str!("bcryptprimitives.c");

/// The environment variable with the folder on the path of a program: without it, that of a Windows Python.
pub(super) const PATH: &str = "PYMAIL_WINDOWS_PATH";

/// The longest run of a program.
const LONGEST_RUN: Duration = Duration::from_secs(30 * 60);

/// The longest wait for output after the end of a program: processes that it has left behind may keep its pipes open.
const AFTER_END: Duration = Duration::from_secs(10);

/// Makes the prefix if it is missing.
pub(super) fn provide() -> Outcome {
    let prefix = prefix();
    if prefix.exists() { Ok(()) } else { make(&prefix) }
}

/// Makes a prefix.
pub(super) fn make(prefix: &Path) -> Outcome {
    let filling = prefix.with_extension("new");
    let failed = |error: io::Error| format!("{}: {error}", filling.display());
    if filling.exists() {
        fs::remove_dir_all(&filling).map_err(failed)?;
    }
    fs::create_dir_all(&filling).map_err(failed)?;
    // Without the offers to install .NET and a browser.
    run(boot().arg("--init").env("WINEPREFIX", &filling).env("WINEDLLOVERRIDES", "mscoree=;mshtml="))?;
    let source = filling.join("bcryptprimitives.c");
    fs::write(&source, RANDOM).map_err(failed)?;
    let library = filling.join("drive_c/windows/system32/bcryptprimitives.dll");
    let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
    run(compiler.args(["-shared", "-o"]).arg(library).arg(source).arg("-ladvapi32"))?;
    // Its server writes the registry when it ends.
    run(Command::new("/usr/lib/wine/wineserver").arg("--wait").env("WINEPREFIX", &filling))?;
    fs::rename(&filling, prefix).map_err(failed)
}

/// Runs a Windows program, `EXE ARGS`, and exits as it does. On its path is the folder in [`PATH`], or the Windows Python
/// of `PYO3_CROSS_PYTHON_VERSION`. Its standard streams are pipes: with a file among them, Wine 8 breaks the start of
/// `CPython`.
pub(crate) fn run_program(args: &[String]) -> Outcome {
    let [exe, args @ ..] = args else { return Err(crate::USAGE.to_owned()) };
    let failed = |error: io::Error| format!("{exe}: {error}");
    let minor = env::var("PYO3_CROSS_PYTHON_VERSION").unwrap_or_else(|_| python::DEFAULT.to_owned());
    let path = env::var_os(PATH).map_or_else(|| python::folder(&minor), PathBuf::from);
    // The services of Windows, which would keep the pipes of a program that starts them.
    // On a busy machine this command may give up; the services start nevertheless, and `relay` copes if they don't.
    boot().status().map_err(failed)?;
    let mut program = wine();
    program.arg(exe).args(args).env("WINEPATH", windows_path(&path));
    // Paths of this system's certificates, libraries and Python are no Windows paths.
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "PYO3_PYTHON"] {
        program.env_remove(variable);
    }
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let status = relay(program.spawn().map_err(failed)?).map_err(failed)?;
    // The exit code tells cargo and `parallel` how tests have failed.
    process::exit(status.code().unwrap_or(1))
}

/// Passes on what a program reads and prints, until its end, or kills it after [`LONGEST_RUN`].
fn relay(mut program: Child) -> io::Result<ExitStatus> {
    let pipes = (program.stdin.take(), program.stdout.take(), program.stderr.take());
    let (Some(input), Some(output), Some(errors)) = pipes else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    pass_on(io::stdin(), input);
    let (output, errors) = (pass_on(output, io::stdout()), pass_on(errors, io::stderr()));
    let start = Instant::now();
    while output.recv_timeout(AFTER_END) == Err(RecvTimeoutError::Timeout) {
        if program.try_wait()?.is_some() {
            eprintln!("a process that the program has left behind keeps its output open");
            break;
        }
        if start.elapsed() > LONGEST_RUN {
            eprintln!("killed, since it has not ended after {} s", LONGEST_RUN.as_secs());
            program.kill()?;
        }
    }
    let _ = errors.recv_timeout(AFTER_END);
    program.wait()
}

/// Passes on what a stream reads, at once, on a thread; the receiver is disconnected at the end.
fn pass_on(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) -> Receiver<()> {
    let (sender, end) = mpsc::channel();
    thread::spawn(move || {
        let _sender = sender;
        let mut octets = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut octets) {
            if to.write_all(&octets[..length]).and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    });
    end
}

/// Runs a script in the `python.exe` of a version, and returns what it prints.
pub(super) fn python_output(python: &Python, script: &str) -> Result<String, String> {
    let exe = python::folder(python.minor).join("python.exe");
    let this = env::current_exe().map_err(|error| format!("the path of xtask: {error}"))?;
    let mut command = Command::new(this);
    command.arg("wine").arg(&exe).args(["-c", script]).env("PYO3_CROSS_PYTHON_VERSION", python.minor);
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", exe.display()))?;
    if !output.status.success() {
        return Err(format!("{}: {}", exe.display(), String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns a command of Wine's, in the prefix.
pub(super) fn wine() -> Command {
    let mut wine = Command::new(WINE);
    wine.env("WINEPREFIX", prefix());
    if env::var_os("WINEDEBUG").is_none() {
        wine.env("WINEDEBUG", "-all");
    }
    wine
}

/// Returns the command that starts the services of Windows, and does nothing if they run. They end by themselves, some
/// seconds after the last program.
fn boot() -> Command {
    let mut boot = wine();
    boot.arg("wineboot").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    boot
}

fn prefix() -> PathBuf {
    super::folder().join("prefix")
}

/// Returns a path as Windows programs see it: Wine has the root as a drive.
pub(super) fn windows_path(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        String::new()
    } else {
        format!("Z:{}", path.display()).replace('/', "\\")
    }
}
