//! The public handle that receives, with one short method for each verb.
//!
//! `receive` decides what is fetched; `acknowledge`, `moves` and `dead_letters` take messages out of the inbox;
//! `claims` shares it among several consumers.
//!
//! ```text
//!  Imap ─ one line for each verb ─┬─▶ receive ─▶ fetch ─▶ windows ─▶ reader ─▶ Batch
//!                                 ├─▶ acknowledge, dead_letters ─▶ moves
//!                                 ├─▶ verbs: any mail, by UID
//!                                 └─▶ Connection: `repeat` or `once`, under its lock
//! ```
//!
//! | shared by the clones of a handle | for |
//! | --- | --- |
//! | `connection` | the commands, one call at a time |
//! | `inbox` | candidates, suspects, counts, acknowledged messages, moves without a response |
//! | `claims` | `shared`: the view of the log |
//!
//! # Locks
//!
//! In this order: `inbox`, the connection, the view of the claims. Each is held for as long as a verb, a call or an
//! operation takes, commands included. So a verb has the inbox's state to itself: what it has read stays true until it
//! ends, and no other verb sees it half done.

mod acknowledge;
mod ahead;
#[cfg(feature = "async")]
mod asynchronous;
mod batch;
mod consumer;
mod cursor;
mod dead_batch;
mod dead_letter;
mod dead_letters;
mod dead_mailbox;
mod deliveries;
mod depth;
mod fetch;
mod fetch_and_ack;
mod hand_out;
mod inbox;
mod prefetch;
mod reader;
mod receive;
mod redrive;
mod search;
mod single;
mod subjects;
mod verbs;
mod windows;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::Span;

#[cfg(feature = "async")]
pub use self::asynchronous::{AsyncConsumer, AsyncDeadLetters, AsyncDeliveries, AsyncImap};
pub use self::batch::Batch;
pub use self::consumer::Consumer;
use self::cursor::Cursor;
pub use self::dead_letter::{DeadLetter, DeadLetters};
pub use self::deliveries::Deliveries;
pub use self::depth::Depth;
use self::inbox::Inbox;
pub use self::verbs::RawMail;
use crate::claims::Claims;
use crate::config::{ImapConfig, check_mailbox};
use crate::connection::{Connection, Session as _, SessionHooks, Stats, Status, Woken};
use crate::deadline::Deadline;
use crate::delivery::Delivery;
use crate::duplicates::Acknowledged;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::in_flight::InFlight;
use crate::moves;
use crate::python::{ImapSession, ServerProfile};
use crate::server_info::ServerInfo;
use crate::spans::{in_span, verb_span};
use crate::tokens::Tokens;
use crate::uid::UidSet;

/// A handle that receives tagged messages from a mailbox, over a supervised connection.
///
/// Clones share the connection; it is closed by [`close`](Imap::close), or when the last clone is dropped. Methods that
/// send commands block until the server has answered, at most for the [`timeout`](ImapConfig::timeout), and take turns.
/// [`wait`](Imap::wait) and [`drain`](Imap::drain) have limits of their own; the `next` of a consumer has none. All can
/// be called from any thread.
/// A call that finds the connection lost makes a new one and is repeated, once, if that is safe.
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
///
/// # Errors of every call
///
/// Any call may have to make a new connection, so each method that blocks can also return:
///
/// | kind | cause |
/// | --- | --- |
/// | `Connect` | no connection can be made, a [proxy](crate::Proxy#errors) refuses, or [`max_connects_per_minute`](ImapConfig::max_connects_per_minute) is reached |
/// | `Tls` | the certificate or the TLS version is not acceptable, or the server offers no STARTTLS |
/// | `Auth` | the login is refused; after a clear refusal of the credentials, every later call returns the same error |
/// | `SignInNeeded` | the app's [provider](crate::Credentials::oauth2) can get no access token; every later call returns the same error until [`signed_in`](Imap::signed_in) |
/// | `Config` | the provider has panicked, or its token can't be sent; or the [connector](crate::Server::connector) has panicked |
/// | `Refused` | NO or BAD to the command; or, on a new connection, to the login for a cause beside the credentials, to the inbox, or to the archive |
/// | `Timeout` | the call is not done in time; waiting for another call and connecting count, too |
/// | `Disconnected` | the connection was lost, and the call could not be repeated, or lost the next one as well |
/// | `Runtime` | Python can't be used: it does not start, has no memory left, or this is a forked child |
/// | `Closed` | the handle was closed, or the process is exiting |
///
/// A call that finds the connection lost, and may make no new one before a [wait](Error::retry_after) is over, returns
/// the error that caused the wait, with the rest of it.
#[derive(Clone)]
pub struct Imap {
    connection: Connection<ImapSession>,
    config: Arc<ImapConfig>,
    /// Held by one verb at a time, for its whole length; taken before the connection's lock.
    inbox: Arc<Mutex<Inbox>>,
    /// The messages that consumers have.
    in_flight: Arc<InFlight>,
    /// `None` unless the mailbox is [`shared`](ImapConfig::shared).
    claims: Option<Arc<Claims>>,
}

impl Imap {
    /// Connects, logs in, selects the inbox and creates the archive mailbox if it is missing.
    ///
    /// The first call in a process also starts the interpreter.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `Config` for invalid settings, before anything is sent;
    /// - `Refused` for a login that is refused for now, for an [inbox](ImapConfig::inbox) that is missing or can't be
    ///   used (the code is `READ-ONLY`, or `UIDVALIDITY` when the server sends none), and when the server accepts no
    ///   name for the [archive](ImapConfig::archive).
    ///
    /// After an error there is no handle, and nothing is retried in the background.
    pub fn connect(config: ImapConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let claims = config.lease.map(|lease| Claims::new(lease, &config)).transpose()?.map(Arc::new);
        let hooks = hooks(&config, claims.as_ref());
        let connection =
            in_span(&verb_span!("imap.connect"), || Connection::open(config.connection_options(), hooks))?;
        let in_flight = Arc::<InFlight>::default();
        let acknowledged = Acknowledged::new(config.dedup_window, claims.is_some());
        let inbox = Arc::new(Mutex::new(Inbox::new(acknowledged, Arc::clone(&in_flight))));
        Ok(Self { connection, config, inbox, in_flight, claims })
    }

    /// Fetches the oldest tagged messages in the inbox, and acknowledges none of them.
    ///
    /// Changes nothing on the server, except that [`dead_letters`](ImapConfig::dead_letters) sets keywords and moves
    /// messages that have failed too often, and [`shared`](ImapConfig::shared) writes claims to its log.
    ///
    /// Returns at most [`batch`](ImapConfig::batch) messages, and an empty batch when there are none. Messages that are
    /// not acknowledged are fetched again by the next call. Duplicates are dropped, see
    /// [`dedup_window`](ImapConfig::dedup_window).
    ///
    /// Finds messages by SEARCH UNDELETED SUBJECT and fetches them with `BODY.PEEK[]` (RFC 3501, sections 6.4.4 and
    /// 6.4.5), which does not set `\Seen`. Mail without the tag and mail that another client has flagged `\Deleted` is
    /// left alone. If the server has SEARCHRES (RFC 5182), new messages come in the same round trip as their SEARCH.
    /// While an earlier SEARCH has results for a full batch, no new one is sent. A [`shared`](ImapConfig::shared)
    /// mailbox is searched by each call, and claims its messages before they are fetched.
    ///
    /// A message that can't be read is an error in its place, see [`Delivery::message`]. So is one that the server
    /// withholds: by a NO, by closing the connection, or by a response that does not end. It is then requested by
    /// itself, and the others are delivered. It stays in the inbox and is retried when a batch has room for it, not
    /// before its [`backoff`](ImapConfig::backoff) has passed. Each failure is delivered, and counted by
    /// [`Stats::withheld`].
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `Refused` for a command that no single message makes fail;
    /// - `Refused`, `Disconnected`, `Timeout` or `Message` (an OK without data) when several messages fail and none
    ///   arrives: the server is at fault, not a message;
    /// - `StaleUids` with [`dead_letters`](ImapConfig::dead_letters), when UIDVALIDITY changes during the call: call
    ///   again.
    ///
    /// A FETCH that fails after some messages have arrived is no error: these are the batch.
    ///
    /// With [`shared`](ImapConfig::shared), `Refused` also when no message can be claimed, and this handle holds none:
    ///
    /// | [`code`](Error::code) | cause |
    /// | --- | --- |
    /// | the server's, such as `OVERQUOTA` | the server refuses new entries of the log |
    /// | none | the log has more than 500,000 claims to messages in the inbox |
    /// | `INUSE` | other consumers' claims came first, many times in a row |
    /// | `INUSE`, with [`retry_after`](Error::retry_after) | UIDVALIDITY has changed; the other consumers have until then to claim their messages under the new UIDs |
    pub fn fetch(&self) -> Result<Batch> {
        let fetch = |inbox: &mut _, deadline| receive::receive(self, inbox, &mut Cursor::default(), deadline);
        let span = verb_span!("imap.fetch");
        let mut deliveries = self.with_inbox(&span, fetch)?;
        span.record("messages", deliveries.len());
        self.hand_out(&mut deliveries);
        Ok(Batch::new(self.clone(), deliveries))
    }

    /// Runs a verb, which has the inbox's state to itself, within the call's time.
    fn with_inbox<T: Send>(
        &self,
        span: &Span,
        verb: impl FnOnce(&mut Inbox, Deadline) -> Result<T> + Send,
    ) -> Result<T> {
        if ImapSession::is_forked() {
            return Err(Error::forked()); // another thread's lock is never released there
        }
        self.connection.check_not_connecting()?;
        let deadline = self.connection.deadline();
        let call = || {
            let inbox = self.inbox.try_lock_until(deadline.at());
            let mut inbox = inbox.ok_or_else(|| deadline.error("waiting for another call on the inbox"))?;
            verb(&mut inbox, deadline)
        };
        // The other call may need the interpreter to end.
        in_span(span, || ImapSession::detached(|| events::deferred(call)))
    }

    /// Returns an iterator over all tagged messages in the inbox, oldest first, each once. One batch at a time is in
    /// memory.
    ///
    /// Fetches like [`fetch`](Imap::fetch), as needed. Acknowledge by [`ack`](Imap::ack), many deliveries at a time,
    /// since each call costs a round trip. Each batch has its own [`timeout`](ImapConfig::timeout). A duplicate is
    /// dropped if its first copy is in the same batch or was acknowledged before; else it is an item of its own.
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
    /// Each item is a delivery, or an error as of [`fetch`](Imap::fetch), which is the last item. When several messages
    /// fail and none arrives, each is a delivery with its error, so that the messages after them are reached.
    pub fn deliveries(&self) -> Deliveries {
        Deliveries::new(self.clone())
    }

    /// Returns an endless iterator over messages as they arrive, oldest first.
    ///
    /// `next` blocks until there is a message. It ends with `None` after [`drain`](Imap::drain) or
    /// [`close`](Imap::close), and after the error `Auth` for wrong credentials. A lost connection is replaced, and what
    /// came meanwhile is delivered.
    ///
    /// A message is *in flight* from the time a consumer has fetched it until it is acknowledged by [`ack`](Imap::ack),
    /// or returned by [`nack`](Imap::nack) or [`reject`](Imap::reject). No other consumer of this handle gets it
    /// meanwhile; [`fetch`](Imap::fetch), [`fetch_and_ack`](Imap::fetch_and_ack) and [`deliveries`](Imap::deliveries)
    /// return it all the same. The drop of a consumer lets go of its messages, which are delivered again. At most
    /// [`max_in_flight`](ImapConfig::max_in_flight) messages are in flight; then `next` blocks until one is acknowledged
    /// or returned, or a consumer is dropped.
    ///
    /// A consumer fetches up to a [`batch`](ImapConfig::batch) at a time. For several workers, give each a consumer of
    /// its own, on a clone of the handle, and set a small batch: 1 to 10.
    ///
    /// The server announces mail (IDLE, RFC 2177): most at once. Without IDLE it is asked at each
    /// [`heartbeat`](ImapConfig::heartbeat); and the inbox is searched after [`recheck`](ImapConfig::recheck) in any
    /// case. [`Status::push`](crate::Status::push) tells which.
    ///
    /// ```no_run
    /// # fn handle(_: &pymail::Delivery) -> pymail::Result<()> { Ok(()) }
    /// # fn run(imap: &pymail::Imap) -> pymail::Result<()> {
    /// for delivery in imap.consume() {
    ///     let delivery = delivery?;
    ///     handle(&delivery)?;
    ///     imap.ack([&delivery])?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An item is an error only if the app must decide: `Auth` when the credentials are wrong, after which the iterator
    /// ends; and, each of them again after a pause when the iteration goes on, any error that is not
    /// [transient](Error::is_transient), such as `Tls`, a permanent `Refused`, `SignInNeeded`, `Message` or `Runtime`.
    /// Others show in [`status`](Imap::status), and are
    /// retried after a pause of 1 s, doubled up to the heartbeat's interval.
    pub fn consume(&self) -> Consumer {
        Consumer::new(self.clone())
    }

    /// Waits until messages may have arrived since the last [`fetch`](Imap::fetch), at most for `timeout`.
    ///
    /// For apps with loops of their own. Returns `true` if the server has announced mail, tagged or not, if another
    /// thread has returned a message or called [`drain`](Imap::drain), or if the inbox was not searched for
    /// [`recheck`](ImapConfig::recheck): fetch then. Returns `false` after `timeout`. Messages that were fetched before
    /// do not end the wait, and neither does the end of a delay by [`nack`](Imap::nack).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn run(imap: &pymail::Imap) -> pymail::Result<()> {
    /// loop {
    ///     let batch = imap.fetch()?;
    ///     // ...
    ///     batch.ack()?;
    ///     if batch.is_empty() {
    ///         imap.wait(Duration::from_secs(300))?;
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Closed`, `Auth` after a clear refusal of the credentials, `SignInNeeded`, `Runtime` in a forked child. A lost
    /// connection is no error: it is replaced in the background, and the wait goes on.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let until = Instant::now().checked_add(timeout);
        let woken = in_span(&verb_span!("imap.wait"), || self.connection.wait(until, || false))?;
        Ok(woken != Woken::Timeout)
    }

    /// Returns deliveries to be handed out again, by this handle not before `delay` has passed.
    ///
    /// They stay in the inbox, and nothing is sent. In a [`shared`](ImapConfig::shared) mailbox this handle keeps its
    /// claim. The delay ends with the handle; [`deliveries`](Imap::deliveries) ignores it. With
    /// [`dead_letters`](ImapConfig::dead_letters) the delivery counts as failed, as by [`reject`](Imap::reject).
    ///
    /// # Errors
    /// `Timeout` when another call on the inbox does not end in time, `Runtime` in a forked child.
    pub fn nack<'a>(
        &self,
        deliveries: impl IntoIterator<Item = &'a Delivery>,
        delay: Duration,
    ) -> Result<()> {
        let deliveries: Vec<&Delivery> = deliveries.into_iter().collect();
        self.with_inbox(&verb_span!("imap.nack"), |inbox, _| {
            for delivery in &deliveries {
                inbox.release(delivery.validity, delivery.uid, "it was returned");
            }
            self.in_flight.delay(&deliveries, delay);
            self.connection.count(|counts| counts.returned += deliveries.len() as u64);
            Ok(())
        })?;
        self.connection.wake_waits(); // For the new time; a consumer of another thread may wait for a later one.
        Ok(())
    }

    /// Ends the consumers that this handle has now, and waits until none of their messages is in flight, at most for
    /// `limit`.
    ///
    /// They hand out no more, and let go of what they have not handed out: each iterator ends at its next call. Returns
    /// the number of messages that are still in flight. [`close`](Imap::close) lets go of those at once.
    #[must_use]
    pub fn drain(&self, limit: Duration) -> usize {
        self.in_flight.end_consumers();
        self.connection.end_waits();
        ImapSession::detached(|| self.in_flight.wait_until_empty(limit))
    }

    /// Returns the criteria of the SEARCH for tagged messages, without the mails that the server can't search.
    ///
    /// They also match foreign mail that has the tag elsewhere in its Subject.
    fn search_criteria(&self, inbox: &Inbox) -> String {
        let except = inbox.search_exclusions().map(|uids| format!(" NOT UID {uids}")).unwrap_or_default();
        self.config.search_criteria() + &except
    }

    /// Moves these deliveries from the inbox to the archive.
    ///
    /// Uses MOVE (RFC 6851), else COPY, STORE and UID EXPUNGE with COPYUID checked (RFC 4315). On a server with neither
    /// MOVE nor UIDPLUS the messages are copied and stay in the inbox, flagged `\Deleted`, because a plain EXPUNGE
    /// would remove other clients' mail, too; they are not fetched again.
    ///
    /// Messages that the server withholds stay in the inbox ([`Delivery::message`]). Duplicates of acknowledged
    /// messages are archived, too. When UIDVALIDITY has changed since the fetch, the messages are found by Message-ID,
    /// Subject and sender; in the archive, too, if the response to an earlier move was lost.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `Refused` when the server answers OK and the messages are still in the inbox; when it withholds the log of a
    ///   [`shared`](ImapConfig::shared) mailbox; and when UIDVALIDITY has changed, and it withholds headers by which
    ///   the messages are found again;
    /// - `StaleUids` when UIDVALIDITY has changed and some messages are not found again, and for deliveries of another
    ///   mailbox;
    /// - `LeaseLost` when other consumers of a [`shared`](ImapConfig::shared) mailbox may have some of the messages:
    ///   the text names their UIDs, and the others are archived.
    ///
    /// After any error each message is in the inbox or in the archive; a retry archives none of them twice. A message of
    /// a [`Consumer`] stays in flight, unless the error is `StaleUids` or `LeaseLost`: acknowledge it again, or return it
    /// by [`nack`](Imap::nack).
    pub fn ack<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>) -> Result<()> {
        let deliveries: Vec<&Delivery> = deliveries.into_iter().collect();
        let span = verb_span!("imap.ack");
        span.record("messages", deliveries.len());
        let acknowledged = self.with_inbox(&span, |inbox, deadline| {
            acknowledge::acknowledge(self, inbox, deliveries.clone(), deadline, Inbox::forget_unreturned)
        });
        let are_lost = |error: &Error| matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::StaleUids);
        if acknowledged.as_ref().is_err_and(are_lost) {
            // If the consumer that has them now fails, or they are under other UIDs, they come again.
            self.in_flight.delay(&deliveries, Duration::ZERO);
            self.connection.wake_waits();
        }
        acknowledged
    }

    /// Returns deliveries that could not be handled. They are delivered again, until they have failed as often as
    /// [`dead_letters`](ImapConfig::dead_letters) allows; then they are moved to the dead letters, with the reason of
    /// the last failure beside them.
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
    /// `Config` without [`dead_letters`](ImapConfig::dead_letters): the messages would be delivered for ever. They stay
    /// in the inbox and are delivered again.
    ///
    /// Else as [`ack`](Imap::ack), of messages that have failed often enough: nothing is sent for the others. After any
    /// error the messages are still in the inbox or in the dead letters; the next [`fetch`](Imap::fetch) moves those
    /// that have failed often enough.
    pub fn reject<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>, reason: &str) -> Result<()> {
        let deliveries: Vec<&Delivery> = deliveries.into_iter().collect();
        let rejected = self.with_inbox(&verb_span!("imap.reject"), |inbox, deadline| {
            dead_letters::reject(self, inbox, deliveries, reason, deadline)
        });
        self.connection.wake_waits();
        rejected
    }

    /// Fetches one batch and acknowledges it before it returns: at most once, where [`fetch`](Imap::fetch) and
    /// [`Batch::ack`] deliver at least once.
    ///
    /// Returns at most [`batch`](ImapConfig::batch) messages, and none when the inbox has no more. When the process
    /// dies before it has handled them, no later call delivers them: they are in the archive only.
    ///
    /// After an error, messages may be archived already. The next call on this handle acknowledges and returns them,
    /// without those that [`ack`](Imap::ack) has acknowledged meanwhile.
    ///
    /// # Errors
    /// As [`fetch`](Imap::fetch) and [`ack`](Imap::ack). `Timeout` also while another thread's `fetch_and_ack` runs.
    pub fn fetch_and_ack(&self) -> Result<Vec<Delivery>> {
        let span = verb_span!("imap.fetch_and_ack");
        let mut deliveries =
            self.with_inbox(&span, |inbox, deadline| fetch_and_ack::fetch_and_ack(self, inbox, deadline))?;
        span.record("messages", deliveries.len());
        self.hand_out(&mut deliveries);
        Ok(deliveries)
    }

    /// Returns an iterator over the messages in the mailbox of [dead letters](ImapConfig::dead_letters), oldest first,
    /// each with the reason why it is there. One batch at a time is in memory.
    ///
    /// Works on any handle with the same tag and [`archive`](ImapConfig::archive), also without
    /// [`dead_letters`](ImapConfig::dead_letters) among its settings. Without such a mailbox there are none. Changes
    /// nothing, on the server either. A message that can't be read is an error in its place, see
    /// [`DeadLetter::message`]; copies of one message are one letter. Letters that come during the iteration are left
    /// out. Each batch, of [`batch`](ImapConfig::batch) letters or [`batch_bytes`](ImapConfig::batch_bytes) at most, has
    /// its own [`timeout`](ImapConfig::timeout).
    ///
    /// ```no_run
    /// # fn show(imap: &pymail::Imap) -> pymail::Result<()> {
    /// for letter in imap.dead_letters() {
    ///     let letter = letter?;
    ///     let id = letter.message().map_or("?", |message| &message.id);
    ///     println!("{id}: {}", letter.reason().unwrap_or("for unknown reasons"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The last item is an error: one of [every call](Imap#errors-of-every-call), or `StaleUids` when the mailbox was
    /// removed, or has got another UIDVALIDITY, during the iteration.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.clone())
    }

    /// Moves dead letters back into the inbox, where they are delivered again, as often as
    /// [`dead_letters`](ImapConfig::dead_letters) allows; removes the notes about them.
    ///
    /// The opposite of [`reject`](Imap::reject), by the same commands as [`ack`](Imap::ack). A redriven message is
    /// delivered even if a message with the same Message-ID was acknowledged before. It is marked for that with the
    /// keyword `$PymailRedriven`; on a server without keywords, only this handle knows. Letters that are no longer among
    /// the dead letters are left out. Claims of a [`shared`](ImapConfig::shared) mailbox do not matter: any consumer may
    /// get the messages.
    ///
    /// ```no_run
    /// # fn redrive(imap: &pymail::Imap) -> pymail::Result<()> {
    /// for letter in imap.dead_letters() {
    ///     let letter = letter?;
    ///     if letter.reason().is_some_and(|reason| reason.contains("database is down")) {
    ///         imap.redrive([&letter])?; // many at a time take fewer round trips
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `Refused` also when the server answers OK and the messages are still among the dead letters;
    /// - `StaleUids` for letters of an earlier UIDVALIDITY or of another mailbox, and when the mailbox of dead letters is
    ///   gone: list them again.
    ///
    /// After any error each message is among the dead letters or in the inbox. A retry by the same handle makes no second
    /// copies, unless a copy has left the inbox meanwhile.
    pub fn redrive<'a>(&self, letters: impl IntoIterator<Item = &'a DeadLetter>) -> Result<()> {
        let letters: Vec<&DeadLetter> = letters.into_iter().collect();
        self.with_inbox(&verb_span!("imap.redrive"), |inbox, deadline| {
            redrive::redrive(self, inbox, &letters, deadline)
        })
    }

    /// Returns how many tagged mails are in the inbox, and how many dead letters there are. Changes nothing.
    ///
    /// Counts what SEARCH UNDELETED SUBJECT finds, on the server where it has ESEARCH (RFC 4731). That includes messages
    /// that were delivered and are not acknowledged, also those of other consumers. Mail that has the tag elsewhere in
    /// its Subject, and a duplicate of an acknowledged message, count until a fetch of this handle has met them; mail
    /// whose Subject the server can't search counts as tagged, as for [`fetch`](Imap::fetch).
    ///
    /// Costs a round trip for the inbox, one for the mailbox of dead letters, and a third while there are any. Where
    /// that mailbox is missing, the server is asked for its other name, and for a list: two more.
    ///
    /// ```no_run
    /// # fn watch(imap: &pymail::Imap) -> pymail::Result<()> {
    /// let depth = imap.depth()?;
    /// println!("{} wait, {} are dead letters", depth.waiting, depth.dead_letters);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call).
    pub fn depth(&self) -> Result<Depth> {
        self.with_inbox(&verb_span!("imap.depth"), |inbox, deadline| depth::depth(self, inbox, deadline))
    }

    /// Sends NOOP, to check that the connection is alive.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call).
    pub fn noop(&self) -> Result<()> {
        in_span(&verb_span!("imap.noop"), || {
            self.connection.repeat(self.connection.deadline(), ImapSession::noop)
        })
    }

    /// Returns the UIDs of all mail in the inbox, tagged or not, that matches criteria such as
    /// `FROM "bob" SINCE 1-Jan-2026` (RFC 3501, section 6.4.4).
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
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `InvalidInput` for criteria with a line break or beyond ASCII, with a literal or RETURN, and for empty ones;
    /// - `Refused` for criteria that the server does not understand, and when more than 4,000,000 messages match.
    pub fn search(&self, criteria: &str) -> Result<UidSet> {
        check_criteria(criteria)?;
        in_span(&verb_span!("imap.search"), || {
            self.connection.repeat(self.connection.deadline(), |session| session.search(criteria))
        })
    }

    /// Fetches whole mails, tagged or not, without setting `\Seen`. Mails that are expunged are left out.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `TooLarge` when a mail is over [`max_message`](ImapConfig::max_message), or all together are over
    ///   [`batch_bytes`](ImapConfig::batch_bytes);
    /// - `StaleUids` for UIDs of an earlier UIDVALIDITY or of another mailbox;
    /// - `Refused`, `Disconnected`, or `Message` (an OK without data) for a mail that the server withholds.
    ///
    /// One mail that fails fails the call. The text names its UID: request the others without it.
    pub fn fetch_uids(&self, uids: &UidSet) -> Result<Vec<RawMail>> {
        in_span(&verb_span!("imap.fetch_uids"), || {
            self.connection
                .repeat(self.connection.deadline(), |session| verbs::fetch(session, uids, &self.config))
        })
    }

    /// Stores a mail in a mailbox, with `\Seen`: APPEND (RFC 3501, section 6.3.11).
    ///
    /// The mail is whole: headers, an empty line and the body (RFC 5322). Lone CRs and LFs become CRLF. Never repeated
    /// after a loss, since that could store it twice. The mailbox is named, and must exist, as for
    /// [`copy`](Imap::copy).
    ///
    /// ```no_run
    /// # fn store(imap: &pymail::Imap) -> pymail::Result<()> {
    /// imap.append("Sent", b"From: alice@example.org\r\nSubject: lunch\r\n\r\nat one?\r\n")
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `InvalidInput` for an invalid mailbox name, an empty mail, and one with a NUL;
    /// - `Refused` when the mailbox does not exist, or the server does not take the mail;
    /// - `OutcomeUnknown` when the connection is lost, or the time is up, after APPEND was sent.
    pub fn append(&self, mailbox: &str, mail: &[u8]) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        if mail.is_empty() || mail.contains(&0) {
            return Err(Error::invalid_input("a mail that is empty, or has a NUL in it, can't be stored"));
        }
        in_span(&verb_span!("imap.append"), || {
            self.connection.once(self.connection.deadline(), |session| verbs::append(session, mailbox, mail))
        })
    }

    /// Connects, encrypted as configured, and leaves without a login: to find out why a login fails, or what a server
    /// offers.
    ///
    /// ```no_run
    /// # fn show(config: &pymail::ImapConfig) -> pymail::Result<()> {
    /// let info = pymail::Imap::probe(config)?;
    /// println!("{:?}, logins by {}", info.tls.map(|tls| tls.version), info.mechanisms.join(", "));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Config`, `Connect`, `Tls`, `Timeout` and `Runtime`, as [`connect`](Imap::connect).
    pub fn probe(config: &ImapConfig) -> Result<ServerInfo> {
        config.check()?;
        in_span(&verb_span!("imap.probe"), || ImapSession::probe(config))
    }

    /// Returns the facts about the server, with the capabilities after the login and the name of the archive.
    ///
    /// Sends nothing, unless a connection must be made.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call).
    pub fn server_info(&self) -> Result<ServerInfo> {
        in_span(&verb_span!("imap.server_info"), || {
            self.connection.repeat(self.connection.deadline(), ImapSession::server_info)
        })
    }

    /// Copies mails to another mailbox (RFC 3501, section 6.4.7). Mails that are expunged are left out.
    ///
    /// Never repeated after a loss, since that could make second copies. A set that one command line can't hold, of
    /// some thousand UIDs, is copied in portions.
    ///
    /// The mailbox must exist. Its name is sent unchanged, without the prefix of a namespace. It follows the [rules for
    /// names](ImapConfig::inbox).
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `InvalidInput` for an invalid mailbox name;
    /// - `StaleUids` for UIDs of an earlier UIDVALIDITY or of another mailbox;
    /// - `Refused`, on most servers with the code `TRYCREATE`, when the mailbox does not exist;
    /// - `OutcomeUnknown` when the connection is lost, or the time is up, after COPY was sent; and for any error after
    ///   the first portion, when some of the mails are copied.
    pub fn copy(&self, uids: &UidSet, mailbox: &str) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        in_span(&verb_span!("imap.copy"), || {
            self.connection.once(self.connection.deadline(), |session| verbs::copy(session, uids, mailbox))
        })
    }

    /// Moves mails to another mailbox, by the same commands as [`ack`](Imap::ack). Mails that are expunged are left
    /// out.
    ///
    /// The mailbox must exist, as for [`copy`](Imap::copy). A retry after an error, by the same handle, makes no second
    /// copies.
    ///
    /// # Errors
    /// As [`copy`](Imap::copy), but `Disconnected` or `Timeout` in place of `OutcomeUnknown` on a server with MOVE.
    /// `Refused` also when the server answers OK and the mails are still in the inbox.
    pub fn move_to(&self, uids: &UidSet, mailbox: &str) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        self.with_inbox(&verb_span!("imap.move_to"), |inbox, deadline| {
            let copies = &mut inbox.unconfirmed_copies;
            self.connection.once(deadline, |session| moves::move_to(session, copies, uids, mailbox))
        })
    }

    /// Deletes exactly these mails, and no others that are flagged `\Deleted` (UID EXPUNGE, RFC 4315).
    ///
    /// On a server without UIDPLUS they are flagged `\Deleted` and stay in the inbox.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and `StaleUids` for UIDs of an earlier UIDVALIDITY or of
    /// another mailbox. After an error, some of the mails may be deleted; a retry deletes the others.
    pub fn delete(&self, uids: &UidSet) -> Result<()> {
        in_span(&verb_span!("imap.delete"), || {
            self.connection.repeat(self.connection.deadline(), |session| moves::delete(session, uids))
        })
    }

    /// Goes on after [`State::SignInNeeded`](crate::State::SignInNeeded): the account's owner has signed in, and the
    /// [provider](crate::Credentials::oauth2) can get tokens again. The next call, or the heartbeat, connects.
    ///
    /// After a refused token, ends the wait before the next attempt. Otherwise without effect. Waits for a call that is
    /// under way.
    ///
    /// # Errors
    /// `Runtime` in a forked child.
    pub fn signed_in(&self) -> Result<()> {
        self.connection.signed_in()
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
    /// Messages that are not acknowledged are delivered again; the other consumers of a [`shared`](ImapConfig::shared)
    /// mailbox get them at once. Waits for a call that is under way, and then at most 5 s for the server. The drop of
    /// the last clone does the same, and ignores the error.
    ///
    /// # Errors
    /// That of LOGOUT: `Disconnected`, `Timeout`, or `Closed` when the process is exiting. The connection is closed all
    /// the same, and a second `close` returns `Ok`. `Runtime` in a forked child, which leaves the connection to its
    /// parent.
    pub fn close(&self) -> Result<()> {
        self.in_flight.end_consumers();
        in_span(&verb_span!("imap.close"), || self.connection.close())
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
///
/// The profile is shared by all connections of the handle, and so are the claims. The hooks have the session for
/// themselves: by the connection's lock, or, on closing, since it was taken out.
fn hooks(config: &Arc<ImapConfig>, claims: Option<&Arc<Claims>>) -> SessionHooks<ImapSession> {
    let server = config.common.server.address();
    let (config, profile) = (Arc::clone(config), Arc::<ServerProfile>::default());
    let hooks = SessionHooks::with_tokens(Tokens::new(&config.common.credentials), move |deadline, token| {
        ImapSession::connect(&config, &profile, token, deadline)
    });
    let hooks = hooks.at("imap", server);
    let Some(claims) = claims else { return hooks };
    let (renewed, released) = (Arc::clone(claims), Arc::clone(claims));
    hooks
        .before_call(move |session| renewed.renew_if_due(session))
        .before_close(move |session| released.release_all(session))
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
