//! Free ports, waiting for a condition, and process groups that end with their owner.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for a server before a test fails: more than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(90);

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
    let user = fs::metadata("/proc/self")?.uid();
    let path = env::temp_dir().join(format!("pymail-tests-{user}-ports"));
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?; // until the file is closed
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let turn: u32 = text.parse().unwrap_or(0);
    file.rewind()?;
    write!(file, "{:010}", turn.wrapping_add(1))?;
    Ok(turn)
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

/// Returns a command's standard output, trimmed.
///
/// # Panics
///
/// If it can't run or fails.
pub fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
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

/// Returns the time that the living threads of this process have waited for a CPU.
fn cpu_wait() -> Duration {
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

/// A process and its descendants, killed on drop, and also when this process is killed.
pub struct ProcessGroup {
    leader: Child,
    watcher: Child,
}

/// A living member of a [`ProcessGroup`].
#[derive(Clone, Debug)]
pub struct Member {
    /// The process id.
    pub pid: u32,
    /// The program's short name, such as `imap`.
    pub name: String,
}

impl ProcessGroup {
    /// Starts `command` as the leader of a process group of its own.
    ///
    /// # Errors
    ///
    /// The command can't be started.
    ///
    /// # Panics
    ///
    /// By [`needs`] if this system has no `/proc`.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        if !Path::new("/proc/self/stat").exists() {
            needs("Linux", "its /proc shows the processes of a server");
        }
        let leader = command.process_group(0).spawn()?;
        let watcher = watch(leader.id())?;
        Ok(Self { leader, watcher })
    }

    /// Returns the leader's process id, which is also the group's.
    pub fn id(&self) -> u32 {
        self.leader.id()
    }

    /// Returns `true` if the leader has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.leader.try_wait(), Ok(None))
    }

    /// Returns the living members of the group.
    pub fn members(&self) -> Vec<Member> {
        members(self.id())
    }

    /// Returns `true` if the leader listens on this loopback port.
    pub fn listens(&self, port: u16) -> bool {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let listening = sockets.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let this = fields.len() > 9 && fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A";
            this.then(|| format!("socket:[{}]", fields[9]))
        });
        let listening: Vec<String> = listening.collect();
        let files = fs::read_dir(format!("/proc/{}/fd", self.id())).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.any(|target| listening.iter().any(|it| target.as_os_str() == it.as_str()))
    }

    /// Sends a signal, such as `KILL`, to all members with this short name; returns their process ids.
    pub fn signal(&self, name: &str, signal: &str) -> Vec<u32> {
        let pids: Vec<u32> = self.members().iter().filter(|it| it.name == name).map(|it| it.pid).collect();
        kill(signal, pids.iter().map(ToString::to_string));
        pids
    }

    /// Sends a signal, such as `KILL`, to all members with this short name, and waits for their ends.
    pub fn end(&self, name: &str, signal: &str) {
        let pids = self.signal(name, signal);
        wait_until(&format!("the end of {name}"), || !self.members().iter().any(|it| pids.contains(&it.pid)));
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // The watcher first: it must not kill a later group with the same id.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        let group = self.id();
        kill("KILL", [format!("-{group}")]);
        becomes_true(|| self.has_ended() && members(group).is_empty());
    }
}

/// Starts a shell that kills the group once its standard input, held by this process, closes.
fn watch(group: u32) -> io::Result<Child> {
    let script = "read -r _; kill -s KILL -- -\"$1\"";
    Command::new("sh")
        .args(["-c", script, "sh", &group.to_string()])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Sends a signal, such as `KILL`, to processes, or to groups with a `-` before their ids.
pub(super) fn kill(signal: &str, targets: impl IntoIterator<Item = String>) {
    let script = "signal=$1; shift; kill -s \"$signal\" -- \"$@\" 2>/dev/null";
    // A target that has ended already is fine.
    let _ = Command::new("sh").args(["-c", script, "sh", signal]).args(targets).status();
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

fn members(group: u32) -> Vec<Member> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| member(&stat, group))
        .collect()
}

/// Parses `pid (name) state parent group ...`; leaves out zombies, which hold nothing any more.
fn member(stat: &str, group: u32) -> Option<Member> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let its_group = fields.nth(1)?;
    let alive = !matches!(state, "Z" | "X");
    (alive && its_group == group.to_string())
        .then(|| Member { pid: pid.parse().unwrap_or(0), name: name.to_owned() })
}
