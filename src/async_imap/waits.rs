//! The verbs that are more than a call of the pool.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::asynchronous::Handle;
use crate::connection::Woken;
use crate::delivery::Delivery;
use crate::error::Result;
use crate::imap::Imap;
use crate::waiter::Timer;

/// Does what [`Imap::wait`] does.
pub(super) async fn wait(imap: Arc<Handle<Imap>>, timeout: Duration) -> Result<bool> {
    let until = Instant::now().checked_add(timeout);
    let mut waiting = imap.blocking().connection.waiting(until, || false)?;
    let woken = poll_fn(|context| waiting.poll(context)).await?;
    Ok(woken != Woken::Timeout)
}

/// Does what [`Imap::drain`] does.
pub(super) async fn drain(imap: Arc<Handle<Imap>>, limit: Duration) -> usize {
    let Imap { in_flight, connection, .. } = imap.blocking();
    in_flight.end_consumers();
    connection.end_waits();
    let place = in_flight.registration();
    // Without a waiter there is no connection, and nothing to wait for.
    let mut timer = Timer::new().ok();
    let until = Instant::now().checked_add(limit);
    poll_fn(|context| {
        let left = in_flight.poll_empty(&place, context.waker());
        if left == 0 || timer.is_none() || until.is_some_and(|until| until <= Instant::now()) {
            return Poll::Ready(left);
        }
        timer.iter_mut().zip(until).for_each(|(timer, until)| timer.set(until, context.waker()));
        Poll::Pending
    })
    .await
}

/// Does what [`Imap::fetch_and_ack`] does.
pub(super) async fn fetch_and_ack(imap: Arc<Handle<Imap>>) -> Result<Vec<Delivery>> {
    let handle = Arc::clone(&imap);
    let call =
        imap.call(move |imap| imap.fetch_and_ack().map(|deliveries| Unreturned { imap: handle, deliveries }));
    call.await.map(|mut archived| std::mem::take(&mut archived.deliveries))
}

/// Archived messages that no future has returned yet. Its drop keeps them for the next call.
struct Unreturned {
    imap: Arc<Handle<Imap>>,
    deliveries: Vec<Delivery>,
}

impl Drop for Unreturned {
    fn drop(&mut self) {
        let deliveries = std::mem::take(&mut self.deliveries);
        if !deliveries.is_empty() {
            self.imap.spawn(move |imap| imap.keep_unreturned(deliveries));
        }
    }
}
