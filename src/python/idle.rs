//! IDLE (RFC 2177), and NOOP in place of it.
//!
//! | the server | then |
//! | --- | --- |
//! | has no IDLE, or refuses it | NOOP, by all connections of the handle |
//! | does not answer IDLE | a new connection; NOOP after the second time |
//! | ends IDLE by itself | IDLE again at the next heartbeat |
//! | does not answer DONE | a new connection |

use std::sync::atomic::Ordering;

use super::imap::ImapSession;
use crate::error::{Error, ErrorKind, Result};
use crate::events;

/// The connections lost at IDLE, with no answer in between, after which it is not tried again.
const MAX_UNANSWERED: usize = 2;

/// The state of IDLE on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// The server does not have the capability.
    Missing,
    /// Any command may be sent.
    Ended,
    /// The server announces mail, and only DONE may be sent.
    Begun,
}

impl Idle {
    /// Returns the state of a server with IDLE.
    fn of(is_begun: bool) -> Self {
        if is_begun { Self::Begun } else { Self::Ended }
    }
}

impl ImapSession {
    /// Returns `true` if the server has IDLE, and has not refused it or left it unanswered.
    pub(super) fn has_idle(&self) -> bool {
        self.idle != Idle::Missing && !self.profile.lacks_idle.load(Ordering::Relaxed)
    }

    /// Begins IDLE, or sends NOOP if there is no IDLE and it `may_ask`. Returns `true` if messages have arrived that no
    /// search has seen.
    ///
    /// # Errors
    /// A lost connection; a refusal of NOOP.
    pub(super) fn begin_idle(&mut self, may_ask: bool) -> Result<bool> {
        if !self.has_idle() {
            let (_, has_mail) = self.call::<(bool, bool)>("listen", (false, may_ask), "NOOP")?;
            return Ok(has_mail);
        }
        let unanswered = self.profile.unanswered_idles.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = self.call::<(bool, bool)>("listen", (true, may_ask), "IDLE");
        match &begun {
            Err(error) if error.kind() == ErrorKind::Refused => self.give_idle_up(error),
            Err(error) if unanswered >= MAX_UNANSWERED => self.give_idle_up(error),
            Err(_) => {}
            Ok(_) => self.profile.unanswered_idles.store(0, Ordering::Relaxed),
        }
        let (is_listening, has_mail) = match begun {
            Err(error) if error.kind() == ErrorKind::Refused => (false, false),
            begun => begun?,
        };
        self.idle = Idle::of(is_listening);
        Ok(has_mail)
    }

    /// Takes in what the server has announced in IDLE. Returns `true` if messages have arrived.
    ///
    /// # Errors
    /// A lost connection.
    pub(super) fn hear_idle(&mut self) -> Result<bool> {
        let (is_listening, has_mail) = self.call("hear", (), "IDLE")?;
        self.idle = Idle::of(is_listening);
        Ok(has_mail)
    }

    /// Sends DONE. Without `waits`, its response is read with that of the next command.
    ///
    /// # Errors
    /// A lost connection.
    pub(super) fn end_idle(&mut self, waits: bool) -> Result<()> {
        self.idle = Idle::Ended;
        self.python.run("stop_listening", (waits,), "DONE")
    }

    /// Uses NOOP from now on.
    fn give_idle_up(&self, error: &Error) {
        self.profile.lacks_idle.store(true, Ordering::Relaxed);
        let error = error.clone();
        events::emit(move || tracing::info!(%error, "IDLE does not work: using NOOP"));
    }
}
