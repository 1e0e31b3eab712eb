//! What the heartbeat does to a connection: asks for a sign of life where it is quiet, and makes a new one where it is
//! lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::session::Session;
use super::{Line, Slot};
use crate::deadline::Deadline;
use crate::heartbeat::{Pulse, slack};

/// Whoever asks for signs of life more often than this does not want a busy server taken for a dead one.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// So many connections of a process are made in the background at a time, for so long at most: the heartbeats of
/// connections that are well must not wait for a server that is silent. A verb may take longer.
const MOST_CONNECTING: usize = 64;
const TO_CONNECT: Duration = Duration::from_secs(20);

/// When so many are being made, another one waits this long for its turn.
const TURN: Duration = Duration::from_secs(1);

static CONNECTING: AtomicUsize = AtomicUsize::new(0);

/// One of them.
struct Connecting(());

impl Connecting {
    fn begin() -> Option<Self> {
        let more = |count| (count < MOST_CONNECTING).then_some(count + 1);
        CONNECTING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(()))
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        CONNECTING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S: Session> Pulse for Line<S> {
    fn pulse(&self) -> Duration {
        // A verb that holds the lock is traffic enough.
        match self.slot.try_lock() {
            Some(slot) if slot.ended.is_none() && slot.session.is_some() => self.beat(slot),
            Some(slot) if slot.ended.is_none() => self.connect_again(slot),
            _ => self.upkeep.heartbeat,
        }
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
        if let Err(error) = self.ask(&mut slot, deadline, &self.habits.beat) {
            self.note(&error); // The next verb is told by making its own connection.
        }
        slot.last_beat = Instant::now();
        self.until_next(&slot)
    }

    /// Connects without the lock: a verb that comes meanwhile makes its own connection and waits for nobody.
    fn connect_again(&self, mut slot: MutexGuard<'_, Slot<S>>) -> Duration {
        let Some(turn) = Connecting::begin() else { return TURN };
        if slot.pace.admit(Instant::now()).is_err() {
            return self.until_next(&slot);
        }
        // Said before the lock is let go, which `stop` waits for: it must not wait for the connection, too.
        self.connecting.store(true, Ordering::SeqCst);
        drop(slot);
        let made = (self.habits.connect)(Deadline::after(TO_CONNECT.min(self.upkeep.deadline)));
        drop(turn);
        self.connecting.store(false, Ordering::SeqCst);
        let mut slot = self.slot.lock();
        let _ = self.settle(&mut slot, made); // A failure shows in the status.
        self.until_next(&slot)
    }

    fn until_next(&self, slot: &Slot<S>) -> Duration {
        if slot.session.is_some() { self.upkeep.heartbeat } else { slot.pace.wait(Instant::now()) }
    }
}
