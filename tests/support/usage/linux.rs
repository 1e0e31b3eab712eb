//! From `/proc`, which Linux has.

use std::fs;
use std::time::Duration;

use crate::process::{needs, of_this_process};

/// Watches the peak of the memory.
pub struct PeakMemory {
    before: usize,
}

impl PeakMemory {
    /// Forgets the peak so far.
    pub fn watch() -> Self {
        fs::write(of_this_process("clear_refs"), "5").expect("the peak is forgotten");
        Self { before: kilobytes("VmRSS:") }
    }

    /// Returns the octets of the peak above the memory at the beginning.
    pub fn growth(&self) -> usize {
        kilobytes("VmHWM:").saturating_sub(self.before) << 10
    }
}

/// Returns the CPU time of the process with all its threads, which a busy machine does not change.
pub fn cpu_time() -> Duration {
    let stat = fs::read_to_string(of_this_process("stat")).expect("the process's state");
    let (_, fields) = stat.rsplit_once(") ").expect("its name");
    // utime and stime: Linux counts a hundred a second here.
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// Returns the CPU time of this thread.
pub fn thread_cpu_time() -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat");
    let told = told.unwrap_or_else(|_| needs("schedstat", "Linux has it in /proc"));
    let nanoseconds = told.split(' ').next().and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds"))
}

/// Returns the number of open sockets.
pub fn open_sockets() -> usize {
    let entries = fs::read_dir(of_this_process("fd")).expect("its files");
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Returns the names of all threads.
pub fn thread_names() -> Vec<String> {
    let entries = fs::read_dir(of_this_process("task")).expect("its threads");
    let names = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

fn kilobytes(name: &str) -> usize {
    let status = fs::read_to_string(of_this_process("status")).expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of it");
    line.trim().trim_end_matches(" kB").parse().expect("kB")
}
