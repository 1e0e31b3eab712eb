//! The handle that sends: a short method a verb.

mod delivery;
mod receipt;

use std::sync::Arc;

pub use self::receipt::{Answer, Receipt};
use crate::config::SmtpConfig;
use crate::error::Result;
use crate::link::{Habits, Link, Session as _, Stats, Status};
use crate::message::Message;
use crate::python::SmtpSession;

/// Sends tagged messages, over a connection that stays up.
///
/// Clones share the connection; it is closed by [`stop`](Smtp::stop), or when the last clone is dropped. Every
/// verb blocks until the server has answered, and can be called from any thread.
///
/// ```no_run
/// use pymail::{Credentials, Message, Server, Smtp, SmtpConfig};
///
/// let account = Credentials::new("alice@example.org", "correct horse");
/// let smtp = Smtp::connect(SmtpConfig::new(Server::starttls("smtp.example.org"), account).tag("__APP__"))?;
/// let receipt = smtp.send(&Message::new("42", "alice@example.org", "bob@example.org", "hello"))?;
/// assert!(receipt.all_accepted());
/// smtp.stop()?;
/// # Ok::<(), pymail::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Smtp {
    link: Link<SmtpSession>,
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
        let connect = {
            let config = Arc::clone(&config);
            move |deadline| SmtpSession::connect(&config, deadline)
        };
        let link = Link::open(config.common.upkeep, Habits::new(connect))?;
        Ok(Self { link, config })
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
    /// out under one [`deadline`](SmtpConfig::deadline).
    #[must_use = "each message has its own result"]
    pub fn send_all(&self, messages: &[Message]) -> Vec<Result<Receipt>> {
        delivery::send_all(&self.link, &self.config, messages)
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// `Disconnected`, `Connect`, `Timeout`.
    pub fn noop(&self) -> Result<()> {
        self.link.repeat(self.link.deadline(), SmtpSession::noop)
    }

    /// How the connection is doing; never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        self.link.status()
    }

    /// What the handle has done so far; never blocks.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.link.stats()
    }

    /// Says QUIT and closes the connection, for every clone of this handle.
    ///
    /// # Errors
    /// When the goodbye failed; the connection is closed all the same, and every message that was reported as
    /// sent is sent.
    pub fn stop(&self) -> Result<()> {
        self.link.stop()
    }
}
