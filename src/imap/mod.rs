//! The handle that receives, and the path of a fetch.
//!
//! ```text
//!  fetch ─▶ receive ─▶ prefetch, or search and fetch ─▶ windows ─▶ reader ─▶ Batch
//!              ├─ single      messages that the server withholds
//!              ├─ attempts    messages that failed too often
//!              └─ ahead       the next fetch, sent with an acknowledgement
//! ```
//!
//! The handle's other verbs are beside it, each in the module that does what it promises: `acknowledge`, `consumer`,
//! `dead_letters` and `by_uid`, and `async_imap` over all. They know the handle; it does not know them.
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

mod ahead;
mod attempts;
mod batch;
mod cursor;
mod deliveries;
mod fetch;
mod hand_out;
mod inbox;
mod prefetch;
mod reader;
mod receive;
mod single;
mod windows;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::Span;

pub(crate) use self::ahead::next_fetch;
pub(crate) use self::attempts::{MAILBOX as DEAD_LETTERS, reject};
pub use self::batch::Batch;
pub(crate) use self::cursor::Cursor;
pub use self::deliveries::Deliveries;
pub(crate) use self::inbox::Inbox;
pub(crate) use self::reader::too_large;
pub(crate) use self::receive::receive;
pub(crate) use self::windows::count_fitting;
use crate::claims::Claims;
use crate::config::ImapConfig;
use crate::connection::{Connection, Session as _, SessionHooks, Stats, Status};
use crate::deadline::Deadline;
use crate::delivery::Delivery;
use crate::duplicates::Acknowledged;
use crate::error::{Error, Result};
use crate::events;
use crate::in_flight::InFlight;
use crate::python::{ImapSession, ServerProfile};
use crate::search::Search;
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
/// | `Refused` | NO or BAD to the command; or, on a new connection, to the login for a cause beside the credentials, to the inbox, to the archive, or for now to the names of mailboxes (NAMESPACE, LIST) |
/// | `Timeout` | the call is not done in time; waiting for another call and connecting count, too |
/// | `Disconnected` | the connection was lost, and the call could not be repeated, or lost the next one as well |
/// | `Runtime` | Python can't be used: it does not start, has no memory left, or this is a forked child |
/// | `Closed` | the handle was closed, or the process is exiting |
///
/// A call that finds the connection lost, and may make no new one before a [wait](Error::retry_after) is over, returns
/// the error that caused the wait, with the rest of it.
#[derive(Clone)]
pub struct Imap {
    pub(crate) connection: Connection<ImapSession>,
    pub(crate) config: Arc<ImapConfig>,
    /// Held by one verb at a time, for its whole length; taken before the connection's lock.
    pub(crate) inbox: Arc<Mutex<Inbox>>,
    /// The messages that consumers have.
    pub(crate) in_flight: Arc<InFlight>,
    /// `None` unless the mailbox is [`shared`](ImapConfig::shared).
    pub(crate) claims: Option<Arc<Claims>>,
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
        let options = config.connection_options();
        let deadline = Deadline::of_call(options.timeout);
        let connection = in_span(&verb_span!("imap.connect"), || Connection::open(options, hooks, deadline))?;
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
    pub(crate) fn with_inbox<T: Send>(
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
            let result = verb(&mut inbox, deadline);
            self.connection.count(|counts| counts.depth = inbox.depth().or(counts.depth));
            result
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

    /// Returns the UIDs of tagged mail in the inbox, with foreign mail among it, see [`Search::run`].
    ///
    /// # Errors
    ///
    /// Those of the search.
    pub(crate) fn search_tagged(&self, session: &mut ImapSession, inbox: &mut Inbox) -> Result<UidSet> {
        let (searched, suspects) = inbox.search_state(session.validity());
        let Self { connection, config, .. } = self;
        Search { session, connection, config, searched, suspects }.run()
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
