//! Dead letters: messages that can't be read, or whose deliveries have failed too often, are moved to a mailbox of
//! their own, with the reason beside them.
//!
//! | step | if it is the last that was done |
//! | --- | --- |
//! | search for copies of an earlier attempt | nothing was changed |
//! | APPEND of the note | a note too many, if its response was lost, or by the next attempt of another handle |
//! | COPY, without MOVE | the next attempt finds the copy, and only deletes the original |
//! | MOVE, or STORE and UID EXPUNGE | done |

use std::time::Duration;

use super::inbox::Inbox;
use super::{Delivery, Imap};
use crate::deadline::Deadline;
use crate::delivery::Fate;
use crate::delivery_counts::{count_deliveries, keep_refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::message::note;
use crate::moves::Move;
use crate::uid::{Uid, UidSet};

/// The name of the dead letters' mailbox, within the archive or beside it.
pub(crate) const MAILBOX: &str = "dead";

/// Counts these deliveries, moves those that have failed too often to the dead letters, and returns the others.
///
/// An unreadable message is moved, too, and is returned as an error in its place. Where the server refuses to move a
/// message, the others are returned all the same, and that one is tried again after an interval of the heartbeat.
///
/// Messages that are withheld, and not dead, are neither counted nor moved. Without `dead_letters` only the statistics
/// are kept.
///
/// # Errors
///
/// A lost connection, transient refusals and timeouts; then nothing is delivered, and the messages are in the inbox or
/// in the dead letters.
pub(super) fn remove_dead_letters(
    imap: &Imap,
    inbox: &mut Inbox,
    deliveries: Vec<Delivery>,
    deadline: Deadline,
) -> Result<Vec<Delivery>> {
    let is_unreadable = |it: &&Delivery| it.fate == Fate::Archive && it.message.is_err();
    let unreadable = deliveries.iter().filter(is_unreadable).count();
    imap.connection.count(|counts| counts.unreadable += unreadable as u64);
    let Some(limit) = imap.config.dead_letters.filter(|_| !deliveries.is_empty()) else {
        return Ok(deliveries);
    };
    for unread in deliveries.iter().filter(|delivery| delivery.fate != Fate::Stay) {
        if let Err(error) = &unread.message {
            let reason = format!("it can't be read: {error}");
            if let Err(error) = move_to_dead_letters(imap, inbox, unread, &reason, deadline) {
                warn_not_moved(unread.uid, error);
            }
        }
    }
    // Not what is in flight, such as under the UID of an earlier UIDVALIDITY: its delivery is counted.
    let is_counted = |it: &&Delivery| it.message.is_ok() && !imap.in_flight.is_copy(it);
    let readable = deliveries.iter().filter(is_counted).map(|delivery| delivery.uid);
    let readable = UidSet::new(deliveries[0].validity, readable);
    let (over_limit, refusal) = imap.connection.repeat(deadline, |session| {
        count_deliveries(session, inbox.delivery_counts(readable.validity()), limit, readable.clone())
    })?;
    if let Some(error) = refusal {
        events::emit(
            move || tracing::warn!(%error, "the server refuses keywords: deliveries are counted by this handle alone"),
        );
    }
    let (dead, mut alive): (Vec<_>, Vec<_>) =
        deliveries.into_iter().partition(|it| over_limit.contains(&it.uid));
    for delivery in dead {
        let last = inbox.reject_reason(delivery.uid);
        let last = last.map(|reason| format!("; the last time: {reason}")).unwrap_or_default();
        let reason = format!("it was delivered {limit} times and not acknowledged{last}");
        match move_to_dead_letters(imap, inbox, &delivery, &reason, deadline) {
            Ok(()) => {}
            Err(error) if leaves_others_deliverable(&error) => {
                warn_not_moved(delivery.uid, error.clone());
                // Without a pause, a consumer would fetch it and ask the server to move it again and again.
                imap.in_flight.postpone(&delivery, imap.config.common.options.heartbeat);
                alive.push(Delivery { message: Err(error), fate: Fate::Stay, ..delivery });
            }
            Err(error) => return Err(error),
        }
    }
    alive.sort_by_key(|delivery| delivery.uid);
    Ok(alive)
}

/// Returns deliveries that could not be handled; those that have failed often enough become dead letters.
///
/// Deliveries of an earlier UIDVALIDITY, or whose messages were withheld or have left the inbox, count nothing. A
/// rejection that is repeated counts once, and moves the message if that has failed.
///
/// # Errors
///
/// `Config` without `dead_letters`; the first one of moving, after all deliveries have been returned, and all moved that
/// could be.
pub(crate) fn reject<'a>(
    imap: &Imap,
    inbox: &mut Inbox,
    deliveries: impl IntoIterator<Item = &'a Delivery>,
    reason: &str,
    deadline: Deadline,
) -> Result<()> {
    let Some(limit) = imap.config.dead_letters else {
        return Err(Error::config("reject needs a limit of deliveries: set ImapConfig::dead_letters"));
    };
    let mut dead = Vec::new();
    for delivery in deliveries {
        imap.connection.count(|counts| counts.returned += 1);
        imap.in_flight.delay(&[delivery], Duration::ZERO);
        let is_withheld = delivery.fate == Fate::Stay;
        let times = if is_withheld { 0 } else { inbox.release(delivery.validity, delivery.uid, reason) };
        if times >= limit {
            dead.push((delivery, times));
        }
    }
    let mut outcome = Ok(());
    for (delivery, times) in dead {
        let reason = format!("its handling failed {times} times; the last time: {reason}");
        match move_to_dead_letters(imap, inbox, delivery, &reason, deadline) {
            Err(error) if !leaves_others_deliverable(&error) => return Err(error),
            moved => outcome = outcome.and(moved),
        }
    }
    outcome
}

/// Returns `true` if the error is about one message, so that the others can be delivered, or moved.
fn leaves_others_deliverable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::LeaseLost | ErrorKind::StaleUids)
}

/// Emits the event of a message that stays in the inbox.
fn warn_not_moved(uid: Uid, error: Error) {
    events::emit(move || tracing::warn!(%uid, %error, "a message can't be moved to the dead letters"));
}

/// Appends the note with the reason, then moves the message: after a crash in between there is a note too many, and
/// none is missing.
///
/// A refused note is an event only: a full mailbox may have no room for it. A message that was not moved gets no second
/// note from this handle.
///
/// Claims are checked for messages that are still in the inbox only: the others need no lease.
///
/// # Errors
///
/// `StaleUids`, `LeaseLost`, a refused move, a lost connection.
fn move_to_dead_letters(
    imap: &Imap,
    inbox: &mut Inbox,
    delivery: &Delivery,
    reason: &str,
    deadline: Deadline,
) -> Result<()> {
    let (uid, text) = (delivery.uid, reason.to_owned());
    events::emit(move || tracing::warn!(%uid, reason = text, "a message is moved to the dead letters"));
    let note = note(delivery.message.as_ref().ok(), delivery.uid.get(), reason);
    let uids = UidSet::new(delivery.validity, delivery.uids());
    let refusal = imap.connection.repeat(deadline, |session| {
        session.check(&uids)?;
        let mut done = Vec::new();
        let mut refusal = None;
        let is_noted = inbox.delivery_counts(delivery.validity).is_noted(uid);
        let copies = &mut inbox.unconfirmed_copies;
        let mailbox = session.archive_child(MAILBOX);
        let rest = Move::to_own_mailbox(session, copies, &mailbox, &mut done).search_copies(&uids)?;
        if !rest.is_empty() {
            imap.claims.iter().try_for_each(|claims| claims.require_owned(session, &rest))?;
            if !is_noted && keep_refusal(session.append(&mailbox, &note), &mut refusal)?.is_some() {
                inbox.delivery_counts(delivery.validity).note(uid);
            }
            // APPEND may have replaced the name: some servers allow no mailbox within another.
            let mailbox = session.archive_child(MAILBOX);
            let copies = &mut inbox.unconfirmed_copies;
            Move::to_own_mailbox(session, copies, &mailbox, &mut done).run(&rest)?;
        }
        imap.claims.iter().for_each(|claims| claims.remove_archived(&uids));
        inbox.remove(&uids);
        inbox.forget_unreturned(&uids);
        Ok(refusal)
    })?;
    if let Some(error) = refusal {
        events::emit(
            move || tracing::warn!(%uid, %error, "a dead letter has no note: the server refused it"),
        );
    }
    imap.connection.count(|counts| counts.dead_letters += 1);
    Ok(())
}
