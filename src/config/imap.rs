//! What a handle that receives needs to know.

use std::hash::Hash;
use std::time::Duration;

use super::{Common, Credentials, SENSIBLE, Server, Upkeep, check_mailbox};
use crate::error::{Error, Result};

/// The largest mail that IMAP can be asked for in part, by servers whose numbers have 31 bits; with room for one octet more.
const LARGEST: usize = (i32::MAX - 1) as usize;

/// More messages than any mailbox has.
const MOST: usize = i32::MAX as usize;

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
    /// put before a name that lacks it. Where the server refuses the name, `INBOX` and its delimiter are put before it, and
    /// then each delimiter in it becomes a `-`.
    #[must_use]
    pub fn archive(mut self, mailbox: impl Into<String>) -> Self {
        self.archive = Some(mailbox.into());
        self
    }

    /// How many messages one `fetch` returns at most. Default 1,000; at least 1. `usize::MAX` is no limit.
    ///
    /// Whoever drains large mailboxes is quicker with more: a server may look through all of a mailbox for each batch
    /// (Dovecot, with maildir, takes three times as long in batches of 500 as in batches of 10,000). What a batch may
    /// hold is bounded by [`batch_bytes`](ImapConfig::batch_bytes) all the same. Whoever shares a mailbox has its
    /// messages better spread with fewer.
    #[must_use]
    pub fn batch(mut self, messages: usize) -> Self {
        self.batch = messages.min(MOST);
        self
    }

    /// How many bytes of mail one `fetch` holds at most. Default 64 MiB; `usize::MAX` is no limit.
    ///
    /// A message over this alone is still fetched, as long as it is within
    /// [`max_message`](ImapConfig::max_message). What a server is asked for in one go is held besides: up to
    /// 32 MiB.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// The largest message that is read, in bytes on the wire. Default 32 MiB; at most 2 GiB, which `usize::MAX` means, too.
    ///
    /// A larger one comes back as [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) in its place.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes.min(LARGEST);
        self
    }

    /// How many acknowledged messages are remembered, so that a second copy of one is dropped. Default 10,000.
    ///
    /// The memory is the archive itself: the first fetch that finds anything reads the Message-ID, Subject and
    /// From of its newest mails, once a handle. That costs some round trips and about 200 bytes a mail; each
    /// mail takes 20 bytes of memory. An archive that can't be read keeps no mail back: copies are delivered again then,
    /// [`Stats::archive_unread`](crate::Stats::archive_unread) counts it, and it is tried again later. A copy of a message that was archived longer ago is delivered again. With 0
    /// nothing is remembered; copies that are in the inbox together are one delivery all the same.
    #[must_use]
    pub fn remember(mut self, messages: usize) -> Self {
        self.remember = messages;
        self
    }

    /// Puts messages that were delivered this often without an acknowledgement into the mailbox `dead` within the
    /// archive (or beside it, named like it and `-dead`, where the server lets no mailbox be within), and those that can't be read at once; beside each a mail that says why. 1 to 20; by default
    /// nothing goes there.
    ///
    /// A delivery has failed when the app says so by [`Imap::reject`](crate::Imap::reject), or when its handle is
    /// gone without having acknowledged it. The count is kept on the server by the keywords `$PymailDelivery1` and
    /// so on; on a server without keywords it ends with the handle. What can't be read is still an error in its
    /// place, once. A message that the server does not give out, and whose headers show that it is ours, goes there
    /// unread: at once when others come and its error is no passing one, else after so many failures.
    #[must_use]
    pub fn dead_letters(mut self, after: u32) -> Self {
        self.dead_letters = Some(after);
        self
    }

    /// Shares the mailbox with any number of other handles, in any number of processes, each with the same tag, archive
    /// and lease.
    ///
    /// A message is handed to one of them, and to another only when that one has stopped, or has not been heard of
    /// for the lease: because it died, or because its connection was lost for so long. 5 min are a good lease;
    /// it is at least two [`deadline`](ImapConfig::deadline)s. The order of messages is not kept. Of two consumers with
    /// different leases, the longer one counts between them. Consumers with another archive can't be seen, and the same
    /// messages are handed to them, too; both are told of by an event. After a lost connection, the waits of
    /// [`backoff`](ImapConfig::backoff) grow to a quarter of the lease at most.
    ///
    /// The handles agree by a log in the mailbox `claims` within the archive (`claims-` and a hash for another inbox than
    /// INBOX, or an archive that has not the tag's name), or beside the archive, as `-claims` behind its name, where the
    /// server lets no mailbox be within; they need nothing of the server but that UIDs ascend, as
    /// they do on every one. Nothing else may change that mailbox. A second copy of a message
    /// is dropped when the first was acknowledged by then, not while another handle still has it. By default the
    /// mailbox is not shared.
    #[must_use]
    pub fn shared(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Returns how the connection is kept: the heartbeat also renews a lease, and comes in time for that; so does a new
    /// connection, unless the first wait is configured to be longer.
    pub(crate) fn upkeep(&self) -> Upkeep {
        let upkeep = self.common.upkeep;
        let Some(lease) = self.lease else { return upkeep };
        let (first, most) = upkeep.backoff;
        let backoff = (first, most.min(first.max(lease / 4)));
        Upkeep { heartbeat: upkeep.heartbeat.min(lease / 4), backoff, regardless: true, ..upkeep }
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
