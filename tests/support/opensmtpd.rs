//! A private OpenSMTPD beside a [`Dovecot`], which receives its mail. Root only.
//!
//! Mail to any address at `example.test` arrives in the INBOX of the user of that full address, except to
//! `refused@example.test` (550) and `later@example.test` (450). Mail to anywhere else is refused, too.
//!
//! It relays for the programs of its own machine, without TLS and login. Debian 12's can't do TLS as a server, because
//! it was not made for the OpenSSL 3 that it is built with, and without TLS it offers no AUTH.

use std::fs;

use super::dovecot::Dovecot;
use super::jail::{self, Jail};
use super::process::{ProcessGroup, free_port, is_open, wait_until};

const CONFIGURATION: &str = include_str!("opensmtpd.conf");

const SMTPD: &str = "/usr/sbin/smtpd";

/// Its users, by the built-in names.
const USERS: [(&str, u32); 2] = [("opensmtpd", 65_531), ("opensmtpq", 65_532)];

/// A running OpenSMTPD.
pub struct OpenSmtpd {
    // Before the jail: the processes must end before their folder goes.
    group: ProcessGroup,
    port: u16,
    jail: Jail,
}

impl OpenSmtpd {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If this process isn't root's, or OpenSMTPD isn't unpacked or doesn't start; the message holds its log.
    pub fn start(dovecot: &Dovecot) -> Self {
        (0..5).find_map(|_| Self::try_start(dovecot)).expect("a free port for OpenSMTPD")
    }

    /// Returns `None` if another program has taken the port.
    fn try_start(dovecot: &Dovecot) -> Option<Self> {
        let (jail, port) = (Jail::new("opensmtpd", &[SMTPD], &USERS), free_port());
        for (folder, mode) in
            [("/var/lib/opensmtpd/empty", 0o755), ("/var/spool/smtpd", 0o711), ("/var/run", 0o755)]
        {
            jail.folder(folder, 0, mode);
        }
        let configuration = CONFIGURATION
            .replace("@smtp@", &port.to_string())
            .replace("@lmtp@", &dovecot.lmtp_port().to_string());
        jail.write("/etc/smtpd.conf", &configuration, 0, 0o644);
        jail.write("/etc/mailname", "localhost\n", 0, 0o644);
        // In the foreground.
        let group = jail::launch(jail.command(&[], SMTPD).arg("-d"), &jail.path("/log"));
        let mut server = Self { group, port, jail };
        server.is_ready().then_some(server)
    }

    /// Returns the port, plaintext without login.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.jail.path("/log")).unwrap_or_default()
    }

    fn is_ready(&mut self) -> bool {
        wait_until("OpenSMTPD's port", || is_open(self.port) || self.group.has_ended());
        if !self.group.has_ended() {
            return true;
        }
        let log = self.log();
        assert!(log.contains("Address already in use"), "OpenSMTPD doesn't start:\n{log}");
        false
    }
}
