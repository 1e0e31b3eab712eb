//! A private Courier with its own root folder, ports and certificate; ready when returned, gone on drop. Root only.
//!
//! All mailboxes but INBOX are within it: `INBOX.x`.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::certs::{Authority, Issued};
use super::dovecot::HOST;
use super::jail::{self, Jail, NOBODY};
use super::passwords::Passwords;
use super::postfix::Receiver;
use super::process::{ProcessGroup, free_port, is_open, wait_until};

const ENVIRONMENT: &str = include_str!("courier.env");

const LISTENER: &str = "/usr/sbin/couriertcpd";
const TLS: &str = "/usr/bin/couriertls";
const LOGIN: &str = "/usr/lib/courier/courier/imaplogin";
const IMAPD: &str = "/usr/bin/imapd";
const WATCHER: &str = "/usr/libexec/gam_server";

/// The recipients of mail from Postfix, which must know each of them.
const USERS: [&str; 3] = ["alice@example.test", "bob@example.test", "carol@example.test"];

/// The user that the TLS part runs as.
const COURIER: u32 = 65_533;

/// A running Courier, where any user at example.test may log in with [`PASSWORD`](super::dovecot::PASSWORD).
pub struct Courier {
    // Before the jail: the processes must end before their folder goes.
    _running: Vec<ProcessGroup>,
    ports: [u16; 2],
    authority: Authority,
    _authdaemond: Passwords,
    saslauthd: Passwords,
    jail: Jail,
}

impl Courier {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If this process isn't root's, or Courier isn't unpacked or doesn't start; the message holds its log.
    pub fn start() -> Self {
        (0..5).find_map(|_| Self::try_start()).expect("free ports for Courier")
    }

    /// Returns `None` if another program has taken one of the ports.
    fn try_start() -> Option<Self> {
        let jail = Jail::new("courier", &[LISTENER, TLS, LOGIN, IMAPD, WATCHER], &[("courier", COURIER)]);
        for (name, owner) in [("/run/courier/authdaemon", 0), ("/home", NOBODY)] {
            jail.folder(name, owner, 0o755);
        }
        let homes = jail.path("/home");
        let socket = jail.path("/run/courier/authdaemon/socket");
        let authdaemond = Passwords::authdaemond(&socket, move |user| welcome(&homes, user));
        let saslauthd = Passwords::saslauthd(&jail.path("/run/saslauthd"));
        let (ports, authority) = ([free_port(), free_port()], Authority::new());
        let Issued { cert_pem, key_pem } = authority.issue(&[HOST, "127.0.0.1"]);
        jail.write("/etc/courier/imapd.pem", &(key_pem + &cert_pem), COURIER, 0o600);
        let maildirs = USERS.map(|user| format!("{user} {user}/Maildir/\n"));
        jail.write("/etc/maildirs", &maildirs.concat(), 0, 0o644);
        let running = launch(&jail, ports)?;
        Some(Self { _running: running, ports, authority, _authdaemond: authdaemond, saslauthd, jail })
    }

    /// Returns the port with implicit TLS.
    pub fn imaps_port(&self) -> u16 {
        self.ports[1]
    }

    /// Returns the port with STARTTLS, which is required for a login.
    pub fn imap_port(&self) -> u16 {
        self.ports[0]
    }

    /// Returns the certificate to trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.jail.path("/log")).unwrap_or_default()
    }

    /// Writes one message, with LF or CRLF line ends, into the user's INBOX, as a local delivery does.
    pub fn deliver(&self, user: &str, raw: &[u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let maildir = maildir(&self.jail.path("/home"), user);
        // Courier assigns UIDs in the order of the names, so they follow the order of delivery.
        let name = format!("{:020}.{}.test", NEXT.fetch_add(1, Ordering::SeqCst), process::id());
        let file = maildir.join("tmp").join(&name);
        fs::write(&file, raw).expect("a message in Courier's maildir");
        chown(&file, Some(NOBODY), Some(NOBODY)).expect("an owner of the message");
        fs::rename(file, maildir.join("new").join(name)).expect("a message in Courier's maildir");
    }
}

impl Receiver for Courier {
    fn issue(&self) -> Issued {
        self.authority.issue(&[HOST, "127.0.0.1"])
    }

    /// Postfix itself writes into the maildirs of `alice`, `bob` and `carol`.
    fn main_cf(&self) -> String {
        let (homes, maildirs) = (self.jail.path("/home"), self.jail.path("/etc/maildirs"));
        "virtual_transport = virtual\n".to_owned()
            + &format!("virtual_mailbox_base = {}\n", homes.display())
            + &format!("virtual_mailbox_maps = texthash:{}\n", maildirs.display())
            + &format!("virtual_uid_maps = static:{NOBODY}\nvirtual_gid_maps = static:{NOBODY}\n")
    }

    fn smtpd_conf(&self) -> String {
        self.saslauthd.smtpd_conf()
    }
}

/// Starts two listeners and the watcher of maildirs; returns `None` if a port isn't free.
fn launch(jail: &Jail, [imap, imaps]: [u16; 2]) -> Option<Vec<ProcessGroup>> {
    // The watcher's address is not a path, but a name for the whole machine.
    let id = format!("pymail-{}-{imap}", process::id());
    let watcher = watch(jail, &id);
    // A login requires TLS in either case.
    let mut plain = listen(jail, &id, imap, "IMAP_TLS_REQUIRED", &[]);
    let mut tls = listen(jail, &id, imaps, "IMAP_TLS", &[TLS, "-server", "-tcpd"]);
    let ready = |group: &mut ProcessGroup, port: u16| {
        wait_until("Courier's port", || is_open(port) || group.has_ended());
        !group.has_ended() && group.listens(port)
    };
    (ready(&mut plain, imap) && ready(&mut tls, imaps)).then(|| vec![plain, tls, watcher])
}

/// Starts the watcher of maildirs: without one, each session looks for it, and then starts one of its own.
fn watch(jail: &Jail, id: &str) -> ProcessGroup {
    let mut command = jail.command(&[&format!("--userspec={NOBODY}:{NOBODY}")], WATCHER);
    let group = jail::launch(command.args(["--notimeout", id]), &jail.path("/log"));
    let socket = format!("@/tmp/fam-nobody-{id}");
    wait_until("Courier's watcher", || {
        fs::read_to_string("/proc/net/unix").is_ok_and(|sockets| sockets.contains(&socket))
    });
    group
}

/// Starts a listener, with a variable set and an optional program in front of the login.
fn listen(jail: &Jail, watcher: &str, port: u16, set: &str, front: &[&str]) -> ProcessGroup {
    let mut command = jail.command(&[], LISTENER);
    let lines = ENVIRONMENT.lines().filter(|line| !line.starts_with('#'));
    command.envs(lines.filter_map(|line| line.split_once('='))).env("GAM_CLIENT_ID", watcher).env(set, "1");
    command.args(["-address=127.0.0.1", "-maxprocs=300", "-maxperip=300", "-nodnslookup", "-noidentlookup"]);
    command.arg(port.to_string()).args(front).args([LOGIN, IMAPD, "Maildir"]);
    jail::launch(&mut command, &jail.path("/log"))
}

/// Returns a user's attributes as Courier's own daemon does; makes the maildir at the first login.
fn welcome(homes: &Path, user: &str) -> String {
    maildir(homes, user);
    format!("UID={NOBODY}\nGID={NOBODY}\nHOME=/home/{user}\nADDRESS={user}\nAUTHADDR={user}\nMAILDIR=Maildir")
}

fn maildir(homes: &Path, user: &str) -> PathBuf {
    let maildir = homes.join(user).join("Maildir");
    for name in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(name)).expect("a maildir");
    }
    for path in ["..", ".", "tmp", "new", "cur"] {
        chown(maildir.join(path), Some(NOBODY), Some(NOBODY)).expect("an owner of the maildir");
    }
    maildir
}
