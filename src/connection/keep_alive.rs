//! The work of one heartbeat: a NOOP on an idle connection, and a new connection in place of a lost one.
//!
//! A beat begins only on a connection that is not in use, which needs a NOOP. A call never waits for a beat that
//! connects, but may wait for the answer to a NOOP. A beat that has connected waits for a call that began meanwhile.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::session::Session;
use super::{SessionSlot, Shared};
use crate::deadline::Deadline;
use crate::events;
use crate::waiter::{Beat, KeepAlive, slack};

/// The least time that a NOOP has for its answer. With less, a busy server, or a process whose threads wait for Python's
/// lock, makes a good connection pass for a dead one.
const MIN_NOOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that the heartbeat connects; a call may take longer. A silent server holds a thread of all heartbeats
/// for that time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The part of an interval after which a busy connection is tried again, where a lease must be renewed.
const BUSY_RETRIES: u32 = 8;

/// The time without a call after which no verb is under way, so that its session may be replaced. The steps of a verb
/// follow each other without the app.
const QUIET: Duration = Duration::from_secs(5);

impl<S: Session> KeepAlive for Shared<S> {
    fn keep_alive(&self, beat: Beat) -> Duration {
        let wait = events::deferred(|| match self.slot.try_lock() {
            Some(slot) if slot.ended.is_some() => self.options.heartbeat,
            Some(slot) if slot.session.is_none() => self.reconnect(slot, beat),
            Some(slot) if self.is_renewal_due(&slot) => self.renew(slot, beat),
            Some(slot) if self.wants_mail(&slot) => self.listen(slot, beat),
            Some(slot) => self.noop_if_idle(slot, beat),
            None if self.options.noop_when_busy => self.options.heartbeat / BUSY_RETRIES,
            // A call that holds the lock is traffic enough.
            _ => self.options.heartbeat,
        });
        // With a floor, for calls that leave no quiet moment.
        let renewal = self.hooks.tokens.time_to_renewal().map(|time| time.max(QUIET));
        renewal.map_or(wait, |time| wait.min(time))
    }
}

impl<S: Session> Shared<S> {
    /// Sends a NOOP if the connection was idle for an interval. Returns the wait until the next beat.
    ///
    /// The NOOP has one interval for its answer, at least [`MIN_NOOP_TIMEOUT`], at most a timeout. A dead connection is
    /// noticed after an interval and that time. A call that comes meanwhile waits for the answer, no longer.
    fn noop_if_idle(&self, mut slot: MutexGuard<'_, SessionSlot<S>>, beat: Beat) -> Duration {
        let interval = self.options.heartbeat;
        let last_traffic =
            if self.options.noop_when_busy { slot.last_noop } else { slot.last_noop.max(slot.last_call) };
        let left = interval.saturating_sub(last_traffic.elapsed());
        if left > slack(interval) {
            return left;
        }
        if self.close_used_up(&mut slot) {
            return self.reconnect(slot, beat);
        }
        self.noop(slot)
    }

    /// Sends a NOOP. Returns the wait until the next beat.
    pub(super) fn noop(&self, mut slot: MutexGuard<'_, SessionSlot<S>>) -> Duration {
        let interval = self.options.heartbeat;
        let deadline = Deadline::after(interval.max(MIN_NOOP_TIMEOUT).min(self.options.timeout));
        self.stop_listening(&mut slot, deadline);
        if let Err(error) = self.run(&mut slot, deadline, S::noop) {
            self.note(&error); // No caller gets the error; the next call reconnects.
        }
        slot.last_noop = Instant::now();
        self.until_next(&slot)
    }

    /// Connects without holding the lock, so that a call that comes meanwhile makes its own connection at once. The
    /// second of the two sessions is dropped.
    fn reconnect(&self, mut slot: MutexGuard<'_, SessionSlot<S>>, beat: Beat) -> Duration {
        if slot.limiter.admit(Instant::now()).is_err() {
            return self.until_next(&slot);
        }
        // Set before the unlock: `close`, which waits for the lock, must not wait for this connection, too.
        self.connecting.store(true, Ordering::SeqCst);
        drop(slot);
        let deadline = Deadline::after(CONNECT_TIMEOUT.min(self.options.timeout));
        let connected = self.hooks.connect(deadline, || self.slot.lock().limiter.admit(Instant::now()));
        self.connecting.store(false, Ordering::SeqCst);
        let mut slot = self.slot.lock();
        // `run` calls the hook that a new session needs at once. A failure shows in the status.
        let _ = self.install(&mut slot, connected).and_then(|()| self.run(&mut slot, deadline, |_| Ok(())));
        if slot.session.is_some() && self.wants_mail(&slot) {
            return self.listen(slot, beat);
        }
        self.until_next(&slot)
    }

    /// Returns `true` if the session's access token ends soon, and no verb is under way.
    fn is_renewal_due(&self, slot: &SessionSlot<S>) -> bool {
        self.hooks.tokens.is_renewal_due() && slot.last_call.elapsed() >= QUIET
    }

    /// Replaces a session whose access token ends soon, without holding the lock while it connects. A call that came
    /// meanwhile keeps the old session, which the next call replaces.
    fn renew<'a>(&'a self, mut slot: MutexGuard<'a, SessionSlot<S>>, beat: Beat) -> Duration {
        if self.admit_renewal(&mut slot) {
            let last_call = slot.last_call;
            self.connecting.store(true, Ordering::SeqCst);
            drop(slot);
            let deadline = Deadline::after(CONNECT_TIMEOUT.min(self.options.timeout));
            let renewed = self.hooks.connect(deadline, || self.slot.lock().limiter.admit(Instant::now()));
            self.connecting.store(false, Ordering::SeqCst);
            slot = self.slot.lock();
            if renewed.is_ok() && slot.last_call != last_call && slot.session.is_some() {
                self.hooks.tokens.renew_now();
            } else {
                let deadline = Deadline::after(self.options.timeout);
                self.install_renewed(&mut slot, renewed, deadline);
            }
        }
        if slot.session.is_some() && self.wants_mail(&slot) {
            return self.listen(slot, beat);
        }
        self.until_next(&slot)
    }

    /// Returns the wait until the next beat: an interval, or the backoff when the connection is lost.
    pub(super) fn until_next(&self, slot: &SessionSlot<S>) -> Duration {
        if slot.session.is_some() { self.options.heartbeat } else { slot.limiter.wait(Instant::now()) }
    }
}
