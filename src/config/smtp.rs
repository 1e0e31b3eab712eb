//! What a handle that sends needs to know.

use std::time::Duration;

use super::{Common, Credentials, Server};
use crate::error::{Error, Result};

/// Each NOOP counts: see [`SmtpConfig::heartbeat`].
const HEARTBEAT: Duration = Duration::from_secs(30);

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
    pub(crate) local_name: Option<String>,
    pub(crate) resend_unknown: bool,
    pub(crate) window: usize,
    pub(crate) connections: usize,
}

impl SmtpConfig {
    /// The defaults for this server and these credentials.
    #[must_use]
    pub fn new(server: Server, credentials: Credentials) -> Self {
        let mut common = Common::new(server, credentials);
        common.upkeep.heartbeat = HEARTBEAT;
        Self { common, local_name: None, resend_unknown: false, window: 1, connections: 1 }
    }

    common_setters!();

    /// Whether to send a message again when the connection was lost between its last byte and the server's answer.
    /// Default no.
    ///
    /// It goes out under the same Message-ID, by which [`Imap`](crate::Imap) knows a second copy and drops it. With
    /// other receivers a message may then arrive twice. An attempt that fails leaves
    /// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown).
    #[must_use]
    pub fn resend_unknown(mut self, yes: bool) -> Self {
        self.resend_unknown = yes;
        self
    }

    /// How many messages may be on their way at once on a connection, where the server has CHUNKING (RFC 3030) and
    /// PIPELINING (RFC 2920). From 1 to 100, default 1.
    ///
    /// With 1, each message takes a round trip, and a lost connection leaves one of them with
    /// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) at most. With more, [`Smtp::send_all`] does not
    /// wait for answers in between, and a loss leaves so many. Where the server has neither, it is as with 1.
    ///
    /// [`Smtp::send_all`]: crate::Smtp::send_all
    #[must_use]
    pub fn window(mut self, messages: usize) -> Self {
        self.window = messages;
        self
    }

    /// How many connections the handle has, for sending in parallel. From 1 to 32, default 1.
    ///
    /// [`Smtp::send_all`](crate::Smtp::send_all) shares its messages out among them, and keeps no order between these
    /// shares; calls from several threads take turns. Each is a session of its own at the server, which may limit
    /// them, with its own heartbeat and its own
    /// [`connects_a_minute`](SmtpConfig::connects_a_minute).
    #[must_use]
    pub fn connections(mut self, number: usize) -> Self {
        self.connections = number;
        self
    }

    /// The name that this client gives in EHLO (RFC 5321, section 4.1.1.1).
    ///
    /// Default: this machine's host name, if it is a full one such as `app.example.org`, else the connection's own
    /// address, such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`. Servers refuse bare names. The DNS is not asked.
    #[must_use]
    pub fn local_name(mut self, name: impl Into<String>) -> Self {
        self.local_name = Some(name.into());
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.common.check()?;
        let is_bad = |name: &&String| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic());
        if let Some(name) = self.local_name.as_ref().filter(is_bad) {
            return Err(Error::config(format!("{name:?} is not a name for EHLO")));
        }
        if !(1..=100).contains(&self.window) || !(1..=32).contains(&self.connections) {
            return Err(Error::config("window is from 1 to 100, and connections from 1 to 32"));
        }
        Ok(())
    }
}
