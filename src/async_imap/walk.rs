//! The streams over all messages of a mailbox, which fetch a batch at a time.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};

use crate::asynchronous::{AsyncCall, Handle};
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::delivery::Delivery;
use crate::error::Result;
use crate::imap::{Deliveries, Imap};

/// A stream over all tagged messages in the inbox, oldest first; returned by
/// [`AsyncImap::deliveries`](super::AsyncImap::deliveries).
///
/// Fetches when the batch before is used up, and holds one batch in memory. After an error it ends.
#[must_use = "nothing is fetched before it is polled"]
pub struct AsyncDeliveries(Walk<Deliveries>);

/// A stream over the dead letters, oldest first; returned by
/// [`AsyncImap::dead_letters`](super::AsyncImap::dead_letters).
///
/// Lists the mailbox at the first poll, and reads a batch when the one before is used up. After an error it ends.
#[must_use = "nothing is fetched before it is polled"]
pub struct AsyncDeadLetters(Walk<DeadLetters>);

/// An iterator that fetches a batch at a time.
trait Batches: Iterator<Item: Send> + Send + 'static {
    /// Returns the next item of the batch. Never blocks.
    fn next_fetched(&mut self) -> Option<Self::Item>;
}

impl Batches for Deliveries {
    fn next_fetched(&mut self) -> Option<Self::Item> {
        self.next_fetched().map(Ok)
    }
}

impl Batches for DeadLetters {
    fn next_fetched(&mut self) -> Option<Self::Item> {
        self.next_fetched().map(Ok)
    }
}

/// A walk through a mailbox.
struct Walk<I: Batches> {
    place: Place<I>,
    imap: Arc<Handle<Imap>>,
}

/// The iterator of a walk, here or with the call that fetches its next batch.
enum Place<I: Batches> {
    Here(I),
    Fetching(AsyncCall<(I, Option<I::Item>)>),
    Ended,
}

impl<I: Batches> Walk<I> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<I::Item>> {
        let mut call = match std::mem::replace(&mut self.place, Place::Ended) {
            Place::Ended => return Poll::Ready(None),
            Place::Fetching(call) => call,
            Place::Here(mut items) => {
                if let Some(item) = items.next_fetched() {
                    self.place = Place::Here(items);
                    return Poll::Ready(Some(item));
                }
                self.imap.call(move |_| {
                    let next = items.next();
                    (items, next)
                })
            }
        };
        let Poll::Ready((items, next)) = Pin::new(&mut call).poll(context) else {
            self.place = Place::Fetching(call);
            return Poll::Pending;
        };
        if next.is_some() {
            self.place = Place::Here(items);
        }
        Poll::Ready(next)
    }

    fn is_terminated(&self) -> bool {
        matches!(self.place, Place::Ended)
    }
}

impl AsyncDeliveries {
    pub(super) fn new(imap: &Arc<Handle<Imap>>) -> Self {
        Self(Walk { place: Place::Here(imap.blocking().deliveries()), imap: Arc::clone(imap) })
    }
}

impl AsyncDeadLetters {
    pub(super) fn new(imap: &Arc<Handle<Imap>>) -> Self {
        Self(Walk { place: Place::Here(imap.blocking().dead_letters()), imap: Arc::clone(imap) })
    }
}

/// Each item is a [`Delivery`], or the error of a fetch, which is the last item.
impl Stream for AsyncDeliveries {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(context)
    }
}

/// Each item is a [`DeadLetter`], or the error of a batch, which is the last item.
impl Stream for AsyncDeadLetters {
    type Item = Result<DeadLetter>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(context)
    }
}

impl FusedStream for AsyncDeliveries {
    fn is_terminated(&self) -> bool {
        self.0.is_terminated()
    }
}

impl FusedStream for AsyncDeadLetters {
    fn is_terminated(&self) -> bool {
        self.0.is_terminated()
    }
}

/// Shows the handle.
impl fmt::Debug for AsyncDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDeliveries").field("imap", self.0.imap.blocking()).finish_non_exhaustive()
    }
}

/// Shows the handle.
impl fmt::Debug for AsyncDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDeadLetters").field("imap", self.0.imap.blocking()).finish_non_exhaustive()
    }
}
