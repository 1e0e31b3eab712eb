//! Asking for messages so that one that the server does not give out keeps back no other.
//!
//! All are asked for together. After a failure, the first one that is missing is suspected and left out; it is the one that
//! the server stopped at, unless nothing came at all: then the others are asked for one by one, and in portions
//! that grow as long as they come. Suspects are asked for alone, after the others.

use super::Imap;
use crate::error::{Error, ErrorKind, Result};
use crate::python::{Failure, ImapSession};
use crate::uid::UidSet;

/// How many refusals, and lost connections, one call puts up with.
const MOST_REFUSALS: usize = 50;
const MOST_LOSSES: usize = 8;

/// After as many without any message in between, the server is to blame, and not the messages.
const REFUSALS_IN_A_ROW: usize = 16;
const LOSSES_IN_A_ROW: usize = 3;

/// Messages to ask for.
pub(super) trait Wanted {
    /// Returns those that have neither come nor turned out to be absent.
    fn missing(&self) -> UidSet;

    /// Asks for some of them, and takes what comes.
    fn ask(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Asked>;

    /// Returns how many have come so far.
    fn came(&self) -> usize;

    /// Notes that the server has nothing of these, and did not refuse them.
    fn are_absent(&mut self, uids: &UidSet);
}

/// The outcome of asking once.
pub(super) struct Asked {
    pub(super) failure: Option<Failure>,
    /// Those that there was no room for.
    pub(super) unasked: UidSet,
}

/// What has failed in one call so far.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    refusals: usize,
    losses: usize,
    in_a_row: usize,
    has_repeated: bool,
    /// Why nothing more is asked for in this call.
    pub(super) stopped: Option<Error>,
}

impl Trouble {
    pub(super) fn stop(&mut self, error: Error) {
        self.stopped.get_or_insert(error);
    }

    /// Counts a refusal.
    pub(super) fn refused(&mut self, imap: &Imap, error: &Error, has_come: bool) {
        self.refusals += 1;
        self.in_a_row = if has_come { 0 } else { self.in_a_row + 1 };
        if self.refusals >= MOST_REFUSALS || self.in_a_row >= REFUSALS_IN_A_ROW || is_to_pass(imap, error) {
            self.stop(error.clone());
        }
    }

    /// Counts a loss of the connection at a message.
    pub(super) fn lost(&mut self, imap: &Imap, error: &Error, has_come: bool) {
        self.losses += 1;
        self.in_a_row = if has_come { 0 } else { self.in_a_row + 1 };
        imap.known.lock().doubts().count_loss();
        if self.losses >= MOST_LOSSES || self.in_a_row >= LOSSES_IN_A_ROW || has_lost_enough(imap) {
            self.stop(error.clone());
        }
    }

    /// Notes that a message has come.
    pub(super) fn came(&mut self) {
        self.in_a_row = 0;
    }

    /// After an error: returns whether the connection was lost at a message, and counts that.
    pub(super) fn lost_at(&mut self, imap: &Imap, error: &Error) -> bool {
        let lost_at = imap.known.lock().doubts().take_lost_at();
        let Some((uid, has_come)) = lost_at else { return false };
        imap.known.lock().doubts().suspect(uid, error);
        self.lost(imap, error, has_come);
        true
    }

    /// Returns whether to go on after an error: when a message is to blame; else once, when the connection was lost.
    pub(super) fn goes_on(&mut self, error: &Error, is_blamed: bool) -> bool {
        self.stopped.is_none()
            && error.kind() == ErrorKind::Disconnected
            && (is_blamed || !std::mem::replace(&mut self.has_repeated, true))
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.refusals > 0
    }
}

/// Returns whether half of the connections of a minute went to bad messages: the others are for other calls.
pub(super) fn has_lost_enough(imap: &Imap) -> bool {
    imap.known.lock().doubts().losses() > imap.config.common.options.max_connects_per_minute as usize / 2
}

/// Asks for messages until all but the doubtful ones have come, or there is no room for more.
///
/// # Errors
/// A lost connection; [`Doubts`](super::doubts::Doubts) knows at which message.
pub(super) fn obtain(
    session: &mut ImapSession,
    imap: &Imap,
    trouble: &mut Trouble,
    wanted: &mut impl Wanted,
) -> Result<()> {
    while trouble.stopped.is_none() {
        let part = imap.known.lock().doubts().portion(wanted.missing());
        if part.is_empty() {
            break;
        }
        let before = wanted.came();
        let Asked { failure, unasked } = wanted.ask(session, &part)?;
        let has_come = wanted.came() > before;
        let Some(Failure { uids, error }) = failure else {
            imap.known.lock().doubts().trust();
            if has_come {
                trouble.came();
            }
            let mut absent = wanted.missing();
            absent.retain(|uid| part.contains(uid) && !unasked.contains(uid));
            wanted.are_absent(&absent);
            if absent.is_empty() && unasked.len() == part.len() {
                break; // There is no room.
            }
            continue;
        };
        blame(imap, wanted, &uids, &error, has_come);
        if error.ends_connection() {
            return Err(error);
        }
        trouble.refused(imap, &error, has_come);
    }
    Ok(())
}

/// Suspects the first of these messages that is missing.
fn blame(imap: &Imap, wanted: &impl Wanted, uids: &UidSet, error: &Error, has_come: bool) {
    let mut known = imap.known.lock();
    let doubts = known.doubts();
    let missing = wanted.missing();
    let Some(first) = uids.iter().find(|uid| missing.contains(*uid) && !doubts.contains(*uid)) else {
        return;
    };
    doubts.suspect(first, error);
    if !has_come {
        doubts.distrust();
    }
    if error.ends_connection() {
        doubts.lost_at(first, has_come);
    }
}

/// Returns whether to treat a NO as transient. Some servers say so of a single message, and say it for ever: when the next
/// call is told the same, it looks for that one.
pub(super) fn is_to_pass(imap: &Imap, error: &Error) -> bool {
    is_passing(error) && (error.retry_after().is_some() || !imap.known.lock().is_put_off(true))
}

/// Returns whether a NO tells of the server and not of a message. SERVERBUG mostly tells of one: Dovecot says it of a file
/// that it can't read.
pub(super) fn is_passing(error: &Error) -> bool {
    error.is_transient() && error.code() != Some("SERVERBUG")
}
