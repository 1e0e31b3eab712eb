//! A private Dovecot with its own folder, ports and certificate; ready when returned, gone on drop.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

use super::certs::{Authority, Issued};
use super::process::{self, ProcessGroup};
use super::{jwt, lmtp, token_server};

const CONFIGURATION: &str = include_str!("dovecot.conf");

const PACKAGES: &str = "dovecot-imapd dovecot-lmtpd";

/// Every user's password: with characters that IMAP quotes, and easy to find in a text.
pub const PASSWORD: &str = r#"cor"rect \horse 7d3f"#;

/// The host name to connect to: the certificate is made for this name and for `127.0.0.1`.
pub const HOST: &str = "localhost";

/// Another name in the certificate, which this machine can't resolve: a proxy may know it.
pub const REMOTE_NAME: &str = "mail.remote.invalid";

/// The options of a server.
#[derive(Clone, Debug)]
pub struct DovecotOptions {
    /// The whole capability line after login, to hide `MOVE` or `UIDPLUS`; by default Dovecot's own.
    ///
    /// Dovecot still obeys the hidden commands.
    pub capability: Option<String>,
    /// The mailbox format: `maildir` (the default), `sdbox` or `mdbox`.
    pub mailbox_format: String,
    /// The mechanisms by which access tokens are taken, such as `oauthbearer xoauth2`; none by default.
    ///
    /// The tokens are those of [`jwt::mint`], for any user, which Dovecot validates by itself.
    pub token_mechanisms: String,
    /// The address at which Dovecot asks about each token in place of that, by a POST (RFC 7662).
    pub introspection_url: Option<String>,
    /// More lines for the configuration.
    pub extra: String,
}

impl Default for DovecotOptions {
    fn default() -> Self {
        Self {
            capability: None,
            mailbox_format: "maildir".to_owned(),
            token_mechanisms: String::new(),
            introspection_url: None,
            extra: String::new(),
        }
    }
}

/// Returns options of a Dovecot that hides these capabilities.
pub fn dovecot_without(hidden: &[&str]) -> DovecotOptions {
    let all =
        "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ UIDPLUS MOVE ESEARCH SEARCHRES CONDSTORE";
    let shown: Vec<&str> = all.split(' ').filter(|name| !hidden.contains(name)).collect();
    DovecotOptions { capability: Some(shown.join(" ")), ..DovecotOptions::default() }
}

/// A running Dovecot, where any user may log in with [`PASSWORD`].
pub struct Dovecot {
    // Before `dir`: the processes must end before their folder goes.
    running: Mutex<Option<ProcessGroup>>,
    ports: Ports,
    authority: Authority,
    dir: TempDir,
}

struct Ports {
    imap: u16,
    imaps: u16,
    lmtp: u16,
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
    /// By [`process::needs`] if Dovecot isn't installed; if it doesn't start, with its log.
    pub fn with(options: &DovecotOptions) -> Self {
        program();
        (0..5).find_map(|_| Self::try_with(options)).expect("free ports for Dovecot")
    }

    /// Returns `None` if another program has taken one of the ports.
    fn try_with(options: &DovecotOptions) -> Option<Self> {
        let ports =
            Ports { imap: process::free_port(), imaps: process::free_port(), lmtp: process::free_port() };
        let server = Self { running: Mutex::new(None), ports, authority: Authority::new(), dir: folder() };
        server.install(options);
        server.launch().then_some(server)
    }

    /// Returns the port with implicit TLS.
    pub fn imaps_port(&self) -> u16 {
        self.ports.imaps
    }

    /// Returns the port for STARTTLS or plaintext.
    pub fn imap_port(&self) -> u16 {
        self.ports.imap
    }

    /// Returns the port of plaintext LMTP.
    pub fn lmtp_port(&self) -> u16 {
        self.ports.lmtp
    }

    /// Returns the certificate to trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Issues a certificate for [`HOST`] and [`REMOTE_NAME`] by this server's authority, for a server beside this one.
    pub fn issue(&self) -> Issued {
        self.authority.issue(&[HOST, "127.0.0.1", REMOTE_NAME])
    }

    /// Returns the Unix socket on which this server answers authentication requests, such as Postfix's.
    pub fn auth_socket(&self) -> PathBuf {
        self.dir().join("auth")
    }

    /// Returns the server's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Delivers one message, with CRLF line ends, to the user's INBOX; it is stored when this returns.
    ///
    /// Dovecot puts one `Return-Path: <>` line before it.
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
        self.end_sessions("KILL");
    }

    /// Ends all logged-in IMAP connections with a `BYE`.
    pub fn dismiss_all(&self) {
        self.end_sessions("TERM");
    }

    /// Ends the user's logged-in connections with a `BYE`, as a provider does when it revokes a token. Returns `true` if
    /// there are any.
    ///
    /// # Panics
    ///
    /// If `doveadm` can't run.
    pub fn kick(&self, user: &str) -> bool {
        let mut kick = Command::new(process::program("doveadm", PACKAGES));
        let kick = kick.arg("-c").arg(self.dir().join("conf")).args(["kick", user]);
        let kick = kick.stdout(Stdio::null()).stderr(Stdio::null());
        kick.status().expect("doveadm runs").success()
    }

    /// Sends a signal to the processes of all logged-in IMAP connections, without waiting.
    pub fn signal_all(&self, signal: &str) {
        if let Some(group) = &*self.running.lock().expect("no panic while Dovecot changed") {
            group.signal("imap", signal);
        }
    }

    /// Stops the server: connections are cut and new ones refused until [`Dovecot::restart`].
    pub fn stop(&self) {
        self.running.lock().expect("no panic while Dovecot stopped").take();
    }

    /// Stops the server, if it runs, and starts it again on the same ports with the same mail.
    pub fn restart(&self) {
        self.stop();
        assert!(self.launch(), "another program has taken Dovecot's port");
    }

    fn end_sessions(&self, signal: &str) {
        if let Some(group) = &*self.running.lock().expect("no panic while Dovecot changed") {
            group.end("imap", signal);
        }
    }

    fn install(&self, options: &DovecotOptions) {
        let mail = self.dir().join("mail");
        fs::create_dir(&mail).expect("a folder for mail");
        // As root, the mail belongs to another user.
        fs::set_permissions(&mail, Permissions::from_mode(0o777)).expect("a mail folder for all users");
        let Issued { cert_pem, key_pem } = self.issue();
        fs::write(self.dir().join("cert.pem"), cert_pem).expect("Dovecot's certificate");
        fs::write(self.dir().join("key.pem"), key_pem).expect("Dovecot's key");
        fs::write(self.dir().join("conf"), self.configuration(options)).expect("Dovecot's configuration");
        if !options.token_mechanisms.is_empty() {
            self.take_tokens(options.introspection_url.as_deref());
        }
    }

    /// Writes the settings by which Dovecot asks about access tokens, or validates them by itself with a key.
    fn take_tokens(&self, introspection_url: Option<&str>) {
        if let Some(url) = introspection_url {
            let settings = format!(
                "introspection_mode = post\nintrospection_url = {url}\nactive_attribute = active\nactive_value = true\n\
                 username_attribute = username\nscope = {}\nclient_id = dovecot\nclient_secret = {}\n",
                jwt::SCOPE,
                token_server::CLIENT_SECRET
            );
            return fs::write(self.dir().join("oauth2"), settings).expect("Dovecot's settings of tokens");
        }
        let keys = self.dir().join("keys/default/HS256");
        fs::create_dir_all(&keys).expect("a folder for the key of tokens");
        fs::write(keys.join("default"), jwt::key()).expect("the key of tokens");
        let dir = self.dir().to_str().expect("a temporary folder in UTF-8");
        let settings = format!(
            "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={dir}/keys/\n\
             username_attribute = sub\nscope = {}\n",
            jwt::SCOPE
        );
        fs::write(self.dir().join("oauth2"), settings).expect("Dovecot's settings of tokens");
    }

    fn configuration(&self, options: &DovecotOptions) -> String {
        let capability = options.capability.iter().map(|it| format!("imap_capability = {it}\n"));
        let password: Vec<String> = PASSWORD.bytes().map(|byte| format!("{byte:02x}")).collect();
        CONFIGURATION
            .replace("@dir@", self.dir().to_str().expect("a temporary folder in UTF-8"))
            .replace("@imap@", &self.ports.imap.to_string())
            .replace("@imaps@", &self.ports.imaps.to_string())
            .replace("@lmtp@", &self.ports.lmtp.to_string())
            .replace("@format@", &options.mailbox_format)
            .replace("@password@", &password.concat())
            + &capability.collect::<String>()
            + &accounts(self.dir())
            + &tokens(self.dir(), &options.token_mechanisms)
            + &options.extra
            + "\n"
    }

    /// Starts the server; returns `false` if a port isn't free.
    fn launch(&self) -> bool {
        let ready = self.dir().join("run/master.pid");
        // A killed server leaves these files, and does not start with them.
        let _ = fs::remove_file(&ready);
        let _ = fs::remove_file(self.auth_socket());
        let _ = fs::write(self.dir().join("log"), "");
        let mut group = self.spawn();
        process::wait_until("Dovecot's start", || ready.exists() || group.has_ended());
        if group.has_ended() {
            let log = self.log();
            // One of its services is in a package of its own.
            if log.contains("access(") && log.contains("failed: No such file or directory") {
                process::needs("all of dovecot", &format!("Debian: apt install {PACKAGES}"));
            }
            assert!(log.contains("Address already in use"), "Dovecot doesn't start:\n{log}");
            return false;
        }
        *self.running.lock().expect("no panic while Dovecot started") = Some(group);
        true
    }

    fn spawn(&self) -> ProcessGroup {
        let mut command = Command::new(program());
        command.arg("-F").arg("-c").arg(self.dir().join("conf")).stdin(Stdio::null());
        let output = fs::File::create(self.dir().join("output")).expect("a file for Dovecot's output");
        let errors = output.try_clone().expect("a second handle on Dovecot's output");
        ProcessGroup::spawn(command.stdout(output).stderr(errors)).expect("Dovecot runs")
    }
}

/// Returns the path of Dovecot 2.3; later versions do not read these settings.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = process::program("dovecot", PACKAGES);
        let version = process::output(Command::new(&program).arg("--version"));
        let version = version.split(' ').next().unwrap_or_default();
        if !version.starts_with("2.3.") {
            process::needs("dovecot 2.3", &format!("this one is {version}; Debian 12 has 2.3"));
        }
        program
    })
}

/// Returns the settings for access tokens, if there are mechanisms for them.
fn tokens(dir: &Path, mechanisms: &str) -> String {
    if mechanisms.is_empty() {
        return String::new();
    }
    let settings = dir.join("oauth2");
    format!(
        "auth_mechanisms = plain login {mechanisms}\npassdb {{\n  driver = oauth2\n  mechanisms = {mechanisms}\n  \
         args = {}\n}}\n",
        settings.display()
    )
}

/// Makes a temporary folder that the servers' own users may enter.
fn folder() -> TempDir {
    let dir = tempfile::Builder::new().prefix("dovecot-").tempdir().expect("a temporary folder");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("a folder for all users");
    dir
}

/// Returns the settings of the owner of mail and processes: `nobody` and Dovecot's users under root, else this user.
fn accounts(dir: &Path) -> String {
    let id = |args: &[&str]| process::output(Command::new("id").args(args));
    let owner = if process::is_root() { "nobody".to_owned() } else { id(&["-un"]) };
    let (uid, gid) = (id(&["-u", &owner]), id(&["-g", &owner]));
    let home = dir.join("mail/%u");
    let static_args = format!("uid={uid} gid={gid} home={} allow_all_users=yes", home.display());
    let userdb = format!("userdb {{\n  driver = static\n  args = {static_args}\n}}\n");
    if process::is_root() { userdb } else { userdb + &ordinary(&owner, &id(&["-gn"])) }
}

/// Returns settings for an ordinary user, who can neither change users nor use `chroot`.
fn ordinary(user: &str, group: &str) -> String {
    let services = ["imap-login", "anvil"].map(|it| format!("service {it} {{\n  chroot =\n}}\n"));
    format!("default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n")
        + &services.concat()
}
