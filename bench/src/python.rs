//! Python processes, with lines on their stdin and stdout.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::job::Account;

/// The variable that names the interpreter; the bench sets it to the real path of `python3`, past any wrapper.
pub const PYTHON: &str = "PYMAIL_BENCH_PYTHON";

/// Runs a line of Python and returns its output.
///
/// # Errors
/// The script fails.
pub fn evaluate(python: &str, script: &str) -> io::Result<String> {
    let output = Command::new(python).args(["-S", "-c", script]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{python}: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Makes a new virtual environment and returns its Python: packages of this machine would slow down its start.
///
/// # Errors
/// `python3` is missing, or has no `venv`.
pub fn clean(folder: &Path) -> io::Result<String> {
    let made =
        Command::new("python3").args(["-m", "venv", "--without-pip", "--clear"]).arg(folder).status()?;
    if !made.success() {
        return Err(io::Error::other(format!("python3 -m venv: {made}")));
    }
    Ok(folder.join("bin/python3").to_string_lossy().into_owned())
}

/// A running script. Dropping it kills it; [`stop`](Self::stop) waits for its end.
pub struct Process {
    child: Child,
    stdin: BufWriter<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    line: String,
}

impl Process {
    /// Starts a script of this crate for an account; it connects while the caller goes on.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn start(script: &str, account: &Account, ca_file: &Path) -> io::Result<Self> {
        let mut child = Command::new(env::var_os(PYTHON).unwrap_or_else(|| OsString::from("python3")))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .args([&account.host, &account.port.to_string(), &account.user, &account.password])
            .env("SSL_CERT_FILE", ca_file)
            .env("BENCH_PLAIN", if account.plain { "1" } else { "0" })
            .env("PYMAIL_TAG", &account.tag)
            .env_remove("PYTHONUNBUFFERED") // set in many containers; it would slow the scripts' answers
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
        let (stdin, stdout) = (BufWriter::new(stdin), BufReader::with_capacity(1 << 16, stdout));
        Ok(Self { child, stdin, stdout, line: String::new() })
    }

    /// Writes a line.
    ///
    /// # Errors
    /// The script has ended.
    pub fn ask(&mut self, line: &[u8]) -> io::Result<()> {
        self.stdin.write_all(line)?;
        self.stdin.write_all(b"\n")?;
        self.stdin.flush()
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// The script has ended.
    pub fn answer(&mut self) -> io::Result<&str> {
        self.line.clear();
        if self.stdout.read_line(&mut self.line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the Python process ended"));
        }
        Ok(self.line.trim_end_matches('\n'))
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the script.
    ///
    /// # Errors
    /// The script ended with an error.
    pub fn stop(mut self) -> io::Result<()> {
        self.ask(b"quit")?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("Python: {status}"))) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a process that has ended already, which is the aim.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
