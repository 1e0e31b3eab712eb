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
use std::task::Poll;
use std::time::{Duration, Instant};

#[cfg(doc)]
use crate::ImapConfig;
use crate::connection::{Session as _, Woken};
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::imap::{Cursor, Imap, receive};
use crate::python::ImapSession;
use crate::spans::{in_span, verb_span};

/// The first pause after a failure; each further failure doubles it, up to the heartbeat's interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Waits for messages, and returns them.
impl Imap {
    /// Returns an endless iterator over messages as they arrive, oldest first.
    ///
    /// `next` blocks until there is a message. It ends with `None` after [`drain`](Imap::drain) or
    /// [`close`](Imap::close), and after the error `Auth` for wrong credentials. A lost connection is replaced, and what
    /// came meanwhile is delivered.
    ///
    /// A message is *in flight* from the time a consumer has fetched it until it is acknowledged by [`ack`](Imap::ack),
    /// or returned by [`nack`](Imap::nack) or [`reject`](Imap::reject). No other consumer of this handle gets it
    /// meanwhile; [`fetch`](Imap::fetch), [`fetch_and_ack`](Imap::fetch_and_ack) and [`deliveries`](Imap::deliveries)
    /// return it all the same. The drop of a consumer lets go of its messages, which are delivered again. At most
    /// [`max_in_flight`](ImapConfig::max_in_flight) messages are in flight; then `next` blocks until one is acknowledged
    /// or returned, or a consumer is dropped.
    ///
    /// A consumer fetches up to a [`batch`](ImapConfig::batch) at a time. For several workers, give each a consumer of
    /// its own, on a clone of the handle, and set a small batch: 1 to 10.
    ///
    /// The server announces mail (IDLE, RFC 2177): most at once. Without IDLE it is asked at each
    /// [`heartbeat`](ImapConfig::heartbeat); and the inbox is searched after [`recheck`](ImapConfig::recheck) in any
    /// case. [`Status::push`](crate::Status::push) tells which.
    ///
    /// ```no_run
    /// # fn handle(_: &pymail::Delivery) -> pymail::Result<()> { Ok(()) }
    /// # fn run(imap: &pymail::Imap) -> pymail::Result<()> {
    /// for delivery in imap.consume() {
    ///     let delivery = delivery?;
    ///     handle(&delivery)?;
    ///     imap.ack([&delivery])?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An item is an error only if the app must decide: `Auth` when the credentials are wrong, after which the iterator
    /// ends; and, each of them again after a pause when the iteration goes on, any error that is not
    /// [transient](Error::is_transient), such as `Tls`, a permanent `Refused`, `SignInNeeded`, `Message` or `Runtime`.
    /// Others show in [`status`](Imap::status), and are
    /// retried after a pause of 1 s, doubled up to the heartbeat's interval.
    pub fn consume(&self) -> Consumer {
        Consumer::new(self.clone())
    }

    /// Waits until messages may have arrived since the last [`fetch`](Imap::fetch), at most for `timeout`.
    ///
    /// For apps with loops of their own. Returns `true` if the server has announced mail, tagged or not, if another
    /// thread has returned a message or called [`drain`](Imap::drain), or if the inbox was not searched for
    /// [`recheck`](ImapConfig::recheck): fetch then. Returns `false` after `timeout`. Messages that were fetched before
    /// do not end the wait, and neither does the end of a delay by [`nack`](Imap::nack).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn run(imap: &pymail::Imap) -> pymail::Result<()> {
    /// loop {
    ///     let batch = imap.fetch()?;
    ///     // ...
    ///     batch.ack()?;
    ///     if batch.is_empty() {
    ///         imap.wait(Duration::from_secs(300))?;
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Closed`, `Auth` after a clear refusal of the credentials, `SignInNeeded`, `Runtime` in a forked child. A lost
    /// connection is no error: it is replaced in the background, and the wait goes on.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let until = Instant::now().checked_add(timeout);
        let woken = in_span(&verb_span!("imap.wait"), || self.connection.wait(until, || false))?;
        Ok(woken != Woken::Timeout)
    }

    /// Returns deliveries to be handed out again, by this handle not before `delay` has passed.
    ///
    /// They stay in the inbox, and nothing is sent. In a [`shared`](ImapConfig::shared) mailbox this handle keeps its
    /// claim. The delay ends with the handle; [`deliveries`](Imap::deliveries) ignores it. With
    /// [`dead_letters`](ImapConfig::dead_letters) the delivery counts as failed, as by [`reject`](Imap::reject).
    ///
    /// # Errors
    /// `Timeout` when another call on the inbox does not end in time, `Runtime` in a forked child.
    pub fn nack<'a>(
        &self,
        deliveries: impl IntoIterator<Item = &'a Delivery>,
        delay: Duration,
    ) -> Result<()> {
        let deliveries: Vec<&Delivery> = deliveries.into_iter().collect();
        self.with_inbox(&verb_span!("imap.nack"), |inbox, _| {
            for delivery in &deliveries {
                inbox.release(delivery.validity, delivery.uid, "it was returned");
            }
            self.in_flight.delay(&deliveries, delay);
            self.connection.count(|counts| counts.returned += deliveries.len() as u64);
            Ok(())
        })?;
        self.connection.wake_waits(); // For the new time; a consumer of another thread may wait for a later one.
        Ok(())
    }

    /// Ends the consumers that this handle has now, and waits until none of their messages is in flight, at most for
    /// `limit`.
    ///
    /// They hand out no more, and let go of what they have not handed out: each iterator ends at its next call. Returns
    /// the number of messages that are still in flight. [`close`](Imap::close) lets go of those at once.
    #[must_use]
    pub fn drain(&self, limit: Duration) -> usize {
        self.in_flight.end_consumers();
        self.connection.end_waits();
        ImapSession::detached(|| self.in_flight.wait_until_empty(limit))
    }
}

/// An endless iterator over messages as they arrive; returned by [`Imap::consume`].
///
/// Its drop lets go of the messages that it has handed out and that are not acknowledged: they are delivered again. It
/// also ends, with `None`, by [`Imap::drain`] and [`Imap::close`].
#[must_use = "nothing is fetched before `next`"]
pub struct Consumer {
    pub(crate) imap: Imap,
    pub(crate) number: u64,
    batch: std::vec::IntoIter<Delivery>,
    /// The step after the batch.
    step: Step,
    /// The last pause; zero unless the last fetch failed.
    pause: Duration,
    /// An error that the next item returns.
    error: Option<Error>,
    /// The time of the announcement that ended the last wait, until its delivery is handed out.
    announced: Option<Instant>,
    has_ended: bool,
}

/// The step of a consumer that has handed out its batch.
pub(crate) enum Step {
    /// Fetch, once there is room in flight.
    Fetch,
    /// Wait for mail; then fetch.
    Wait(Next),
    /// Wait after a failure, or for other consumers to claim; then fetch.
    Pause(Duration),
}

impl Consumer {
    pub(crate) fn new(imap: Imap) -> Self {
        let number = imap.in_flight.add_consumer();
        let (batch, step, pause) = (Vec::new().into_iter(), Step::Fetch, Duration::ZERO);
        Self { imap, number, batch, step, pause, error: None, announced: None, has_ended: false }
    }

    /// Returns the next item, if no step is needed for it; `None` at the end. Never blocks.
    pub(crate) fn item(&mut self) -> Poll<Option<Result<Delivery>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        self.has_ended |= self.is_over();
        if self.has_ended {
            return Poll::Ready(None);
        }
        // Without those that have left the inbox meanwhile, or that `drain` has let go of.
        let is_held = |it: &Delivery| self.imap.in_flight.hand_out(it);
        let Some(mut delivery) = self.batch.find(is_held) else { return Poll::Pending };
        self.imap.hand_out_announced(&mut delivery, self.announced.take());
        Poll::Ready(Some(Ok(delivery)))
    }

    /// Returns `true` if no item comes any more.
    #[cfg(feature = "async")]
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended && self.error.is_none()
    }

    /// Returns the next step, where there is no item.
    pub(crate) fn step(&mut self) -> Step {
        std::mem::replace(&mut self.step, Step::Fetch)
    }

    /// Fetches the next batch, as far as there is room in flight.
    pub(crate) fn fetch(&mut self) {
        if self.is_over() {
            return;
        }
        match self.receive() {
            Ok(None) => {} // Another consumer was quicker: there is no room any more.
            Ok(Some((deliveries, next))) => {
                self.pause = Duration::ZERO;
                if deliveries.is_empty() {
                    self.step = Step::Wait(next);
                }
                self.batch = deliveries.into_iter();
            }
            Err(error) => {
                self.pause_after(&error);
                if is_for_the_app(&error) {
                    self.failed(error);
                }
            }
        }
    }

    /// Makes a pause the next step.
    fn pause_after(&mut self, error: &Error) {
        let longest = self.imap.config.common.options.heartbeat;
        self.pause = (2 * self.pause).clamp(FIRST_PAUSE.min(longest), longest);
        self.pause = self.pause.max(error.retry_after().unwrap_or_default());
        self.step = Step::Pause(self.pause);
    }

    /// Keeps the error of a wait for the next item.
    pub(crate) fn wait_failed(&mut self, error: Error) {
        self.pause_after(&error);
        self.failed(error);
    }

    /// Fetches messages that are not in flight, as many as there is room for. `None` without room.
    fn receive(&self) -> Result<Option<(Vec<Delivery>, Next)>> {
        let Self { imap, number, .. } = self;
        imap.with_inbox(&verb_span!("imap.fetch"), |inbox, deadline| {
            loop {
                let room = imap.in_flight.room(*number, imap.config.max_in_flight);
                if room == 0 {
                    return Ok(None);
                }
                let (began, returns) = (Instant::now(), imap.in_flight.returns());
                let mut deliveries =
                    receive(imap, inbox, &mut Cursor::consumer(room, &imap.config), deadline)?;
                let are_any = !deliveries.is_empty();
                imap.in_flight.hold(*number, &mut deliveries);
                if are_any && deliveries.is_empty() {
                    continue; // Copies of messages in flight, which are left out from now on.
                }
                let due = [imap.in_flight.next_due(began), inbox.suspects().next_due(began)];
                let until = self.until(due.into_iter().flatten().min());
                return Ok(Some((deliveries, Next { until, returns })));
            }
        })
    }

    /// Returns the time until which to wait for mail. A shared mailbox is also searched when a lease may have run out.
    fn until(&self, due: Option<Instant>) -> Option<Instant> {
        let lease = self.imap.config.lease.map(|lease| Instant::now() + lease / 2);
        due.into_iter().chain(lease).min()
    }

    /// Keeps an error for the next item. After `Closed`, and where every further call would return the same error, the
    /// consumer ends.
    fn failed(&mut self, error: Error) {
        self.announced = None; // The time of the app's decision is no latency of push.
        let is_closed = error.kind() == ErrorKind::Closed;
        self.has_ended |= is_closed || error.is_wrong_credentials();
        self.error = Some(error).filter(|_| !is_closed);
    }

    /// Records the reason for which a wait for mail has ended.
    pub(crate) fn woken(&mut self, woken: Woken) {
        self.announced = self.imap.connection.announced_at().filter(|_| woken == Woken::Announced);
        // The other consumers of a shared mailbox are woken, too.
        if let Some(time) = self.announced.and_then(|_| self.imap.claims.as_ref()?.stagger()) {
            self.step = Step::Pause(time);
        }
    }

    /// Returns `true` if there is no use in the wait: the app has ended the consumers, or a message was returned.
    pub(crate) fn is_woken(&self, next: &Next) -> bool {
        self.is_over() || self.imap.in_flight.returns() != next.returns
    }

    /// Returns `true` if the app has ended the consumers.
    pub(crate) fn is_over(&self) -> bool {
        self.imap.in_flight.has_ended(self.number)
    }
}

/// The end of a wait for messages that a fetch has not found, or has left out.
pub(crate) struct Next {
    /// The time from which one may be handed out.
    pub(crate) until: Option<Instant>,
    /// The [returns](crate::in_flight::InFlight::returns) before the fetch.
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
        loop {
            if let Poll::Ready(item) = self.item() {
                return item;
            }
            let step = self.step();
            let connection = &self.imap.connection;
            let waited = match step {
                Step::Wait(next) => {
                    connection.wait(next.until, || self.is_woken(&next)).map(|woken| self.woken(woken))
                }
                Step::Pause(time) => connection.pause(time, || self.is_over()),
                Step::Fetch => {
                    let most = self.imap.config.max_in_flight;
                    ImapSession::detached(|| self.imap.in_flight.wait_for_room(self.number, most));
                    self.fetch();
                    Ok(())
                }
            };
            if let Err(error) = waited {
                self.wait_failed(error);
            }
        }
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
