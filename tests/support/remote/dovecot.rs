//! A Dovecot for Windows programs, with the methods of the one that runs beside a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::de::DeserializeOwned;

use super::{Call, DovecotStarted, Lines, Start, start, windows_path};
use crate::certs::Issued;
use crate::lmtp;
pub use crate::server_options::{DovecotOptions, HOST, PASSWORD, REMOTE_NAME, dovecot_without};

/// A running Dovecot, where any user may log in with [`PASSWORD`].
pub struct Dovecot {
    lines: Mutex<Lines>,
    started: DovecotStarted,
    dir: PathBuf,
}

impl Dovecot {
    /// Starts a server with the default options.
    pub fn start() -> Self {
        Self::with(&DovecotOptions::default())
    }

    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If no Dovecot can be started.
    pub fn with(options: &DovecotOptions) -> Self {
        let (lines, started) =
            start::<DovecotStarted>(&Start::Dovecot(options.clone())).expect("Dovecot starts");
        let dir = windows_path(&started.dir);
        Self { lines: Mutex::new(lines), started, dir }
    }

    /// Returns the port with implicit TLS.
    pub fn imaps_port(&self) -> u16 {
        self.started.imaps
    }

    /// Returns the port for STARTTLS or plaintext.
    pub fn imap_port(&self) -> u16 {
        self.started.imap
    }

    /// Returns the port of plaintext LMTP.
    pub fn lmtp_port(&self) -> u16 {
        self.started.lmtp
    }

    /// Returns the certificate to trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.started.ca_pem
    }

    /// Issues a certificate for [`HOST`] and [`REMOTE_NAME`] by this server's authority, for a server beside this one.
    pub fn issue(&self) -> Issued {
        self.call(&Call::Issue)
    }

    /// Returns the server's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the server's folder, as the system of the server names it.
    pub(super) fn its_dir(&self) -> &Path {
        &self.started.dir
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Delivers one message, with CRLF line ends, to the user's INBOX; it is stored when this returns.
    ///
    /// # Panics
    ///
    /// If Dovecot refuses the message.
    pub fn deliver(&self, user: &str, raw: &[u8]) {
        self.deliver_all(user, [raw]);
    }

    /// Delivers any number of messages, in this order, on one connection.
    ///
    /// # Panics
    ///
    /// If Dovecot refuses a message.
    pub fn deliver_all(&self, user: &str, mails: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        lmtp::deliver(self.lmtp_port(), user, mails)
            .unwrap_or_else(|error| panic!("LMTP to {user}: {error}\n{}", self.log()));
    }

    /// Cuts all logged-in IMAP connections, without a `BYE`.
    pub fn disconnect_all(&self) {
        self.call::<()>(&Call::DisconnectAll);
    }

    /// Ends all logged-in IMAP connections with a `BYE`.
    pub fn dismiss_all(&self) {
        self.call::<()>(&Call::DismissAll);
    }

    /// Ends the user's logged-in connections with a `BYE`, as a provider does when it revokes a token. Returns `true` if
    /// there are any.
    pub fn kick(&self, user: &str) -> bool {
        self.call(&Call::Kick(user.to_owned()))
    }

    /// Sends a signal to the processes of all logged-in IMAP connections, without waiting.
    pub fn signal_all(&self, signal: &str) {
        self.call::<()>(&Call::SignalAll(signal.to_owned()));
    }

    /// Stops the server: connections are cut and new ones refused until [`Dovecot::restart`].
    pub fn stop(&self) {
        self.call::<()>(&Call::Stop);
    }

    /// Stops the server, if it runs, and starts it again on the same ports with the same mail.
    pub fn restart(&self) {
        self.call::<()>(&Call::Restart);
    }

    fn call<T: DeserializeOwned>(&self, call: &Call) -> T {
        let mut lines = self.lines.lock().expect("no panic during a call");
        lines.call(call)
    }
}
