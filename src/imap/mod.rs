//! The handle that receives: a short method a verb.

mod acknowledge;
mod ahead;
mod alone;
mod asking;
mod batch;
mod claims;
mod cursor;
mod dead_letters;
mod deliveries;
mod doubts;
mod fetch_and_ack;
mod halfway;
mod headers;
mod known;
mod look;
mod moving;
mod reader;
mod recall;
mod receive;
mod search;
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
use self::halfway::Halfway;
use self::known::Known;
pub use self::verbs::RawMail;
use crate::config::{ImapConfig, check_mailbox};
use crate::connection::{Connection, Session as _, SessionHooks, Stats, Status};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::python::{ImapSession, ServerProfile};
use crate::uid::UidSet;

/// Receives tagged messages from a mailbox, over a connection that stays up.
///
/// Clones share the connection; it is closed by [`close`](Imap::close), or when the last clone is dropped. Every
/// verb blocks until the server has answered, and can be called from any thread. One command is under way at a
/// time; a verb that finds the connection lost makes a new one and asks again, once, where asking again is safe.
///
/// ```no_run
/// use pymail::{Credentials, Imap, ImapConfig, Server};
///
/// let account = Credentials::new("alice@example.org", "correct horse");
/// let imap = Imap::connect(ImapConfig::new(Server::tls("imap.example.org"), account).tag("__APP__"))?;
/// let batch = imap.fetch()?; // nothing has changed on the server yet
/// for delivery in &batch {
///     match delivery.message() {
///         Ok(message) => println!("{} from {}: {}", message.id, message.sent_by, message.text_lossy()),
///         Err(error) => eprintln!("UID {} can't be read: {error}", delivery.uid()),
///     }
/// }
/// batch.ack()?; // archived in the mailbox __APP__, gone from INBOX
/// imap.close()?;
/// # Ok::<(), pymail::Error>(())
/// ```
#[derive(Clone)]
pub struct Imap {
    connection: Connection<ImapSession>,
    config: Arc<ImapConfig>,
    known: Arc<Mutex<Known>>,
    claims: Option<Arc<Claims>>,
    unreturned: Arc<UnreturnedDeliveries>,
    halfway: Arc<Mutex<Halfway>>,
}

impl Imap {
    /// Connects, logs in, selects the inbox and creates the archive mailbox if it is missing.
    ///
    /// The first call in a process also starts the interpreter.
    ///
    /// # Errors
    /// `Config` for settings that can't work, `Runtime` without a usable Python, `Connect`, `Tls`, `Timeout`
    /// and `Auth` for what their names say, `Refused` when the server refuses a mailbox.
    pub fn connect(config: ImapConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let claims = config.lease.map(|lease| Claims::new(lease, &config)).transpose()?.map(Arc::new);
        let connection = Connection::open(config.connection_options(), hooks(&config, claims.as_ref()))?;
        let known = Arc::new(Mutex::new(Known::new(config.dedup_window)));
        Ok(Self { connection, config, known, claims, unreturned: Arc::default(), halfway: Arc::default() })
    }

    /// Fetches the oldest waiting messages, and changes nothing on the server.
    ///
    /// At most [`batch`](ImapConfig::batch) messages; an empty batch when none waits. What is not acknowledged
    /// is fetched again by the next call. Mail that is not ours, or that another client has marked `\Deleted`,
    /// is not looked at further (RFC 3501: SEARCH UNDELETED SUBJECT, then FETCH with `BODY.PEEK[]`, and a
    /// second time for large messages). Where the server can save what it has found (SEARCHRES, RFC 5182), new
    /// messages come with the answer to the search. What an earlier search has found is not searched for again as
    /// long as it is a batch.
    ///
    /// # Errors
    /// `Disconnected`, `Connect`, `Timeout` for the connection; `Refused` when the server says no. A message that can't be
    /// read is no error here: its [`Delivery`] has it. So has that of a message at which the server says no, ends the
    /// connection or does not go on, after it was asked for alone; the others come. It stays in the inbox, and is tried
    /// again when there is room in a batch, after the [`backoff`](ImapConfig::backoff) at the soonest; each failure is
    /// delivered, and counted by [`Stats::withheld`].
    ///
    /// With [`shared`](ImapConfig::shared), `Refused` as well when nothing can be claimed: because the server takes no entry
    /// of the log, such as in a full mailbox (`OVERQUOTA`); because others were quicker many times in a row (`INUSE`); or
    /// because the mailbox was made anew (`INUSE`), and consumers that had messages before have not claimed them
    /// anew: [`retry_after`](Error::retry_after) says when they will have, or have lost them. What this handle has
    /// already comes all the same.
    pub fn fetch(&self) -> Result<Batch> {
        self.fetch_by(self.connection.deadline())
    }

    fn fetch_by(&self, deadline: Deadline) -> Result<Batch> {
        Ok(Batch::new(self.clone(), receive::receive(self, &mut Cursor::default(), deadline)?))
    }

    /// All messages that wait, oldest first and each once, of which a batch at a time is in memory. What the server does
    /// not give out is an error in its place.
    ///
    /// Nothing is changed on the server: acknowledge with [`ack`](Imap::ack), in portions rather than one by one, since
    /// each costs a round trip. Every batch has its own deadline. A second copy of a message comes along with the first
    /// one when both are in one batch or the first was acknowledged before, and else as a message of its own.
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
    /// The items are those of [`fetch`](Imap::fetch), and so are the errors; the first one is the last item.
    pub fn deliveries(&self) -> Deliveries {
        Deliveries::new(self.clone())
    }

    /// Returns what finds our messages, and others' too: which are ours, their headers tell.
    fn candidates(&self) -> String {
        let but = self.known.lock().left_out().map(|uids| format!(" NOT UID {uids}")).unwrap_or_default();
        candidates(&self.config.common.tag) + &but
    }

    /// Archives these deliveries and takes them out of the inbox.
    ///
    /// By MOVE (RFC 6851), or by COPY, COPYUID, STORE and UID EXPUNGE (RFC 4315). On a server with neither MOVE
    /// nor UIDPLUS they stay in the inbox, flagged `\Deleted`, because a plain EXPUNGE would remove other
    /// clients' mail too; they are not fetched again.
    ///
    /// What the server did not give out stays in the inbox ([`Delivery::message`]).
    ///
    /// In a mailbox that was made anew since the fetch, the messages are looked for by their Message-IDs. Second
    /// copies of acknowledged messages, which are not delivered, are archived with these.
    ///
    /// # Errors
    /// As [`fetch`](Imap::fetch). `StaleUids` when the mailbox was made anew
    /// and does not have all of the messages; `LeaseLost` when other consumers have some of them by now: the
    /// error names these, and the others are archived. After any error the messages are still in the inbox or in the
    /// archive; asking again archives none of them twice.
    pub fn ack<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>) -> Result<()> {
        let gone = |gone: &UidSet| self.unreturned.forget(gone);
        acknowledge::acknowledge(self, deliveries, self.connection.deadline(), gone)
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

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// `Disconnected`, `Connect`, `Timeout`.
    pub fn noop(&self) -> Result<()> {
        self.connection.repeat(self.connection.deadline(), ImapSession::noop)
    }

    /// Any mail that matches an IMAP search program, such as `FROM "bob" SINCE 1-Jan-2026`.
    ///
    /// RFC 3501, section 6.4.4; ASCII only.
    ///
    /// # Errors
    /// `InvalidInput` for criteria that would break the command, `Refused` for ones that the server does not
    /// understand; else as [`fetch`](Imap::fetch).
    pub fn search(&self, criteria: &str) -> Result<UidSet> {
        check_criteria(criteria)?;
        self.connection.repeat(self.connection.deadline(), |session| session.search(criteria))
    }

    /// Mail as it is, without marking it seen. What is not there any more is left out.
    ///
    /// # Errors
    /// `TooLarge` when a mail is over [`max_message`](ImapConfig::max_message), or all together are over
    /// [`batch_bytes`](ImapConfig::batch_bytes); `StaleUids` for UIDs of an earlier
    /// life of the mailbox; else as [`fetch`](Imap::fetch). Where the server does not give out one of them, or finds it and
    /// sends nothing of it (`Message`), the error names its UID: ask for the others without it.
    pub fn fetch_uids(&self, uids: &UidSet) -> Result<Vec<RawMail>> {
        self.connection
            .repeat(self.connection.deadline(), |session| verbs::fetch(session, uids, &self.config))
    }

    /// Copies mail to another mailbox. What is not in the inbox any more is left out.
    ///
    /// Not asked again after a loss: it could make second copies.
    ///
    /// # Errors
    /// `InvalidInput` for a bad mailbox name, `Refused` with the code `TRYCREATE` when there is no such mailbox,
    /// `OutcomeUnknown` when the connection is lost after COPY was sent; else as [`fetch_uids`](Imap::fetch_uids).
    pub fn copy(&self, uids: &UidSet, mailbox: &str) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        self.connection.once(self.connection.deadline(), |session| verbs::copy(session, uids, mailbox))
    }

    /// Moves mail to another mailbox, by the same means as [`ack`](Imap::ack).
    ///
    /// Asked again after an error by the same handle, it makes no second copies.
    ///
    /// # Errors
    /// As [`copy`](Imap::copy); where the server has MOVE, `Disconnected` and `Timeout` in place of `OutcomeUnknown`.
    pub fn move_to(&self, uids: &UidSet, mailbox: &str) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        self.connection.once(self.connection.deadline(), |session| {
            moving::move_to(session, &self.halfway, uids, mailbox)
        })
    }

    /// Deletes exactly this mail, and no other that is flagged `\Deleted`.
    ///
    /// Without UIDPLUS (RFC 4315) it is flagged `\Deleted` and stays.
    ///
    /// # Errors
    /// As [`fetch_uids`](Imap::fetch_uids).
    pub fn delete(&self, uids: &UidSet) -> Result<()> {
        self.connection.repeat(self.connection.deadline(), |session| verbs::delete(session, uids))
    }

    /// How the connection is doing; never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        self.connection.status()
    }

    /// What the handle has done so far; never blocks.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.connection.stats()
    }

    /// Logs out and closes the connection, for every clone of this handle.
    ///
    /// # Errors
    /// When the goodbye failed; the connection is closed all the same.
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

/// How a handle connects, and what it does when nothing else is to be done.
fn hooks(config: &Arc<ImapConfig>, claims: Option<&Arc<Claims>>) -> SessionHooks<ImapSession> {
    let server = config.common.server.address();
    let (config, profile) = (Arc::clone(config), Arc::<ServerProfile>::default());
    let hooks =
        SessionHooks::new(move |deadline| ImapSession::connect(&config, &profile, deadline)).at(server);
    let Some(claims) = claims else { return hooks };
    let (keeping, leaving) = (Arc::clone(claims), Arc::clone(claims));
    hooks
        .before_call(move |session| keeping.keep(session))
        .before_close(move |session| leaving.farewell(session))
}

/// Returns the SEARCH that finds the messages with a tag.
fn candidates(tag: &str) -> String {
    format!("UNDELETED SUBJECT \"{tag}\"")
}

/// A line break would begin another command, `}` ends a line with a literal that never comes, RETURN changes the
/// answer.
fn check_criteria(criteria: &str) -> Result<()> {
    let returns = criteria.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("RETURN"));
    let one_line = criteria.bytes().all(|b| (b' '..=b'~').contains(&b));
    if criteria.trim().is_empty() || !one_line || criteria.ends_with('}') || returns {
        let rule = "one line of printable ASCII, no literal, no RETURN";
        return Err(Error::invalid_input(format!("search criteria {criteria:?}: {rule}")));
    }
    Ok(())
}
