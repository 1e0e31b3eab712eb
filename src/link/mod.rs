//! One supervised connection: its lock, its one reconnect a verb, its heartbeat. Knows no protocol.

mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use self::status::{State, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::heartbeat::{Heartbeat, Pulse};

/// A logged-in dialogue with a server, one command at a time.
pub(crate) trait Session: Send + Sized + 'static {
    /// Asks for nothing, to hear within `patience` that the server is there; takes in what it said unasked.
    fn noop(&mut self, patience: Duration) -> Result<()>;

    /// Says goodbye and closes.
    fn close(self) -> Result<()>;

    /// Runs `wait`, which may block, without holding what a session needs in order to go on.
    fn unattached<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
        wait()
    }

    /// Whether this process was forked from the one that made the session, where it can't be used.
    fn is_forked() -> bool {
        false
    }
}

type Connect<S> = Box<dyn Fn() -> Result<S> + Send + Sync>;

/// A connection that all clones of a handle share.
pub(crate) struct Link<S: Session>(Arc<Owner<S>>);

/// Owned by the handles alone, so that the heartbeat, which is not, ends with the last of them.
struct Owner<S: Session> {
    line: Arc<Line<S>>,
    heartbeat: Mutex<Option<Heartbeat>>,
}

struct Line<S: Session> {
    connect: Connect<S>,
    every: Duration,
    /// Seen without the lock, so that nothing is begun while `stop` waits for it.
    stopping: AtomicBool,
    /// Whether the heartbeat is making a connection, which can take long.
    connecting: AtomicBool,
    slot: Mutex<Slot<S>>,
    status: Mutex<Status>,
}

struct Slot<S> {
    session: Option<S>,
    /// Set once for good: by `stop`, or by a refused password.
    ended: Option<Error>,
    last_used: Instant,
    failures: u32,
}

impl<S: Session> Clone for Link<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Session> Link<S> {
    /// Connects, and keeps the connection alive with a heartbeat in a thread of this name.
    pub(crate) fn open(
        name: &str,
        every: Duration,
        connect: impl Fn() -> Result<S> + Send + Sync + 'static,
    ) -> Result<Self> {
        let session = S::unattached(&connect)?;
        let line = Arc::new(Line {
            connect: Box::new(connect),
            every,
            stopping: AtomicBool::new(false),
            connecting: AtomicBool::new(false),
            slot: Mutex::new(Slot::new(session)),
            status: Mutex::new(Status { state: State::Connected, last_error: None, last_error_kind: None }),
        });
        let heartbeat = Mutex::new(Some(Heartbeat::start(name, every, Arc::downgrade(&line))?));
        Ok(Self(Arc::new(Owner { line, heartbeat })))
    }

    /// Asks; when the connection turns out lost, makes a new one and asks once more.
    pub(crate) fn repeat<T: Send>(&self, mut ask: impl FnMut(&mut S) -> Result<T> + Send) -> Result<T> {
        self.locked(|line, slot| {
            let answer = line.ask(slot, &mut ask);
            match answer {
                Err(error) if error.kind() == ErrorKind::Disconnected => line.ask(slot, &mut ask),
                answer => answer,
            }
        })
    }

    /// Asks once, on a new connection if the old one is known to be lost; a loss on the way is returned.
    pub(crate) fn once<T: Send>(&self, ask: impl FnOnce(&mut S) -> Result<T> + Send) -> Result<T> {
        self.locked(|line, slot| line.ask(slot, ask))
    }

    fn locked<T: Send>(&self, verb: impl FnOnce(&Line<S>, &mut Slot<S>) -> Result<T> + Send) -> Result<T> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        S::unattached(|| {
            let mut slot = self.0.line.slot.lock();
            let answer = verb(&self.0.line, &mut slot);
            slot.last_used = Instant::now();
            answer
        })
    }

    /// Ends the connection and the heartbeat, for every clone of the handle.
    pub(crate) fn stop(&self) -> Result<()> {
        self.0.stop()
    }

    pub(crate) fn status(&self) -> Status {
        self.0.line.status.lock().clone()
    }
}

impl<S: Session> Owner<S> {
    fn stop(&self) -> Result<()> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        self.line.stopping.store(true, Ordering::SeqCst);
        S::unattached(|| {
            let session = {
                let mut slot = self.line.slot.lock();
                slot.ended = Some(stopped());
                self.line.status.lock().state = State::Stopped;
                slot.session.take()
            };
            if let Some(heartbeat) = self.heartbeat.lock().take()
                && !self.line.connecting.load(Ordering::SeqCst)
            {
                heartbeat.stop();
            }
            session.map_or(Ok(()), S::close)
        })
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Stopped, "the handle was stopped")
}

/// The last handle says goodbye as `stop` does; there is nobody to tell when that fails.
impl<S: Session> Drop for Owner<S> {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Never waits for the lock: a verb may hold it.
impl<S: Session> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl<S: Session> Line<S> {
    fn ask<T>(&self, slot: &mut Slot<S>, ask: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        let session = self.session(slot)?;
        let answer = ask(session);
        if let Err(error) = &answer
            && error.ends_connection()
        {
            self.lose(slot, error);
        }
        answer
    }

    /// The session, made anew if it was lost.
    fn session<'a>(&self, slot: &'a mut Slot<S>) -> Result<&'a mut S> {
        if let Some(ended) = &slot.ended {
            return Err(ended.clone());
        }
        if self.stopping.load(Ordering::SeqCst) {
            return Err(stopped());
        }
        if slot.session.is_none() {
            let made = (self.connect)();
            self.settle(slot, made)?;
        }
        slot.session.as_mut().ok_or_else(|| Error::new(ErrorKind::Disconnected, "not connected"))
    }

    /// Takes the outcome of an attempt to connect into the slot.
    fn settle(&self, slot: &mut Slot<S>, made: Result<S>) -> Result<()> {
        if slot.ended.is_some() || slot.session.is_some() {
            return Ok(()); // Somebody was quicker; what was made is dropped, which closes it.
        }
        match made {
            Ok(session) => {
                slot.session = Some(session);
                slot.failures = 0;
                self.status.lock().state = State::Connected;
                tracing::info!("connected again");
                Ok(())
            }
            Err(error) => {
                slot.failures = slot.failures.saturating_add(1);
                self.lose(slot, &error);
                Err(error)
            }
        }
    }

    /// After an error the state of a connection is unknown: it is never used again.
    fn lose(&self, slot: &mut Slot<S>, error: &Error) {
        tracing::warn!(%error, "connection lost");
        slot.session = None;
        let refused = error.kind() == ErrorKind::Auth && error.is_permanent();
        if refused && slot.ended.is_none() {
            slot.ended = Some(error.clone());
        }
        self.note(error);
        self.status.lock().state = if refused { State::Refused } else { State::Disconnected };
    }

    fn note(&self, error: &Error) {
        let mut status = self.status.lock();
        status.last_error = Some(error.to_string());
        status.last_error_kind = Some(error.kind());
    }
}

impl<S: Session> Pulse for Line<S> {
    fn pulse(&self) -> Duration {
        // A verb that holds the lock is traffic enough.
        let Some(mut slot) = self.slot.try_lock() else { return self.every };
        if slot.ended.is_some() {
            return self.every;
        }
        if slot.session.is_some() {
            let left = self.every.saturating_sub(slot.last_used.elapsed());
            if !left.is_zero() {
                return left;
            }
            if let Err(error) = self.ask(&mut slot, |session| session.noop(self.every)) {
                self.note(&error); // The next verb is told by making its own connection.
            }
            slot.last_used = Instant::now();
            return if slot.session.is_some() { self.every } else { backoff(0) };
        }
        // Said before the lock is let go, which `stop` waits for: it must not wait for the connection, too.
        self.connecting.store(true, Ordering::SeqCst);
        drop(slot);
        // Without the lock: a verb that comes meanwhile makes its own connection and waits for nobody.
        let made = (self.connect)();
        self.connecting.store(false, Ordering::SeqCst);
        let mut slot = self.slot.lock();
        let _ = self.settle(&mut slot, made); // A failure shows in the status.
        if slot.session.is_some() { self.every } else { backoff(slot.failures) }
    }
}

impl<S> Slot<S> {
    fn new(session: S) -> Self {
        Self { session: Some(session), ended: None, last_used: Instant::now(), failures: 0 }
    }
}

/// 1 s, 2 s, 4 s, ... 5 min, each up to a quarter shorter, so that many clients do not come back as one.
fn backoff(failures: u32) -> Duration {
    let whole = Duration::from_secs(1 << failures.min(9)).min(Duration::from_secs(300));
    let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    whole.mul_f64(1.0 - random / 4.0)
}
