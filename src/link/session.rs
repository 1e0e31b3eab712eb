//! What a connection is made of: a dialogue with a server, and what is particular about it.

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
    pub(super) beat: Do<S, Result<()>>,
    pub(super) farewell: Do<S, ()>,
}

impl<S: Session> Habits<S> {
    /// Connects so, and asks for signs of life by NOOP.
    pub(crate) fn new(connect: impl Fn(Deadline) -> Result<S> + Send + Sync + 'static) -> Self {
        Self { connect: Box::new(connect), beat: Box::new(S::noop), farewell: Box::new(|_| ()) }
    }

    /// Does this in place of NOOP.
    pub(crate) fn beat(mut self, beat: impl Fn(&mut S) -> Result<()> + Send + Sync + 'static) -> Self {
        self.beat = Box::new(beat);
        self
    }

    /// Does this before it says goodbye.
    pub(crate) fn farewell(mut self, farewell: impl Fn(&mut S) + Send + Sync + 'static) -> Self {
        self.farewell = Box::new(farewell);
        self
    }
}
