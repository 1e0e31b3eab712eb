//! The configuration of an [`Imap`](crate::Imap) handle.

use std::hash::Hash;
use std::time::Duration;

use super::{ALLOWED_DURATIONS, Common, ConnectionOptions, Credentials, Server, check_mailbox};
use crate::error::{Error, ErrorKind, Result};

/// The largest `max_message`: some servers take octet counts of 31 bits, and one octet more is asked for.
const MAX_MESSAGE: usize = (i32::MAX - 1) as usize;

/// The longest `idle_renewal`: servers may end a connection after 30 min without a command (RFC 2177).
const MAX_IDLE_RENEWAL: Duration = Duration::from_secs(29 * 60);

/// The largest `batch`: more messages than any mailbox has.
const MAX_BATCH: usize = i32::MAX as usize;

/// The configuration of an [`Imap`](crate::Imap) handle.
///
/// | setting | default | |
/// | --- | --- | --- |
/// | [`tag`](Self::tag) | `__PYMAIL__` | the first word of the app's Subjects |
/// | [`inbox`](Self::inbox) | `INBOX` | the mailbox to receive from |
/// | [`archive`](Self::archive) | the tag | the mailbox for acknowledged messages |
/// | [`batch`](Self::batch), [`batch_bytes`](Self::batch_bytes) | 1,000, 64 MiB | the most that a fetch returns |
/// | [`max_message`](Self::max_message) | 32 MiB | the largest message |
/// | [`max_in_flight`](Self::max_in_flight) | no limit | the messages that consumers have |
/// | [`dedup_window`](Self::dedup_window) | 10,000 | the messages whose duplicates are dropped |
/// | [`dead_letters`](Self::dead_letters) | none | deliveries before a message is set aside |
/// | [`shared`](Self::shared) | no | the lease of each consumer |
/// | [`timeout`](Self::timeout) | 60 s | of each call |
/// | [`heartbeat`](Self::heartbeat) | 10 s | the idle time before a NOOP |
/// | [`idle_renewal`](Self::idle_renewal), [`recheck`](Self::recheck) | 5 min, 2 min | while waiting for mail |
/// | [`backoff`](Self::backoff) | 1 s to 5 min | between attempts in the background |
/// | [`max_connects_per_minute`](Self::max_connects_per_minute) | 30 | by calls and in the background |
///
/// [`Imap::connect`](crate::Imap::connect) checks them: a value out of its range is [`ErrorKind::Config`]. Durations
/// are 1 ms to a week, unless the setting says otherwise.
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
    pub(crate) max_in_flight: usize,
    pub(crate) dedup_window: usize,
    pub(crate) lease: Option<Duration>,
    pub(crate) dead_letters: Option<u32>,
}

impl ImapConfig {
    /// Makes a configuration with the default settings.
    #[must_use]
    pub fn new(server: Server, credentials: Credentials) -> Self {
        Self {
            common: Common::new(server, credentials),
            inbox: "INBOX".into(),
            archive: None,
            batch: 1_000,
            batch_bytes: 64 << 20,
            max_message: 32 << 20,
            max_in_flight: usize::MAX,
            dedup_window: 10_000,
            lease: None,
            dead_letters: None,
        }
    }

    common_setters!();
    common_getters!();

    /// Sets the mailbox to receive from. Default `INBOX`. It must exist: it is never created, and a missing one is
    /// [`ErrorKind::Refused`] with the server's code, such as `NONEXISTENT`.
    ///
    /// Rules for the names of mailboxes, here, in [`archive`](Self::archive), in [`Imap::copy`](crate::Imap::copy) and
    /// in [`Imap::move_to`](crate::Imap::move_to):
    ///
    /// - A name has 1 to 255 printable ASCII characters, spaces too, without `"`, `\`, `%` and `*`.
    /// - It is sent as it is. A name beyond ASCII must be given as the server lists it, in modified UTF-7 (RFC 3501,
    ///   section 5.1.3): `Entw&APw-rfe` for Entwürfe, and `&-` for an ampersand.
    /// - A hierarchy is written with the server's own delimiter, mostly `/` or `.`: `Apps/orders`.
    /// - No namespace prefix is added, but to the archive: on a server that keeps all mailboxes in `INBOX.`, give
    ///   `INBOX.orders`.
    /// - `INBOX` is the same in any case; the case of other names is the server's matter.
    #[must_use]
    pub fn inbox(mut self, mailbox: impl Into<String>) -> Self {
        self.inbox = mailbox.into();
        self
    }

    /// Sets the mailbox for acknowledged messages. Default: named like the tag. It is created when a connection is made
    /// and it is missing, and again when another client has removed it.
    ///
    /// The name follows the [rules for names](Self::inbox), and must not be that of the inbox, with or without a
    /// prefix. These names are tried in order, until the server accepts one, for `Apps/orders` and the delimiter `/`:
    ///
    /// 1. `Apps/orders`, after the prefix of the personal namespace (RFC 2342) unless it begins with the prefix of a
    ///    namespace: on a server whose prefix is `INBOX.`, `__APP__` becomes `INBOX.__APP__`;
    /// 2. `INBOX/Apps/orders`, if the first is not within INBOX already;
    /// 3. `Apps-orders`, after the prefix, if the name has a hierarchy.
    ///
    /// A transient refusal leads to no other name: it is the error of [`Imap::connect`](crate::Imap::connect). So is
    /// the first refusal when the server accepts none. The [dead letters](Self::dead_letters) and the log of a
    /// [shared](Self::shared) mailbox are mailboxes within the archive; where the server allows none there, they are
    /// beside it.
    ///
    /// A tag with the server's delimiter is a hierarchy, too: on a server with `.`, the tag `shop.eu` makes the mailbox
    /// `eu` within `shop`.
    #[must_use]
    pub fn archive(mut self, mailbox: impl Into<String>) -> Self {
        self.archive = Some(mailbox.into());
        self
    }

    /// Sets the most messages of one [`fetch`](crate::Imap::fetch). Default 1,000, at least 1; `usize::MAX` for no
    /// limit.
    ///
    /// Larger batches receive large mailboxes faster, because servers may scan the mailbox for each batch: Dovecot with
    /// maildir takes three times as long in batches of 500 as in batches of 10,000.
    /// [`batch_bytes`](ImapConfig::batch_bytes) bounds the memory. Smaller batches spread messages better over
    /// consumers, those of one handle and those of a [`shared`](ImapConfig::shared) mailbox.
    #[must_use]
    pub fn batch(mut self, messages: usize) -> Self {
        self.batch = messages.min(MAX_BATCH);
        self
    }

    /// Sets the most bytes of mail in one [`fetch`](crate::Imap::fetch). Default 64 MiB, at least 1; `usize::MAX` for
    /// no limit.
    ///
    /// A single larger message is still fetched, up to [`max_message`](ImapConfig::max_message). Up to 32 MiB are
    /// buffered beside the batch.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Sets the largest message to fetch, in bytes on the wire. Default 32 MiB, at least 1; the most is 2 GiB, also for
    /// `usize::MAX`. A body takes 4/3 of its size on the wire.
    ///
    /// A larger message is delivered as the error [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge).
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes.min(MAX_MESSAGE);
        self
    }

    /// Sets the most messages that the consumers of a handle have in flight together: fetched by a consumer, and
    /// neither acknowledged nor returned. By default there is no limit; at least 1. Other queues call it prefetch.
    ///
    /// When it is reached, [`Imap::consume`](crate::Imap::consume) blocks until one is acknowledged or returned, or a
    /// consumer is dropped. So an app that acknowledges many messages together needs a limit of as many.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// Sets the number of acknowledged messages whose duplicates are dropped. Default 10,000; 0 for none, `usize::MAX`
    /// for all in the archive.
    ///
    /// The newest messages of the archive count: the first fetch of a handle that finds a message reads their
    /// Message-ID, Subject and From. That costs some round trips and about 200 bytes of traffic a message; each takes
    /// 20 bytes of memory. A duplicate of an older message is delivered. So are duplicates while the archive can't be
    /// read, which [`Stats::archive_unread`](crate::Stats::archive_unread) counts, and which is retried. Duplicates
    /// that are in the inbox together are one delivery, also with 0.
    #[must_use]
    pub fn dedup_window(mut self, messages: usize) -> Self {
        self.dedup_window = messages;
        self
    }

    /// Moves messages that were delivered `after` times without an acknowledgement to the dead letters, and unreadable
    /// ones at once. 1 to 20; by default there are no dead letters.
    ///
    /// The dead letters are in the mailbox `dead` within the archive, or in `<archive>-dead` where the server allows no
    /// mailbox within another. A mail beside each names the reason.
    ///
    /// A delivery has failed when the app calls [`reject`](crate::Imap::reject) or [`nack`](crate::Imap::nack), or when
    /// the handle ends before the acknowledgement. A fetch counts a delivery of each message of its batch, also of
    /// those that the app has not come to when it ends; a consumer fetches at most ten at a time, therefore. The
    /// keywords `$PymailDelivery1` and so on keep the count on the server; on a server without keywords, the count ends
    /// with the handle. An unreadable message is delivered as an error once. A message that the server refuses to
    /// return, and whose headers show the tag, is moved unread: at once when other messages come and its error is
    /// permanent, else after so many failures.
    #[must_use]
    pub fn dead_letters(mut self, after: u32) -> Self {
        self.dead_letters = Some(after);
        self
    }

    /// Sets the time after which IDLE (RFC 2177) is renewed while [`Imap::wait`](crate::Imap::wait) or
    /// [`Imap::consume`](crate::Imap::consume) waits for mail. Default 5 min; 1 s to 29 min.
    ///
    /// A connection that is lost without a sign is noticed by then. Networks forget connections that are quiet for
    /// longer, and servers end them after 30 min. In a [`shared`](Self::shared) mailbox it is a quarter of the lease at
    /// most.
    #[must_use]
    pub fn idle_renewal(mut self, every: Duration) -> Self {
        self.common.options.idle_renewal = every;
        self
    }

    /// Sets the time without a search after which the inbox is searched although the server has announced nothing,
    /// while [`Imap::wait`](crate::Imap::wait) or [`Imap::consume`](crate::Imap::consume) waits. Default 2 min; 1 ms to
    /// a week.
    ///
    /// After the same time, [`fetch`](crate::Imap::fetch), too, reads the Subjects of up to 500 messages that the
    /// server's SEARCH did not find, each message once. If one has the tag, SEARCH is unreliable: from then on each
    /// search reads up to 10,000 of them, and [`Status::reads_subjects`](crate::Status::reads_subjects) is `true`.
    ///
    /// Some servers have IDLE and do not announce all mail. When such a search finds mail, the next ones follow after a
    /// [`heartbeat`](Self::heartbeat) each, until the server announces mail again; when the second one in a row does,
    /// [`Status::push`](crate::Status::push) is [`Distrusted`](crate::Push::Distrusted).
    #[must_use]
    pub fn recheck(mut self, every: Duration) -> Self {
        self.common.options.recheck = every;
        self
    }

    /// Shares the mailbox among any number of handles, in any number of processes, with the same tag, archive and
    /// lease. By default the mailbox is not shared.
    ///
    /// A message is delivered to one consumer. Another consumer gets it only after the first one was closed, or has not
    /// renewed its lease in time: because it died, or because its connection was lost for so long. The lease is two
    /// [`timeout`](ImapConfig::timeout)s to a week; 5 min work well. The order of messages is not kept. Between
    /// consumers with different leases, the longer lease counts. Consumers with another archive are invisible, and get
    /// the same messages, too; events warn of both. The [`heartbeat`](ImapConfig::heartbeat) is a quarter of the lease
    /// at most, and is sent on a busy connection, too; the waits of [`backoff`](ImapConfig::backoff) grow to a quarter
    /// of the lease at most.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pymail::{Credentials, ImapConfig, Server};
    /// # let server = Server::tls("imap.example.org");
    /// # let account = Credentials::new("alice", "secret");
    /// // Each consumer gets up to 20 messages at a time, and has 5 min to lose and regain its connection.
    /// let config = ImapConfig::new(server, account).shared(Duration::from_secs(300)).batch(20);
    /// # let _ = config;
    /// ```
    ///
    /// Consumers agree by a log in the mailbox `claims` within the archive (`claims-<hash>` for another inbox than
    /// INBOX, or an archive that is not named like the tag), or `<archive>-claims` where the server allows no mailbox
    /// within another. The log needs ascending UIDs only, which every server has. No other program may change that
    /// mailbox. A duplicate is dropped when the first copy was acknowledged before, not while another consumer still
    /// has it.
    #[must_use]
    pub fn shared(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Returns the mailbox to [receive from](Self::inbox).
    #[must_use]
    pub fn get_inbox(&self) -> &str {
        &self.inbox
    }

    /// Returns the [`archive`](Self::archive) as configured; the server's name of it may have a prefix.
    #[must_use]
    pub fn get_archive(&self) -> &str {
        self.archive_name()
    }

    /// Returns the most messages of a [`batch`](Self::batch).
    #[must_use]
    pub fn get_batch(&self) -> usize {
        self.batch
    }

    /// Returns the most bytes of a batch: [`batch_bytes`](Self::batch_bytes).
    #[must_use]
    pub fn get_batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// Returns the largest message in bytes: [`max_message`](Self::max_message).
    #[must_use]
    pub fn get_max_message(&self) -> usize {
        self.max_message
    }

    /// Returns the most messages in flight: [`max_in_flight`](Self::max_in_flight).
    #[must_use]
    pub fn get_max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Returns the [`dedup_window`](Self::dedup_window).
    #[must_use]
    pub fn get_dedup_window(&self) -> usize {
        self.dedup_window
    }

    /// Returns the deliveries after which a message goes to the [`dead_letters`](Self::dead_letters).
    #[must_use]
    pub fn get_dead_letters(&self) -> Option<u32> {
        self.dead_letters
    }

    /// Returns the lease of a [`shared`](Self::shared) mailbox.
    #[must_use]
    pub fn get_shared(&self) -> Option<Duration> {
        self.lease
    }

    /// Returns the [`idle_renewal`](Self::idle_renewal).
    #[must_use]
    pub fn get_idle_renewal(&self) -> Duration {
        self.common.options.idle_renewal
    }

    /// Returns the time after which the inbox is searched unasked: [`recheck`](Self::recheck).
    #[must_use]
    pub fn get_recheck(&self) -> Duration {
        self.common.options.recheck
    }

    /// Returns the connection options, with heartbeat and backoff short enough to renew a lease in time.
    pub(crate) fn connection_options(&self) -> ConnectionOptions {
        let options = self.common.options;
        let Some(lease) = self.lease else { return options };
        let (first, longest) = options.backoff;
        let backoff = (first, longest.min(first.max(lease / 4)));
        let heartbeat = options.heartbeat.min(lease / 4);
        let idle_renewal = options.idle_renewal.min(lease / 4);
        ConnectionOptions { heartbeat, backoff, noop_when_busy: true, idle_renewal, ..options }
    }

    /// Returns the server, the user and the mailbox, by which inboxes are told apart.
    pub(crate) fn mailbox(&self) -> impl Hash {
        let Common { server, credentials, .. } = &self.common;
        let user = credentials.login.as_ref().map(|login| login.user.clone());
        (server.host.clone(), server.port, user, self.inbox.clone())
    }

    /// Returns the criteria of the SEARCH for messages with the tag.
    ///
    /// Mail that another client has flagged `\Deleted` is left out.
    pub(crate) fn search_criteria(&self) -> String {
        format!("UNDELETED SUBJECT \"{}\"", self.common.tag)
    }

    /// Returns the archive's name as configured, by default the tag.
    pub(crate) fn archive_name(&self) -> &str {
        self.archive.as_deref().unwrap_or(&self.common.tag)
    }

    /// # Errors
    /// `Config` for a setting that can't work.
    pub(crate) fn check(&self) -> Result<()> {
        self.common.check()?;
        check_mailbox(&self.inbox, ErrorKind::Config)?;
        check_mailbox(self.archive_name(), ErrorKind::Config)?;
        if self.archive_name().eq_ignore_ascii_case(&self.inbox) {
            return Err(Error::config("the archive must be another mailbox than the inbox"));
        }
        if self.common.credentials.login.is_none() {
            return Err(Error::config("IMAP needs credentials"));
        }
        if self.lease.is_some_and(|lease| {
            !ALLOWED_DURATIONS.contains(&lease) || lease < 2 * self.common.options.timeout
        }) {
            return Err(Error::config("the lease must be two timeouts to a week"));
        }
        if self.dead_letters.is_some_and(|after| !(1..=20).contains(&after)) {
            return Err(Error::config("dead_letters must be 1 to 20 deliveries"));
        }
        let ConnectionOptions { idle_renewal, recheck, .. } = self.common.options;
        if !(Duration::from_secs(1)..=MAX_IDLE_RENEWAL).contains(&idle_renewal) {
            return Err(Error::config("idle_renewal must be 1 s to 29 min"));
        }
        if !ALLOWED_DURATIONS.contains(&recheck) {
            return Err(Error::config("recheck must be 1 ms to a week"));
        }
        if [self.batch, self.batch_bytes, self.max_message, self.max_in_flight].contains(&0) {
            return Err(Error::config(
                "batch, batch_bytes, max_message and max_in_flight must be at least 1",
            ));
        }
        Ok(())
    }
}
