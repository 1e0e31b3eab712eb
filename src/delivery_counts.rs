//! Counts the deliveries of each message: by this handle, and by keywords on the server, which other handles count, too.
//!
//! | step | lost before it | lost after it |
//! | --- | --- | --- |
//! | FETCH of the keywords | nothing was counted | nothing was counted |
//! | STORE of `$PymailDelivery3` | the next fetch counts it | not counted twice: the handle knows its own mark |
//! | the messages are returned | | the app has them; they are counted once for as long as it has them |
//!
//! A handle that ends between the last two has counted a delivery that the app did not get.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Result};
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// Counts one more delivery of each message that is not handed out already.
///
/// Returns the messages that have reached the limit, and the server's NO to a keyword, without which this handle counts
/// alone.
///
/// Messages are marked in groups of the same count, one STORE for each portion of them, before the app gets them: a
/// message that ends its process was counted before that. Marks of other handles count, too.
pub(crate) fn count_deliveries(
    session: &mut ImapSession,
    counts: &mut DeliveryCounts,
    limit: u32,
    mut uncounted: UidSet,
) -> Result<(Vec<Uid>, Option<Error>)> {
    let validity = uncounted.validity();
    counts.remove_handed_out(&mut uncounted);
    let (mut over_limit, mut refusal) = (Vec::new(), None);
    // By the number of earlier deliveries.
    let mut deliverable: Vec<Vec<Uid>> = vec![Vec::new(); limit as usize];
    for chunk in uncounted.chunks() {
        let keywords = keep_refusal(session.delivery_counts(&chunk), &mut refusal)?;
        let keywords: BTreeMap<Uid, u32> = keywords.into_iter().flatten().collect();
        for uid in chunk.iter() {
            let keyword = keywords.get(&uid).copied().unwrap_or_default();
            let before = counts.deliveries_before(uid, keyword);
            match deliverable.get_mut(before as usize) {
                Some(uids) => uids.push(uid),
                None => over_limit.push(uid),
            }
        }
    }
    for (before, uids) in (0..).zip(deliverable) {
        let set = UidSet::new(validity, uids);
        counts.begin(&set, before + 1);
        for chunk in set.chunks() {
            keep_refusal(session.mark_delivery(&chunk, before + 1), &mut refusal)?;
        }
        counts.hand_out(&set, before + 1);
    }
    Ok((over_limit, refusal))
}

/// Returns `None` for a permanent NO, and keeps the first one in `refusal`.
///
/// A full mailbox (`OVERQUOTA`) counts as permanent here: it may stay full for long.
pub(crate) fn keep_refusal<T>(result: Result<T>, refusal: &mut Option<Error>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
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

/// The number of deliveries of each message, by this handle and by the marks on the server.
///
/// A delivery begins as `pending`, and is `handed_out` when its mark is set, until the message leaves the inbox or is
/// `rejected`.
#[derive(Debug, Default)]
pub(crate) struct DeliveryCounts {
    /// Messages that the app has. They are delivered again by later fetches, without being counted again.
    handed_out: BTreeMap<Uid, u32>,
    /// Deliveries under way, with their number: a mark on the server may or may not have been set.
    pending: BTreeMap<Uid, u32>,
    /// Rejected messages, with the reason of the last time.
    rejected: BTreeMap<Uid, (u32, String)>,
    /// The number of times that this handle has returned a message, or the error in its place, which no mark counts:
    /// without `dead_letters`, all of them.
    returned: BTreeMap<Uid, u32>,
    /// Messages that this handle has written a note for: they could not be moved to the dead letters.
    noted: BTreeSet<Uid>,
}

impl DeliveryCounts {
    /// Removes the messages that the app has from a set.
    pub(crate) fn remove_handed_out(&self, uids: &mut UidSet) {
        uids.retain(|uid| !self.handed_out.contains_key(&uid));
    }

    /// Returns how often a message was delivered before, given the count marked on the server.
    ///
    /// The mark of a delivery still under way does not count. Without keywords the server has no marks.
    pub(crate) fn deliveries_before(&self, uid: Uid, marked: u32) -> u32 {
        match self.pending.get(&uid) {
            Some(&nth) if marked <= nth => nth - 1,
            _ => self.rejected.get(&uid).map_or(marked, |(times, _)| marked.max(*times)),
        }
    }

    /// Records that these messages are about to be delivered for the `times`th time.
    pub(crate) fn begin(&mut self, uids: &UidSet, times: u32) {
        self.pending.extend(uids.iter().map(|uid| (uid, times)));
    }

    /// Records that the app has these messages, delivered for the `times`th time.
    pub(crate) fn hand_out(&mut self, uids: &UidSet, times: u32) {
        self.pending.retain(|uid, _| !uids.contains(*uid));
        self.handed_out.extend(uids.iter().map(|uid| (uid, times)));
    }

    /// Returns the number of this delivery, which is about to be returned; counts it unless that was done.
    pub(crate) fn count_return(&mut self, uid: Uid) -> u32 {
        if let Some(&times) = self.handed_out.get(&uid) {
            return times;
        }
        let times = self.returned.entry(uid).or_default();
        *times = times.saturating_add(1);
        *times
    }

    /// Takes a rejected message back; returns how often it was delivered, 0 if that is not known.
    ///
    /// A rejection that is repeated, since the message could not be moved, counts once.
    pub(crate) fn release(&mut self, uid: Uid, reason: &str) -> u32 {
        let Some(times) = self.handed_out.remove(&uid) else {
            return self.rejected.get(&uid).map_or(0, |(times, _)| *times);
        };
        self.rejected.insert(uid, (times, reason.to_owned()));
        times
    }

    /// Returns the reason of the message's last rejection.
    pub(crate) fn reject_reason(&self, uid: Uid) -> Option<String> {
        self.rejected.get(&uid).map(|(_, reason)| reason.clone())
    }

    /// Drops the counts of a message that has left the inbox.
    pub(crate) fn remove(&mut self, uid: Uid) {
        self.handed_out.remove(&uid);
        self.pending.remove(&uid);
        self.rejected.remove(&uid);
        self.returned.remove(&uid);
        self.noted.remove(&uid);
    }

    /// Drops the counts of messages that are not in this set.
    pub(crate) fn retain(&mut self, present: &UidSet) {
        self.handed_out.retain(|uid, _| present.contains(*uid));
        self.pending.retain(|uid, _| present.contains(*uid));
        self.rejected.retain(|uid, _| present.contains(*uid));
        self.returned.retain(|uid, _| present.contains(*uid));
        self.noted.retain(|uid| present.contains(*uid));
    }

    /// Records that the dead letters have a note for a message.
    pub(crate) fn note(&mut self, uid: Uid) {
        self.noted.insert(uid);
    }

    /// Returns `true` if the dead letters have a note for the message.
    pub(crate) fn is_noted(&self, uid: Uid) -> bool {
        self.noted.contains(&uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uid::UidValidity;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    #[test]
    fn the_mark_of_a_delivery_that_did_not_end_is_not_counted() {
        let (mut counts, set) =
            (DeliveryCounts::default(), UidSet::new(UidValidity::new(7, "inbox"), [uid(1)]));
        assert_eq!(counts.deliveries_before(uid(1), 2), 2);
        counts.begin(&set, 3);
        assert_eq!([2, 3, 4].map(|marked| counts.deliveries_before(uid(1), marked)), [2, 2, 4]);
        counts.hand_out(&set, 3);
        assert_eq!(counts.release(uid(1), "late"), 3);
        assert_eq!(counts.deliveries_before(uid(1), 0), 3, "without keywords on the server");
    }
}
