//! Leaks of a case in its process.

use std::thread;
use std::time::Duration;

use crate::app::DEADLINE;
use crate::checker::Verdict;
use crate::support::process::Stopwatch;
use crate::support::usage::{open_sockets, thread_names};

/// The sockets that were open before a case. A process runs one case at a time.
pub struct Before(usize);

impl Before {
    pub fn look() -> Self {
        Self(open_sockets())
    }

    /// Waits for resources that are about to end, and returns the others.
    pub fn check(&self, verdict: &mut Verdict) {
        // A heartbeat that is connecting ends with that.
        let (watch, most) = (Stopwatch::start(), DEADLINE + Duration::from_secs(1));
        while (open_sockets() > self.0 || !threads().is_empty()) && watch.elapsed() < most {
            thread::park_timeout(Duration::from_millis(2));
        }
        for thread in threads() {
            verdict.leaked(&format!("the thread {thread}"));
        }
        if open_sockets() > self.0 {
            verdict.leaked(&format!("{} sockets", open_sockets() - self.0));
        }
    }
}

/// Returns the names of this process's threads that are pymail's.
fn threads() -> Vec<String> {
    thread_names().into_iter().filter(|name| name.starts_with("pymail")).collect()
}
