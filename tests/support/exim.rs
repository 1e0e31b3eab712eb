//! A private Exim beside a [`Dovecot`], which receives its mail. Root only.
//!
//! Any user at example.test may log in with [`PASSWORD`]. Mail to any address at `example.test` arrives in the INBOX of
//! the user of that full address, except to `refused@example.test` (550) and `later@example.test` (450). Mail to
//! anywhere else is refused, too.

use std::fs;

use super::certs::Issued;
use super::dovecot::{Dovecot, PASSWORD};
use super::jail::{self, Jail};
use super::process::{ProcessGroup, free_port, is_open, wait_until};

const CONFIGURATION: &str = include_str!("exim.conf");

const EXIM: &str = "/usr/sbin/exim4";

/// Its user, by the built-in name.
const USER: (&str, u32) = ("Debian-exim", 65_531);

/// A running Exim; its certificate is by the [`Dovecot`]'s authority, for [`HOST`](super::dovecot::HOST).
pub struct Exim {
    // Before the jail: the processes must end before their folder goes.
    group: ProcessGroup,
    submission: u16,
    smtps: u16,
    jail: Jail,
}

impl Exim {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If this process isn't root's, or Exim isn't unpacked or doesn't start; the message holds its log.
    pub fn start(dovecot: &Dovecot) -> Self {
        (0..5).find_map(|_| Self::try_start(dovecot)).expect("free ports for Exim")
    }

    /// Returns `None` if another program has taken one of the ports.
    fn try_start(dovecot: &Dovecot) -> Option<Self> {
        let (jail, submission, smtps) = (Jail::new("exim", &[EXIM], &[USER]), free_port(), free_port());
        for folder in ["/var/spool/exim4", "/var/log/exim4"] {
            jail.folder(folder, USER.1, 0o750);
        }
        let Issued { cert_pem, key_pem } = dovecot.issue();
        for (name, text) in [("cert.pem", &*cert_pem), ("key.pem", &*key_pem), ("password", PASSWORD)] {
            jail.write(&format!("/etc/exim4/{name}"), text, USER.1, 0o600);
        }
        let configuration = CONFIGURATION
            .replace("@submission@", &submission.to_string())
            .replace("@smtps@", &smtps.to_string())
            .replace("@lmtp@", &dovecot.lmtp_port().to_string());
        jail.write("/etc/exim4/exim4.conf", &configuration, 0, 0o644);
        // A daemon in the foreground.
        let group = jail::launch(jail.command(&[], EXIM).arg("-bdf"), &jail.path("/output"));
        let mut server = Self { group, submission, smtps, jail };
        server.is_ready().then_some(server)
    }

    /// Returns the port with STARTTLS, which AUTH requires, which mail requires.
    pub fn submission_port(&self) -> u16 {
        self.submission
    }

    /// Returns the port with implicit TLS and AUTH.
    pub fn smtps_port(&self) -> u16 {
        self.smtps
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        let files = ["/var/log/exim4/mainlog", "/var/log/exim4/paniclog", "/output"];
        files.map(|file| fs::read_to_string(self.jail.path(file)).unwrap_or_default()).concat()
    }

    fn is_ready(&mut self) -> bool {
        let open = || [self.submission, self.smtps].into_iter().all(is_open);
        wait_until("Exim's ports", || open() || self.group.has_ended());
        if !self.group.has_ended() {
            return true;
        }
        let log = self.log();
        assert!(log.contains("Address already in use"), "Exim doesn't start:\n{log}");
        false
    }
}
