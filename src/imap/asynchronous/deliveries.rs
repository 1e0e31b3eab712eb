//! The stream over all waiting messages.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};

use super::{Delivery, Imap};
use crate::asynchronous::{AsyncCall, Handle};
use crate::error::Result;
use crate::imap::Deliveries;

/// A stream over all messages in the inbox, oldest first; returned by
/// [`AsyncImap::deliveries`](super::AsyncImap::deliveries).
///
/// Fetches when the batch before is used up, and holds one batch in memory. After an error it ends.
#[must_use = "nothing is fetched before it is polled"]
pub struct AsyncDeliveries {
    walk: Walk,
    imap: Arc<Handle<Imap>>,
}

/// A walk through the inbox, here or with the call that fetches its next batch.
enum Walk {
    Here(Deliveries),
    Fetching(AsyncCall<(Deliveries, Option<Result<Delivery>>)>),
    Ended,
}

impl AsyncDeliveries {
    pub(super) fn new(imap: &Arc<Handle<Imap>>) -> Self {
        Self { walk: Walk::Here(imap.blocking().deliveries()), imap: Arc::clone(imap) }
    }
}

/// Each item is a [`Delivery`], or the error of a fetch, which is the last item.
impl Stream for AsyncDeliveries {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut call = match std::mem::replace(&mut self.walk, Walk::Ended) {
            Walk::Ended => return Poll::Ready(None),
            Walk::Fetching(call) => call,
            Walk::Here(mut deliveries) => {
                if let Some(delivery) = deliveries.next_fetched() {
                    self.walk = Walk::Here(deliveries);
                    return Poll::Ready(Some(Ok(delivery)));
                }
                self.imap.call(move |_| {
                    let next = deliveries.next();
                    (deliveries, next)
                })
            }
        };
        let Poll::Ready((deliveries, next)) = Pin::new(&mut call).poll(context) else {
            self.walk = Walk::Fetching(call);
            return Poll::Pending;
        };
        if next.is_some() {
            self.walk = Walk::Here(deliveries);
        }
        Poll::Ready(next)
    }
}

impl FusedStream for AsyncDeliveries {
    fn is_terminated(&self) -> bool {
        matches!(self.walk, Walk::Ended)
    }
}

/// Shows the handle.
impl fmt::Debug for AsyncDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDeliveries").field("imap", self.imap.blocking()).finish_non_exhaustive()
    }
}
