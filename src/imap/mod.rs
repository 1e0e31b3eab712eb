//! The public handle that receives, with one short method for each verb.
//!
//! `receive` decides what is fetched; `acknowledge`, `moves` and `dead_letters` take messages out of the inbox; `claims` shares
//! it among several consumers.

mod acknowledge;
mod acknowledged;
mod archived_ids;
mod batch;
mod claims;
mod cursor;
mod dead_letters;
mod deliveries;
mod fetch;
mod fetch_and_ack;
mod headers;
mod inbox_state;
mod isolate;
mod moves;
mod prefetch;
mod reader;
mod receive;
mod search;
mod single;
mod suspects;
mod unconfirmed_copies;
mod verbs;
mod windows;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::batch::{Batch, Delivery};
use self::claims::Claims;
use self::cursor::Cursor;
pub use self::deliveries::Deliveries;
use self::fetch_and_ack::UnreturnedDeliveries;
use self::inbox_state::InboxState;
use self::unconfirmed_copies::UnconfirmedCopies;
pub use self::verbs::RawMail;
use crate::config::{ImapConfig, check_mailbox};
use crate::connection::{Connection, Session as _, SessionHooks, Stats, Status};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::python::{ImapSession, ServerProfile};
use crate::uid::UidSet;

/// A handle that receives tagged messages from a mailbox, over a supervised connection.
///
/// Clones share the connection; it is closed by [`close`](Imap::close), or when the last clone is dropped. Every method but
/// [`status`](Imap::status) and [`stats`](Imap::stats) blocks until the server has answered, at most for the
/// [`timeout`](ImapConfig::timeout), and can be called from any thread. Calls take turns. A call that finds the connection
/// lost makes a new one and is repeated, once, if that is safe.
///
/// ```no_run
/// use pymail::{Credentials, Imap, ImapConfig, Server};
///
/// let account = Credentials::new("alice@example.org", "correct horse");
/// let imap = Imap::connect(ImapConfig::new(Server::tls("imap.example.org"), account).tag("__APP__"))?;
/// let batch = imap.fetch()?; // the messages stay in INBOX
/// for delivery in &batch {
///     match delivery.message() {
///         Ok(message) => println!("{} from {}: {}", message.id, message.sent_by, message.text_lossy()),
///         Err(error) => eprintln!("UID {} can't be read: {error}", delivery.uid()),
///     }
/// }
/// batch.ack()?; // moves the messages from INBOX to the mailbox __APP__
/// imap.close()?;
/// # Ok::<(), pymail::Error>(())
/// ```
#[derive(Clone)]
pub struct Imap {
    connection: Connection<ImapSession>,
    config: Arc<ImapConfig>,
    state: Arc<Mutex<InboxState>>,
    /// `None` unless the mailbox is [`shared`](ImapConfig::shared).
    claims: Option<Arc<Claims>>,
    unreturned: Arc<UnreturnedDeliveries>,
    unconfirmed_copies: Arc<Mutex<UnconfirmedCopies>>,
}

impl Imap {
    /// Connects, logs in, selects the inbox and creates the archive mailbox if it is missing.
    ///
    /// The first call in a process also starts the interpreter.
    ///
    /// # Errors
    /// `Config` for invalid settings, `Runtime` without a usable Python, `Connect` when the server can't be reached or does
    /// not greet, `Tls` for a certificate or a protocol error, `Auth` when the login is refused, `Refused` when the server
    /// refuses a mailbox, `Timeout` at the deadline.
    pub fn connect(config: ImapConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let claims = config.lease.map(|lease| Claims::new(lease, &config)).transpose()?.map(Arc::new);
        let connection = Connection::open(config.connection_options(), hooks(&config, claims.as_ref()))?;
        let state = Arc::new(Mutex::new(InboxState::new(config.dedup_window)));
        let (unreturned, unconfirmed_copies) = (Arc::default(), Arc::default());
        Ok(Self { connection, config, state, claims, unreturned, unconfirmed_copies })
    }

    /// Fetches the oldest tagged messages in the inbox, and acknowledges none of them.
    ///
    /// Changes nothing on the server, except that [`dead_letters`](ImapConfig::dead_letters) sets keywords and moves messages that
    /// have failed too often, and [`shared`](ImapConfig::shared) writes claims to its log.
    ///
    /// Returns at most [`batch`](ImapConfig::batch) messages, and an empty batch when there are none. Messages that are not
    /// acknowledged are fetched again by the next call. Duplicates are dropped, see
    /// [`dedup_window`](ImapConfig::dedup_window).
    ///
    /// Finds messages by SEARCH UNDELETED SUBJECT and fetches them with `BODY.PEEK[]` (RFC 3501, sections 6.4.4 and 6.4.5),
    /// which does not set `\Seen`. Mail without the tag and mail that another client has flagged `\Deleted` is left alone. If
    /// the server has SEARCHRES (RFC 5182), new messages come in the same round trip as their SEARCH. While an earlier
    /// SEARCH has results for a full batch, no new one is sent.
    ///
    /// A message that can't be read is an error in its place, see [`Delivery::message`]. So is one that the server
    /// withholds: by a NO, by closing the connection, or by a response that does not end. It is then requested by
    /// itself, and the others are delivered. It stays in the inbox and is retried when a batch has room for it, not before its
    /// [`backoff`](ImapConfig::backoff) has passed. Each failure is delivered, and counted by [`Stats::withheld`].
    ///
    /// # Errors
    /// `Disconnected`, `Connect`, `Tls`, `Auth` or `Timeout` when there is no usable connection, `Refused` when the server
    /// refuses a command that no single message is the cause of.
    ///
    /// With [`shared`](ImapConfig::shared), `Refused` also when no message can be claimed, and this handle holds none:
    ///
    /// | [`code`](Error::code) | cause |
    /// | --- | --- |
    /// | the server's, such as `OVERQUOTA` | the server refuses new entries of the log |
    /// | `INUSE` | other consumers' claims came first, many times in a row |
    /// | `INUSE`, with [`retry_after`](Error::retry_after) | UIDVALIDITY has changed; the other consumers have until then to claim their messages under the new UIDs |
    pub fn fetch(&self) -> Result<Batch> {
        self.fetch_by(self.connection.deadline())
    }

    /// Fetches a batch within the rest of a call's time.
    fn fetch_by(&self, deadline: Deadline) -> Result<Batch> {
        Ok(Batch::new(self.clone(), receive::receive(self, &mut Cursor::default(), deadline)?))
    }

    /// Returns an iterator over all tagged messages in the inbox, oldest first, each once. One batch at a time is in memory.
    ///
    /// Fetches like [`fetch`](Imap::fetch), as needed. Acknowledge by [`ack`](Imap::ack), many deliveries at a time, since each call costs a round
    /// trip. Each batch has its own [`timeout`](ImapConfig::timeout). A duplicate is dropped if its first copy is in the same
    /// batch or was acknowledged before; else it is an item of its own.
    ///
    /// ```no_run
    /// # fn handle(_: &pymail::Delivery) -> pymail::Result<()> { Ok(()) }
    /// # fn walk(imap: &pymail::Imap) -> pymail::Result<()> {
    /// let mut handled = Vec::new();
    /// for delivery in imap.deliveries() {
    ///     let delivery = delivery?;
    ///     handle(&delivery)?;
    ///     handled.push(delivery);
    ///     if handled.len() == 100 {
    ///         imap.ack(&std::mem::take(&mut handled))?;
    ///     }
    /// }
    /// imap.ack(&handled)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The items are the deliveries of [`fetch`](Imap::fetch), or its error, which is the last item.
    pub fn deliveries(&self) -> Deliveries {
        Deliveries::new(self.clone())
    }

    /// Returns the criteria of the SEARCH for tagged messages, without the mails that the server can't search.
    ///
    /// They also match foreign mail that has the tag elsewhere in its Subject.
    fn search_criteria(&self) -> String {
        let except =
            self.state.lock().search_exclusions().map(|uids| format!(" NOT UID {uids}")).unwrap_or_default();
        search_criteria(&self.config.common.tag) + &except
    }

    /// Moves these deliveries from the inbox to the archive.
    ///
    /// Uses MOVE (RFC 6851), else COPY, STORE and UID EXPUNGE with COPYUID checked (RFC 4315). On a server with neither MOVE nor
    /// UIDPLUS the messages are copied and stay in the inbox, flagged `\Deleted`, because a plain EXPUNGE would remove
    /// other clients' mail, too; they are not fetched again.
    ///
    /// Messages that the server withholds stay in the inbox ([`Delivery::message`]). Duplicates of acknowledged messages are
    /// archived, too. When UIDVALIDITY has changed since the fetch, the messages are found by Message-ID, Subject and sender; in
    /// the archive, too, if the response to an earlier move was lost.
    ///
    /// # Errors
    /// As [`fetch`](Imap::fetch). `StaleUids` when UIDVALIDITY has changed and some messages are not found again. `LeaseLost`
    /// when other consumers of a [`shared`](ImapConfig::shared) mailbox may have some of the messages: the text names their
    /// UIDs, and the others are archived.
    ///
    /// After any error each message is in the inbox or in the archive; a retry archives none of them twice.
    pub fn ack<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>) -> Result<()> {
        let on_archived = |uids: &UidSet| self.unreturned.forget(uids);
        acknowledge::acknowledge(self, deliveries, self.connection.deadline(), on_archived)
    }

    /// Returns deliveries that could not be handled. They are delivered again, until they have failed as often as
    /// [`dead_letters`](ImapConfig::dead_letters) allows; then they are moved to the dead letters, with the reason of the
    /// last failure beside them.
    ///
    /// ```no_run
    /// # fn handle(_: &pymail::Delivery) -> Result<(), String> { Ok(()) }
    /// # fn receive(config: pymail::ImapConfig) -> pymail::Result<()> {
    /// let imap = pymail::Imap::connect(config.dead_letters(5))?;
    /// for delivery in &imap.fetch()? {
    ///     match handle(delivery) {
    ///         Ok(()) => imap.ack([delivery])?,
    ///         Err(reason) => imap.reject([delivery], &reason)?,
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Config` without [`dead_letters`](ImapConfig::dead_letters): the messages would be delivered for ever. They stay in the
    /// inbox and are delivered again.
    ///
    /// Else as [`ack`](Imap::ack). After any error the messages are still in the inbox or in the dead letters; the next
    /// [`fetch`](Imap::fetch) moves those that have failed often enough.
    pub fn reject<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>, reason: &str) -> Result<()> {
        dead_letters::reject(self, deliveries, reason, self.connection.deadline())
    }

    /// Fetches one batch and acknowledges it before it returns: at most once, where [`fetch`](Imap::fetch) and
    /// [`Batch::ack`] deliver at least once.
    ///
    /// Returns at most [`batch`](ImapConfig::batch) messages, and none when the inbox has no more. When the process dies
    /// before it has handled them, no later call delivers them: they are in the archive only.
    ///
    /// After an error, messages may be archived already. The next call on this handle acknowledges and returns them, without
    /// those that [`ack`](Imap::ack) has acknowledged meanwhile.
    ///
    /// # Errors
    /// As [`fetch`](Imap::fetch) and [`ack`](Imap::ack).
    pub fn fetch_and_ack(&self) -> Result<Vec<Delivery>> {
        fetch_and_ack::fetch_and_ack(self, self.connection.deadline())
    }

    /// Sends NOOP, to check that the connection is alive.
    ///
    /// # Errors
    /// `Disconnected`, `Connect`, `Tls`, `Auth` or `Timeout` when there is no live connection.
    pub fn noop(&self) -> Result<()> {
        self.connection.repeat(self.connection.deadline(), ImapSession::noop)
    }

    /// Returns the UIDs of all mail in the inbox, tagged or not, that matches criteria such as `FROM "bob" SINCE 1-Jan-2026`
    /// (RFC 3501, section 6.4.4).
    ///
    /// The criteria are one line of ASCII.
    ///
    /// ```no_run
    /// # fn delete_bounces(imap: &pymail::Imap) -> pymail::Result<()> {
    /// let bounces = imap.search("FROM \"MAILER-DAEMON\" SEEN")?;
    /// imap.delete(&bounces)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for criteria with a line break, a literal or RETURN, and for empty ones; `Refused` for criteria that the
    /// server does not understand, and when more than 4,000,000 messages match; else as [`fetch`](Imap::fetch).
    pub fn search(&self, criteria: &str) -> Result<UidSet> {
        check_criteria(criteria)?;
        self.connection.repeat(self.connection.deadline(), |session| session.search(criteria))
    }

    /// Fetches whole mails, tagged or not, without setting `\Seen`. Mails that are expunged are left out.
    ///
    /// # Errors
    /// `TooLarge` when a mail is over [`max_message`](ImapConfig::max_message), or all together are over
    /// [`batch_bytes`](ImapConfig::batch_bytes); `StaleUids` for UIDs of an earlier UIDVALIDITY or of another mailbox; else as
    /// [`fetch`](Imap::fetch). When the server withholds a mail, by a NO or with an OK and no data (`Message`), the text
    /// names its UID: request the others without it.
    pub fn fetch_uids(&self, uids: &UidSet) -> Result<Vec<RawMail>> {
        self.connection
            .repeat(self.connection.deadline(), |session| verbs::fetch(session, uids, &self.config))
    }

    /// Copies mails to another mailbox (RFC 3501, section 6.4.7). Mails that are expunged are left out.
    ///
    /// Never repeated after a loss, since that could make second copies.
    ///
    /// # Errors
    /// `InvalidInput` for an invalid mailbox name, `Refused` with the code `TRYCREATE` when the mailbox does not exist,
    /// `OutcomeUnknown` when the connection is lost after COPY was sent; else as [`fetch_uids`](Imap::fetch_uids).
    pub fn copy(&self, uids: &UidSet, mailbox: &str) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        self.connection.once(self.connection.deadline(), |session| verbs::copy(session, uids, mailbox))
    }

    /// Moves mails to another mailbox, by the same commands as [`ack`](Imap::ack). Mails that are expunged are left out.
    ///
    /// A retry after an error, by the same handle, makes no second copies.
    ///
    /// # Errors
    /// As [`copy`](Imap::copy), but `Disconnected` or `Timeout` in place of `OutcomeUnknown` on a server with MOVE.
    pub fn move_to(&self, uids: &UidSet, mailbox: &str) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        self.connection.once(self.connection.deadline(), |session| {
            moves::move_to(session, &self.unconfirmed_copies, uids, mailbox)
        })
    }

    /// Deletes exactly these mails, and no others that are flagged `\Deleted` (UID EXPUNGE, RFC 4315).
    ///
    /// On a server without UIDPLUS they are flagged `\Deleted` and stay in the inbox.
    ///
    /// # Errors
    /// As [`fetch_uids`](Imap::fetch_uids).
    pub fn delete(&self, uids: &UidSet) -> Result<()> {
        self.connection.repeat(self.connection.deadline(), |session| verbs::delete(session, uids))
    }

    /// Returns the state of the connection and its last error. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        self.connection.status()
    }

    /// Returns the counters of the handle so far. Never blocks.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.connection.stats()
    }

    /// Sends LOGOUT and closes the connection, for every clone of this handle.
    ///
    /// Messages that are not acknowledged are delivered again; the other consumers of a [`shared`](ImapConfig::shared) mailbox
    /// get them at once. Waits for a call that is under way, and then at most 5 s for the server. The drop of the last clone
    /// does the same, and ignores the error.
    ///
    /// # Errors
    /// The error of LOGOUT; the connection is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.connection.close()
    }
}

/// Shows the server, the mailbox and the state of the connection.
impl fmt::Debug for Imap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("server", &self.config.common.server.address().0)
            .field("inbox", &self.config.inbox)
            .field("state", &self.status().state)
            .finish_non_exhaustive()
    }
}

/// Returns the functions that connect, and that renew and release the claims of a shared mailbox.
fn hooks(config: &Arc<ImapConfig>, claims: Option<&Arc<Claims>>) -> SessionHooks<ImapSession> {
    let server = config.common.server.address();
    let (config, profile) = (Arc::clone(config), Arc::<ServerProfile>::default());
    let hooks =
        SessionHooks::new(move |deadline| ImapSession::connect(&config, &profile, deadline)).at(server);
    let Some(claims) = claims else { return hooks };
    let (renewed, released) = (Arc::clone(claims), Arc::clone(claims));
    hooks
        .before_call(move |session| renewed.renew_if_due(session))
        .before_close(move |session| released.release_all(session))
}

/// Returns the criteria of the SEARCH for messages with a tag.
fn search_criteria(tag: &str) -> String {
    format!("UNDELETED SUBJECT \"{tag}\"")
}

/// Checks that the criteria are a single SEARCH with an ordinary response.
fn check_criteria(criteria: &str) -> Result<()> {
    // A line break would begin another command, `}` announces a literal that never comes, RETURN changes the response.
    let returns = criteria.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("RETURN"));
    let one_line = criteria.bytes().all(|b| (b' '..=b'~').contains(&b));
    if criteria.trim().is_empty() || !one_line || criteria.ends_with('}') || returns {
        let rule = "one line of printable ASCII, no literal, no RETURN";
        return Err(Error::invalid_input(format!("search criteria {criteria:?}: {rule}")));
    }
    Ok(())
}
