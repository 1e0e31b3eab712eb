//! The handle whose verbs are futures; each is one line over the blocking verb.

use std::sync::Arc;

use super::{Receipt, Smtp};
use crate::asynchronous::{AsyncCall, Handle};
use crate::config::SmtpConfig;
use crate::connection::{Stats, Status};
use crate::error::Result;
use crate::message::Message;
use crate::server_info::ServerInfo;

/// An [`Smtp`] whose verbs are futures, on any runtime.
///
/// Needs the feature `async`, and no runtime's features: verbs block threads of pymail's own while their commands are
/// on the wire. Clones share the connections, and blocking handles can, too: see [`from`](Self::from) and
/// [`blocking`](Self::blocking). As many calls run at the same time as there are
/// [`connections`](SmtpConfig::connections).
///
/// A future begins at its first poll. One that is dropped sends its messages or none, see [`AsyncCall`]; the app does
/// not learn which. Send them again: the receiver drops a duplicate by its Message-ID.
///
/// ```no_run
/// use pymail::{AsyncSmtp, Message, SmtpConfig};
///
/// # async fn run(config: SmtpConfig) -> pymail::Result<()> {
/// let smtp = AsyncSmtp::connect(config).await?;
/// let receipt = smtp.send(&Message::new("42", "alice@example.org", "bob@example.org", "hello")).await?;
/// assert!(receipt.all_accepted());
/// smtp.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct AsyncSmtp(Arc<Handle<Smtp>>);

impl AsyncSmtp {
    /// Connects as [`Smtp::connect`] does, with the same errors.
    ///
    /// A dropped future closes the connections that it makes.
    pub fn connect(config: SmtpConfig) -> AsyncCall<Result<Self>> {
        AsyncCall::without_handle(move || Smtp::connect(config).map(Self::from))
    }

    /// Connects without a login as [`Smtp::probe`] does, with the same errors.
    pub fn probe(config: &SmtpConfig) -> AsyncCall<Result<ServerInfo>> {
        let config = config.clone();
        AsyncCall::without_handle(move || Smtp::probe(&config))
    }

    /// Returns the blocking handle, with the same connections.
    #[must_use]
    pub fn blocking(&self) -> &Smtp {
        self.0.blocking()
    }

    /// Sends one message as [`Smtp::send`] does, with the same errors. Copies it, since a future can't borrow it.
    pub fn send(&self, message: &Message) -> AsyncCall<Result<Receipt>> {
        let message = message.clone();
        self.0.call(move |smtp| smtp.send(&message))
    }

    /// Sends messages as [`Smtp::send_all`] does, with the same results.
    ///
    /// Takes a `Vec` without copying bodies; an `Arc` that the app keeps, for messages that fail; or a slice, which is
    /// copied.
    pub fn send_all(&self, messages: impl Into<Arc<[Message]>>) -> AsyncCall<Vec<Result<Receipt>>> {
        let messages = messages.into();
        self.0.call(move |smtp| smtp.send_all(&messages))
    }

    /// Sends NOOP as [`Smtp::noop`] does, with the same errors.
    pub fn noop(&self) -> AsyncCall<Result<()>> {
        self.0.call(Smtp::noop)
    }

    /// Goes on after a sign-in as [`Smtp::signed_in`] does, with the same errors.
    pub fn signed_in(&self) -> AsyncCall<Result<()>> {
        self.0.call_at_once(Smtp::signed_in)
    }

    /// Returns the state of the connection as [`Smtp::status`] does. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        self.blocking().status()
    }

    /// Returns the counters of the handle so far. Never blocks.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.blocking().stats()
    }

    /// Closes the connections as [`Smtp::close`] does, with the same errors. Calls that wait for their turn get
    /// `Closed`.
    pub fn close(&self) -> AsyncCall<Result<()>> {
        self.0.call_at_once(Smtp::close)
    }
}

/// Makes the verbs of a handle futures; the two share its connections.
impl From<Smtp> for AsyncSmtp {
    fn from(smtp: Smtp) -> Self {
        let (calls, timeout) = (smtp.pool.all().len(), smtp.config.common.options.timeout);
        Self(Handle::new(smtp, calls, timeout))
    }
}

/// Shows what the blocking handle shows.
impl std::fmt::Debug for AsyncSmtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AsyncSmtp").field(self.blocking()).finish()
    }
}
