//! The handle whose verbs are futures; each is one line over the blocking verb.

mod consumer;
mod waits;
mod walk;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::consumer::AsyncConsumer;
pub use self::walk::{AsyncDeadLetters, AsyncDeliveries};
use crate::asynchronous::{AsyncCall, Handle};
use crate::by_uid::RawMail;
use crate::config::ImapConfig;
use crate::connection::{Stats, Status};
use crate::dead_letters::{DeadLetter, Depth};
use crate::delivery::Delivery;
use crate::error::Result;
use crate::imap::{Batch, Imap};
use crate::server_info::ServerInfo;
use crate::uid::UidSet;

/// An [`Imap`] whose verbs are futures and whose [`consume`](Self::consume) is a stream, on any runtime.
///
/// Needs the feature `async`, and no runtime's features: verbs block threads of pymail's own while their commands are
/// on the wire, and the waits for mail block none. Clones share the connection, and blocking handles can, too: see
/// [`from`](Self::from) and [`blocking`](Self::blocking). The calls of one handle take turns.
///
/// A future begins at its first poll. One that is dropped does its verb completely or not at all, see [`AsyncCall`].
///
/// The drop of the last clone closes the connection, on another thread. Await [`close`](Self::close) at the end of a
/// program: a program that ends does not wait for that thread.
///
/// On tokio:
///
/// ```no_run
/// use std::time::Duration;
///
/// use pymail::{AsyncImap, Credentials, Delivery, ImapConfig, Server};
/// use smol::stream::StreamExt as _; // or that of `futures` or `tokio-stream`
///
/// async fn handle(_: &Delivery) {}
///
/// async fn run() -> pymail::Result<()> {
///     let account = Credentials::new("alice@example.org", "correct horse");
///     let config = ImapConfig::new(Server::tls("imap.example.org"), account).max_in_flight(100);
///     let imap = AsyncImap::connect(config).await?;
///     let mut messages = imap.consume();
///     while let Some(delivery) = messages.next().await {
///         let (delivery, imap) = (delivery?, imap.clone());
///         tokio::spawn(async move {
///             handle(&delivery).await;
///             if let Err(error) = imap.ack([&delivery]).await {
///                 eprintln!("handled, and not acknowledged: {error:#}");
///                 let _ = imap.nack([&delivery], Duration::from_secs(60)).await; // it comes again
///             }
///         });
///     }
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// tokio::runtime::Runtime::new()?.block_on(run())?;
/// # Ok(())
/// # }
/// ```
///
/// On smol:
///
/// ```no_run
/// # use pymail::{AsyncImap, ImapConfig};
/// # fn run(config: ImapConfig) -> pymail::Result<()> {
/// smol::block_on(async {
///     let imap = AsyncImap::connect(config).await?;
///     for delivery in imap.fetch().await? {
///         println!("{}", delivery.message()?.text_lossy());
///         imap.ack([&delivery]).await?;
///     }
///     imap.close().await
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct AsyncImap(Arc<Handle<Imap>>);

impl AsyncImap {
    /// Connects as [`Imap::connect`] does, with the same errors.
    ///
    /// A dropped future closes the connection that it makes.
    pub fn connect(config: ImapConfig) -> AsyncCall<Result<Self>> {
        AsyncCall::without_handle(move || Imap::connect(config).map(Self::from))
    }

    /// Connects without a login as [`Imap::probe`] does, with the same errors.
    pub fn probe(config: &ImapConfig) -> AsyncCall<Result<ServerInfo>> {
        let config = config.clone();
        AsyncCall::without_handle(move || Imap::probe(&config))
    }

    /// Returns the facts about the server as [`Imap::server_info`] does, with the same errors.
    pub fn server_info(&self) -> AsyncCall<Result<ServerInfo>> {
        self.0.call(Imap::server_info)
    }

    /// Returns the blocking handle, with the same connection.
    #[must_use]
    pub fn blocking(&self) -> &Imap {
        self.0.blocking()
    }

    /// Fetches as [`Imap::fetch`] does, with the same errors. Acknowledge by [`ack`](Self::ack): that of
    /// an empty batch archives duplicates.
    pub fn fetch(&self) -> AsyncCall<Result<Vec<Delivery>>> {
        self.0.call(|imap| imap.fetch().map(Batch::into_deliveries))
    }

    /// Returns a stream over all tagged messages in the inbox, oldest first, each once, as [`Imap::deliveries`] does.
    pub fn deliveries(&self) -> AsyncDeliveries {
        AsyncDeliveries::new(&self.0)
    }

    /// Returns an endless stream of messages as they arrive, oldest first, as [`Imap::consume`] does.
    ///
    /// While it waits for mail, it blocks no thread. At most [`max_in_flight`](ImapConfig::max_in_flight) messages are
    /// in flight; then it yields none until one is acknowledged or returned.
    ///
    /// # Errors
    /// Items are errors as those of [`Imap::consume`].
    pub fn consume(&self) -> AsyncConsumer {
        AsyncConsumer::new(&self.0)
    }

    /// Waits as [`Imap::wait`] does, with the same result and errors, from the first poll on. Blocks no thread.
    pub fn wait(&self, timeout: Duration) -> impl Future<Output = Result<bool>> + Send + use<> {
        waits::wait(Arc::clone(&self.0), timeout)
    }

    /// Returns deliveries as [`Imap::nack`] does, with the same errors.
    pub fn nack<'a>(
        &self,
        deliveries: impl IntoIterator<Item = &'a Delivery>,
        delay: Duration,
    ) -> AsyncCall<Result<()>> {
        let deliveries = without_bodies(deliveries);
        self.0.call(move |imap| imap.nack(&deliveries, delay))
    }

    /// Ends the streams and iterators of this handle as [`Imap::drain`] does, with the same result. Blocks no thread.
    #[must_use = "nothing is done before it is polled"]
    pub fn drain(&self, limit: Duration) -> impl Future<Output = usize> + Send + use<> {
        waits::drain(Arc::clone(&self.0), limit)
    }

    /// Archives deliveries as [`Imap::ack`] does, with the same errors.
    pub fn ack<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>) -> AsyncCall<Result<()>> {
        let deliveries = without_bodies(deliveries);
        self.0.call(move |imap| imap.ack(&deliveries))
    }

    /// Returns deliveries that could not be handled, as [`Imap::reject`] does, with the same errors.
    pub fn reject<'a>(
        &self,
        deliveries: impl IntoIterator<Item = &'a Delivery>,
        reason: &str,
    ) -> AsyncCall<Result<()>> {
        let (deliveries, reason) = (without_bodies(deliveries), reason.to_owned());
        self.0.call(move |imap| imap.reject(&deliveries, &reason))
    }

    /// Fetches one batch and acknowledges it, as [`Imap::fetch_and_ack`] does, with the same errors.
    ///
    /// When the future is dropped after that has begun, the next call returns the messages that were archived.
    pub fn fetch_and_ack(&self) -> impl Future<Output = Result<Vec<Delivery>>> + Send + use<> {
        waits::fetch_and_ack(Arc::clone(&self.0))
    }

    /// Returns a stream over the dead letters, oldest first, as [`Imap::dead_letters`] does.
    pub fn dead_letters(&self) -> AsyncDeadLetters {
        AsyncDeadLetters::new(&self.0)
    }

    /// Moves dead letters back into the inbox as [`Imap::redrive`] does, with the same errors.
    pub fn redrive<'a>(&self, letters: impl IntoIterator<Item = &'a DeadLetter>) -> AsyncCall<Result<()>> {
        let letters: Vec<_> = letters.into_iter().map(DeadLetter::without_body).collect();
        self.0.call(move |imap| imap.redrive(&letters))
    }

    /// Counts the messages that wait and the dead letters as [`Imap::depth`] does, with the same errors.
    pub fn depth(&self) -> AsyncCall<Result<Depth>> {
        self.0.call(Imap::depth)
    }

    /// Sends NOOP as [`Imap::noop`] does, with the same errors.
    pub fn noop(&self) -> AsyncCall<Result<()>> {
        self.0.call(Imap::noop)
    }

    /// Searches all mail in the inbox as [`Imap::search`] does, with the same errors.
    pub fn search(&self, criteria: &str) -> AsyncCall<Result<UidSet>> {
        let criteria = criteria.to_owned();
        self.0.call(move |imap| imap.search(&criteria))
    }

    /// Fetches whole mails as [`Imap::fetch_uids`] does, with the same errors.
    pub fn fetch_uids(&self, uids: &UidSet) -> AsyncCall<Result<Vec<RawMail>>> {
        let uids = uids.clone();
        self.0.call(move |imap| imap.fetch_uids(&uids))
    }

    /// Stores a mail as [`Imap::append`] does, with the same errors. Copies it, since a future can't borrow it.
    pub fn append(&self, mailbox: &str, mail: &[u8]) -> AsyncCall<Result<()>> {
        let (mailbox, mail) = (mailbox.to_owned(), mail.to_vec());
        self.0.call(move |imap| imap.append(&mailbox, &mail))
    }

    /// Copies mails as [`Imap::copy`] does, with the same errors.
    pub fn copy(&self, uids: &UidSet, mailbox: &str) -> AsyncCall<Result<()>> {
        let (uids, mailbox) = (uids.clone(), mailbox.to_owned());
        self.0.call(move |imap| imap.copy(&uids, &mailbox))
    }

    /// Moves mails as [`Imap::move_to`] does, with the same errors.
    pub fn move_to(&self, uids: &UidSet, mailbox: &str) -> AsyncCall<Result<()>> {
        let (uids, mailbox) = (uids.clone(), mailbox.to_owned());
        self.0.call(move |imap| imap.move_to(&uids, &mailbox))
    }

    /// Deletes exactly these mails as [`Imap::delete`] does, with the same errors.
    pub fn delete(&self, uids: &UidSet) -> AsyncCall<Result<()>> {
        let uids = uids.clone();
        self.0.call(move |imap| imap.delete(&uids))
    }

    /// Goes on after a sign-in as [`Imap::signed_in`] does, with the same errors.
    pub fn signed_in(&self) -> AsyncCall<Result<()>> {
        self.0.call_at_once(Imap::signed_in)
    }

    /// Returns the state of the connection and its last error. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        self.blocking().status()
    }

    /// Returns the counters of the handle so far. Never blocks.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.blocking().stats()
    }

    /// Closes the connection as [`Imap::close`] does, with the same errors. Calls that wait for their turn get
    /// `Closed`.
    pub fn close(&self) -> AsyncCall<Result<()>> {
        self.0.call_at_once(Imap::close)
    }
}

/// Makes the verbs of a handle futures; the two share its connection.
impl From<Imap> for AsyncImap {
    fn from(imap: Imap) -> Self {
        let timeout = imap.config.common.options.timeout;
        Self(Handle::new(imap, 1, timeout))
    }
}

/// Shows what the blocking handle shows.
impl fmt::Debug for AsyncImap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncImap").field(self.blocking()).finish()
    }
}

/// Copies what the verbs need of deliveries, which a future can't borrow.
fn without_bodies<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> Vec<Delivery> {
    deliveries.into_iter().map(Delivery::without_body).collect()
}
