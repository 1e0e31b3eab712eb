//! What a handle needs to know: server, credentials, tag, limits.

mod credentials;
mod server;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use self::credentials::Credentials;
pub(crate) use self::server::Security;
pub use self::server::Server;
use crate::error::{Error, Result};

/// The tag that messages carry when none is configured.
pub const DEFAULT_TAG: &str = "__PYMAIL__";

/// What a wait can be: longer ones overflow somewhere between here and the kernel.
const SENSIBLE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(7 * 24 * 3_600);

/// What both services share; each builder below lends its setters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) server: Server,
    pub(crate) credentials: Credentials,
    pub(crate) tag: String,
    pub(crate) upkeep: Upkeep,
}

/// How a connection is kept, and how it is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upkeep {
    pub(crate) heartbeat: Duration,
    /// Whether the heartbeat comes however busy the connection is.
    pub(crate) regardless: bool,
    pub(crate) deadline: Duration,
    /// The first wait between two attempts in the background, and the longest.
    pub(crate) backoff: (Duration, Duration),
    pub(crate) connects_a_minute: u32,
}

impl Default for Upkeep {
    fn default() -> Self {
        let (heartbeat, deadline) = (Duration::from_secs(10), Duration::from_secs(60));
        let backoff = (Duration::from_secs(1), Duration::from_secs(300));
        Self { heartbeat, regardless: false, deadline, backoff, connects_a_minute: 30 }
    }
}

impl Upkeep {
    fn check(&self) -> Result<()> {
        let waits = [self.heartbeat, self.deadline, self.backoff.0, self.backoff.1];
        if !waits.iter().all(|wait| SENSIBLE.contains(wait)) || self.backoff.0 > self.backoff.1 {
            let rule = "heartbeat, deadline and backoff are from a millisecond to a week, and backoff grows";
            return Err(Error::config(rule));
        }
        if self.connects_a_minute == 0 {
            return Err(Error::config("connects_a_minute is at least 1"));
        }
        Ok(())
    }
}

impl Common {
    fn new(server: Server, credentials: Credentials) -> Self {
        Self { server, credentials, tag: DEFAULT_TAG.into(), upkeep: Upkeep::default() }
    }

    fn check(&self) -> Result<()> {
        self.server.check(&self.credentials)?;
        self.credentials.check()?;
        check_tag(&self.tag)?;
        self.upkeep.check()
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
        /// The tag that our messages carry at the start of their Subject. Default [`DEFAULT_TAG`](crate::DEFAULT_TAG).
        ///
        /// 1 to 64 ASCII letters, digits and `_-.+#@:~!$[]`.
        #[must_use]
        pub fn tag(mut self, tag: impl Into<String>) -> Self {
            self.common.tag = tag.into();
            self
        }

        /// How long without traffic until a NOOP is sent. Default 10 s, and 30 s for SMTP.
        ///
        /// SMTP servers take many NOOPs in a row for an attack: an idle connection to one is replaced, after a QUIT,
        /// by a new one after eight, but not within its first minute, and after eighty in any case.
        #[must_use]
        pub fn heartbeat(mut self, every: Duration) -> Self {
            self.common.upkeep.heartbeat = every;
            self
        }

        /// How long a verb may take, by the wall clock and with all that it does: waiting for its turn, connecting,
        /// logging in, every command. Default 60 s.
        ///
        /// What takes longer ends with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), and its connection
        /// with it. A slow line that carries large messages needs a longer one.
        #[must_use]
        pub fn deadline(mut self, whole: Duration) -> Self {
            self.common.upkeep.deadline = whole;
            self
        }

        /// How long the background waits between two attempts to connect: first, and at most. Default 1 s and
        /// 5 min.
        ///
        /// Each failure doubles the wait; a random part of up to a quarter is taken off, so that many clients do
        /// not come back as one. A login that the server can't take for now is tried again after ten times the first
        /// wait, then after twice that and so on, up to the longest; one that is refused without a clear reason after a
        /// minute and up to an hour; a mailbox that is refused after a minute and up to the longest. Verbs return the
        /// refusal until then.
        #[must_use]
        pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
            self.common.upkeep.backoff = (first, most);
            self
        }

        /// How many connections a handle makes within any minute, by verbs and in the background. Default 30.
        ///
        /// A server that accepts connections and drops them is not hammered. After three quarters of these, or after a
        /// quarter when the last attempt has failed, the others are spread over the minute: by default, a verb in a long
        /// outage makes an attempt every 2.6 s. Between them verbs return the last error, or
        /// [`ErrorKind::Connect`](crate::ErrorKind::Connect), and
        /// [`retry_after`](crate::Error::retry_after) says when there will be another.
        #[must_use]
        pub fn connects_a_minute(mut self, most: u32) -> Self {
            self.common.upkeep.connects_a_minute = most;
            self
        }
    };
}

mod imap;
mod smtp;

pub use self::imap::ImapConfig;
pub use self::smtp::SmtpConfig;
