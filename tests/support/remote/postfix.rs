//! A Postfix for Windows programs, with the methods of the one that runs beside a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::dovecot::Dovecot;
use super::{Call, Lines, PostfixStarted, Start, start, windows_path};
pub use crate::server_options::PostfixOptions;

/// A server with mailboxes, beside which a Postfix can run.
pub trait Receiver {
    /// Returns the server's folder, as the system of the server names it.
    fn its_dir(&self) -> &Path;
}

impl Receiver for Dovecot {
    fn its_dir(&self) -> &Path {
        self.its_dir()
    }
}

/// A running Postfix; its certificate is by the [`Receiver`]'s authority, for [`HOST`](super::dovecot::HOST).
pub struct Postfix {
    lines: Mutex<Lines>,
    started: PostfixStarted,
    dir: PathBuf,
}

impl Postfix {
    /// Starts a server with the default options.
    pub fn start(receiver: &impl Receiver) -> Self {
        Self::with(receiver, &PostfixOptions::default())
    }

    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If no Postfix can be started.
    pub fn with(receiver: &impl Receiver, options: &PostfixOptions) -> Self {
        let server = Start::Postfix(receiver.its_dir().to_owned(), options.clone());
        let (lines, started) = start::<PostfixStarted>(&server).expect("Postfix starts");
        let dir = windows_path(&started.dir);
        Self { lines: Mutex::new(lines), started, dir }
    }

    /// Returns the port with STARTTLS, which AUTH requires, which mail requires.
    pub fn submission_port(&self) -> u16 {
        self.started.submission
    }

    /// Returns the port with implicit TLS and AUTH.
    pub fn smtps_port(&self) -> u16 {
        self.started.smtps
    }

    /// Returns the server's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Cuts all SMTP connections, without a goodbye; new connections are accepted.
    pub fn disconnect_all(&self) {
        self.lines.lock().expect("no panic during a call").call::<()>(&Call::DisconnectAll);
    }

    /// Kills the processes of all SMTP connections, without waiting.
    pub fn kill_all(&self) {
        self.lines.lock().expect("no panic during a call").call::<()>(&Call::KillAll);
    }
}
