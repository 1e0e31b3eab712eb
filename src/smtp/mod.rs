//! The public handle that sends.
//!
//! `delivery` decides what is sent on which connection, and again; `receipt` is the result. The dialogue is in
//! `py/smtp.py`, its typed call in `python::SmtpSession`.

#[cfg(feature = "async")]
mod asynchronous;
mod delivery;
mod pool;
mod receipt;

use std::sync::Arc;

#[cfg(feature = "async")]
pub use self::asynchronous::AsyncSmtp;
use self::pool::Pool;
pub use self::receipt::{Answer, Receipt};
use crate::config::SmtpConfig;
use crate::connection::{Connection, Session as _, SessionHooks, State, Stats, Status};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::python::{SmtpSession, not_sent};
use crate::server_info::ServerInfo;
use crate::spans::{in_span, verb_span};
use crate::tokens::Tokens;

/// A handle that sends tagged messages over a supervised connection, or [several](SmtpConfig::connections).
///
/// Clones share the connection; it is closed by [`close`](Smtp::close), or when the last clone is dropped. Every
/// method but [`status`](Smtp::status) and [`stats`](Smtp::stats) blocks until the server has replied, and can be
/// called from any thread.
///
/// ```no_run
/// use pymail::{Credentials, Message, Server, Smtp, SmtpConfig};
///
/// let account = Credentials::new("alice@example.org", "correct horse");
/// let smtp = Smtp::connect(SmtpConfig::new(Server::starttls("smtp.example.org"), account).tag("__APP__"))?;
/// let receipt = smtp.send(&Message::new("42", "alice@example.org", "bob@example.org", "hello"))?;
/// assert!(receipt.all_accepted());
/// smtp.close()?;
/// # Ok::<(), pymail::Error>(())
/// ```
///
/// # Errors of every call
///
/// Any call may have to make a new connection, so each method that blocks can also return these; the message, if there
/// is one, was not sent then:
///
/// | kind | cause |
/// | --- | --- |
/// | `Connect` | no connection can be made, a [proxy](crate::Proxy#errors) refuses, or [`max_connects_per_minute`](SmtpConfig::max_connects_per_minute) is reached; the [`code`](crate::Error::code) is that of a refused greeting or EHLO |
/// | `Tls` | the certificate or the TLS version is not acceptable, or the server offers no STARTTLS |
/// | `Auth` | the login is refused, or the server offers none; after a clear refusal of the credentials, every later call returns the same error |
/// | `SignInNeeded` | the app's [provider](crate::Credentials::oauth2) can get no access token; every later call returns the same error until [`signed_in`](Smtp::signed_in) |
/// | `Config` | the provider has panicked, or its token can't be sent; or the [connector](crate::Server::connector) has panicked |
/// | `Refused` | the login is refused for a cause beside the credentials, such as 454 |
/// | `Timeout` | the call is not done in time; waiting for another call and connecting count, too |
/// | `Disconnected` | the connection was lost, and so was the one in its place |
/// | `Runtime` | Python can't be used: it does not start, has no memory left, or this is a forked child |
/// | `Closed` | the handle was closed, or the process is exiting |
///
/// A call that finds the connection lost, and may make no new one before a [wait](crate::Error::retry_after) is over,
/// returns the error that caused the wait, with the rest of it.
#[derive(Clone, Debug)]
pub struct Smtp {
    pool: Arc<Pool>,
    config: Arc<SmtpConfig>,
}

impl Smtp {
    /// Connects and logs in.
    ///
    /// Opens all [`connections`](SmtpConfig::connections), in one [`timeout`](SmtpConfig::timeout). The first call in a
    /// process also starts the interpreter.
    ///
    /// # Errors
    /// The errors of [every call](Smtp#errors-of-every-call), and `Config` for invalid settings. When one of several
    /// connections fails, the others are closed. After an error there is no handle, and nothing is retried in the
    /// background.
    pub fn connect(config: SmtpConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let deadline = Deadline::of_call(config.common.options.timeout);
        let open = || {
            let (options, config) = (config.common.options, Arc::clone(&config));
            let server = config.common.server.address();
            let tokens = Tokens::new(&config.common.credentials);
            let hooks = SessionHooks::with_tokens(tokens, move |deadline, token| {
                SmtpSession::connect(&config, token, deadline)
            });
            Connection::open(options, hooks.at("smtp", server), deadline)
        };
        let connect = || SmtpSession::detached(|| Pool::open(config.connections, open));
        let pool = in_span(&verb_span!("smtp.connect"), connect)?;
        Ok(Self { pool: Arc::new(pool), config })
    }

    /// Connects, encrypted as configured, and leaves without a login: to find out why a login fails, or what a server
    /// offers.
    ///
    /// # Errors
    /// `Config`, `Connect`, `Tls`, `Timeout` and `Runtime`, as [`connect`](Smtp::connect).
    pub fn probe(config: &SmtpConfig) -> Result<ServerInfo> {
        config.check()?;
        in_span(&verb_span!("smtp.probe"), || SmtpSession::probe(config))
    }

    /// Sends one message; returns after the server has accepted it for at least one recipient.
    ///
    /// If the connection is lost before the message was sent, it is sent again on a new one, once.
    ///
    /// Ends within the [`timeout`](SmtpConfig::timeout), a second for each 8 KiB of the message, and the
    /// [`reply_timeout`](SmtpConfig::reply_timeout) for the final reply (RFC 5321, section 4.5.3.2); the last two count
    /// for each attempt. Where the server takes nothing, it ends after one timeout.
    ///
    /// # Errors
    /// The errors of [every call](Smtp#errors-of-every-call), with which the message was not sent, and:
    /// - `Message` when it can't be composed: an id that is empty or over 4,096 bytes, an invalid
    ///   [address](Message#addresses), no recipient, or an address beyond ASCII on a server without SMTPUTF8;
    /// - `InvalidInput` for [properties](Message::with_property) beyond their limits;
    /// - `TooLarge` when it exceeds the server's SIZE (RFC 1870), or the server refuses it for its size (552, 5.2.3,
    ///   5.3.4);
    /// - `Refused` when the server refuses the message or every recipient. It
    ///   [is transient](crate::Error::is_transient) if any recipient may be accepted later;
    /// - `OutcomeUnknown` when the connection is lost, or the reply's time is up, after the message's last byte (up to 64 KiB:
    ///   after its first one) and before the final reply.
    pub fn send(&self, message: &Message) -> Result<Receipt> {
        let result = self.send_all(std::slice::from_ref(message)).pop();
        result.unwrap_or_else(|| Err(not_sent()))
    }

    /// Sends messages in order, in about one round trip each if the server has PIPELINING (RFC 2920).
    ///
    /// Returns one result for each message, in the same order. A message that fails does not stop the others; its error
    /// is one of those of [`send`](Smtp::send). Sending ends when no connection can be made, when the time is up, and
    /// when three messages in a row each ended two connections; the remaining messages get that error. Of several
    /// connections, the others go on.
    ///
    /// Up to 100 messages or 8 MiB of bodies share one [`timeout`](SmtpConfig::timeout), which grows as that of
    /// [`send`](Smtp::send), and each has the [`reply_timeout`](SmtpConfig::reply_timeout); the whole call has none. A
    /// [`window`](SmtpConfig::window) is faster over distances, and so are several
    /// [`connections`](SmtpConfig::connections).
    #[must_use = "each message has its own result"]
    pub fn send_all(&self, messages: &[Message]) -> Vec<Result<Receipt>> {
        let span = verb_span!("smtp.send");
        span.record("messages", messages.len());
        let send = || Ok(delivery::send_all(&self.pool, &self.config, messages));
        let results = in_span(&span, send).unwrap_or_default(); // each message has its own error
        // The connection counts a refusal that has ended it.
        let is_refused = |it: &&Error| it.kind() == ErrorKind::Refused && !it.ends_connection();
        self.pool.all()[0].count(|counts| {
            counts.sent += results.iter().flatten().count() as u64;
            counts.refused +=
                results.iter().filter_map(|it| it.as_ref().err()).filter(is_refused).count() as u64;
        });
        results
    }

    /// Sends NOOP on each connection, to check that it is alive. Each has a timeout of its own.
    ///
    /// Servers take many NOOPs in a row for an attack. After eight without a message in between, the connection is
    /// replaced first, at most once a minute; after eighty in any case.
    ///
    /// # Errors
    /// The errors of [every call](Smtp#errors-of-every-call), of the first connection that has one.
    pub fn noop(&self) -> Result<()> {
        let noop = |connection: &Connection<_>| connection.repeat(connection.deadline(), SmtpSession::noop);
        in_span(&verb_span!("smtp.noop"), || self.pool.all().iter().try_for_each(noop))
    }

    /// Goes on after [`State::SignInNeeded`]: the account's owner has signed in, and the
    /// [provider](crate::Credentials::oauth2) can get tokens again. The next call, or the heartbeat, connects.
    ///
    /// After a refused token, ends the wait before the next attempt. Otherwise without effect. Waits for a call that is
    /// under way.
    ///
    /// # Errors
    /// `Runtime` in a forked child.
    pub fn signed_in(&self) -> Result<()> {
        self.pool.all().iter().try_for_each(Connection::signed_in)
    }

    /// Returns the state of the connection; of several, the first that is not connected. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut all: Vec<_> = self.pool.all().iter().map(Connection::status).collect();
        let first = all.iter().position(|status| status.state != State::Connected);
        all.swap_remove(first.unwrap_or(0)) // there is always one
    }

    /// Returns the counters of the handle so far, summed over its connections. Never blocks.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.pool.all().iter().map(Connection::stats).fold(Stats::default(), Stats::and)
    }

    /// Sends QUIT and closes the connections, for every clone of this handle.
    ///
    /// Waits for a call that is under way, and then at most 5 s for the server. The drop of the last clone does the
    /// same, and ignores the error.
    ///
    /// # Errors
    /// The first error of a QUIT: `Disconnected`, `Timeout`, or `Closed` when the process is exiting. The connections
    /// are closed all the same, messages that were reported as sent are sent, and a second `close` returns `Ok`.
    /// `Runtime` in a forked child, which leaves the connections to its parent.
    pub fn close(&self) -> Result<()> {
        in_span(&verb_span!("smtp.close"), || {
            let stopped: Vec<_> = self.pool.all().iter().map(Connection::close).collect();
            stopped.into_iter().collect()
        })
    }
}
