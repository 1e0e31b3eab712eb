//! The threads that keep connections alive, for all of them: only the threads.
//!
//! One thread waits for whatever is due first, however many connections there are, and is mostly back before the next
//! is due; another one sees to it when not: there are as many threads as beats that take long, and one or two. Who is
//! awake does what is due a little later, too: many connections cost a fraction of the wake-ups.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, ErrorKind, Result};

/// More threads are not begun: what is due then waits for one of them.
const MOST_THREADS: usize = 128;

/// So many may wait for something to do, so that not each beat begins a thread.
const MOST_IDLE: usize = 2;

/// What is due may wait so long for the thread that is to be back soon.
const GRACE: Duration = Duration::from_millis(100);

/// A beat whose server has as many threads as it may have waits this long for its turn.
const TURN: Duration = Duration::from_secs(1);

/// A beat may come earlier than it is due by this part of its interval.
const SLACK: u32 = 64;

/// Those of this process; they go with the last heartbeat.
static SHARED: Mutex<Weak<Heart>> = Mutex::new(Weak::new());

/// Returns how much earlier than after `interval` a beat may come, if a thread is awake then.
pub(crate) fn slack(interval: Duration) -> Duration {
    interval / SLACK
}

/// What a heartbeat keeps alive.
pub(crate) trait Pulse: Send + Sync + 'static {
    /// Does what is due and says when to come again.
    fn pulse(&self) -> Duration;
}

/// Pulses its target until either of them goes away.
pub(crate) struct Heartbeat {
    heart: Arc<Heart>,
    number: u64,
}

struct Heart {
    beats: Arc<Beats>,
    /// A child that was forked has no such threads.
    process: u32,
}

#[derive(Default)]
struct Beats {
    plan: Mutex<Plan>,
    changed: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct Plan {
    due: BTreeMap<Key, Due>,
    /// When each heartbeat comes next, until it is stopped.
    times: HashMap<u64, Instant>,
    last: u64,
    /// The thread of each beat, and the server that it waits for.
    under_way: HashMap<u64, (ThreadId, u64)>,
    threads: HashMap<ThreadId, JoinHandle<()>>,
    idle: usize,
    /// Until when some of these wait.
    waits: Vec<Instant>,
    ended: bool,
}

/// When a beat is due, and whose it is.
type Key = (Instant, u64);

/// A beat that is due.
struct Due {
    /// How much earlier it may come.
    slack: Duration,
    server: u64,
    target: Weak<dyn Pulse>,
}

impl Heartbeat {
    /// Starts a heartbeat on a connection to this server.
    ///
    /// Holds its target weakly, so that it keeps no connection open that is not used any more.
    pub(crate) fn start<P: Pulse>(first: Duration, server: u64, target: Weak<P>) -> Result<Self> {
        let heart = Heart::shared();
        let number = {
            let mut plan = heart.beats.plan.lock();
            plan.last += 1;
            let number = plan.last;
            plan.put(number, first, server, target);
            heart.beats.be_ready(&mut plan)?;
            number
        };
        heart.beats.changed.notify_all();
        Ok(Self { heart, number })
    }

    /// Ends it, and waits for a beat that is under way, unless that is what calls.
    pub(crate) fn stop(self) {
        let mut plan = self.heart.beats.plan.lock();
        plan.remove(self.number);
        let me = thread::current().id();
        while plan.under_way.get(&self.number).is_some_and(|(thread, _)| *thread != me) {
            self.heart.beats.done.wait(&mut plan);
        }
    }
}

/// Ends it, without waiting.
impl Drop for Heartbeat {
    fn drop(&mut self) {
        if self.heart.is_ours() {
            self.heart.beats.plan.lock().remove(self.number);
        }
    }
}

impl Heart {
    fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock();
        shared.upgrade().unwrap_or_else(|| {
            let heart = Arc::new(Self { beats: Arc::default(), process: std::process::id() });
            *shared = Arc::downgrade(&heart);
            heart
        })
    }

    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

/// Waits for its threads, but not for those that make a connection, which end with that.
impl Drop for Heart {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        let idle = {
            let mut plan = self.beats.plan.lock();
            plan.ended = true;
            let mut threads = std::mem::take(&mut plan.threads);
            threads.remove(&thread::current().id());
            plan.under_way.values().for_each(|(busy, _)| drop(threads.remove(busy)));
            threads
        };
        self.beats.changed.notify_all();
        // A panic in there has been reported by the panic hook; there is nothing to add here.
        for thread in idle.into_values() {
            let _ = thread.join();
        }
    }
}

impl Beats {
    /// Makes sure that a thread waits for what is due next.
    fn be_ready(self: &Arc<Self>, plan: &mut Plan) -> Result<()> {
        if plan.idle > 0 || plan.threads.len() >= MOST_THREADS {
            return Ok(());
        }
        let beats = Arc::clone(self);
        let thread = thread::Builder::new().name("pymail-heartbeat".into()).spawn(move || beats.run());
        let thread =
            thread.map_err(|e| Error::new(ErrorKind::Runtime, "no heartbeat thread").with_source(e))?;
        plan.idle += 1;
        plan.threads.insert(thread.thread().id(), thread);
        Ok(())
    }

    /// It was counted as idle when it was begun.
    fn run(self: &Arc<Self>) {
        let mut plan = self.plan.lock();
        let mut is_awake = false;
        while !plan.ended && plan.idle <= MOST_IDLE {
            let Some((key, slack)) = plan.next() else {
                self.changed.wait(&mut plan);
                continue;
            };
            let at = if plan.is_watched(key.0) { key.0 + GRACE } else { key.0 };
            let early = if is_awake { slack } else { Duration::ZERO };
            is_awake = at <= Instant::now() + early;
            if is_awake { self.beat(&mut plan, key) } else { self.wait(&mut plan, at) }
        }
        plan.idle -= 1;
        plan.threads.remove(&thread::current().id());
        // A thread that stays may wait for a later beat.
        self.changed.notify_one();
    }

    fn wait(&self, plan: &mut MutexGuard<'_, Plan>, at: Instant) {
        plan.waits.push(at);
        self.changed.wait_until(plan, at);
        if let Some(place) = plan.waits.iter().position(|other| *other == at) {
            plan.waits.swap_remove(place);
        }
    }

    fn beat(self: &Arc<Self>, plan: &mut MutexGuard<'_, Plan>, key: Key) {
        let Some(Due { server, target, .. }) = plan.due.remove(&key) else { return };
        if plan.is_busy(server) {
            return plan.put(key.1, TURN, server, target);
        }
        let Some(target) = target.upgrade() else { return };
        plan.idle -= 1;
        plan.under_way.insert(key.1, (thread::current().id(), server));
        // Without a further thread, what is due next waits for this one.
        let _ = self.be_ready(plan);
        if plan.next().is_some_and(|(next, _)| !plan.is_watched(next.0 + GRACE)) {
            self.changed.notify_one();
        }
        let beat = UnderWay { beats: self, number: key.1 };
        let again = Arc::downgrade(&target);
        let wait = MutexGuard::unlocked(plan, move || {
            let wait = target.pulse();
            drop(target); // It may be the last to hold it.
            drop(beat);
            wait
        });
        plan.idle += 1;
        if plan.times.contains_key(&key.1) {
            plan.put(key.1, wait, server, again);
        }
    }
}

impl Plan {
    fn put(&mut self, number: u64, wait: Duration, server: u64, target: Weak<dyn Pulse>) {
        let at = Instant::now() + wait;
        self.times.insert(number, at);
        self.due.insert((at, number), Due { slack: slack(wait), server, target });
    }

    /// Returns whether a server has as many threads as are left for all others: a silent one gets half of them, the
    /// next silent one half of the rest, so that some are left for servers that answer.
    fn is_busy(&self, server: u64) -> bool {
        let busy = self.under_way.values().filter(|(_, other)| *other == server).count();
        busy >= MOST_THREADS.saturating_sub(self.under_way.len())
    }

    /// Returns whether a thread wakes up by then.
    fn is_watched(&self, at: Instant) -> bool {
        self.waits.iter().any(|wait| *wait <= at)
    }

    fn next(&self) -> Option<(Key, Duration)> {
        self.due.first_key_value().map(|(key, due)| (*key, due.slack))
    }

    fn remove(&mut self, number: u64) {
        if let Some(at) = self.times.remove(&number) {
            self.due.remove(&(at, number));
        }
    }
}

/// Ends with its beat, however that ends.
struct UnderWay<'a> {
    beats: &'a Beats,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.beats.plan.lock().under_way.remove(&self.number);
        self.beats.done.notify_all();
    }
}
