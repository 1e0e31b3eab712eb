//! Implements [`Session`] for both protocols.

use super::py_session::PySession;
use super::runtime::{self, detached};
use crate::connection::{Session, Traffic};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::watchdog::Guard;

/// An IMAP or SMTP session in Python, with the ways in which the two differ for their connection.
///
/// The two differ in the count of NOOPs that an SMTP server tolerates, and in the name of the last command.
pub(crate) trait Protocol: Send + Sized + 'static {
    /// The command that ends a session, for errors.
    const LOGOUT: &'static str;

    /// Returns the Python session.
    fn python(&self) -> &PySession;

    /// Implements [`Session::noop`].
    fn send_noop(&mut self) -> Result<()> {
        self.python().run("noop", (), "NOOP")
    }

    /// Implements [`Session::is_used_up`].
    fn needs_renewal(&self) -> bool {
        false
    }
}

impl<S: Protocol> Session for S {
    fn noop(&mut self) -> Result<()> {
        self.send_noop()
    }

    fn is_used_up(&self) -> bool {
        self.needs_renewal()
    }

    fn close(self) -> Result<()> {
        self.python().run("end_session", (), Self::LOGOUT)
    }

    fn watch(&self, deadline: Deadline) -> Guard {
        self.python().watch(deadline)
    }

    fn traffic(&self) -> Traffic {
        self.python().traffic()
    }

    fn is_forked() -> bool {
        runtime::is_forked()
    }

    fn detached<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
        detached(wait)
    }
}
