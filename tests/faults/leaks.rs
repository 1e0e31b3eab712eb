//! Leaks of a case in its process.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::app::DEADLINE;
use crate::checker::Verdict;
use crate::support::process::Stopwatch;

/// The sockets that were open before a case. A process runs one case at a time.
pub struct Before(usize);

impl Before {
    pub fn look() -> Self {
        Self(sockets())
    }

    /// Waits for resources that are about to end, and returns the others.
    pub fn check(&self, verdict: &mut Verdict) {
        // A heartbeat that is connecting ends with that.
        let (watch, most) = (Stopwatch::start(), DEADLINE + Duration::from_secs(1));
        while (sockets() > self.0 || !threads().is_empty()) && watch.elapsed() < most {
            thread::park_timeout(Duration::from_millis(2));
        }
        for thread in threads() {
            verdict.leaked(&format!("the thread {thread}"));
        }
        if sockets() > self.0 {
            verdict.leaked(&format!("{} sockets", sockets() - self.0));
        }
    }
}

/// Returns the open sockets of this process.
fn sockets() -> usize {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return 0 };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Returns the names of this process's threads that are pymail's.
fn threads() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("pymail")).collect()
}
