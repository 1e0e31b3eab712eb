//! What a handle needs to know: server, credentials, tag, limits.

mod credentials;
mod server;
#[cfg(test)]
mod tests;

use std::hash::Hash;
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
        /// not come back as one.
        #[must_use]
        pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
            self.common.upkeep.backoff = (first, most);
            self
        }

        /// How many connections a handle makes within any minute, by verbs and in the background. Default 30.
        ///
        /// A server that accepts connections and drops them is not hammered: beyond this, verbs fail with
        /// [`ErrorKind::Connect`](crate::ErrorKind::Connect), and the error says when there will be another.
        #[must_use]
        pub fn connects_a_minute(mut self, most: u32) -> Self {
            self.common.upkeep.connects_a_minute = most;
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
    pub(crate) remember: usize,
    pub(crate) lease: Option<Duration>,
    pub(crate) dead_letters: Option<u32>,
}

impl ImapConfig {
    /// The defaults for this server and these credentials.
    #[must_use]
    pub fn new(server: Server, credentials: Credentials) -> Self {
        Self {
            common: Common::new(server, credentials),
            inbox: "INBOX".into(),
            archive: None,
            batch: 1_000,
            batch_bytes: 64 << 20,
            max_message: 32 << 20,
            remember: 10_000,
            lease: None,
            dead_letters: None,
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
    ///
    /// Where the server wants a prefix before the names of one's own mailboxes, such as `INBOX.` (RFC 2342), it is
    /// put before a name that lacks it.
    #[must_use]
    pub fn archive(mut self, mailbox: impl Into<String>) -> Self {
        self.archive = Some(mailbox.into());
        self
    }

    /// How many messages one `fetch` returns at most. Default 1,000; at least 1.
    ///
    /// Whoever drains large mailboxes is quicker with more: a server may look through all of a mailbox for each batch
    /// (Dovecot, with maildir, takes three times as long in batches of 500 as in batches of 10,000). What a batch may
    /// hold is bounded by [`batch_bytes`](ImapConfig::batch_bytes) all the same. Whoever shares a mailbox has its
    /// messages better spread with fewer.
    #[must_use]
    pub fn batch(mut self, messages: usize) -> Self {
        self.batch = messages;
        self
    }

    /// How many bytes of mail one `fetch` holds at most. Default 64 MiB.
    ///
    /// A message over this alone is still fetched, as long as it is within
    /// [`max_message`](ImapConfig::max_message). What a server is asked for in one go is held besides: up to
    /// 32 MiB.
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

    /// How many acknowledged messages are remembered, so that a second copy of one is dropped. Default 10,000.
    ///
    /// The memory is the archive itself: the first fetch that finds anything reads the Message-ID, Subject and
    /// From of its newest mails, once a handle. That costs some round trips and about 200 bytes a mail; each
    /// mail takes 20 bytes of memory. A copy of a message that was archived longer ago is delivered again. With 0
    /// nothing is remembered; copies that are in the inbox together are one delivery all the same.
    #[must_use]
    pub fn remember(mut self, messages: usize) -> Self {
        self.remember = messages;
        self
    }

    /// Puts messages that were delivered this often without an acknowledgement into the mailbox `dead` within the
    /// archive, and those that can't be read at once; beside each a mail that says why. 1 to 20; by default
    /// nothing goes there.
    ///
    /// A delivery has failed when the app says so by [`Imap::reject`](crate::Imap::reject), or when its handle is
    /// gone without having acknowledged it. The count is kept on the server by the keywords `$PymailDelivery1` and
    /// so on; on a server without keywords it ends with the handle. What can't be read is still an error in its
    /// place, once.
    #[must_use]
    pub fn dead_letters(mut self, after: u32) -> Self {
        self.dead_letters = Some(after);
        self
    }

    /// Shares the mailbox with any number of other handles, in any number of processes, each configured so.
    ///
    /// A message is handed to one of them, and to another only when that one has stopped, or has not been heard of
    /// for the lease: because it died, or because its connection was lost for so long. 5 min are a good lease;
    /// it is at least two [`deadline`](ImapConfig::deadline)s. The order of messages is not kept.
    ///
    /// The handles agree by a log in the mailbox `claims` within the archive; they need nothing of the server but
    /// that UIDs ascend, as they do on every one. Nobody else may change that mailbox. A second copy of a message
    /// is dropped when the first was acknowledged by then, not while another handle still has it. By default the
    /// mailbox is not shared.
    #[must_use]
    pub fn shared(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How the connection is kept: the heartbeat is also what renews a lease, and comes in time for that.
    pub(crate) fn upkeep(&self) -> Upkeep {
        let upkeep = self.common.upkeep;
        let heartbeat = self.lease.map_or(upkeep.heartbeat, |lease| upkeep.heartbeat.min(lease / 4));
        Upkeep { heartbeat, regardless: self.lease.is_some(), ..upkeep }
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
        if self
            .lease
            .is_some_and(|lease| !SENSIBLE.contains(&lease) || lease < 2 * self.common.upkeep.deadline)
        {
            return Err(Error::config("a lease is from two deadlines to a week"));
        }
        if self.dead_letters.is_some_and(|after| !(1..=20).contains(&after)) {
            return Err(Error::config("a message goes to the dead letters after 1 to 20 deliveries"));
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
    pub(crate) resend_unknown: bool,
}

impl SmtpConfig {
    /// The defaults for this server and these credentials.
    #[must_use]
    pub fn new(server: Server, credentials: Credentials) -> Self {
        // A name of our own, because smtplib's default asks the DNS, which may stall.
        Self {
            common: Common::new(server, credentials),
            local_name: "localhost".into(),
            resend_unknown: false,
        }
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
