//! The threads that send heartbeats, shared by all connections of the process.
//!
//! One thread waits for the first beat that is due, and usually returns before the next one is. When it does not,
//! another thread takes over: there are as many threads as beats that take long, plus one or two. A thread that is
//! awake also runs beats that are due a little later, so that many connections cost few wake-ups.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, ErrorKind, Result};

/// The most threads; further beats wait for one of them.
const MAX_THREADS: usize = 128;

/// The most idle threads, so that not each beat starts a thread.
const MAX_IDLE: usize = 2;

/// The time that a due beat waits for a busy thread that should be free soon.
const GRACE: Duration = Duration::from_millis(100);

/// The time after which a beat is tried again when its server has used up its share of the threads.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// The part of an interval by which a beat may come early.
const SLACK: u32 = 64;

/// The scheduler of this process, dropped with the last heartbeat.
static SHARED: Mutex<Weak<Scheduler>> = Mutex::new(Weak::new());

/// Returns how much earlier than after `interval` a beat may come, if a thread is awake then.
pub(crate) fn slack(interval: Duration) -> Duration {
    interval / SLACK
}

/// A target of heartbeats.
pub(crate) trait KeepAlive: Send + Sync + 'static {
    /// Runs one beat. Returns the wait until the next one.
    fn keep_alive(&self) -> Duration;
}

/// Runs the beats of one target, until either is dropped.
pub(crate) struct Heartbeat {
    scheduler: Arc<Scheduler>,
    number: u64,
}

/// Owns the threads, and ends the idle ones when dropped.
struct Scheduler {
    queue: Arc<Queue>,
    /// The process that has the threads: a forked child has none.
    process: u32,
}

/// The schedule, and the signals that it has changed and that a beat has ended.
#[derive(Default)]
struct Queue {
    schedule: Mutex<Schedule>,
    changed: Condvar,
    done: Condvar,
}

/// All beats and threads.
#[derive(Default)]
struct Schedule {
    due: BTreeMap<Key, Due>,
    /// The time of each heartbeat's next beat; a stopped one has none.
    times: HashMap<u64, Instant>,
    last: u64,
    /// The thread of each running beat, and its server.
    running: HashMap<u64, (ThreadId, u64)>,
    threads: HashMap<ThreadId, JoinHandle<()>>,
    idle: usize,
    /// The times at which idle threads wake up.
    wakeups: Vec<Instant>,
    ended: bool,
}

/// The time of a beat, and the number of its heartbeat.
type Key = (Instant, u64);

/// A scheduled beat.
struct Due {
    /// The time by which the beat may come early.
    slack: Duration,
    server: u64,
    target: Weak<dyn KeepAlive>,
}

impl Heartbeat {
    /// Starts a heartbeat on a connection to `server`, first after `first`.
    ///
    /// Holds the target weakly, so that an unused connection is not kept open.
    pub(crate) fn start<P: KeepAlive>(first: Duration, server: u64, target: Weak<P>) -> Result<Self> {
        let scheduler = Scheduler::shared();
        let number = {
            let mut schedule = scheduler.queue.schedule.lock();
            schedule.last += 1;
            let number = schedule.last;
            schedule.add(number, first, server, target);
            scheduler.queue.ensure_idle_thread(&mut schedule)?;
            number
        };
        scheduler.queue.changed.notify_all();
        Ok(Self { scheduler, number })
    }

    /// Stops the heartbeat and waits for a running beat to end, unless the beat itself is the caller.
    pub(crate) fn stop(self) {
        let mut schedule = self.scheduler.queue.schedule.lock();
        schedule.remove(self.number);
        let me = thread::current().id();
        while schedule.running.get(&self.number).is_some_and(|(thread, _)| *thread != me) {
            self.scheduler.queue.done.wait(&mut schedule);
        }
    }
}

/// Stops the heartbeat without waiting.
impl Drop for Heartbeat {
    fn drop(&mut self) {
        if self.scheduler.is_of_this_process() {
            self.scheduler.queue.schedule.lock().remove(self.number);
        }
    }
}

impl Scheduler {
    /// Returns the scheduler of this process, a new one if there is none.
    fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock();
        shared.upgrade().unwrap_or_else(|| {
            let scheduler = Arc::new(Self { queue: Arc::default(), process: std::process::id() });
            *shared = Arc::downgrade(&scheduler);
            scheduler
        })
    }

    /// Returns `false` in a forked child, which has no such threads.
    fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }
}

/// Waits for the idle threads. Threads that are connecting end by themselves after that.
impl Drop for Scheduler {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            return;
        }
        let idle = {
            let mut schedule = self.queue.schedule.lock();
            schedule.ended = true;
            let mut threads = std::mem::take(&mut schedule.threads);
            threads.remove(&thread::current().id());
            schedule.running.values().for_each(|(busy, _)| drop(threads.remove(busy)));
            threads
        };
        self.queue.changed.notify_all();
        // The panic hook has reported a thread's panic already.
        for thread in idle.into_values() {
            let _ = thread.join();
        }
    }
}

impl Queue {
    /// Starts a thread if none is idle.
    fn ensure_idle_thread(self: &Arc<Self>, schedule: &mut Schedule) -> Result<()> {
        if schedule.idle > 0 || schedule.threads.len() >= MAX_THREADS {
            return Ok(());
        }
        let queue = Arc::clone(self);
        let thread = thread::Builder::new().name("pymail-heartbeat".into()).spawn(move || queue.run());
        let thread = thread
            .map_err(|e| Error::new(ErrorKind::Runtime, "can't start a heartbeat thread").with_source(e))?;
        schedule.idle += 1;
        schedule.threads.insert(thread.thread().id(), thread);
        Ok(())
    }

    /// Runs beats until there are more idle threads than needed. The thread begins counted as idle.
    fn run(self: &Arc<Self>) {
        let mut schedule = self.schedule.lock();
        let mut is_awake = false;
        while !schedule.ended && schedule.idle <= MAX_IDLE {
            let Some((key, slack)) = schedule.next() else {
                self.changed.wait(&mut schedule);
                continue;
            };
            let at = if schedule.has_wakeup_by(key.0) { key.0 + GRACE } else { key.0 };
            let early = if is_awake { slack } else { Duration::ZERO };
            is_awake = at <= Instant::now() + early;
            if is_awake { self.beat(&mut schedule, key) } else { self.wait(&mut schedule, at) }
        }
        schedule.idle -= 1;
        schedule.threads.remove(&thread::current().id());
        // The remaining threads may all wait for later beats than the next one.
        self.changed.notify_one();
    }

    /// Waits until this time, or until the schedule changes.
    fn wait(&self, schedule: &mut MutexGuard<'_, Schedule>, at: Instant) {
        schedule.wakeups.push(at);
        self.changed.wait_until(schedule, at);
        if let Some(place) = schedule.wakeups.iter().position(|other| *other == at) {
            schedule.wakeups.swap_remove(place);
        }
    }

    /// Runs a beat without the lock, and schedules the next one.
    fn beat(self: &Arc<Self>, schedule: &mut MutexGuard<'_, Schedule>, key: Key) {
        let Some(Due { server, target, .. }) = schedule.due.remove(&key) else { return };
        if schedule.is_busy(server) {
            return schedule.add(key.1, BUSY_RETRY, server, target);
        }
        let Some(target) = target.upgrade() else { return };
        schedule.idle -= 1;
        schedule.running.insert(key.1, (thread::current().id(), server));
        // Without another thread, the next beat waits for this one.
        let _ = self.ensure_idle_thread(schedule);
        if schedule.next().is_some_and(|(next, _)| !schedule.has_wakeup_by(next.0 + GRACE)) {
            self.changed.notify_one();
        }
        let running = Running { queue: self, number: key.1 };
        let weak = Arc::downgrade(&target);
        let wait = MutexGuard::unlocked(schedule, move || {
            let wait = target.keep_alive();
            drop(target); // This may be the last reference, whose drop closes a session.
            drop(running);
            wait
        });
        schedule.idle += 1;
        if schedule.times.contains_key(&key.1) {
            schedule.add(key.1, wait, server, weak);
        }
    }
}

impl Schedule {
    /// Schedules a beat after `wait`.
    fn add(&mut self, number: u64, wait: Duration, server: u64, target: Weak<dyn KeepAlive>) {
        let at = Instant::now() + wait;
        self.times.insert(number, at);
        self.due.insert((at, number), Due { slack: slack(wait), server, target });
    }

    /// Returns `true` if a server has as many threads as are left for all others.
    ///
    /// A silent server gets half of the threads, the next silent one half of the rest, so that some are left for
    /// servers that answer.
    fn is_busy(&self, server: u64) -> bool {
        let busy = self.running.values().filter(|(_, other)| *other == server).count();
        busy >= MAX_THREADS.saturating_sub(self.running.len())
    }

    /// Returns `true` if an idle thread wakes up by then.
    fn has_wakeup_by(&self, at: Instant) -> bool {
        self.wakeups.iter().any(|wakeup| *wakeup <= at)
    }

    /// Returns the first beat, and the time by which it may come early.
    fn next(&self) -> Option<(Key, Duration)> {
        self.due.first_key_value().map(|(key, due)| (*key, due.slack))
    }

    /// Removes a heartbeat, so that its running beat is the last.
    fn remove(&mut self, number: u64) {
        if let Some(at) = self.times.remove(&number) {
            self.due.remove(&(at, number));
        }
    }
}

/// Marks a beat as ended when dropped, also after a panic.
struct Running<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.queue.schedule.lock().running.remove(&self.number);
        self.queue.done.notify_all();
    }
}
