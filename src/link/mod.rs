//! One supervised connection: its lock, its deadlines, its one reconnect a verb, its heartbeat. Knows no protocol.

mod pace;
mod pulse;
mod session;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::pace::Pace;
pub(crate) use self::session::{Habits, Session};
use self::status::Ledger;
pub(crate) use self::status::Traffic;
pub use self::status::{State, Stats, Status};
use crate::config::Upkeep;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::heartbeat::Heartbeat;

/// How long a goodbye may take, where a verb may take longer.
const GOODBYE: Duration = Duration::from_secs(5);

/// A connection that all clones of a handle share.
pub(crate) struct Link<S: Session>(Arc<Owner<S>>);

/// Owned by the handles alone, so that the heartbeat, which is not, ends with the last of them.
struct Owner<S: Session> {
    line: Arc<Line<S>>,
    heartbeat: Mutex<Option<Heartbeat>>,
}

struct Line<S: Session> {
    habits: Habits<S>,
    upkeep: Upkeep,
    /// Seen without the lock, so that nothing is begun while `stop` waits for it.
    stopping: AtomicBool,
    /// Whether the heartbeat is making a connection, which can take long.
    connecting: AtomicBool,
    slot: Mutex<Slot<S>>,
    status: Mutex<Status>,
    ledger: Mutex<Ledger>,
}

struct Slot<S> {
    session: Option<S>,
    /// Set once for good: by `stop`, or by a clear refusal of the credentials.
    ended: Option<Error>,
    last_used: Instant,
    last_beat: Instant,
    pace: Pace,
}

impl<S: Session> Clone for Link<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Session> Link<S> {
    /// Connects, and keeps the connection alive with a heartbeat.
    pub(crate) fn open(upkeep: Upkeep, habits: Habits<S>) -> Result<Self> {
        let mut pace = Pace::new(upkeep);
        pace.admit(Instant::now())?;
        let connect = || (habits.connect)(Deadline::after(upkeep.deadline));
        let session = S::unattached(|| events::deferred(connect))?;
        let now = Instant::now();
        let line = Arc::new(Line {
            habits,
            upkeep,
            stopping: AtomicBool::new(false),
            connecting: AtomicBool::new(false),
            ledger: Mutex::default(),
            slot: Mutex::new(Slot { session: None, ended: None, last_used: now, last_beat: now, pace }),
            status: Mutex::new(Status { state: State::Connected, last_error: None, last_error_kind: None }),
        });
        line.ledger.lock().connected(session.traffic());
        line.slot.lock().session = Some(session);
        let heartbeat = Heartbeat::start(upkeep.heartbeat, line.habits.server, Arc::downgrade(&line))?;
        Ok(Self(Arc::new(Owner { line, heartbeat: Mutex::new(Some(heartbeat)) })))
    }

    /// By when a verb that begins now has to be back.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.0.line.upkeep.deadline)
    }

    /// Asks; when the connection turns out lost, makes a new one and asks once more.
    pub(crate) fn repeat<T: Send>(
        &self,
        deadline: Deadline,
        mut ask: impl FnMut(&mut S) -> Result<T> + Send,
    ) -> Result<T> {
        self.locked(deadline, |line, slot| {
            line.retire(slot);
            let answer = line.ask(slot, deadline, &mut ask);
            match answer {
                Err(error) if error.kind() == ErrorKind::Disconnected => line.ask(slot, deadline, &mut ask),
                answer => answer,
            }
        })
    }

    /// Asks once, on a new connection if the old one is known to be lost; a loss on the way is returned.
    pub(crate) fn once<T: Send>(
        &self,
        deadline: Deadline,
        ask: impl FnOnce(&mut S) -> Result<T> + Send,
    ) -> Result<T> {
        self.locked(deadline, |line, slot| line.ask(slot, deadline, ask))
    }

    fn locked<T: Send>(
        &self,
        deadline: Deadline,
        verb: impl FnOnce(&Line<S>, &mut Slot<S>) -> Result<T> + Send,
    ) -> Result<T> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        let locked = || {
            let slot = self.0.line.slot.try_lock_until(deadline.at());
            let mut slot =
                slot.ok_or_else(|| deadline.error("waiting for another call on the connection"))?;
            let answer = verb(&self.0.line, &mut slot);
            slot.last_used = Instant::now();
            answer
        };
        S::unattached(|| events::deferred(locked))
    }

    /// Ends the connection and the heartbeat, for every clone of the handle.
    pub(crate) fn stop(&self) -> Result<()> {
        self.0.stop()
    }

    pub(crate) fn status(&self) -> Status {
        self.0.line.status.lock().clone()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.0.line.ledger.lock().stats()
    }

    /// Counts what the connection does not count by itself.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Stats)) {
        count(self.0.line.ledger.lock().counts());
    }

    /// Shows a failure in the status that is not the caller's.
    pub(crate) fn note(&self, error: &Error) {
        self.0.line.note(error);
    }
}

impl<S: Session> Owner<S> {
    fn stop(&self) -> Result<()> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        self.line.stopping.store(true, Ordering::SeqCst);
        S::unattached(|| events::deferred(|| self.end()))
    }

    fn end(&self) -> Result<()> {
        let session = {
            let mut slot = self.line.slot.lock();
            slot.ended = Some(stopped());
            self.line.status.lock().state = State::Stopped;
            slot.session.take()
        };
        // Taken out first: an event of the beat that is waited for may stop the handle, too.
        let heartbeat = self.heartbeat.lock().take();
        if let Some(heartbeat) = heartbeat
            && !self.line.connecting.load(Ordering::SeqCst)
        {
            heartbeat.stop();
        }
        session.map_or(Ok(()), |session| self.line.goodbye(session))
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
    fn ask<T>(
        &self,
        slot: &mut Slot<S>,
        deadline: Deadline,
        ask: impl FnOnce(&mut S) -> Result<T>,
    ) -> Result<T> {
        let session = self.session(slot, deadline)?;
        let guard = session.watch(deadline);
        let answer = self.keep(session).and_then(|()| ask(session));
        let answer = guard.judge(answer, "waiting for the server");
        self.ledger.lock().update(session.traffic());
        match &answer {
            Err(error) if error.ends_connection() => self.lose(slot, error),
            // It was done just in time, but the connection was not spared.
            _ if guard.overran() => self.lose(slot, &deadline.error("an answer in the last moment")),
            _ => {}
        }
        answer
    }

    /// Does what is due beside verbs. What the server refuses of it shows in the status, and verbs go on.
    fn keep(&self, session: &mut S) -> Result<()> {
        match (self.habits.keep)(session) {
            Err(error) if !error.ends_connection() => {
                self.note(&error);
                Ok(())
            }
            kept => kept,
        }
    }

    /// The session, made anew if it was lost.
    fn session<'a>(&self, slot: &'a mut Slot<S>, deadline: Deadline) -> Result<&'a mut S> {
        if let Some(ended) = &slot.ended {
            return Err(ended.clone());
        }
        if self.stopping.load(Ordering::SeqCst) {
            return Err(stopped());
        }
        if slot.session.is_none() {
            deadline.check("connecting")?;
            slot.pace.admit(Instant::now())?;
            let made = (self.habits.connect)(deadline);
            self.settle(slot, made)?;
        }
        slot.session.as_mut().ok_or_else(|| Error::new(ErrorKind::Disconnected, "not connected"))
    }

    /// Says goodbye to a session that is used up, if a new one can be made now; returns whether it did.
    fn retire(&self, slot: &mut Slot<S>) -> bool {
        let due = slot.session.as_ref().is_some_and(S::is_used_up) && slot.pace.has_room(Instant::now());
        if due && let Some(session) = slot.session.take() {
            let _ = self.goodbye(session); // Whatever the server makes of it, this session is not used again.
        }
        due
    }

    /// Takes the outcome of an attempt to connect into the slot.
    fn settle(&self, slot: &mut Slot<S>, made: Result<S>) -> Result<()> {
        if slot.ended.is_some() || slot.session.is_some() {
            return Ok(()); // Somebody was quicker; what was made is dropped, which closes it.
        }
        match made {
            Ok(session) => {
                self.ledger.lock().connected(session.traffic());
                slot.session = Some(session);
                slot.pace.connected();
                self.status.lock().state = State::Connected;
                events::emit(|| tracing::info!("connected again"));
                Ok(())
            }
            Err(error) => {
                let error = slot.pace.failed(error, Instant::now());
                self.lose(slot, &error);
                Err(error)
            }
        }
    }

    /// After an error the state of a connection is unknown: it is never used again.
    fn lose(&self, slot: &mut Slot<S>, error: &Error) {
        let lost = error.clone();
        events::emit(move || tracing::warn!(error = %lost, "connection lost"));
        slot.session = None;
        slot.pace.heed(error, Instant::now());
        let refused = error.condemns_credentials();
        if refused && slot.ended.is_none() {
            slot.ended = Some(error.clone());
        }
        self.note(error);
        self.status.lock().state = match refused {
            true => State::Refused,
            false if slot.pace.is_throttled() => State::Throttled,
            false => State::Disconnected,
        };
    }

    fn goodbye(&self, mut session: S) -> Result<()> {
        let guard = session.watch(Deadline::after(GOODBYE.min(self.upkeep.deadline)));
        (self.habits.farewell)(&mut session);
        guard.judge(session.close(), "saying goodbye")
    }

    fn note(&self, error: &Error) {
        let mut status = self.status.lock();
        status.last_error = Some(error.to_string());
        status.last_error_kind = Some(error.kind());
    }
}
