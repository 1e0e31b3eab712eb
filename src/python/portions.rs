//! Runs commands about many messages in portions that the server accepts.
//!
//! Two limits count: the length of a command line, which no capability announces, and the number of messages
//! (MESSAGELIMIT, RFC 9738). Both are found by refusals.
//!
//! ```text
//!  rest ─▶ portion ─▶ command ─┬─ Ok(done)    rest loses `done`, which may be a part of the portion
//!               ▲              ├─ too long    limits shrink; the same messages again
//!               │              ├─ other NO    limits are restored; the error is returned
//!               └──────────────┴─ lost        line length shrinks if it was suspicious; the error is returned
//! ```

use std::sync::Arc;

use super::imap::ImapSession;
use crate::error::{Error, ErrorKind, Result};
use crate::uid::UidSet;

/// Runs `command` on each portion of a set, by a session or an object that holds one. `command` returns the messages of
/// its portion that were processed, see [`done`](ImapSession::done).
///
/// A portion that is refused for its size is retried in smaller ones; their size is remembered if they succeed. An
/// empty set runs nothing.
///
/// Ends, since each round takes at least one message off the rest or shrinks a limit, and neither goes on for ever: a
/// server that processes not even a single message is an error.
///
/// Limits shrink for all connections of the handle. So a server's limit costs one refusal for a handle, not one for
/// each command.
///
/// # Errors
///
/// `StaleUids` before anything is sent. Else that of `command`, after which earlier portions are done: `command` itself
/// has to record them. `Refused` for a server that accepts commands and does nothing.
pub(crate) fn in_portions<S: AsMut<ImapSession>>(
    by: &mut S,
    set: &UidSet,
    mut command: impl FnMut(&mut S, &UidSet) -> Result<UidSet>,
) -> Result<()> {
    by.as_mut().check(set)?;
    let profile = Arc::clone(&by.as_mut().profile);
    let (mut rest, mut limits) = (set.clone(), profile.limits());
    while !rest.is_empty() {
        let portion = profile.portion(&rest);
        match command(by, &portion) {
            Ok(done) if done.is_empty() && portion.len() == 1 => return Err(nothing_done()),
            Ok(done) => {
                rest.retain(|uid| !done.contains(uid));
                limits = profile.limits();
            }
            Err(error) if profile.shrink(&portion, &error) => {}
            Err(error) => {
                if error.ends_connection() {
                    profile.note_lost(&portion);
                } else {
                    profile.restore(limits); // the size was not the reason
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

impl AsMut<ImapSession> for ImapSession {
    fn as_mut(&mut self) -> &mut ImapSession {
        self
    }
}

impl ImapSession {
    /// Returns the server's limit that the last command met, and the lowest UID that it processed, 0 for none.
    ///
    /// `None` if the last command met none.
    pub(super) fn last_limit(&mut self) -> Result<Option<(u32, u32)>> {
        self.call("last_limit", (), "reading the limit")
    }

    /// Returns the messages of its set that the last command has processed: all of them, or those down to the server's
    /// limit (MESSAGELIMIT, RFC 9738), which is remembered.
    ///
    /// Must be called directly after the command: the next one replaces the limit. A server that has processed a part
    /// processes those with the highest UIDs (RFC 9738). If it has processed none, half of the portion is tried.
    pub(crate) fn done(&mut self, portion: &UidSet) -> Result<UidSet> {
        let mut done = portion.clone();
        if let Some((most, lowest)) = self.last_limit()? {
            done.retain(|uid| lowest > 0 && uid.get() >= lowest);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            self.profile.limit_messages(most.min(if done.is_empty() {
                portion.len() / 2
            } else {
                done.len()
            }));
        }
        Ok(done)
    }
}

/// Makes the error for a server that does not process even a single message: retrying would never end.
fn nothing_done() -> Error {
    Error::new(ErrorKind::Refused, "the server accepts the command and processes no message (MESSAGELIMIT)")
}
