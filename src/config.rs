//! What a handle needs to know: server, credentials, tag, limits.

use std::fmt;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::{Error, Result};

/// The tag that messages carry when none is configured.
pub const DEFAULT_TAG: &str = "__PYMAIL__";

/// What a wait can be: longer ones overflow somewhere between here and the kernel.
const SENSIBLE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(7 * 24 * 3_600);

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Tls,
    StartTls,
    None,
}

/// Where a mail server is, and how the connection to it is protected.
///
/// TLS is verified against the system's trust roots; more can be added with
/// [`trust_pem`](Server::trust_pem). Ports default to the service's own: 993 and 465 for implicit TLS, 143
/// and 587 for STARTTLS (RFC 8314), 143 and 25 unencrypted.
///
/// ```
/// use pymail::Server;
///
/// let imap = Server::tls("imap.example.org");
/// let smtp = Server::starttls("smtp.example.org").port(2587);
/// # let _ = (imap, smtp);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) security: Security,
    pub(crate) roots: Vec<String>,
}

impl Server {
    /// Implicit TLS: encrypted from the first byte. Port 993 (IMAP) or 465 (SMTP).
    pub fn tls(host: impl Into<String>) -> Self {
        Self::new(host, Security::Tls)
    }

    /// STARTTLS: encrypted before anything else is said, or not used at all. Port 143 (IMAP) or 587 (SMTP).
    pub fn starttls(host: impl Into<String>) -> Self {
        Self::new(host, Security::StartTls)
    }

    /// No encryption: everything can be read and changed on the way. Port 143 (IMAP) or 25 (SMTP).
    ///
    /// Credentials are still never sent unencrypted over a network: with them, only a loopback host
    /// (`localhost`, `127.0.0.0/8`, `::1`) is accepted.
    pub fn unencrypted(host: impl Into<String>) -> Self {
        Self::new(host, Security::None)
    }

    fn new(host: impl Into<String>, security: Security) -> Self {
        Self { host: host.into(), port: None, security, roots: Vec::new() }
    }

    /// Another port than the service's own.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Trusts the certificate authorities in this PEM text as well as the system's (RFC 7468).
    ///
    /// What stands between the certificates, such as their names, is passed over.
    #[must_use]
    pub fn trust_pem(mut self, pem: impl Into<String>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// The certificates alone: comments may be in any language, and OpenSSL reads ASCII.
    pub(crate) fn certificates(&self) -> Vec<String> {
        self.roots.iter().map(|pem| certificates(pem)).collect()
    }

    fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    }

    fn check(&self, credentials: &Credentials) -> Result<()> {
        if self.host.is_empty() || self.host.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::config(format!("{:?} is not a host name", self.host)));
        }
        if self.certificates().iter().any(String::is_empty) {
            return Err(Error::config("there is no certificate in the PEM text to trust"));
        }
        if self.security == Security::None && credentials.login.is_some() && !self.is_loopback() {
            let why = "credentials are not sent unencrypted to another host: use Server::tls or starttls";
            return Err(Error::config(why));
        }
        Ok(())
    }
}

fn certificates(pem: &str) -> String {
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let bodies = pem.split(begin).skip(1).filter_map(|rest| rest.split_once(end));
    let whole = bodies.filter(|(body, _)| body.is_ascii());
    whole.flat_map(|(body, _)| [begin, body, end, "\n"]).collect()
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, security, roots } = self;
        f.debug_struct("Server")
            .field("host", host)
            .field("port", port)
            .field("security", security)
            .field("more_roots", &roots.len())
            .finish()
    }
}

/// A secret that no `Debug`, `Display` or `Serialize` shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Who logs in. `Debug` shows the user and never the password.
///
/// ```
/// use pymail::Credentials;
///
/// let credentials = Credentials::new("alice@example.org", "correct horse");
/// assert!(!format!("{credentials:?}").contains("horse"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) login: Option<(String, Password)>,
}

impl Credentials {
    /// A user name and a password (or an app password).
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { login: Some((user.into(), Password(password.into()))) }
    }

    /// Nobody: for an SMTP relay that asks for no login. IMAP always needs one.
    #[must_use]
    pub fn none() -> Self {
        Self { login: None }
    }

    /// A password with a line break or NUL could end the command that carries it.
    fn check(&self) -> Result<()> {
        let Some((user, password)) = &self.login else { return Ok(()) };
        if user.is_empty() || has_breaks(user) || has_breaks(password.reveal()) {
            let why = "a user name is not empty, and neither it nor the password has CR, LF or NUL";
            return Err(Error::config(why));
        }
        Ok(())
    }
}

fn has_breaks(text: &str) -> bool {
    text.contains(['\r', '\n', '\0'])
}

/// What both services share; each builder below lends its setters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) server: Server,
    pub(crate) credentials: Credentials,
    pub(crate) tag: String,
    pub(crate) heartbeat: Duration,
    pub(crate) timeout: Duration,
}

impl Common {
    fn new(server: Server, credentials: Credentials) -> Self {
        let (heartbeat, timeout) = (Duration::from_secs(10), Duration::from_secs(60));
        Self { server, credentials, tag: DEFAULT_TAG.into(), heartbeat, timeout }
    }

    fn check(&self) -> Result<()> {
        self.server.check(&self.credentials)?;
        self.credentials.check()?;
        check_tag(&self.tag)?;
        if !SENSIBLE.contains(&self.heartbeat) || !SENSIBLE.contains(&self.timeout) {
            return Err(Error::config("heartbeat and timeout are from a millisecond to a week"));
        }
        Ok(())
    }
}

/// A tag is one plain token: it stands in a header, in a SEARCH and, by default, names a mailbox.
fn check_tag(tag: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.+#@:~!$[]".contains(c);
    if tag.is_empty() || tag.len() > 64 || !tag.chars().all(plain) {
        let rule = "a tag is 1 to 64 ASCII letters, digits and _-.+#@:~!$[]";
        return Err(Error::config(format!("tag {tag:?}: {rule}")));
    }
    Ok(())
}

/// Mailbox names are sent quoted, as they are: no modified UTF-7 (RFC 3501, section 5.1.3) is made of them.
pub(crate) fn check_mailbox(name: &str) -> Result<()> {
    let bad = |c: char| !(' '..='~').contains(&c) || "\"\\%*".contains(c);
    if name.is_empty() || name.len() > 255 || name.contains(bad) {
        let rule = "a mailbox name is 1 to 255 printable ASCII characters without \" \\ % *";
        return Err(Error::config(format!("mailbox {name:?}: {rule}")));
    }
    Ok(())
}

macro_rules! common_setters {
    () => {
        /// The tag that our messages carry at the start of their Subject. Default [`DEFAULT_TAG`].
        ///
        /// 1 to 64 ASCII letters, digits and `_-.+#@:~!$[]`.
        #[must_use]
        pub fn tag(mut self, tag: impl Into<String>) -> Self {
            self.common.tag = tag.into();
            self
        }

        /// How long without traffic until a NOOP is sent. Default 10 s.
        #[must_use]
        pub fn heartbeat(mut self, every: Duration) -> Self {
            self.common.heartbeat = every;
            self
        }

        /// How long to wait for the server to say something, also when connecting. Default 60 s.
        #[must_use]
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.common.timeout = timeout;
            self
        }
    };
}

/// How to receive.
///
/// ```
/// use std::time::Duration;
/// use pymail::{Credentials, ImapConfig, Server};
///
/// let config = ImapConfig::new(Server::tls("imap.example.org"), Credentials::new("alice", "secret"))
///     .tag("__APP__")
///     .heartbeat(Duration::from_secs(20))
///     .batch(100);
/// # let _ = config;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImapConfig {
    pub(crate) common: Common,
    pub(crate) inbox: String,
    pub(crate) archive: Option<String>,
    pub(crate) batch: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) max_message: usize,
}

impl ImapConfig {
    /// The defaults for this server and these credentials.
    #[must_use]
    pub fn new(server: Server, credentials: Credentials) -> Self {
        Self {
            common: Common::new(server, credentials),
            inbox: "INBOX".into(),
            archive: None,
            batch: 500,
            batch_bytes: 64 << 20,
            max_message: 32 << 20,
        }
    }

    common_setters!();

    /// The mailbox that is watched. Default `INBOX`.
    #[must_use]
    pub fn inbox(mut self, mailbox: impl Into<String>) -> Self {
        self.inbox = mailbox.into();
        self
    }

    /// The mailbox that acknowledged messages go to. Default: named like the tag. Created when missing.
    #[must_use]
    pub fn archive(mut self, mailbox: impl Into<String>) -> Self {
        self.archive = Some(mailbox.into());
        self
    }

    /// How many messages one `fetch` returns at most. Default 500; at least 1.
    #[must_use]
    pub fn batch(mut self, messages: usize) -> Self {
        self.batch = messages;
        self
    }

    /// How many bytes of mail one `fetch` holds at most. Default 64 MiB.
    ///
    /// A message over this alone is still fetched, as long as it is within
    /// [`max_message`](ImapConfig::max_message). Messages of up to 128 KiB come with the first look and count
    /// by [`batch`](ImapConfig::batch) only.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// The largest message that is read, in bytes on the wire. Default 32 MiB.
    ///
    /// A larger one comes back as [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) in its place.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// What tells the inbox from any other mailbox anywhere.
    pub(crate) fn mailbox(&self) -> impl Hash {
        let Common { server, credentials, .. } = &self.common;
        let user = credentials.login.as_ref().map(|(user, _)| user.clone());
        (server.host.clone(), server.port, user, self.inbox.clone())
    }

    pub(crate) fn archive_name(&self) -> &str {
        self.archive.as_deref().unwrap_or(&self.common.tag)
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.common.check()?;
        check_mailbox(&self.inbox)?;
        check_mailbox(self.archive_name())?;
        if self.archive_name().eq_ignore_ascii_case(&self.inbox) {
            return Err(Error::config("messages can't be archived in the mailbox that is watched"));
        }
        if self.common.credentials.login.is_none() {
            return Err(Error::config("IMAP needs credentials"));
        }
        if self.batch == 0 || self.batch_bytes == 0 || self.max_message == 0 {
            return Err(Error::config("batch, batch_bytes and max_message are at least 1"));
        }
        Ok(())
    }
}

/// How to send.
///
/// ```
/// use pymail::{Credentials, Server, SmtpConfig};
///
/// let config = SmtpConfig::new(Server::starttls("smtp.example.org"), Credentials::new("alice", "secret"))
///     .tag("__APP__");
/// # let _ = config;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpConfig {
    pub(crate) common: Common,
    pub(crate) local_name: String,
}

impl SmtpConfig {
    /// The defaults for this server and these credentials.
    #[must_use]
    pub fn new(server: Server, credentials: Credentials) -> Self {
        // A name of our own, because smtplib's default asks the DNS, which may stall.
        Self { common: Common::new(server, credentials), local_name: "localhost".into() }
    }

    common_setters!();

    /// The name that this client gives in EHLO (RFC 5321, section 4.1.1.1). Default `localhost`.
    #[must_use]
    pub fn local_name(mut self, name: impl Into<String>) -> Self {
        self.local_name = name.into();
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.common.check()?;
        if self.local_name.is_empty() || !self.local_name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::config(format!("{:?} is not a name for EHLO", self.local_name)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ErrorKind;

    fn config() -> ImapConfig {
        ImapConfig::new(Server::tls("mail.test"), Credentials::new("alice", "hunter2"))
    }

    #[rstest]
    #[case::cr("a\rb")]
    #[case::lf("a\nb")]
    #[case::nul("a\0b")]
    #[case::quote("a\"b")]
    #[case::non_ascii("naïve")]
    #[case::blank("a b")]
    #[case::empty("")]
    fn a_tag_that_could_break_a_command_is_a_config_error(#[case] tag: &str) {
        assert_eq!(config().tag(tag).check().unwrap_err().kind(), ErrorKind::Config);
    }

    #[rstest]
    #[case::cr("a\rb")]
    #[case::lf("a\nb")]
    #[case::nul("a\0b")]
    #[case::quote("a\"b")]
    #[case::non_ascii("Entwürfe")]
    #[case::empty("")]
    fn a_mailbox_name_that_could_break_a_command_is_a_config_error(#[case] name: &str) {
        assert_eq!(config().archive(name).check().unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(config().inbox(name).check().unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn the_archive_is_not_the_inbox() {
        assert_eq!(config().tag("inbox").check().unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn credentials_go_unencrypted_to_the_loopback_only() {
        let with = |host: &str| {
            SmtpConfig::new(Server::unencrypted(host), Credentials::new("alice", "hunter2")).check()
        };
        assert_eq!(with("mail.test").unwrap_err().kind(), ErrorKind::Config);
        assert!(with("127.0.0.1").is_ok() && with("localhost").is_ok());
        assert!(SmtpConfig::new(Server::unencrypted("mail.test"), Credentials::none()).check().is_ok());
    }

    #[test]
    fn a_pem_text_without_a_certificate_and_an_endless_wait_are_config_errors() {
        let trusting =
            |pem: &str| SmtpConfig::new(Server::tls("mail.test").trust_pem(pem), Credentials::none()).check();
        assert_eq!(trusting("").unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(trusting("-----BEGIN CERTIFICATE-----").unwrap_err().kind(), ErrorKind::Config);
        assert!(trusting("é\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_ok());
        assert_eq!(config().timeout(Duration::MAX).check().unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(config().heartbeat(Duration::ZERO).check().unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn debug_never_shows_the_password() {
        assert!(!format!("{:?}", config()).contains("hunter2"));
    }
}
