//! Process groups that end with their owner.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{becomes_true, needs, wait_until};

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
pub(in super::super) fn kill(signal: &str, targets: impl IntoIterator<Item = String>) {
    let script = "signal=$1; shift; kill -s \"$signal\" -- \"$@\" 2>/dev/null";
    // A target that has ended already is fine.
    let _ = Command::new("sh").args(["-c", script, "sh", signal]).args(targets).status();
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
