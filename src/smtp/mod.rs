//! The handle that sends: a short method a verb.

mod delivery;
mod receipt;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::receipt::{Answer, Receipt};
use crate::config::SmtpConfig;
use crate::connection::{Connection, Session as _, SessionHooks, State, Stats, Status};
use crate::error::Result;
use crate::message::Message;
use crate::python::SmtpSession;

/// Sends tagged messages, over a connection that stays up, or [several](SmtpConfig::connections).
///
/// Clones share the connection; it is closed by [`close`](Smtp::close), or when the last clone is dropped. Every
/// verb blocks until the server has answered, and can be called from any thread.
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
#[derive(Clone, Debug)]
pub struct Smtp {
    connections: Arc<[Connection<SmtpSession>]>,
    /// How many times one of them was chosen.
    turns: Arc<AtomicUsize>,
    config: Arc<SmtpConfig>,
}

impl Smtp {
    /// Connects and logs in.
    ///
    /// The first call in a process also starts the interpreter.
    ///
    /// # Errors
    /// `Config` for settings that can't work, `Runtime` without a usable Python, `Connect`, `Tls`, `Timeout`
    /// and `Auth` for what their names say.
    pub fn connect(config: SmtpConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let open = |_| {
            let (options, config) = (config.common.options, Arc::clone(&config));
            let server = config.common.server.address();
            let hooks = SessionHooks::new(move |deadline| SmtpSession::connect(&config, deadline));
            Connection::open(options, hooks.at(server))
        };
        let connections = (0..config.connections).map(open).collect::<Result<Vec<_>>>()?;
        Ok(Self { connections: connections.into(), turns: Arc::default(), config })
    }

    /// Sends one message, and returns when the server has taken it.
    ///
    /// A connection that turns out lost before the message's end is replaced, and the message sent again, once.
    ///
    /// # Errors
    /// `Message` when it can't be composed (an empty id, a bad address, no recipient), `TooLarge` when it is
    /// over the server's SIZE (RFC 1870), `Refused` when the server said no, to the message or to every
    /// recipient, `Disconnected`, `Connect` and `Timeout` when it was not sent, `OutcomeUnknown` when the
    /// connection was lost between its last byte and the server's answer.
    pub fn send(&self, message: &Message) -> Result<Receipt> {
        let result = self.send_all(std::slice::from_ref(message)).pop();
        result.unwrap_or_else(|| Err(delivery::not_sent()))
    }

    /// Sends messages in order, about one round trip each where the server has PIPELINING (RFC 2920).
    ///
    /// Returns one result a message, in the same order; one that fails does not keep the others from being
    /// sent, and each error is one that [`send`](Smtp::send) would have returned. Up to 100 messages or 8 MiB go
    /// out under one [`timeout`](SmtpConfig::timeout). Faster over distances with a
    /// [`window`](SmtpConfig::window), and with several [`connections`](SmtpConfig::connections).
    #[must_use = "each message has its own result"]
    pub fn send_all(&self, messages: &[Message]) -> Vec<Result<Receipt>> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let (before, from) = self.connections.split_at(turn);
        let connections: Vec<_> = from.iter().chain(before).collect();
        delivery::send_all(&connections, &self.config, messages)
    }

    /// Asks the server for a sign of life.
    ///
    /// Servers take many in a row for an attack: after eight without a message in between, the connection is renewed
    /// first, once a minute at most, and after eighty in any case.
    ///
    /// # Errors
    /// `Disconnected`, `Connect`, `Timeout`.
    pub fn noop(&self) -> Result<()> {
        self.connections
            .iter()
            .try_for_each(|connection| connection.repeat(connection.deadline(), SmtpSession::noop))
    }

    /// How the connection is doing, of several the first that is not connected; never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut all: Vec<_> = self.connections.iter().map(Connection::status).collect();
        let first = all.iter().position(|status| status.state != State::Connected);
        all.swap_remove(first.unwrap_or(0)) // there is always one
    }

    /// What the handle has done so far; never blocks.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.connections.iter().map(Connection::stats).fold(Stats::default(), Stats::and)
    }

    /// Says QUIT and closes the connection, for every clone of this handle.
    ///
    /// # Errors
    /// When the goodbye failed; the connection is closed all the same, and every message that was reported as
    /// sent is sent.
    pub fn close(&self) -> Result<()> {
        let closed: Vec<_> = self.connections.iter().map(Connection::close).collect();
        closed.into_iter().collect()
    }
}
