//! One thread of the process that waits for all connections: for deadlines, for heartbeats, and for octets.
//!
//! ```text
//!               ┌─ the deadline of a command ──▶ shuts its socket down               `watched`
//!  thread waits ┼─ the time of a heartbeat ────▶ a worker thread runs the beat       `heartbeat`
//!               ├─ octets on a parked socket ──▶ a worker thread runs the beat
//!               └─ the time of a future's wait ▶ wakes the future                 `timer`, feature `async`
//! ```
//!
//! It waits in the system's poller, until the first of these times, or until a parked socket is readable. It runs
//! nothing that blocks itself, and never touches the interpreter.

mod heartbeat;
#[cfg(test)]
mod tests;
#[cfg(feature = "async")]
mod timer;
mod watched;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::{Arc, Weak};
#[cfg(feature = "async")]
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use polling::{Event, Events, Poller};

use self::heartbeat::Beats;
pub(crate) use self::heartbeat::{Beat, Heartbeat, KeepAlive, slack};
#[cfg(feature = "async")]
pub(crate) use self::timer::Timer;
use self::watched::Command;
pub(crate) use self::watched::{Guard, Watched, WatchedCommand};
use crate::error::{Error, ErrorKind, Result};

/// The waiter of this process, dropped with the last connection.
static SHARED: Mutex<Weak<Waiter>> = Mutex::new(Weak::new());

/// Owns the threads, and ends those that wait when dropped.
struct Waiter {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    /// The process that has the threads: a forked child has none.
    process: u32,
}

/// The times and sockets that the thread waits for, and the signals to the workers and to those who wait for a beat to end.
struct Queue {
    poller: Poller,
    waits: Mutex<Waits>,
    ready: Condvar,
    done: Condvar,
}

/// The times that are waited for, and the beats.
#[derive(Default)]
struct Waits {
    due: BTreeMap<Key, Due>,
    last: u64,
    /// The moment at which the thread wakes up by itself; `None` for never.
    wakes_at: Option<Instant>,
    beats: Beats,
    /// The futures whose times have come, to be woken once the lock is released.
    #[cfg(feature = "async")]
    woken: Vec<Waker>,
    ended: bool,
}

/// A time, and a number that tells it from others.
type Key = (Instant, u64);

/// The event at a time.
enum Due {
    /// The command is overdue.
    Command(Arc<Command>),
    /// The heartbeat with the number of the key is due; it may come early by this much.
    Beat(Duration),
    /// A future's wait ends.
    #[cfg(feature = "async")]
    Wake(Waker),
}

impl Waiter {
    /// Returns the waiter of this process, after starting it if there is none.
    fn shared() -> Result<Arc<Self>> {
        let mut shared = SHARED.lock();
        if let Some(waiter) = shared.upgrade().filter(|waiter| waiter.is_of_this_process()) {
            return Ok(waiter);
        }
        let poller = Poller::new().map_err(|e| failure("can't make a poller", e))?;
        let (waits, ready, done) = Default::default();
        let queue = Arc::new(Queue { poller, waits, ready, done });
        let run = {
            let queue = Arc::clone(&queue);
            move || queue.run()
        };
        let thread = thread::Builder::new().name("pymail-waiter".into()).spawn(run);
        let thread = thread.map_err(|e| failure("can't start the waiter thread", e))?;
        let waiter = Arc::new(Self { queue, thread: Some(thread), process: std::process::id() });
        *shared = Arc::downgrade(&waiter);
        Ok(waiter)
    }

    /// Returns `false` in a forked child, which has no such threads.
    fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// Waits for octets on a socket, once; then the heartbeat with this number beats. `is_new` for a socket that was
    /// not parked before.
    #[allow(unsafe_code)]
    fn park(&self, socket: &TcpStream, number: u64, is_new: bool) -> std::io::Result<()> {
        let event = Event::readable(usize::try_from(number).unwrap_or(usize::MAX - 1));
        if is_new {
            // SAFETY: `Watched` deletes the socket from the poller before it drops it.
            unsafe { self.queue.poller.add(socket, event) }
        } else {
            self.queue.poller.modify(socket, event)
        }
    }
}

/// Makes an error of the system's.
fn failure(text: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Runtime, text).with_source(error)
}

/// Waits for the threads that are waiting. Workers that are connecting end by themselves after that.
impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            // The poller's descriptor is shared with the parent: its drop would change the parent's poller.
            std::mem::forget(Arc::clone(&self.queue));
            return;
        }
        let workers = {
            let mut waits = self.queue.waits.lock();
            waits.ended = true;
            waits.beats.take_idle_workers()
        };
        self.queue.notify();
        self.queue.ready.notify_all();
        // The panic hook has reported a thread's panic already. The last handle may be dropped on one of the threads.
        for thread in workers.into_iter().chain(self.thread.take()) {
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Queue {
    /// Wakes the thread, which looks for what has changed.
    fn notify(&self) {
        // Fails only for a descriptor that is none.
        let _ = self.poller.notify();
    }

    /// Waits until the last connection is gone, and runs what is due.
    fn run(self: &Arc<Self>) {
        let mut events = Events::new();
        let mut waits = self.waits.lock();
        while !waits.ended {
            waits.run_due(Instant::now());
            #[cfg(feature = "async")]
            let woken = std::mem::take(&mut waits.woken);
            let retry = self.start_beats(&mut waits);
            let first = waits.due.first_key_value().map(|((at, _), _)| *at);
            waits.wakes_at = first.into_iter().chain(retry).min();
            let at = waits.wakes_at;
            MutexGuard::unlocked(&mut waits, || {
                #[cfg(feature = "async")]
                woken.into_iter().for_each(crate::signal::wake);
                events.clear();
                // An interruption looks like a timeout.
                let _ = match at {
                    Some(at) => self.poller.wait_deadline(&mut events, at),
                    None => self.poller.wait(&mut events, None),
                };
            });
            for event in events.iter() {
                waits.wake(event.key as u64);
            }
        }
    }

    /// Adds a time, and wakes the thread if it would sleep longer.
    fn add(&self, waits: &mut Waits, at: Instant, number: u64, due: Due) {
        waits.due.insert((at, number), due);
        // A later time than the first needs no signal.
        if waits.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            waits.wakes_at = Some(at);
            self.notify();
        }
    }
}

impl Waits {
    /// Returns a number that no other time or heartbeat has.
    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Shuts down the sockets of overdue commands, and makes the beats ready that are due.
    ///
    /// The thread is awake, so beats that are due a little later are ready, too: many connections cost few wake-ups.
    fn run_due(&mut self, now: Instant) {
        while let Some(first) = self.due.first_entry() {
            let (at, number) = *first.key();
            match first.get() {
                Due::Command(command) if at <= now => {
                    if let Some(again) = command.shut_down(now) {
                        let due = first.remove();
                        self.due.insert(again, due);
                        continue;
                    }
                }
                Due::Beat(slack) if at <= now + *slack => self.beats.make_ready(number),
                #[cfg(feature = "async")]
                Due::Wake(waker) if at <= now => self.woken.push(waker.clone()),
                _ => break,
            }
            self.due.remove(&(at, number));
        }
    }

    /// Makes a heartbeat beat as soon as a worker is free.
    fn wake(&mut self, number: u64) {
        if let Some(at) = self.beats.wake(number) {
            self.due.remove(&(at, number));
        }
    }
}
