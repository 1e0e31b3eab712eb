//! One line of JSON a server.

use serde::Serialize;

use crate::server::Kind;

/// What became of the messages of one shift.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// Messages that were handed to somebody and are in the archive.
    pub handled: usize,
    /// Messages that were handed more than once.
    pub twice: usize,
    /// Those of them that not everybody had lost who had them before.
    pub twice_unheld: usize,
    /// Messages that nobody was handed, or that are not in the archive.
    pub lost: usize,
    /// Messages that a living consumer lost to another one.
    pub evicted: usize,
    /// Others' mails that are gone, or not as they were.
    pub foreign_touched: usize,
    /// Calls that failed and were made again.
    pub troubles: usize,
    /// From the first message handed to the last one handled.
    pub seconds: f64,
    /// Everything that is wrong, in words.
    #[serde(skip)]
    pub wrong: Vec<String>,
}

/// With killed processes.
#[derive(Debug, Serialize)]
pub struct Crashes {
    /// How many were killed.
    pub killed: usize,
    /// What became of the messages all the same.
    #[serde(flatten)]
    pub tally: Tally,
}

/// One server's line.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which server.
    pub server: Kind,
    /// How many processes at a time.
    pub processes: usize,
    /// How many messages.
    pub messages: usize,
    /// What became of them without crashes.
    #[serde(flatten)]
    pub tally: Tally,
    /// How many were handled a second.
    pub messages_per_second: f64,
    /// What became of a fifth as many that came while the consumers waited.
    pub arriving: Tally,
    /// What became of as many with crashes.
    pub crashes: Crashes,
}

/// To a tenth, as it is meant to be read.
pub fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}
