//! Implements [`Session`] for both protocols.

use super::py_session::PySession;
use super::runtime::{self, detached};
use crate::connection::{Session, Traffic};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::waiter::{Beat, Guard};

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

    /// Implements [`Session::can_listen`].
    fn can_wait_for_mail(&self) -> bool {
        false
    }

    /// Implements [`Session::is_listening`].
    fn is_waiting_for_mail(&self) -> bool {
        false
    }

    /// Implements [`Session::listen`].
    fn wait_for_mail(&mut self, _may_ask: bool) -> Result<bool> {
        Ok(false)
    }

    /// Implements [`Session::hear`].
    fn hear_of_mail(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Implements [`Session::stop_listening`].
    fn stop_waiting(&mut self, _waits: bool) -> Result<()> {
        Ok(())
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

    fn can_listen(&self) -> bool {
        self.can_wait_for_mail()
    }

    fn is_listening(&self) -> bool {
        self.is_waiting_for_mail()
    }

    fn listen(&mut self, may_ask: bool) -> Result<bool> {
        self.wait_for_mail(may_ask)
    }

    fn hear(&mut self) -> Result<bool> {
        self.hear_of_mail()
    }

    fn stop_listening(&mut self, waits: bool) -> Result<()> {
        self.stop_waiting(waits)
    }

    fn park(&self, beat: Beat) -> Result<()> {
        self.python().park(beat)
    }

    fn unpark(&self) {
        self.python().unpark();
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
