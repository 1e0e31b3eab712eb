//! The connections of a handle, each of which sends one window at a time: the next window goes to one that is free.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{Span, dispatcher};

use crate::app_code::{self, Mark};
use crate::connection::{Connection, Session as _, State};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::python::SmtpSession;

/// The connections of a handle.
#[derive(Debug)]
pub(super) struct Pool {
    all: Vec<Connection<SmtpSession>>,
    /// The places in `all` of the connections that no window is sent on, the one that has been free longest first.
    free: Mutex<VecDeque<usize>>,
    /// Signals that a connection is free, or that a call has no more windows.
    changed: Condvar,
}

/// The progress of one call, for all its threads.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// `true` once the last window is being sent, so that no thread waits for a connection any more.
    is_complete: AtomicBool,
    /// The places of the connections that have failed in this call.
    failed: Mutex<Vec<usize>>,
}

/// A connection that no other window is sent on, until the drop.
pub(super) struct Taken<'p> {
    pool: &'p Pool,
    place: usize,
}

impl Pool {
    /// Opens connections by `open`: the first one, and if that succeeds, the others at the same time.
    ///
    /// # Errors
    ///
    /// The first one of `open`; the other connections are closed.
    pub(super) fn open(
        number: usize,
        open: impl Fn() -> Result<Connection<SmtpSession>> + Sync,
    ) -> Result<Self> {
        // By itself: a wrong password counts once.
        let first = open()?;
        let others = at_once(number.saturating_sub(1), &open);
        let all = std::iter::once(Ok(first)).chain(others).collect::<Result<Vec<_>>>()?;
        let free = Mutex::new((0..all.len()).collect());
        Ok(Self { all, free, changed: Condvar::new() })
    }

    /// Returns all connections.
    pub(super) fn all(&self) -> &[Connection<SmtpSession>] {
        &self.all
    }

    /// Waits for a free connection that has not failed in this call, one that is connected rather than another. `None`
    /// once the call has no more windows, or no more connections.
    ///
    /// # Errors
    ///
    /// `Timeout` at the deadline; `Runtime` in a forked child, where the lock may never be released; `InvalidInput` if all
    /// that are left wait for a provider or connector on this thread.
    pub(super) fn take(&self, call: &Call, deadline: Deadline) -> Result<Option<Taken<'_>>> {
        if SmtpSession::is_forked() {
            return Err(Error::forked());
        }
        let waits_for_us = |place: usize| self.all[place].check_not_connecting();
        let mut free = self.free.lock();
        loop {
            if call.is_complete.load(Ordering::SeqCst) {
                return Ok(None);
            }
            let failed = call.failed.lock();
            let left: Vec<usize> = (0..self.all.len()).filter(|place| !failed.contains(place)).collect();
            drop(failed);
            let Some(&first) = left.first() else { return Ok(None) };
            let usable: Vec<usize> = left.into_iter().filter(|place| waits_for_us(*place).is_ok()).collect();
            if usable.is_empty() {
                waits_for_us(first)?;
            }
            let is_connected = |place: usize| self.all[place].status().state == State::Connected;
            let best = free.iter().position(|place| usable.contains(place) && is_connected(*place));
            let best = best.or_else(|| free.iter().position(|place| usable.contains(place)));
            if let Some(place) = best.and_then(|best| free.remove(best)) {
                return Ok(Some(Taken { pool: self, place }));
            }
            if self.changed.wait_until(&mut free, deadline.at()).timed_out() {
                return Err(deadline.error("waiting for another call on the connection"));
            }
        }
    }

    /// Has the threads of a call wait for no further connection: its last window is being sent.
    pub(super) fn complete(&self, call: &Call) {
        call.is_complete.store(true, Ordering::SeqCst);
        // Those that have not seen it wait by the time that the lock can be had.
        drop(self.free.lock());
        self.changed.notify_all();
    }
}

/// Runs `work` so many times at once, on this thread and on others, in the span of this one; returns the results. Where a
/// thread can't be started, this one does its work.
pub(super) fn at_once<T: Send>(times: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    let (marks, span) = (app_code::marks(), Span::current());
    let subscriber = dispatcher::get_default(Clone::clone);
    let run = || {
        Mark::inherit(marks.clone());
        dispatcher::with_default(&subscriber, || span.in_scope(&work))
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("pymail-sender".into()).spawn_scoped(scope, run).ok();
        let others: Vec<Option<ScopedJoinHandle<'_, T>>> = (1..times).map(start).collect();
        let first = (times > 0).then(&work);
        let join = |thread: ScopedJoinHandle<'_, T>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let others = others.into_iter().map(|thread| thread.map_or_else(&work, join));
        first.into_iter().chain(others).collect()
    })
}

impl Taken<'_> {
    /// Returns the connection.
    pub(super) fn connection(&self) -> &Connection<SmtpSession> {
        &self.pool.all[self.place]
    }

    /// Leaves the connection out of the rest of the call.
    pub(super) fn fail(&self, call: &Call) {
        call.failed.lock().push(self.place);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock();
        free.push_back(self.place);
        self.pool.changed.notify_all();
        // To a thread that waits: this one would have the lock again before that has woken up.
        MutexGuard::unlock_fair(free);
    }
}
