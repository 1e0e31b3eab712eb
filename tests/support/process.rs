//! Free ports, waiting for a condition, and processes.

#[cfg(unix)]
mod group;

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
pub(super) use self::group::kill;
#[cfg(unix)]
pub use self::group::{Member, ProcessGroup};

/// The longest wait for a server before a test fails: more than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Windows' error of a start that has failed for no reason of the program's.
const INTERNAL_ERROR: i32 = 1359;

// Below the kernel's ephemeral range (from 32768), so that no outgoing connection takes one of these ports.
const FIRST_PORT: u32 = 12_000;
const PORTS: u32 = 20_000;

/// Returns a free loopback port. All tests take turns, so a port is reused only after all others.
///
/// Another program may still take the port first: a server should be ready to ask for another.
pub fn free_port() -> u16 {
    (0..PORTS)
        .map(|_| FIRST_PORT + next_turn().expect("a file that counts the ports") % PORTS)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a free loopback port")
}

/// Counts in a file that all test binaries of a user share: they run at the same time.
fn next_turn() -> io::Result<u32> {
    let path = env::temp_dir().join(format!("pymail-tests-{}ports", user()?));
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?; // until the file is closed
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let turn: u32 = text.parse().unwrap_or(0);
    file.rewind()?;
    write!(file, "{:010}", turn.wrapping_add(1))?;
    Ok(turn)
}

/// Returns the user's number, since all users share the temporary folder.
#[cfg(unix)]
fn user() -> io::Result<String> {
    let user = std::os::unix::fs::MetadataExt::uid(&tempfile::tempfile()?.metadata()?);
    Ok(format!("{user}-"))
}

/// Returns nothing: each user has a temporary folder.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
fn user() -> io::Result<String> {
    Ok(String::new())
}

/// Returns the Python in `PYO3_PYTHON` if that is set, else the one on the `PATH`.
pub fn python() -> PathBuf {
    env::var_os("PYO3_PYTHON").map_or_else(|| python_on_path().to_owned(), PathBuf::from)
}

/// Returns the Python on the `PATH` by its own path: `python3` may be a script of pyenv, which takes longer than Python to
/// start.
pub fn python_on_path() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let name = if cfg!(windows) { "python" } else { "python3" };
        let ask = ["-I", "-X", "utf8", "-c", "import sys; print(sys.executable)"];
        let output = started(|| Command::new(name).args(ask).output());
        // One that can't run fails by its name, where it is needed.
        let path = output.ok().filter(|output| output.status.success());
        let path = path.and_then(|output| String::from_utf8(output.stdout).ok());
        path.filter(|path| !path.trim().is_empty()).map_or_else(|| name.into(), |path| path.trim().into())
    });
    &PROGRAM
}

/// Waits until `ready` returns `true`.
///
/// # Panics
///
/// After [`PATIENCE`]; `what` names the missing condition.
pub fn wait_until(what: &str, ready: impl FnMut() -> bool) {
    assert!(becomes_true(ready), "gave up waiting for {what}");
}

/// Waits until a loopback port accepts connections.
pub fn wait_for_port(port: u16) {
    wait_until(&format!("port {port}"), || is_open(port));
}

/// Returns `true` if a loopback port accepts connections.
pub fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Returns the path of an installed program; servers are often in a `sbin` that an ordinary user's `PATH` lacks.
///
/// # Panics
///
/// By [`needs`] if it isn't installed; the message names `package`.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(usual)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| needs(name, &format!("Debian: apt install {package}")))
}

/// Fails a test that can't run on this machine. `cargo xtask test` reads the message, leaves the test out and reports it.
///
/// # Panics
///
/// Always.
pub fn needs(thing: &str, remedy: &str) -> ! {
    panic!("this run needs {thing} ({remedy})")
}

/// Returns a file or folder of Linux that tells about this process, such as `task`.
///
/// # Panics
///
/// By [`needs`] on another system.
pub fn of_this_process(name: &str) -> PathBuf {
    let path = Path::new("/proc/self").join(name);
    // Under Wine, it is its server's.
    if cfg!(unix) && path.exists() { path } else { needs("Linux", "its /proc shows what a process holds") }
}

/// Listens on a free port of a loopback address; macOS has only the first one by itself.
///
/// # Panics
///
/// By [`needs`] on a machine without this address.
pub fn listen(ip: &str) -> TcpListener {
    let listener = TcpListener::bind((ip, 0));
    listener.unwrap_or_else(|_| needs(ip, &format!("macOS: sudo ifconfig lo0 alias {ip} up")))
}

/// Starts a program, or runs it, by this function; again after an internal error of Windows, twice at most.
///
/// Under Wine 8, one start in 2,000 fails so, also those of a bare Python.
///
/// # Errors
///
/// It can't be started.
pub fn started<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let is_internal = |error: &io::Error| cfg!(windows) && error.raw_os_error() == Some(INTERNAL_ERROR);
    for _ in 0..2 {
        match start() {
            Err(error) if is_internal(&error) => {}
            started => return started,
        }
    }
    start()
}

/// Returns a command's standard output, trimmed.
///
/// # Panics
///
/// If it can't run or fails.
pub fn output(command: &mut Command) -> String {
    let done = started(|| command.output()).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let problem = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {}: {problem}", done.status);
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// Measures the time in which this process could run: without the waits of its threads for a CPU, which depend on the
/// load of the machine.
pub struct Stopwatch {
    began: Instant,
    cpu_wait: Duration,
}

impl Stopwatch {
    /// Starts the measurement.
    pub fn start() -> Self {
        Self { cpu_wait: cpu_wait(), began: Instant::now() }
    }

    /// Returns the time since the start, less all waits for a CPU, also those of several threads at the same time.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed().saturating_sub(cpu_wait().saturating_sub(self.cpu_wait))
    }
}

/// Returns the time that the living threads of this process have waited for a CPU; Linux alone tells it.
fn cpu_wait() -> Duration {
    // Under Wine, /proc/self is its server's.
    if cfg!(windows) {
        return Duration::ZERO;
    }
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let waited = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        // The file has: time on a CPU, time waiting for one, in nanoseconds; number of time slices.
        stat.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum())
}

/// Returns `true` if this process runs as root.
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")) == "0"
}

/// Returns `true` if `ready` does so within [`PATIENCE`].
pub(super) fn becomes_true(mut ready: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        if Instant::now() > deadline {
            return false;
        }
        thread::park_timeout(Duration::from_millis(2));
    }
    true
}
