//! What a connection is made of: a dialogue with a server, and what is particular about it.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Traffic;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::watchdog::Guard;

/// A logged-in dialogue with a server, one command at a time.
pub(crate) trait Session: Send + Sized + 'static {
    /// Asks for nothing, to hear that the server is there; takes in what it said unasked.
    fn noop(&mut self) -> Result<()>;

    /// Whether it has been asked for as many signs of life as it should be, so that a quiet moment is one for a new
    /// session in its place.
    fn is_used_up(&self) -> bool {
        false
    }

    /// Says goodbye and closes.
    fn close(self) -> Result<()>;

    /// Shuts the connection down when the deadline comes, for as long as the guard is there.
    fn watch(&self, deadline: Deadline) -> Guard;

    /// What went over the connection so far.
    fn traffic(&self) -> Traffic;

    /// Runs `wait`, which may block, without holding what a session needs in order to go on.
    fn unattached<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
        wait()
    }

    /// Whether this process was forked from the one that made the session, where it can't be used.
    fn is_forked() -> bool {
        false
    }
}

type Do<S, T> = Box<dyn Fn(&mut S) -> T + Send + Sync>;

/// What is particular about the connections of one handle.
pub(crate) struct Habits<S> {
    pub(super) connect: Box<dyn Fn(Deadline) -> Result<S> + Send + Sync>,
    pub(super) keep: Do<S, Result<()>>,
    pub(super) farewell: Do<S, ()>,
    pub(super) server: u64,
}

impl<S: Session> Habits<S> {
    /// Connects so.
    pub(crate) fn new(connect: impl Fn(Deadline) -> Result<S> + Send + Sync + 'static) -> Self {
        Self { connect: Box::new(connect), keep: Box::new(|_| Ok(())), farewell: Box::new(|_| ()), server: 0 }
    }

    /// Names the server, whose silence must not keep heartbeats from other servers.
    pub(crate) fn at(mut self, server: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        server.hash(&mut hasher);
        self.server = hasher.finish();
        self
    }

    /// Does this before each verb and each NOOP, on new connections too; what the server refuses of it is no verb's
    /// failure.
    pub(crate) fn keep(mut self, keep: impl Fn(&mut S) -> Result<()> + Send + Sync + 'static) -> Self {
        self.keep = Box::new(keep);
        self
    }

    /// Does this before it says goodbye.
    pub(crate) fn farewell(mut self, farewell: impl Fn(&mut S) + Send + Sync + 'static) -> Self {
        self.farewell = Box::new(farewell);
        self
    }
}
