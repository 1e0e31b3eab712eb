//! Messages that nobody can handle: out of the inbox, with the reason beside them.

use super::{Delivery, Imap, verbs};
use crate::deadline::Deadline;
use crate::error::{ErrorKind, Result};
use crate::events;
use crate::message::note;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// The name of the mailbox, within the archive.
const DEAD: &str = "dead";

/// Counts these deliveries, and keeps back those that have failed too often. What can't be read stays in its place,
/// to be seen, and goes from the inbox.
pub(super) fn sort_out(imap: &Imap, deliveries: Vec<Delivery>, deadline: Deadline) -> Result<Vec<Delivery>> {
    let Some(most) = imap.config.dead_letters.filter(|_| !deliveries.is_empty()) else {
        return Ok(deliveries);
    };
    for unread in &deliveries {
        if let Err(error) = &unread.message {
            bury(imap, unread, &format!("it can't be read: {error}"), deadline)?;
        }
    }
    let readable = deliveries.iter().filter(|delivery| delivery.message.is_ok()).map(|delivery| delivery.uid);
    let readable = UidSet::new(deliveries[0].validity, readable);
    let spent = imap.link.repeat(deadline, |session| count(session, imap, most, readable.clone()))?;
    let (dead, alive): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|it| spent.contains(&it.uid));
    for delivery in &dead {
        let last = imap.known.lock().reason(delivery.uid);
        let last = last.map(|reason| format!("; the last time: {reason}")).unwrap_or_default();
        bury(imap, delivery, &format!("it was delivered {most} times and not acknowledged{last}"), deadline)?;
    }
    Ok(alive)
}

/// Counts one more delivery of what this handle did not have in hand; returns what has had all that there are.
fn count(session: &mut ImapSession, imap: &Imap, most: u32, mut fresh: UidSet) -> Result<Vec<Uid>> {
    let validity = fresh.validity();
    imap.known.lock().in_hand(validity).leave_out_of(&mut fresh);
    let mut spent = Vec::new();
    let mut marks: Vec<Vec<Uid>> = vec![Vec::new(); most as usize];
    for chunk in fresh.chunks() {
        for (uid, told) in session.deliveries(&chunk)? {
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
        set.chunks().iter().try_for_each(|chunk| session.mark_delivery(chunk, before + 1))?;
        imap.known.lock().in_hand(validity).take(&set, before + 1);
    }
    Ok(spent)
}

/// Lets go of deliveries that could not be handled, and buries those that were delivered often enough.
pub(super) fn reject<'a>(
    imap: &Imap,
    deliveries: impl IntoIterator<Item = &'a Delivery>,
    reason: &str,
    deadline: Deadline,
) -> Result<()> {
    let Some(most) = imap.config.dead_letters else { return Ok(()) };
    for delivery in deliveries {
        let times = imap.known.lock().in_hand(delivery.validity).let_go(delivery.uid, reason);
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

/// Appends the reason, then moves the message: a crash between them leaves a reason too many, and never one too few. A
/// reason that the server refuses, such as for want of room, is in the event alone.
fn bury(imap: &Imap, delivery: &Delivery, reason: &str, deadline: Deadline) -> Result<()> {
    let (uid, why) = (delivery.uid, reason.to_owned());
    events::emit(move || tracing::warn!(%uid, reason = why, "a message goes to the dead letters"));
    let note = note(delivery.message.as_ref().ok(), delivery.uid.get(), reason);
    let uids = std::iter::once(delivery.uid).chain(delivery.copies.iter().copied());
    let set = UidSet::new(delivery.validity, uids);
    imap.link.repeat(deadline, |session| {
        session.check(&set)?;
        imap.claims.iter().try_for_each(|claims| claims.require(session, &set))?;
        let mailbox = session.beside_the_archive(DEAD);
        match session.append(&mailbox, &note) {
            Err(error) if error.kind() == ErrorKind::Refused && error.is_permanent() => {
                let uid = delivery.uid;
                events::emit(move || tracing::warn!(%uid, %error, "a dead letter has no note beside it"));
            }
            noted => noted?,
        }
        verbs::move_or_make(session, &set, &mailbox)?;
        imap.claims.iter().for_each(|claims| claims.release(&set));
        imap.known.lock().gone(&set);
        Ok(())
    })
}
