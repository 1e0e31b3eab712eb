//! The configuration of an [`Smtp`](crate::Smtp) handle.

use std::time::Duration;

use super::{ALLOWED_DURATIONS, Common, Credentials, Server};
use crate::error::{Error, Result};

/// The default heartbeat, longer than IMAP's, since servers limit NOOPs: see [`SmtpConfig::heartbeat`].
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The default wait for the reply to a message, as RFC 5321, section 4.5.3.2.6, demands.
const REPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// The configuration of an [`Smtp`](crate::Smtp) handle.
///
/// | setting | default | |
/// | --- | --- | --- |
/// | [`tag`](Self::tag) | `__PYMAIL__` | the first word of the Subjects |
/// | [`resend_unknown`](Self::resend_unknown) | no | send again what may have been delivered |
/// | [`window`](Self::window) | 1 | the messages in flight on a connection |
/// | [`connections`](Self::connections) | 1 | for sending in parallel |
/// | [`hello_name`](Self::hello_name) | host name or address | the client's name in EHLO |
/// | [`timeout`](Self::timeout) | 60 s | of each call; a large message has more |
/// | [`reply_timeout`](Self::reply_timeout) | 10 min | of the reply to the end of a message |
/// | [`heartbeat`](Self::heartbeat) | 30 s | the idle time before a NOOP |
/// | [`backoff`](Self::backoff) | 1 s to 5 min | between attempts in the background |
/// | [`max_connects_per_minute`](Self::max_connects_per_minute) | 30 | of each connection |
///
/// [`Smtp::connect`](crate::Smtp::connect) checks them: a value out of its range is
/// [`ErrorKind::Config`](crate::ErrorKind::Config), never clamped. Durations are 1 ms to a week.
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
    pub(crate) hello_name: Option<String>,
    pub(crate) resend_unknown: bool,
    pub(crate) window: usize,
    pub(crate) connections: usize,
    pub(crate) reply_timeout: Duration,
}

impl SmtpConfig {
    /// Makes a configuration with the default settings.
    #[must_use]
    pub fn new(server: Server, credentials: Credentials) -> Self {
        let mut common = Common::new(server, credentials);
        common.options.heartbeat = HEARTBEAT;
        Self {
            common,
            hello_name: None,
            resend_unknown: false,
            window: 1,
            connections: 1,
            reply_timeout: REPLY_TIMEOUT,
        }
    }

    common_setters!();
    common_getters!();

    /// Sends a message again when the connection was lost between its last byte (up to 64 KiB: its first one) and the
    /// server's reply. Default `false`.
    ///
    /// The duplicate has the same Message-ID, by which [`Imap`](crate::Imap) drops it; other receivers may get the
    /// message twice. When the second attempt fails, the error is
    /// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown).
    #[must_use]
    pub fn resend_unknown(mut self, yes: bool) -> Self {
        self.resend_unknown = yes;
        self
    }

    /// Sets the number of messages in flight on a connection, where the server has CHUNKING (RFC 3030) and PIPELINING
    /// (RFC 2920). From 1 to 100, default 1.
    ///
    /// With 1, each message takes a round trip, and a lost connection leaves at most one message
    /// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown). With `n`, [`Smtp::send_all`] sends up to `n` messages in a
    /// round trip, and a lost connection leaves up to `n` messages `OutcomeUnknown`. Servers without these extensions
    /// get one message at a time.
    ///
    /// Replies have no names: a server that sends one too few or too many within a flight, against RFC 5321, may make
    /// the last message of the flight seem sent that it refused. With 1 that is noticed.
    ///
    /// [`Smtp::send_all`]: crate::Smtp::send_all
    #[must_use]
    pub fn window(mut self, messages: usize) -> Self {
        self.window = messages;
        self
    }

    /// Sets the number of connections, for sending in parallel. From 1 to 32, default 1.
    ///
    /// [`Smtp::send_all`](crate::Smtp::send_all) distributes its messages among the connections, in no order. They go out
    /// on connections that are free; calls from several threads wait for one only if none is. Each connection is a session of its own, of which servers may limit the number,
    /// and has its own heartbeat and its own [`max_connects_per_minute`](SmtpConfig::max_connects_per_minute).
    #[must_use]
    pub fn connections(mut self, number: usize) -> Self {
        self.connections = number;
        self
    }

    /// Sets the longest wait for the server's reply to the end of a message. Default 10 min, as RFC 5321, section
    /// 4.5.3.2.6, demands; 1 ms to a week.
    ///
    /// A server stores the message, checks it for spam and may forward it before it replies. After this time the error
    /// is [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown): the message may have been delivered, and sending it
    /// again may make a duplicate. The wait is not part of the [`timeout`](Self::timeout). Meanwhile, other calls of
    /// the handle wait for their turn, unless another of its [`connections`](Self::connections) is free, and so does
    /// [`close`](crate::Smtp::close).
    #[must_use]
    pub fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.reply_timeout = timeout;
        self
    }

    /// Sets the client's name in EHLO (RFC 5321, section 4.1.1.1).
    ///
    /// Default: the machine's host name if it is fully qualified, such as `app.example.org`, else the connection's
    /// local address, such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`, since servers refuse bare names. Makes no DNS
    /// query. A name is printable ASCII without spaces, at least one character.
    #[must_use]
    pub fn hello_name(mut self, name: impl Into<String>) -> Self {
        self.hello_name = Some(name.into());
        self
    }

    /// Returns `true` if messages of unknown outcome are [sent again](Self::resend_unknown).
    #[must_use]
    pub fn get_resend_unknown(&self) -> bool {
        self.resend_unknown
    }

    /// Returns the messages in flight on a connection: [`window`](Self::window).
    #[must_use]
    pub fn get_window(&self) -> usize {
        self.window
    }

    /// Returns the number of [`connections`](Self::connections).
    #[must_use]
    pub fn get_connections(&self) -> usize {
        self.connections
    }

    /// Returns the [`reply_timeout`](Self::reply_timeout).
    #[must_use]
    pub fn get_reply_timeout(&self) -> Duration {
        self.reply_timeout
    }

    /// Returns the [`hello_name`](Self::hello_name), if one is set.
    #[must_use]
    pub fn get_hello_name(&self) -> Option<&str> {
        self.hello_name.as_deref()
    }

    /// # Errors
    /// `Config` for a setting that can't work.
    pub(crate) fn check(&self) -> Result<()> {
        self.common.check()?;
        let is_bad = |name: &&String| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic());
        if let Some(name) = self.hello_name.as_ref().filter(is_bad) {
            return Err(Error::config(format!(
                "{name:?} is not a name for EHLO: printable ASCII without spaces"
            )));
        }
        if !(1..=100).contains(&self.window) || !(1..=32).contains(&self.connections) {
            return Err(Error::config("window must be 1 to 100, and connections 1 to 32"));
        }
        if !ALLOWED_DURATIONS.contains(&self.reply_timeout) {
            return Err(Error::config("reply_timeout must be 1 ms to a week"));
        }
        Ok(())
    }
}
