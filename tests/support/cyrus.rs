//! A private Cyrus with its own folder, ports and certificate; ready when returned, gone on drop. Root only.
//!
//! As Debian configures it, all mailboxes but INBOX are within it: `INBOX.x`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use tempfile::TempDir;

use super::certs::{Authority, Issued};
use super::dovecot::HOST;
use super::jail::{self, NOBODY};
use super::lmtp;
use super::passwords::Passwords;
use super::postfix::Receiver;
use super::process::{self, ProcessGroup};

const SETTINGS: &str = include_str!("cyrus.imapd.conf");
const SERVICES: &str = include_str!("cyrus.conf");

const FOLDERS: [&str; 11] = [
    "conf/db",
    "conf/log",
    "conf/msg",
    "conf/proc",
    "conf/ptclient",
    "conf/quota",
    "conf/socket",
    "conf/user",
    "lock",
    "mail",
    "proc",
];

/// A running Cyrus, where any user at example.test may log in with [`PASSWORD`](super::dovecot::PASSWORD).
pub struct Cyrus {
    // Before `dir`: the processes must end before their folder goes.
    running: Mutex<Option<ProcessGroup>>,
    ports: Ports,
    authority: Authority,
    passwords: Passwords,
    dir: TempDir,
}

struct Ports {
    imap: u16,
    imaps: u16,
    lmtp: u16,
}

impl Cyrus {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If this process isn't root's, or Cyrus isn't unpacked or doesn't start; the message holds its output.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts a server with more lines in its `imapd.conf`.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn with(extra: &str) -> Self {
        assert!(process::is_root(), "Cyrus starts only as root");
        (0..5).find_map(|_| Self::try_with(extra)).expect("free ports for Cyrus")
    }

    /// Returns `None` if another program has taken one of the ports.
    fn try_with(extra: &str) -> Option<Self> {
        let ports =
            Ports { imap: process::free_port(), imaps: process::free_port(), lmtp: process::free_port() };
        let dir = jail::folder("cyrus");
        let passwords = Passwords::saslauthd(&dir.path().join("saslauthd"));
        let authority = Authority::new();
        let server = Self { running: Mutex::new(None), ports, authority, passwords, dir };
        server.install(extra);
        server.launch().then_some(server)
    }

    /// Returns the port with implicit TLS.
    pub fn imaps_port(&self) -> u16 {
        self.ports.imaps
    }

    /// Returns the port with STARTTLS, which is required for a login.
    pub fn imap_port(&self) -> u16 {
        self.ports.imap
    }

    /// Returns the certificate to trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Returns the server's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the server's output; its log goes to the system's.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Delivers one message, with CRLF line ends, to the user's INBOX; it is stored when this returns.
    ///
    /// # Panics
    ///
    /// If Cyrus refuses the message.
    pub fn deliver(&self, user: &str, raw: &[u8]) {
        self.deliver_all(user, [raw]);
    }

    /// Delivers any number of messages, in this order, on one connection.
    ///
    /// # Panics
    ///
    /// If Cyrus refuses a message.
    pub fn deliver_all(&self, user: &str, mails: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        lmtp::deliver(self.ports.lmtp, user, mails)
            .unwrap_or_else(|error| panic!("LMTP to {user}: {error}\n{}", self.log()));
    }

    /// Stops the server: connections are cut and new ones refused until [`restart`](Self::restart).
    pub fn stop(&self) {
        self.running.lock().expect("no panic while Cyrus stopped").take();
    }

    /// Stops the server, if it runs, and starts it again on the same ports with the same mail.
    pub fn restart(&self) {
        self.stop();
        assert!(self.launch(), "another program has taken Cyrus' port");
    }

    fn install(&self, extra: &str) {
        let owned = |path: &Path| {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("an owner of Cyrus' files");
        };
        for name in FOLDERS {
            fs::create_dir_all(self.dir().join(name)).expect("a folder for Cyrus");
            owned(&self.dir().join(name));
        }
        owned(&self.dir().join("conf"));
        let Issued { cert_pem, key_pem } = self.issue();
        fs::write(self.dir().join("cert.pem"), cert_pem).expect("Cyrus' certificate");
        fs::write(self.dir().join("key.pem"), key_pem).expect("Cyrus' key");
        fs::write(self.dir().join("imapd.conf"), self.filled(SETTINGS) + extra + "\n")
            .expect("Cyrus' settings");
        fs::write(self.dir().join("cyrus.conf"), self.filled(SERVICES)).expect("Cyrus' services");
    }

    fn filled(&self, template: &str) -> String {
        let text = |path: &Path| path.to_str().expect("a folder in UTF-8").to_owned();
        template
            .replace("@dir@", &text(self.dir()))
            .replace("@bin@", &text(&jail::unpacked("cyrus").join("usr/lib/cyrus/bin")))
            .replace("@imap@", &self.ports.imap.to_string())
            .replace("@imaps@", &self.ports.imaps.to_string())
            .replace("@lmtp@", &self.ports.lmtp.to_string())
    }

    /// Starts the server; returns `false` if a port isn't free.
    fn launch(&self) -> bool {
        let _ = fs::write(self.dir().join("log"), "");
        let mut command = Command::new(jail::unpacked("cyrus").join("usr/lib/cyrus/bin/master"));
        command.env("LD_LIBRARY_PATH", jail::libraries("cyrus")).current_dir(self.dir());
        // In the foreground.
        command.arg("-D").arg("-C").arg(self.dir().join("imapd.conf"));
        command.arg("-M").arg(self.dir().join("cyrus.conf")).arg("-p").arg(self.dir().join("pid"));
        let mut group = jail::launch(&mut command, &self.dir().join("log"));
        let Ports { imap, imaps, lmtp } = self.ports;
        let open = || [imap, imaps, lmtp].into_iter().all(process::is_open);
        process::wait_until("Cyrus' ports", || open() || group.has_ended());
        // Cyrus goes on without a service whose port is taken: check that this process listens there.
        let ours = !group.has_ended() && [imap, imaps, lmtp].into_iter().all(|port| group.listens(port));
        *self.running.lock().expect("no panic while Cyrus started") = ours.then_some(group);
        ours
    }
}

impl Receiver for Cyrus {
    fn issue(&self) -> Issued {
        self.authority.issue(&[HOST, "127.0.0.1"])
    }

    fn main_cf(&self) -> String {
        format!("virtual_transport = lmtp:inet:127.0.0.1:{}\n", self.ports.lmtp)
    }

    fn smtpd_conf(&self) -> String {
        self.passwords.smtpd_conf()
    }
}
