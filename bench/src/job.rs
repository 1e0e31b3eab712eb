//! What the bench tells a client process to do, and what it hears back.

use std::error::Error;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Any error: this program prints it and ends.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One of the contestants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Two Python processes, driven by JSON lines.
    Subprocess,
    /// Python in this process.
    Pymail,
}

impl System {
    /// Every contestant, in the order in which they take turns.
    pub const ALL: [Self; 2] = [Self::Subprocess, Self::Pymail];

    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subprocess => "subprocess",
            Self::Pymail => "pymail",
        }
    }
}

/// What a client does between "go" and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Receive and archive `n` messages.
    Receive,
    /// Send `n` messages, each after the answer to the one before it.
    Send,
    /// Send `n` messages that are known in advance.
    SendAll,
    /// Connect both ways, from nothing.
    Start,
    /// Keep `n` mailboxes connected.
    Memory,
}

/// Where and as whom a client connects.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// The server's name, as its certificate has it.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The user, who has all to himself.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// Neither TLS nor login: `smtp-sink` knows neither.
    pub plain: bool,
    /// The tag of the messages.
    pub tag: String,
}

/// Everything that a client must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// How many messages, or mailboxes.
    pub n: usize,
    /// The body of a message, in bytes.
    pub size: usize,
    /// Where to receive.
    pub imap: Account,
    /// Where to send.
    pub smtp: Account,
    /// Who messages are sent to.
    pub recipient: String,
    /// The certificate authority of both servers, as a PEM file: for pymail, which adds it to the system's.
    pub ca_file: PathBuf,
    /// The system's certificate authorities and that one: what the subprocess version trusts.
    pub ca_bundle: PathBuf,
}

/// What a client measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Wall clock from "go" to the end of the work.
    pub seconds: f64,
    /// User and system time of the client and its children in that time, in microseconds.
    pub cpu_us: f64,
    /// Peak resident memory since the client's start, its children's added; shared pages count for each.
    pub peak_rss_mb: f64,
    /// Proportional memory at the end of the work, children's added; shared pages count once in all.
    pub pss_mb: f64,
}
