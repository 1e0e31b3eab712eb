//! The report: one line of JSON for each server.

use serde::Serialize;

use crate::server::Kind;

/// The outcome of one shift's messages.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// Messages that were handed out and are in the archive.
    pub handled: usize,
    /// Messages that were handed out more than once.
    pub twice: usize,
    /// Those of them that an earlier consumer could still hold.
    pub twice_unheld: usize,
    /// Messages that were not handed out, or are not in the archive.
    pub lost: usize,
    /// Messages that a living consumer lost to another one.
    pub evicted: usize,
    /// Other mail that is gone or changed.
    pub foreign_touched: usize,
    /// Calls that failed and were repeated.
    pub troubles: usize,
    /// Seconds from the first message handed out to the last one handled.
    pub seconds: f64,
    /// All violations, in words.
    #[serde(skip)]
    pub wrong: Vec<String>,
}

/// The outcome with killed processes.
#[derive(Debug, Serialize)]
pub struct Crashes {
    /// The number of killed processes.
    pub killed: usize,
    /// The outcome of the messages all the same.
    #[serde(flatten)]
    pub tally: Tally,
}

/// One server's line.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The server.
    pub server: Kind,
    /// The number of processes at a time.
    pub processes: usize,
    /// The number of messages.
    pub messages: usize,
    /// The outcome without crashes.
    #[serde(flatten)]
    pub tally: Tally,
    /// The number of messages handled a second.
    pub messages_per_second: f64,
    /// The outcome of a fifth as many, which arrived while the consumers waited.
    pub arriving: Tally,
    /// The outcome of as many, with crashes.
    pub crashes: Crashes,
}

/// Rounds to a tenth, for readers.
pub fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}
