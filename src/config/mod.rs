//! The configuration of handles: server, credentials, tag and limits.

mod credentials;
mod provider;
mod proxy;
mod route;
mod server;
#[cfg(test)]
mod tests;
mod token;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use self::credentials::Credentials;
pub(crate) use self::credentials::{Login, Secret};
pub use self::provider::{PasswordKind, Provider, ProviderLimits, SearchKind};
pub use self::proxy::Proxy;
pub(crate) use self::proxy::{ProxyLogin, ProxyProtocol, authority};
pub use self::route::ConnectRequest;
pub(crate) use self::route::{Connector, Route};
pub(crate) use self::server::Identity;
#[cfg(feature = "oauth")]
pub(crate) use self::server::is_loopback;
pub use self::server::{Security, Server};
pub(crate) use self::token::TokenSource;
pub use self::token::{AccessToken, TokenId, TokenRequest};
use crate::error::{Error, ErrorKind, Result};

/// The default tag.
pub const DEFAULT_TAG: &str = "__PYMAIL__";

/// The durations that can be configured: longer ones overflow on the way to the kernel.
const ALLOWED_DURATIONS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(7 * 24 * 3_600);

/// The settings that IMAP and SMTP share. `common_setters!` adds their setters to both builders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) server: Server,
    pub(crate) credentials: Credentials,
    pub(crate) tag: String,
    pub(crate) options: ConnectionOptions,
}

/// The timeout, heartbeat and reconnection settings of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionOptions {
    pub(crate) heartbeat: Duration,
    /// `true` if a NOOP is due after each interval, also on a busy connection.
    pub(crate) noop_when_busy: bool,
    pub(crate) timeout: Duration,
    /// The first and the longest wait between two attempts of the heartbeat to connect.
    pub(crate) backoff: (Duration, Duration),
    pub(crate) max_connects_per_minute: u32,
    /// The time after which IDLE is renewed.
    pub(crate) idle_renewal: Duration,
    /// The time without a search after which a wait for mail ends for one.
    pub(crate) recheck: Duration,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            noop_when_busy: false,
            timeout: Duration::from_secs(60),
            backoff: (Duration::from_secs(1), Duration::from_secs(300)),
            max_connects_per_minute: 30,
            idle_renewal: Duration::from_secs(300),
            recheck: Duration::from_secs(120),
        }
    }
}

impl ConnectionOptions {
    /// # Errors
    /// `Config` for durations and counts out of range.
    fn check(&self) -> Result<()> {
        let waits = [self.heartbeat, self.timeout, self.backoff.0, self.backoff.1];
        if !waits.iter().all(|wait| ALLOWED_DURATIONS.contains(wait)) || self.backoff.0 > self.backoff.1 {
            let rule = "heartbeat, timeout and backoff must be 1 ms to a week, and the first backoff not over the longest";
            return Err(Error::config(rule));
        }
        if self.max_connects_per_minute == 0 {
            return Err(Error::config("max_connects_per_minute must be at least 1"));
        }
        Ok(())
    }
}

impl Common {
    fn new(server: Server, credentials: Credentials) -> Self {
        Self { server, credentials, tag: DEFAULT_TAG.into(), options: ConnectionOptions::default() }
    }

    /// # Errors
    /// `Config` for a shared setting that can't work.
    fn check(&self) -> Result<()> {
        self.server.check(&self.credentials)?;
        self.credentials.check()?;
        check_tag(&self.tag)?;
        self.options.check()
    }
}

/// Checks a tag: one token that fits in a Subject, a SEARCH command and a mailbox name.
///
/// # Errors
/// `Config` with the rule.
fn check_tag(tag: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.+#@:~!$[]".contains(c);
    if tag.is_empty() || tag.len() > 64 || !tag.chars().all(plain) {
        let rule = "a tag must be 1 to 64 ASCII letters, digits and _-.+#@:~!$[]";
        return Err(Error::config(format!("tag {tag:?}: {rule}")));
    }
    Ok(())
}

/// Checks a mailbox name, which is sent as a quoted string, not encoded in modified UTF-7 (RFC 3501, section 5.1.3).
///
/// # Errors
/// Of this kind: `Config` for a setting, `InvalidInput` for an argument.
pub(crate) fn check_mailbox(name: &str, kind: ErrorKind) -> Result<()> {
    let bad = |c: char| !(' '..='~').contains(&c) || "\"\\%*".contains(c);
    if name.is_empty() || name.len() > 255 || name.contains(bad) {
        let rule = "a mailbox name must be 1 to 255 printable ASCII characters without \" \\ % *";
        return Err(Error::new(kind, format!("mailbox {name:?}: {rule}")));
    }
    Ok(())
}

macro_rules! common_setters {
    () => {
        /// Sets the tag, the first word of the Subject of the app's messages. Default
        /// [`DEFAULT_TAG`](crate::DEFAULT_TAG).
        ///
        /// 1 to 64 ASCII letters, digits and `_-.+#@:~!$[]`; the case counts. Sender and receiver need the same tag,
        /// and no other mail's Subject may begin with that word.
        #[must_use]
        pub fn tag(mut self, tag: impl Into<String>) -> Self {
            self.common.tag = tag.into();
            self
        }

        /// Sets the time without traffic after which a NOOP is sent. Default 10 s, and 30 s for SMTP; 1 ms to a week.
        ///
        /// A lost connection is noticed after this time and that of the NOOP's answer: as much again, at least 10 s, at
        /// most a [`timeout`](Self::timeout). While an IMAP handle waits for mail in IDLE, no NOOP is sent, and a loss
        /// is noticed when IDLE is renewed, or at the next recheck. On a server without IDLE, it is asked for mail at
        /// this interval.
        ///
        /// SMTP servers treat many NOOPs in a row as an attack. After eight of them, an idle SMTP connection is closed
        /// by QUIT and replaced: not within its first minute, but after eighty NOOPs in any case.
        #[must_use]
        pub fn heartbeat(mut self, every: Duration) -> Self {
            self.common.options.heartbeat = every;
            self
        }

        /// Sets the timeout of each call, by the wall clock: waiting for another call, connecting, logging in and all
        /// commands together. Default 60 s; 1 ms to a week. `send_all` has one for every 100 messages or 8 MiB, and
        /// `noop` one for each connection.
        ///
        /// A longer call ends with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), and its connection is closed.
        ///
        /// Sending has more time, by the size of the message: a second for each 8 KiB of it that the server has taken,
        /// and the [`reply_timeout`](crate::SmtpConfig::reply_timeout) for the reply to its end. A server that takes
        /// nothing is given up after one timeout all the same. Fetching has no more time, since the lease of a
        /// [`shared`](crate::ImapConfig::shared) mailbox relies on the timeout: to fetch large messages on slow
        /// networks, set a longer one.
        #[must_use]
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.common.options.timeout = timeout;
            self
        }

        /// Sets the first and the longest wait between two attempts to connect in the background. Default 1 s and 5
        /// min; 1 ms to a week each, the first not over the longest.
        ///
        /// Each failure doubles the wait, from which jitter takes up to a quarter. After a refused login, calls return
        /// the refusal until the wait is over: ten times `first`, doubled up to `longest`, when the refusal is
        /// transient; 1 min, doubled up to an hour, when the server gives no clear reason. After a refused mailbox: 1
        /// min, doubled up to `longest`.
        #[must_use]
        pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
            self.common.options.backoff = (first, longest);
            self
        }

        /// Sets the most connections within any minute, by calls and in the background. Default 30; at least 1, without
        /// an upper limit.
        ///
        /// After three quarters of them, or after a quarter when the last attempt has failed, the rest are spread over
        /// the minute: by default, a call in a long outage makes an attempt every 2.6 s. Between the attempts, calls
        /// return the last error, or [`ErrorKind::Connect`](crate::ErrorKind::Connect), with the wait in
        /// [`retry_after`](crate::Error::retry_after).
        #[must_use]
        pub fn max_connects_per_minute(mut self, most: u32) -> Self {
            self.common.options.max_connects_per_minute = most;
            self
        }
    };
}

/// The getters of both builders. The setters have the plain names, as in `postgres::Config`.
macro_rules! common_getters {
    () => {
        /// Returns the server.
        #[must_use]
        pub fn get_server(&self) -> &Server {
            &self.common.server
        }

        /// Returns the credentials.
        #[must_use]
        pub fn get_credentials(&self) -> &Credentials {
            &self.common.credentials
        }

        /// Returns the [`tag`](Self::tag).
        #[must_use]
        pub fn get_tag(&self) -> &str {
            &self.common.tag
        }

        /// Returns the [`heartbeat`](Self::heartbeat).
        #[must_use]
        pub fn get_heartbeat(&self) -> Duration {
            self.common.options.heartbeat
        }

        /// Returns the [`timeout`](Self::timeout).
        #[must_use]
        pub fn get_timeout(&self) -> Duration {
            self.common.options.timeout
        }

        /// Returns the first and the longest wait of the [`backoff`](Self::backoff).
        #[must_use]
        pub fn get_backoff(&self) -> (Duration, Duration) {
            self.common.options.backoff
        }

        /// Returns [`max_connects_per_minute`](Self::max_connects_per_minute).
        #[must_use]
        pub fn get_max_connects_per_minute(&self) -> u32 {
            self.common.options.max_connects_per_minute
        }
    };
}

mod imap;
mod smtp;

pub use self::imap::ImapConfig;
pub use self::smtp::SmtpConfig;
