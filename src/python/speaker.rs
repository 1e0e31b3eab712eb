//! What a dialogue is to the link that supervises it: the same for both protocols, but for the goodbye.

use super::dialogue::Dialogue;
use super::runtime::{self, detached};
use crate::connection::{Session, Traffic};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::watchdog::Guard;

/// Who speaks with a server through a dialogue.
pub(crate) trait Speaker: Send + Sized + 'static {
    /// The command that says goodbye.
    const GOODBYE: &'static str;

    /// The dialogue.
    fn dialogue(&self) -> &Dialogue;

    /// See [`Session::noop`].
    fn sign_of_life(&mut self) -> Result<()> {
        self.dialogue().tell("noop", (), "NOOP")
    }

    /// See [`Session::is_used_up`].
    fn has_done_enough(&self) -> bool {
        false
    }
}

impl<S: Speaker> Session for S {
    fn noop(&mut self) -> Result<()> {
        self.sign_of_life()
    }

    fn is_used_up(&self) -> bool {
        self.has_done_enough()
    }

    fn close(self) -> Result<()> {
        self.dialogue().tell("goodbye", (), Self::GOODBYE)
    }

    fn watch(&self, deadline: Deadline) -> Guard {
        self.dialogue().watch(deadline)
    }

    fn traffic(&self) -> Traffic {
        self.dialogue().traffic()
    }

    fn is_forked() -> bool {
        runtime::is_forked()
    }

    fn detached<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
        detached(wait)
    }
}
