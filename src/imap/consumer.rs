//! The iterator that waits for messages and never ends by itself.
//!
//! ```text
//!  next ─▶ a delivery of the batch
//!      └▶ none left ─▶ room in flight ─▶ receive ─┬─ deliveries
//!                         ▲                       ├─ none ─▶ wait: announced, due again, recheck ─┐
//!                         │                       ├─ the connection is at fault ─▶ pause ─────────┤
//!                         └───────────────────────┼───────────────────────────────────────────────┘
//!                                                 └─ the app must decide ─▶ an error
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use super::cursor::Cursor;
use super::{Delivery, Imap, receive};
use crate::connection::{Session as _, Woken};
use crate::error::{Error, ErrorKind, Result};
use crate::python::ImapSession;
use crate::spans::verb_span;

/// The first pause after a failure; each further failure doubles it, up to the heartbeat's interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// An endless iterator over messages as they arrive; returned by [`Imap::consume`].
///
/// Its drop lets go of the messages that it has handed out and that are not acknowledged: they are delivered again. It
/// also ends, with `None`, by [`Imap::drain`] and [`Imap::close`].
#[must_use = "nothing is fetched before `next`"]
pub struct Consumer {
    imap: Imap,
    number: u64,
    batch: std::vec::IntoIter<Delivery>,
    /// The pause before the next attempt; zero unless the last one failed.
    pause: Duration,
    /// The time of the announcement that ended the last wait, until its delivery is handed out.
    announced: Option<Instant>,
    has_ended: bool,
}

impl Consumer {
    pub(super) fn new(imap: Imap) -> Self {
        let number = imap.in_flight.add_consumer();
        let batch = Vec::new().into_iter();
        Self { imap, number, batch, pause: Duration::ZERO, announced: None, has_ended: false }
    }

    /// Fetches the next batch, or waits until there may be one.
    ///
    /// # Errors
    /// Those that the app must decide about, see [`Imap::consume`].
    fn fetch_or_wait(&mut self) -> Result<()> {
        if !self.pause.is_zero() {
            self.imap.connection.pause(self.pause, || self.is_over())?;
        }
        let most = self.imap.config.max_in_flight;
        ImapSession::detached(|| self.imap.in_flight.wait_for_room(self.number, most));
        match self.fetch(most) {
            Ok(None) => Ok(()),
            Ok(Some((deliveries, next))) => {
                self.pause = Duration::ZERO;
                self.batch = deliveries.into_iter();
                if self.batch.as_slice().is_empty() { self.wait(&next) } else { Ok(()) }
            }
            Err(error) => {
                let longest = self.imap.config.common.options.heartbeat;
                self.pause = (2 * self.pause).clamp(FIRST_PAUSE.min(longest), longest);
                self.pause = self.pause.max(error.retry_after().unwrap_or_default());
                if is_for_the_app(&error) { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Fetches messages that are not in flight, until `most` are. Returns `None` if that many are already.
    ///
    /// The room is counted with the inbox locked: other consumers may have filled it since this one has waited for it.
    fn fetch(&self, most: usize) -> Result<Option<(Vec<Delivery>, Next)>> {
        let Self { imap, number, .. } = self;
        imap.with_inbox(&verb_span!("imap.fetch"), |inbox, deadline| {
            loop {
                let room = imap.in_flight.room(*number, most);
                if room == 0 {
                    return Ok(None);
                }
                let (began, returns) = (Instant::now(), imap.in_flight.returns());
                let mut deliveries = receive::receive(imap, inbox, &mut Cursor::consumer(room), deadline)?;
                let are_any = !deliveries.is_empty();
                imap.in_flight.hold(*number, &mut deliveries);
                if are_any && deliveries.is_empty() {
                    continue; // Copies of messages in flight, which are left out from now on.
                }
                let due = [imap.in_flight.next_due(began), inbox.suspects().next_due(began)];
                return Ok(Some((deliveries, Next { due: due.into_iter().flatten().min(), returns })));
            }
        })
    }

    /// Returns `true` if the app has ended the consumers.
    fn is_over(&self) -> bool {
        self.imap.in_flight.has_ended(self.number)
    }

    /// Waits until messages may have come. A shared mailbox is also searched when a lease may have run out.
    fn wait(&mut self, next: &Next) -> Result<()> {
        let lease = self.imap.config.lease.map(|lease| Instant::now() + lease / 2);
        let is_over = || self.is_over() || self.imap.in_flight.returns() != next.returns;
        let woken = self.imap.connection.wait(next.due.into_iter().chain(lease).min(), is_over)?;
        self.announced = (woken == Woken::Announced).then(|| self.imap.connection.announced_at());
        Ok(())
    }
}

/// The messages that a fetch has left out.
struct Next {
    /// The time from which the next one may be handed out.
    due: Option<Instant>,
    /// The [returns](super::in_flight::InFlight::returns) before the fetch.
    returns: u64,
}

/// Returns `true` for an error that does not pass by itself.
fn is_for_the_app(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Connect | ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::StaleUids => false,
        ErrorKind::Auth => error.is_wrong_credentials(),
        _ => !error.is_transient(),
    }
}

/// Each item is a [`Delivery`], or an error that the app must decide about.
impl Iterator for Consumer {
    type Item = Result<Delivery>;

    fn next(&mut self) -> Option<Result<Delivery>> {
        while !self.has_ended {
            if self.is_over() {
                break;
            }
            if let Some(mut delivery) = self.batch.next() {
                self.imap.hand_out_announced(&mut delivery, self.announced.take());
                return Some(Ok(delivery));
            }
            match self.fetch_or_wait() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Closed => break,
                Err(error) => {
                    // Every further call would return the same error.
                    self.has_ended = error.is_wrong_credentials();
                    return Some(Err(error));
                }
            }
        }
        self.has_ended = true;
        None
    }
}

impl std::iter::FusedIterator for Consumer {}

/// Lets go of the messages that are not acknowledged, for other consumers of the handle, which may wait.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.imap.in_flight.release_all(self.number);
        self.imap.connection.wake_waits();
    }
}

/// Shows the handle, and the number of messages that are fetched and not yet handed out.
impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("imap", &self.imap)
            .field("fetched", &self.batch.len())
            .finish_non_exhaustive()
    }
}
