//! The stream of messages as they arrive: the steps of a [`Consumer`], of which none blocks.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};

use crate::asynchronous::{AsyncCall, Handle};
use crate::connection::Waiting;
use crate::consumer::{Consumer, Step};
use crate::delivery::Delivery;
use crate::error::Result;
use crate::imap::Imap;
use crate::python::ImapSession;
use crate::signal::Registration;

/// An endless stream of messages as they arrive; returned by [`AsyncImap::consume`](super::AsyncImap::consume).
///
/// Its drop lets go of the messages that it has yielded and that are not acknowledged: they are delivered again. It
/// also ends, with `None`, by [`drain`](super::AsyncImap::drain) and [`close`](super::AsyncImap::close).
#[must_use = "nothing is fetched before it is polled"]
pub struct AsyncConsumer {
    progress: Progress,
    /// `None` while a call has it, and at the end.
    consumer: Option<Consumer>,
    /// Dropped last, so that the drop of the consumer never closes the connection, which would block.
    imap: Arc<Handle<Imap>>,
}

/// The step that the stream has begun.
enum Progress {
    /// None: there is an item, or a step to begin.
    Ready,
    /// Waits for room in flight.
    Full(Registration),
    /// Fetches; the call has the consumer.
    Fetching(AsyncCall<Consumer>),
    /// Waits for mail.
    Waiting(Waiting<ImapSession>),
    /// Lets time pass.
    Pausing(Waiting<ImapSession>),
}

impl AsyncConsumer {
    pub(super) fn new(imap: &Arc<Handle<Imap>>) -> Self {
        let consumer = Some(imap.blocking().consume());
        Self { progress: Progress::Ready, consumer, imap: Arc::clone(imap) }
    }

    /// Goes on with the step that has begun, until it has ended.
    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut ended = None;
        match &mut self.progress {
            Progress::Ready => {}
            Progress::Fetching(call) => self.consumer = Some(ready!(Pin::new(call).poll(context))),
            Progress::Waiting(waiting) => ended = Some(ready!(waiting.poll(context)).map(Some)),
            Progress::Pausing(pausing) => ended = Some(ready!(pausing.poll(context)).map(|_| None)),
            Progress::Full(place) => {
                let Some(Consumer { imap, number, .. }) = &self.consumer else { return Poll::Ready(()) };
                let most = imap.config.max_in_flight;
                ready!(imap.in_flight.poll_room(*number, most, place, context.waker()));
                let goes_on = |consumer: &mut Consumer| !consumer.is_over();
                if let Some(mut consumer) = self.consumer.take_if(goes_on) {
                    self.progress = Progress::Fetching(self.imap.call(move |_| {
                        consumer.fetch();
                        consumer
                    }));
                    return self.poll_progress(context);
                }
            }
        }
        self.progress = Progress::Ready;
        match (&mut self.consumer, ended) {
            (Some(consumer), Some(Ok(Some(woken)))) => consumer.woken(woken),
            (Some(consumer), Some(Err(error))) => consumer.wait_failed(error),
            _ => {}
        }
        Poll::Ready(())
    }
}

impl Consumer {
    /// Begins the next step.
    ///
    /// # Errors
    /// Those of beginning to wait.
    fn begin_step(&mut self) -> Result<Progress> {
        let step = self.step();
        let connection = &self.imap.connection;
        Ok(match step {
            Step::Fetch => Progress::Full(self.imap.in_flight.registration()),
            Step::Wait(next) => Progress::Waiting(connection.waiting(next.until, || self.is_woken(&next))?),
            Step::Pause(time) => Progress::Pausing(connection.pausing(time, || self.is_over())?),
        })
    }
}

/// Each item is a [`Delivery`], or an error that the app must decide about.
impl Stream for AsyncConsumer {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            ready!(self.poll_progress(context));
            let Some(consumer) = &mut self.consumer else { return Poll::Ready(None) };
            if let Poll::Ready(item) = consumer.item() {
                return Poll::Ready(item);
            }
            match consumer.begin_step() {
                Ok(begun) => self.progress = begun,
                Err(error) => consumer.wait_failed(error),
            }
        }
    }
}

impl FusedStream for AsyncConsumer {
    fn is_terminated(&self) -> bool {
        matches!(self.progress, Progress::Ready) && self.consumer.as_ref().is_none_or(Consumer::has_ended)
    }
}

/// Shows the handle.
impl fmt::Debug for AsyncConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncConsumer").field("imap", self.imap.blocking()).finish_non_exhaustive()
    }
}
