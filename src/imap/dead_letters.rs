//! Messages that nobody can handle: out of the inbox, with the reason beside them.

use std::collections::BTreeMap;

use super::batch::Fate;
use super::moving::Moving;
use super::{Delivery, Imap};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::message::note;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// The name of the mailbox, within the archive or beside it.
const DEAD: &str = "dead";

/// Counts these deliveries, and keeps back those that have failed too often. What can't be read stays in its place,
/// to be seen, and goes from the inbox.
///
/// Where a message can't be taken away, the others are delivered all the same.
pub(super) fn sort_out(imap: &Imap, deliveries: Vec<Delivery>, deadline: Deadline) -> Result<Vec<Delivery>> {
    let is_unreadable = |it: &&Delivery| it.fate == Fate::Archive && it.message.is_err();
    let unreadable = deliveries.iter().filter(is_unreadable).count();
    imap.connection.count(|counts| counts.unreadable += unreadable as u64);
    let Some(most) = imap.config.dead_letters.filter(|_| !deliveries.is_empty()) else {
        return Ok(deliveries);
    };
    for unread in deliveries.iter().filter(|delivery| delivery.fate != Fate::Stay) {
        if let Err(error) = &unread.message
            && let Err(error) = bury(imap, unread, &format!("it can't be read: {error}"), deadline)
        {
            not_taken(unread.uid, error);
        }
    }
    let readable = deliveries.iter().filter(|delivery| delivery.message.is_ok()).map(|delivery| delivery.uid);
    let readable = UidSet::new(deliveries[0].validity, readable);
    let (spent, refusal) =
        imap.connection.repeat(deadline, |session| count(session, imap, most, readable.clone()))?;
    if let Some(error) = refusal {
        events::emit(move || tracing::warn!(%error, "deliveries are counted by this handle alone"));
    }
    let (dead, mut alive): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|it| spent.contains(&it.uid));
    for delivery in dead {
        let last = imap.known.lock().reason(delivery.uid);
        let last = last.map(|reason| format!("; the last time: {reason}")).unwrap_or_default();
        let reason = format!("it was delivered {most} times and not acknowledged{last}");
        match bury(imap, &delivery, &reason, deadline) {
            Ok(()) => {}
            Err(error) if is_no(&error) => {
                not_taken(delivery.uid, error.clone());
                alive.push(Delivery { message: Err(error), fate: Fate::Stay, ..delivery });
            }
            Err(error) => return Err(error),
        }
    }
    alive.sort_by_key(|delivery| delivery.uid);
    Ok(alive)
}

/// Counts one more delivery of what this handle did not have in hand; returns what has had all that there are, and the
/// server's NO to a mark, without which this handle counts alone.
fn count(
    session: &mut ImapSession,
    imap: &Imap,
    most: u32,
    mut fresh: UidSet,
) -> Result<(Vec<Uid>, Option<Error>)> {
    let validity = fresh.validity();
    imap.known.lock().in_hand(validity).leave_out_of(&mut fresh);
    let (mut spent, mut refusal) = (Vec::new(), None);
    let mut marks: Vec<Vec<Uid>> = vec![Vec::new(); most as usize];
    for chunk in fresh.chunks() {
        let told = or_refused(session.delivery_counts(&chunk), &mut refusal)?;
        let told: BTreeMap<Uid, u32> = told.into_iter().flatten().collect();
        for uid in chunk.iter() {
            let told = told.get(&uid).copied().unwrap_or_default();
            let before = imap.known.lock().in_hand(validity).count(uid, told);
            match marks.get_mut(before as usize) {
                Some(mark) => mark.push(uid),
                None => spent.push(uid),
            }
        }
    }
    for (before, uids) in (0..).zip(marks) {
        let set = UidSet::new(validity, uids);
        imap.known.lock().in_hand(validity).expect(&set, before + 1);
        for chunk in set.chunks() {
            or_refused(session.mark_delivery(&chunk, before + 1), &mut refusal)?;
        }
        imap.known.lock().in_hand(validity).take(&set, before + 1);
    }
    Ok((spent, refusal))
}

/// Keeps a refusal, which is no reason to fail unless it passes. A mailbox may stay full for long.
fn or_refused<T>(answer: Result<T>, refusal: &mut Option<Error>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if error.kind() == ErrorKind::Refused
                && (error.is_permanent() || error.code() == Some("OVERQUOTA")) =>
        {
            refusal.get_or_insert(error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Lets go of deliveries that could not be handled, and buries those that were delivered often enough.
pub(super) fn reject<'a>(
    imap: &Imap,
    deliveries: impl IntoIterator<Item = &'a Delivery>,
    reason: &str,
    deadline: Deadline,
) -> Result<()> {
    let Some(most) = imap.config.dead_letters else {
        return Err(Error::config("reject needs a limit of deliveries: set ImapConfig::dead_letters"));
    };
    for delivery in deliveries {
        let times = imap.known.lock().let_go(delivery.validity, delivery.uid, reason);
        if times >= most {
            bury(
                imap,
                delivery,
                &format!("its handling failed {times} times; the last time: {reason}"),
                deadline,
            )?;
        }
    }
    Ok(())
}

/// Returns `true` if a message can't be moved for now, while the others can be delivered.
fn is_no(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::LeaseLost | ErrorKind::StaleUids)
}

fn not_taken(uid: Uid, error: Error) {
    events::emit(move || tracing::warn!(%uid, %error, "a message can't be taken to the dead letters"));
}

/// Takes a message away: first the reason, then the message, so that a crash between them leaves a reason too many.
///
/// In a full mailbox there may be no room for the reason.
fn bury(imap: &Imap, delivery: &Delivery, reason: &str, deadline: Deadline) -> Result<()> {
    let (uid, why) = (delivery.uid, reason.to_owned());
    events::emit(move || tracing::warn!(%uid, reason = why, "a message goes to the dead letters"));
    let note = note(delivery.message.as_ref().ok(), delivery.uid.get(), reason);
    let uids = std::iter::once(delivery.uid).chain(delivery.copies.iter().copied());
    let set = UidSet::new(delivery.validity, uids);
    let refusal = imap.connection.repeat(deadline, |session| {
        session.check(&set)?;
        let mut done = Vec::new();
        let mailbox = session.archive_child(DEAD);
        let mut refusal = None;
        let rest = Moving::to_ours(session, &imap.halfway, &mailbox, &mut done).look(&set)?;
        if !rest.is_empty() {
            imap.claims.iter().try_for_each(|claims| claims.require(session, &rest))?;
            or_refused(session.append(&mailbox, &note), &mut refusal)?;
            // Known only now: the server may let no mailbox be within another.
            let mailbox = session.archive_child(DEAD);
            Moving::to_ours(session, &imap.halfway, &mailbox, &mut done).run(&rest)?;
        }
        imap.claims.iter().for_each(|claims| claims.release(&set));
        imap.known.lock().gone(&set);
        imap.unreturned.forget(&set);
        Ok(refusal)
    })?;
    if let Some(error) = refusal {
        events::emit(move || tracing::warn!(%uid, %error, "there is no note beside a dead letter"));
    }
    imap.connection.count(|counts| counts.dead_letters += 1);
    Ok(())
}
