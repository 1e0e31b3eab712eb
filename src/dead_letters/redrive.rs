//! Moves dead letters back into the inbox, so that they are delivered again.
//!
//! | step, in the mailbox of dead letters | if it is the last that was done |
//! | --- | --- |
//! | FETCH of the keywords, STORE without those of deliveries | dead letters still; they have their full number of attempts |
//! | STORE of `$PymailRedriven` | the same |
//! | a search in the inbox for copies of an earlier attempt: always without MOVE | nothing was changed |
//! | COPY to the inbox, without MOVE | delivered; the next attempt finds the copy, and only deletes the letter |
//! | MOVE to the inbox, or STORE and UID EXPUNGE | done; a repetition removes the notes, which lie there without a letter |
//! | STORE and UID EXPUNGE of the notes | done |
//!
//! The count of deliveries is reset first: a message that arrives with it would be a dead letter again.
//!
//! By `$PymailRedriven` all receivers know that the message is to be delivered even if they have acknowledged one with
//! the same Message-ID. Where a server stores no keywords, only the handle that has redriven it knows.

use super::DeadLetter;
use super::mailbox::{stale, within};
use crate::deadline::Deadline;
use crate::delivery_counts::keep_refusal;
use crate::error::{ErrorKind, Result};
use crate::events;
use crate::imap::{Imap, Inbox};
use crate::moves::{Move, delete};
use crate::python::ImapSession;
use crate::uid::UidSet;

/// Moves these letters into the inbox, with their copies, and removes the notes about them. Letters that are not there
/// any more are left out.
///
/// Needs no claims: in the inbox each message has a new UID, which no consumer has claimed.
///
/// # Errors
///
/// `StaleUids` before anything is sent; `Refused`; a lost connection. After each of them, a message is among the dead
/// letters or in the inbox, and a retry by this handle is safe.
pub(super) fn redrive(
    imap: &Imap,
    inbox: &mut Inbox,
    letters: &[&DeadLetter],
    deadline: Deadline,
) -> Result<()> {
    let Some(validity) = letters.first().map(|letter| letter.validity) else { return Ok(()) };
    if letters.iter().any(|letter| letter.validity != validity) {
        return Err(stale());
    }
    let set = UidSet::new(validity, letters.iter().flat_map(|letter| letter.uids()));
    // Not their copies: once a message is acknowledged, those are duplicates.
    let first = UidSet::new(validity, letters.iter().map(|letter| letter.letter.uid));
    let notes = UidSet::new(validity, letters.iter().flat_map(|it| it.letter.notes.iter().copied()));
    let moved = imap.connection.repeat(deadline, |session| {
        within(session, false, Some(validity), |session| {
            move_back(session, imap, inbox, (&set, &first))?;
            remove_notes(session, &notes)
        })
    });
    // Also after an error, since some may be in the inbox; but not before any was moved.
    if !moved.as_ref().is_err_and(|error| error.kind() == ErrorKind::StaleUids) {
        let identities = letters.iter().filter_map(|letter| letter.letter.identity);
        inbox.acknowledged().forget(identities);
    }
    moved?;
    let count = set.len();
    events::emit(move || tracing::info!(count, "dead letters are moved back into the inbox"));
    Ok(())
}

/// Resets the count of deliveries, marks the first copy of each letter, and moves all.
fn move_back(
    session: &mut ImapSession,
    imap: &Imap,
    inbox: &mut Inbox,
    (set, first): (&UidSet, &UidSet),
) -> Result<()> {
    let counts = session.delivery_counts(set)?;
    let present = UidSet::new(set.validity(), counts.iter().map(|(uid, _)| *uid));
    let highest = counts.iter().map(|(_, deliveries)| *deliveries).max().unwrap_or_default();
    session.unmark_deliveries(&present, highest)?;
    let mut refusal = None;
    let mut marked = present.clone();
    marked.retain(|uid| first.contains(uid));
    keep_refusal(session.mark_redriven(&marked), &mut refusal)?;
    if let Some(error) = refusal {
        events::emit(
            move || tracing::info!(%error, "redriven messages are not marked: the server refuses the keyword"),
        );
    }
    let (copies, target) = (&mut inbox.unconfirmed_copies, &*imap.config.inbox);
    if !session.has_move() {
        // A redrive that an earlier process did not finish may have copied some.
        copies.mark_unknown(set, target);
    }
    Move::to_existing_mailbox(session, copies, target, &mut Vec::new()).run(set)
}

/// Removes notes. A refusal is an event only: a note without its letter does no harm.
fn remove_notes(session: &mut ImapSession, notes: &UidSet) -> Result<()> {
    let mut refusal = None;
    keep_refusal(delete(session, notes), &mut refusal)?;
    if let Some(error) = refusal {
        events::emit(move || tracing::warn!(%error, "the notes of redriven messages can't be removed"));
    }
    Ok(())
}
