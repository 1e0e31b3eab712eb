//! Heartbeats, and the worker threads that run their beats: one, and one more for each beat that takes long.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::{Due, Queue, Waiter, Waits, failure};
use crate::error::Result;

/// The most workers; further beats wait for one of them.
pub(super) const MAX_WORKERS: usize = 128;

/// The most workers that wait for a beat, so that not each beat starts a thread.
pub(super) const MAX_IDLE: usize = 1;

/// The time that a beat waits for a busy worker, which should be free soon, before another one is started.
const GRACE: Duration = Duration::from_millis(10);

/// The time after which a beat is tried again when its server has used up its share of the workers.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// The part of an interval by which a beat may come early.
const SLACK: u32 = 64;

/// Returns how much earlier than after `interval` a beat may come, if the waiter is awake then.
pub(crate) fn slack(interval: Duration) -> Duration {
    interval / SLACK
}

/// A target of heartbeats.
pub(crate) trait KeepAlive: Send + Sync + 'static {
    /// Runs one beat. Returns the wait until the next one.
    fn keep_alive(&self, beat: Beat) -> Duration;
}

/// The name of a heartbeat, for [`Watched::park`](super::Watched::park).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat(pub(super) u64);

#[cfg(test)]
impl Beat {
    /// Names no heartbeat.
    pub(crate) const NONE: Self = Self(0);
}

/// Runs the beats of one target, until either is dropped.
pub(crate) struct Heartbeat {
    waiter: Arc<Waiter>,
    number: u64,
}

/// All heartbeats and workers.
#[derive(Default)]
pub(super) struct Beats {
    all: HashMap<u64, Entry>,
    /// Beats that wait for a worker.
    ready: VecDeque<u64>,
    pub(super) running: HashMap<u64, Run>,
    pub(super) workers: HashMap<ThreadId, JoinHandle<()>>,
    /// The workers that wait for a beat.
    idle: usize,
}

/// A heartbeat.
struct Entry {
    server: u64,
    target: Weak<dyn KeepAlive>,
    /// The time of its next beat; `None` while it is ready or running.
    at: Option<Instant>,
    is_ready: bool,
    /// `true` if it was woken while it ran, so that it runs once more.
    is_woken: bool,
}

/// A beat that runs.
pub(super) struct Run {
    thread: ThreadId,
    server: u64,
    since: Instant,
}

impl Heartbeat {
    /// Starts a heartbeat on a connection to `server`, first after `first`.
    ///
    /// Holds the target weakly, so that an unused connection is not kept open.
    pub(crate) fn start<P: KeepAlive>(first: Duration, server: u64, target: Weak<P>) -> Result<Self> {
        let waiter = Waiter::shared()?;
        let number = {
            let mut waits = waiter.queue.waits.lock();
            if waits.beats.idle == 0 {
                waiter
                    .queue
                    .start_worker(&mut waits)
                    .map_err(|e| failure("can't start a heartbeat thread", e))?;
            }
            let number = waits.next_number();
            let entry = Entry { server, target, at: None, is_ready: false, is_woken: false };
            waits.beats.all.insert(number, entry);
            waiter.queue.schedule(&mut waits, number, first);
            number
        };
        Ok(Self { waiter, number })
    }

    /// Beats as soon as a worker is free; once more, if it beats already.
    pub(crate) fn wake(&self) {
        let mut waits = self.waiter.queue.waits.lock();
        waits.wake(self.number);
        match waits.beats.idle {
            0 => self.waiter.queue.notify(), // The thread starts a worker if need be.
            _ => drop(self.waiter.queue.ready.notify_one()),
        }
    }

    /// Returns the queue, for a look at it.
    #[cfg(test)]
    pub(super) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.waiter.queue)
    }

    /// Stops the heartbeat and waits for a running beat to end, unless the beat itself is the caller.
    pub(crate) fn stop(self) {
        let queue = &self.waiter.queue;
        let mut waits = queue.waits.lock();
        waits.remove(self.number);
        let me = thread::current().id();
        while waits.beats.running.get(&self.number).is_some_and(|run| run.thread != me) {
            queue.done.wait(&mut waits);
        }
    }
}

/// Stops the heartbeat without waiting.
impl Drop for Heartbeat {
    fn drop(&mut self) {
        if self.waiter.is_of_this_process() {
            self.waiter.queue.waits.lock().remove(self.number);
        }
    }
}

impl Queue {
    /// Schedules a heartbeat's next beat.
    fn schedule(&self, waits: &mut Waits, number: u64, wait: Duration) {
        let at = Instant::now() + wait;
        if let Some(entry) = waits.beats.all.get_mut(&number) {
            entry.at = Some(at);
            self.add(waits, at, number, Due::Beat(slack(wait)));
        }
    }

    /// Has a worker run the beats that are ready. Returns the time at which to look again.
    ///
    /// While a worker runs one beat after the other, no other one is needed.
    pub(super) fn start_beats(self: &Arc<Self>, waits: &mut Waits) -> Option<Instant> {
        let beats = &waits.beats;
        if beats.ready.is_empty() || (beats.idle == 0 && beats.workers.len() >= MAX_WORKERS) {
            return None;
        }
        let now = Instant::now();
        if beats.idle > 0 {
            self.ready.notify_one();
            return Some(now + GRACE);
        }
        match beats.running.values().map(|run| run.since + GRACE).max() {
            Some(stuck_at) if stuck_at > now => Some(stuck_at),
            _ => {
                // Without another worker, the beats wait for the busy ones.
                let _ = self.start_worker(waits);
                Some(now + GRACE)
            }
        }
    }

    /// Starts a worker.
    fn start_worker(self: &Arc<Self>, waits: &mut Waits) -> std::io::Result<()> {
        let queue = Arc::clone(self);
        let thread = thread::Builder::new().name("pymail-heartbeat".into()).spawn(move || queue.work())?;
        waits.beats.idle += 1;
        waits.beats.workers.insert(thread.thread().id(), thread);
        Ok(())
    }

    /// Runs beats until there are more idle workers than needed. The worker begins counted as idle.
    fn work(self: &Arc<Self>) {
        let mut waits = self.waits.lock();
        while !waits.ended {
            match waits.beats.ready.pop_front() {
                Some(number) => self.beat(&mut waits, number),
                None if waits.beats.idle > MAX_IDLE => break,
                None => self.ready.wait(&mut waits),
            }
        }
        waits.beats.idle -= 1;
        waits.beats.workers.remove(&thread::current().id());
    }

    /// Runs a beat without the lock, and schedules the next one.
    fn beat(self: &Arc<Self>, waits: &mut MutexGuard<'_, Waits>, number: u64) {
        let Some(entry) = waits.beats.all.get_mut(&number) else { return };
        (entry.is_ready, entry.is_woken) = (false, false);
        let server = entry.server;
        let Some(target) = entry.target.upgrade() else { return };
        if waits.beats.is_busy(server) {
            return self.schedule(waits, number, BUSY_RETRY);
        }
        waits.beats.idle -= 1;
        let run = Run { thread: thread::current().id(), server, since: Instant::now() };
        waits.beats.running.insert(number, run);
        let running = Running { queue: self, number };
        if !waits.beats.ready.is_empty() && waits.beats.idle == 0 {
            self.notify(); // The thread starts a worker when this beat takes long.
        }
        let wait = MutexGuard::unlocked(waits, move || {
            let wait = target.keep_alive(Beat(number));
            drop(target); // This may be the last reference, whose drop closes a session.
            drop(running);
            wait
        });
        waits.beats.idle += 1;
        match waits.beats.all.get_mut(&number) {
            Some(entry) if entry.is_ready => {}
            Some(entry) if entry.is_woken => waits.beats.make_ready(number),
            _ => self.schedule(waits, number, wait),
        }
    }
}

impl Waits {
    /// Removes a heartbeat, so that its running beat is the last.
    fn remove(&mut self, number: u64) {
        if let Some(at) = self.beats.all.remove(&number).and_then(|entry| entry.at) {
            self.due.remove(&(at, number));
        }
    }
}

impl Beats {
    /// Makes a beat ready for the next free worker.
    pub(super) fn make_ready(&mut self, number: u64) {
        if let Some(entry) = self.all.get_mut(&number).filter(|entry| !entry.is_ready) {
            (entry.is_ready, entry.at) = (true, None);
            self.ready.push_back(number);
        }
    }

    /// Makes a beat ready, or notes that it is to run once more. Returns the time that it was scheduled for.
    pub(super) fn wake(&mut self, number: u64) -> Option<Instant> {
        let is_running = self.running.contains_key(&number);
        let entry = self.all.get_mut(&number)?;
        entry.is_woken = is_running;
        let at = entry.at.take();
        if !is_running {
            self.make_ready(number);
        }
        at
    }

    /// Returns `true` if a server has as many workers as are left for all others.
    ///
    /// A silent server gets half of the workers, the next silent one half of the rest, so that some are left for
    /// servers that answer.
    pub(super) fn is_busy(&self, server: u64) -> bool {
        let busy = self.running.values().filter(|run| run.server == server).count();
        busy >= MAX_WORKERS.saturating_sub(self.running.len())
    }

    /// Takes out the workers that wait for a beat.
    pub(super) fn take_idle_workers(&mut self) -> Vec<JoinHandle<()>> {
        let mut workers = std::mem::take(&mut self.workers);
        self.running.values().for_each(|run| drop(workers.remove(&run.thread)));
        workers.into_values().collect()
    }
}

/// Marks a beat as ended when dropped, also after a panic.
struct Running<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.queue.waits.lock().beats.running.remove(&self.number);
        self.queue.done.notify_all();
    }
}
