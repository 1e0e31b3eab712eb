//! What the heartbeat does to a connection: asks for a sign of life where it is quiet, and makes a new one where it is
//! lost.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::session::Session;
use super::{Line, Slot};
use crate::deadline::Deadline;
use crate::events;
use crate::heartbeat::{Pulse, slack};

/// Whoever asks for signs of life more often than this does not want a busy server taken for a dead one.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// A connection is made in the background for so long at most; a verb may take longer.
const TO_CONNECT: Duration = Duration::from_secs(20);

/// Where a lease is to be renewed, a connection that is in use is looked at again after this part of an interval.
const LOOKS: u32 = 8;

impl<S: Session> Pulse for Line<S> {
    fn pulse(&self) -> Duration {
        events::deferred(|| match self.slot.try_lock() {
            Some(slot) if slot.ended.is_none() && slot.session.is_some() => self.beat(slot),
            Some(slot) if slot.ended.is_none() => self.connect_again(slot),
            None if self.upkeep.regardless => self.upkeep.heartbeat / LOOKS,
            // A verb that holds the lock is traffic enough.
            _ => self.upkeep.heartbeat,
        })
    }
}

impl<S: Session> Line<S> {
    /// Asks for a sign of life, unless there was one lately.
    fn beat(&self, mut slot: MutexGuard<'_, Slot<S>>) -> Duration {
        let every = self.upkeep.heartbeat;
        let quiet = if self.upkeep.regardless { slot.last_beat } else { slot.last_beat.max(slot.last_used) };
        let left = every.saturating_sub(quiet.elapsed());
        if left > slack(every) {
            return left;
        }
        if self.retire(&mut slot) {
            return self.connect_again(slot);
        }
        let deadline = Deadline::after(every.max(LEAST_PATIENCE).min(self.upkeep.deadline));
        if let Err(error) = self.ask(&mut slot, deadline, S::noop) {
            self.note(&error); // The next verb is told by making its own connection.
        }
        slot.last_beat = Instant::now();
        self.until_next(&slot)
    }

    /// Connects without the lock: a verb that comes meanwhile makes its own connection and does not wait.
    fn connect_again(&self, mut slot: MutexGuard<'_, Slot<S>>) -> Duration {
        if slot.pace.admit(Instant::now()).is_err() {
            return self.until_next(&slot);
        }
        // Said before the lock is let go, which `stop` waits for: it must not wait for the connection, too.
        self.connecting.store(true, Ordering::SeqCst);
        drop(slot);
        let deadline = Deadline::after(TO_CONNECT.min(self.upkeep.deadline));
        let made = (self.habits.connect)(deadline);
        self.connecting.store(false, Ordering::SeqCst);
        let mut slot = self.slot.lock();
        // A failure shows in the status; what is due is done at once.
        let _ = self.settle(&mut slot, made).and_then(|()| self.ask(&mut slot, deadline, |_| Ok(())));
        self.until_next(&slot)
    }

    fn until_next(&self, slot: &Slot<S>) -> Duration {
        if slot.session.is_some() { self.upkeep.heartbeat } else { slot.pace.wait(Instant::now()) }
    }
}
