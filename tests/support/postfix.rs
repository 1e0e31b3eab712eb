//! A private Postfix beside a [`Receiver`], such as a [`Dovecot`], which receives its mail. Root only.
//!
//! Mail to any address at `example.test` arrives in the INBOX of the user of that full address, except to
//! `refused@example.test` (550) and `later@example.test` (450). Mail to anywhere else is refused, too.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::certs::Issued;
use super::dovecot::Dovecot;
use super::process::{self, ProcessGroup};
pub use super::server_options::PostfixOptions;

const MAIN: &str = include_str!("postfix.cf");
const MASTER: &str = include_str!("postfix.master.cf");

/// The folder where Debian's Postfix looks anyway; other builds need the setting.
const CYRUS_SASL: &str =
    "smtpd_sasl_type = cyrus\nsmtpd_sasl_path = smtpd\ncyrus_sasl_config_path = $config_directory/sasl\n";

const OWNED: [&str; 13] = [
    "data",
    "queue/active",
    "queue/bounce",
    "queue/corrupt",
    "queue/defer",
    "queue/deferred",
    "queue/flush",
    "queue/hold",
    "queue/incoming",
    "queue/private",
    "queue/public",
    "queue/saved",
    "queue/trace",
];

/// A server with mailboxes, beside which a Postfix can run.
pub trait Receiver {
    /// Issues a certificate for [`HOST`](super::dovecot::HOST) by this server's authority.
    fn issue(&self) -> Issued;

    /// Returns the lines of `main.cf` for delivery, and for passwords unless Cyrus SASL checks them.
    fn main_cf(&self) -> String;

    /// Returns the settings of Cyrus SASL, which checks passwords unless `main_cf` names another way.
    fn smtpd_conf(&self) -> String {
        String::new()
    }
}

impl Receiver for Dovecot {
    fn issue(&self) -> Issued {
        self.issue()
    }

    fn main_cf(&self) -> String {
        let (socket, port) = (self.auth_socket(), self.lmtp_port());
        let socket = socket.to_str().expect("a temporary folder in UTF-8");
        format!(
            "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {socket}\nvirtual_transport = lmtp:inet:127.0.0.1:{port}\n"
        )
    }
}

/// A running Postfix; its certificate is by the [`Receiver`]'s authority, for [`HOST`](super::dovecot::HOST).
pub struct Postfix {
    // Before `dir`: the processes must end before their folder goes.
    group: ProcessGroup,
    submission: u16,
    smtps: u16,
    dir: TempDir,
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
    /// If this process isn't root's, or Postfix isn't installed or doesn't start; the message holds its log.
    pub fn with(receiver: &impl Receiver, options: &PostfixOptions) -> Self {
        if !process::is_root() {
            process::needs("root", "Postfix starts only as root");
        }
        (0..5).find_map(|_| Self::try_with(receiver, options)).expect("free ports for Postfix")
    }

    /// Returns `None` if another program has taken one of the ports.
    fn try_with(receiver: &impl Receiver, options: &PostfixOptions) -> Option<Self> {
        let (submission, smtps) = (process::free_port(), process::free_port());
        let dir = folder();
        certify(dir.path(), receiver);
        configure(dir.path(), "main.cf", &main_cf(dir.path(), receiver, options));
        fs::create_dir(dir.path().join("sasl")).expect("a folder for Postfix");
        configure(dir.path(), "sasl/smtpd.conf", &receiver.smtpd_conf());
        let master = MASTER.replace("@submission@", &submission.to_string());
        configure(dir.path(), "master.cf", &master.replace("@smtps@", &smtps.to_string()));
        let mut server = Self { group: launch(dir.path()), submission, smtps, dir };
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

    /// Returns the server's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Cuts all SMTP connections, without a goodbye; new connections are accepted.
    pub fn disconnect_all(&self) {
        self.group.end("smtpd", "KILL");
    }

    /// Kills the processes of all SMTP connections, without waiting.
    pub fn kill_all(&self) {
        self.group.signal("smtpd", "KILL");
    }

    /// Waits until the ports are open; returns `false` if one is taken.
    fn is_ready(&mut self) -> bool {
        let pid = self.dir().join("queue/pid/master.pid");
        process::wait_until("Postfix's start", || pid.exists() || self.group.has_ended());
        process::wait_until("Postfix's ports", || {
            // Another program may listen there already.
            self.group.has_ended()
                || [self.submission, self.smtps].into_iter().all(|port| self.group.listens(port))
        });
        if !self.group.has_ended() {
            return true;
        }
        let log = self.log() + &fs::read_to_string(self.dir().join("output")).unwrap_or_default();
        assert!(log.contains("Address already in use"), "Postfix doesn't start:\n{log}");
        false
    }
}

/// Makes a temporary folder, with the folders that `postfix start` would make, more slowly.
fn folder() -> TempDir {
    let dir = tempfile::Builder::new().prefix("postfix-").tempdir().expect("a temporary folder");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("a folder for all users");
    let owner = process::output(Command::new("id").args(["-u", "postfix"]));
    let owner = owner.parse().expect("a user id");
    for name in ["queue", "queue/pid"] {
        fs::create_dir(dir.path().join(name)).expect("a folder for Postfix");
    }
    for name in OWNED {
        let path = dir.path().join(name);
        fs::create_dir(&path).expect("a folder for Postfix");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("a folder for Postfix alone");
        chown(path, Some(owner), None).expect("Postfix owns its folders");
    }
    dir
}

fn certify(dir: &Path, receiver: &impl Receiver) {
    let Issued { cert_pem, key_pem } = receiver.issue();
    fs::write(dir.join("cert.pem"), cert_pem).expect("Postfix's certificate");
    fs::write(dir.join("key.pem"), key_pem).expect("Postfix's key");
}

fn configure(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, text).expect("Postfix's configuration");
    let file = fs::File::options().write(true).open(path).expect("Postfix's configuration");
    // Postfix waits for two seconds for a file so new that another process may still write it.
    file.set_modified(SystemTime::now() - Duration::from_secs(10)).expect("an older configuration");
}

fn main_cf(dir: &Path, receiver: &impl Receiver, options: &PostfixOptions) -> String {
    let sasl = if receiver.smtpd_conf().is_empty() { "" } else { CYRUS_SASL };
    MAIN.replace("@dir@", dir.to_str().expect("a temporary folder in UTF-8"))
        .replace("@receiver@", &(receiver.main_cf() + sasl))
        .replace("@size@", &options.message_size_limit.to_string())
        .replace("@hidden@", if options.pipelining { "" } else { "pipelining" })
        .replace("@extra@", &options.extra)
}

/// Starts Postfix's own master: the `postfix` command spends seconds on checks of the new folder.
fn launch(dir: &Path) -> ProcessGroup {
    let postconf = process::program("postconf", "postfix");
    let folder = process::output(Command::new(postconf).arg("-c").arg(dir).args(["-h", "daemon_directory"]));
    let mut command = Command::new(Path::new(&folder).join("master"));
    command.arg("-c").arg(dir).arg("-d").stdin(Stdio::null());
    let output = fs::File::create(dir.join("output")).expect("a file for Postfix's output");
    let errors = output.try_clone().expect("a second handle on Postfix's output");
    ProcessGroup::spawn(command.stdout(output).stderr(errors)).expect("Postfix runs")
}
