//! The messages between the bench and a client process: parameters in, outcome out.

use std::error::Error;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::mails::Sizes;

/// Any error: the program prints it and ends.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A measured system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// pymail: Python within the client process.
    Pymail,
    /// Two Python processes, driven by JSON lines.
    Subprocess,
    /// The `imap` crate.
    Imap,
    /// The `async-imap` crate.
    AsyncImap,
    /// The `io-imap` crate.
    IoImap,
    /// The `lettre` crate.
    Lettre,
    /// The `mail-send` crate.
    MailSend,
    /// The `io-smtp` crate.
    IoSmtp,
    /// A script on Python's own `imaplib` and `smtplib`.
    Python,
    /// A TLS socket that searches, fetches and moves, and discards the responses.
    Floor,
    /// Postfix's `smtp-source`, one session.
    SmtpSource,
}

impl System {
    /// All systems, in the order of the report.
    pub const ALL: [Self; 11] = [
        Self::Pymail,
        Self::Subprocess,
        Self::Imap,
        Self::AsyncImap,
        Self::IoImap,
        Self::Lettre,
        Self::MailSend,
        Self::IoSmtp,
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
            Self::IoImap => "io-imap",
            Self::Lettre => "lettre",
            Self::MailSend => "mail-send",
            Self::IoSmtp => "io-smtp",
            Self::Python => "python",
            Self::Floor => "floor",
            Self::SmtpSource => "smtp-source",
        }
    }
}

/// The client's work between "go" and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Receives and archives `n` waiting messages.
    Drain,
    /// Sends `n` messages that are known in advance.
    Send,
    /// Connects to both servers from nothing: measured from the start of the process.
    Start,
    /// Sends `n` NOOPs to the IMAP server.
    Noop,
    /// Keeps `n` mailboxes connected.
    Mailboxes,
    /// Handles `n` messages, each as soon as the server announces it.
    Push,
    /// Keeps `n` mailboxes waiting for announcements.
    Idle,
    /// The same, on a scripted server without TLS: for more than Dovecot has processes.
    IdleScripted,
}

/// A server and an account on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// The server's name, as in its certificate.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The user; each client has its own.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// `true` for no TLS and no login: `smtp-sink` has neither.
    pub plain: bool,
    /// The tag of the messages, and the name of the archive.
    pub tag: String,
}

/// The parameters of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The number of messages, mailboxes or calls.
    pub n: usize,
    /// The bodies of the messages.
    pub sizes: Sizes,
    /// The account that receives.
    pub imap: Account,
    /// The account that sends.
    pub smtp: Account,
    /// The recipient of all messages.
    pub recipient: String,
    /// The certificate authority of both servers, as a PEM file: for pymail, which adds it to the system's.
    pub ca_file: PathBuf,
    /// The system's certificate authorities and that one, as a PEM file: for the Python processes.
    pub ca_bundle: PathBuf,
    /// The interval of heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// The most messages that are received and archived at a time.
    pub batch: usize,
}

/// The measurements of a client.
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
    /// Share of one core that idle mailboxes take.
    pub rest_cores: Option<f64>,
    /// The 99th percentile of how late heartbeats are, in seconds.
    pub late_s: Option<f64>,
    /// Seconds to close all mailboxes, one after the other.
    pub stop_s: Option<f64>,
    /// Median of the time from a message's delivery until it is handled, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of that time.
    pub p99_ms: Option<f64>,
}

/// Returns the time in nanoseconds since 1970, which the bench and its clients share.
pub fn nanos() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos())
}
