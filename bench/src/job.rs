//! What the bench tells a client process to do, and what it hears back.

use std::error::Error;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::mails::Sizes;

/// Any error: this program prints it and ends.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One of the contestants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Python in this process.
    Pymail,
    /// Two Python processes, driven by JSON lines.
    Subprocess,
    /// The `imap` crate.
    Imap,
    /// The `async-imap` crate.
    AsyncImap,
    /// The `lettre` crate.
    Lettre,
    /// The `mail-send` crate.
    MailSend,
    /// A script on Python's own `imaplib` and `smtplib`.
    Python,
    /// A TLS socket that searches, fetches and moves, and throws the answers away.
    Floor,
    /// Postfix's `smtp-source`, one session.
    SmtpSource,
}

impl System {
    /// Every one, in the order of the report.
    pub const ALL: [Self; 9] = [
        Self::Pymail,
        Self::Subprocess,
        Self::Imap,
        Self::AsyncImap,
        Self::Lettre,
        Self::MailSend,
        Self::Python,
        Self::Floor,
        Self::SmtpSource,
    ];

    /// The name in the results and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pymail => "pymail",
            Self::Subprocess => "subprocess",
            Self::Imap => "imap",
            Self::AsyncImap => "async-imap",
            Self::Lettre => "lettre",
            Self::MailSend => "mail-send",
            Self::Python => "python",
            Self::Floor => "floor",
            Self::SmtpSource => "smtp-source",
        }
    }
}

/// What a client does between "go" and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Receive and archive `n` messages that wait.
    Drain,
    /// Send `n` messages that are known in advance.
    Send,
    /// Connect both ways, from nothing: measured from the start of the process.
    Start,
    /// Ask the IMAP server for a sign of life, `n` times.
    Noop,
    /// Keep `n` mailboxes connected.
    Mailboxes,
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
    /// The tag of the messages, and the name of the archive.
    pub tag: String,
}

/// Everything that a client must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// How many messages, mailboxes or calls.
    pub n: usize,
    /// The bodies of the messages.
    pub sizes: Sizes,
    /// Where to receive.
    pub imap: Account,
    /// Where to send.
    pub smtp: Account,
    /// Who messages are sent to.
    pub recipient: String,
    /// The certificate authority of both servers, as a PEM file: for pymail, which adds it to the system's.
    pub ca_file: PathBuf,
    /// The system's certificate authorities and that one: what the Python processes trust.
    pub ca_bundle: PathBuf,
    /// How long connections may be silent, in milliseconds.
    pub heartbeat_ms: u64,
}

/// What a client measured.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Wall clock from "go" to the end of the work.
    pub seconds: f64,
    /// User and system time of the system's processes in that time.
    pub cpu_s: f64,
    /// Peak resident memory since the processes' start, summed; shared pages count for each.
    pub peak_rss_mb: Option<f64>,
    /// Resident memory at the end of the work, summed; shared pages count for each.
    pub rss_mb: Option<f64>,
    /// Proportional memory at the end of the work, summed; shared pages count once in all.
    pub pss_mb: Option<f64>,
    /// Part of one core that mailboxes take at rest.
    pub rest_cores: Option<f64>,
    /// How late a heartbeat came at most, 99 times of 100, in seconds.
    pub late_s: Option<f64>,
    /// How long it took to stop all mailboxes, one after the other.
    pub stop_s: Option<f64>,
}
