//! The state of the inbox that a handle keeps from one call to the next.
//!
//! ```text
//!  SEARCH ─▶ candidate ─┬─ fetched, ours ──▶ delivered, and still a candidate until it leaves the inbox
//!                       ├─ foreign ────────▶ settled, until a SEARCH does not find it any more
//!                       ├─ duplicate ──────▶ settled, until an acknowledgement archives it
//!                       ├─ FETCH failed ───▶ also a suspect: due again later
//!                       └─ gone ───────────▶ removed
//! ```
//!
//! About 40 octets for each message that waits, and 12 more for one that was delivered.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::Delivery;
use super::ahead::LastBatch;
use super::cursor::Cursor;
use crate::delivery_counts::DeliveryCounts;
use crate::duplicates::Acknowledged;
use crate::in_flight::InFlight;
use crate::moves::UnconfirmedCopies;
use crate::search::Searched;
use crate::uid::{Uid, UidSet, UidValidity};
use crate::withheld::Suspects;

/// The SEARCH results still to fetch, and the mail that is not to be fetched or delivered again.
///
/// All UIDs are of one UIDVALIDITY: another one resets the state, except for sizes and acknowledged messages.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    validity: Option<UidValidity>,
    /// SEARCH results that are not settled and not known to have left the inbox, with their sizes as in [`Candidate`].
    /// No candidate is settled.
    candidates: BTreeMap<Uid, Option<u64>>,
    /// The candidates whose FETCH failed.
    suspects: Suspects,
    /// Mail that is not fetched again, found by the last SEARCH.
    settled: BTreeMap<Uid, Settled>,
    sizes: Sizes,
    delivery_counts: DeliveryCounts,
    acknowledged: Acknowledged,
    /// The highest UID that a SEARCH has found, and `true` if the call under way has found a higher one.
    highest: Option<Uid>,
    has_found_new: bool,
    /// `true` once a SEARCH under this UIDVALIDITY has found the candidates.
    is_searched: bool,
    in_flight: Arc<InFlight>,
    pub(crate) searched: Searched,
    pub(super) last_batch: LastBatch,
    /// Moves without a response.
    pub(crate) unconfirmed_copies: UnconfirmedCopies,
    /// Deliveries of failed calls of [`fetch_and_ack`](super::Imap::fetch_and_ack), which may be archived and were not
    /// returned to the app.
    pub(crate) unreturned: Vec<Delivery>,
}

impl Inbox {
    /// Drops unreturned messages that another call has acknowledged or moved, so that no later call returns them.
    pub(crate) fn forget_unreturned(&mut self, gone: &UidSet) {
        self.unreturned.retain(|it| it.validity != gone.validity() || !gone.contains(it.uid));
    }
}

/// The sizes of earlier messages and how far the server's sizes can be relied on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// The average size of the messages of the last fetch, in octets; `None` before the first one. By RFC822.SIZE, or
    /// by the octets that arrived if those are more.
    pub(super) average: Option<usize>,
    /// `true` if the server ignores `<0.n>` and sends whole messages.
    pub(super) ignores_partial: bool,
    /// `true` if the server's RFC822.SIZE is an estimate.
    pub(super) are_estimates: bool,
    /// `true` if the server does not send the rest of a message as it was requested.
    pub(super) lacks_rests: bool,
}

/// A SEARCH result, with the size of a message whose preview was not enough, and that has to be fetched whole; `None`
/// before its preview.
pub(super) type Candidate = (Uid, Option<u64>);

/// The reason why a candidate is not fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Its Subject does not begin with the tag.
    Foreign,
    /// It is a duplicate of an acknowledged message.
    Duplicate,
}

impl Inbox {
    /// Creates an empty state.
    pub(super) fn new(acknowledged: Acknowledged, in_flight: Arc<InFlight>) -> Self {
        Self { acknowledged, in_flight, ..Self::default() }
    }

    /// Resets the state if it is of another UIDVALIDITY.
    fn with_validity(&mut self, validity: UidValidity) -> &mut Self {
        if self.validity != Some(validity) {
            self.validity = Some(validity);
            self.candidates.clear();
            self.suspects.clear();
            self.settled.clear();
            self.highest = None;
            self.is_searched = false;
            self.searched.clear();
            self.delivery_counts = DeliveryCounts::default();
        }
        self
    }

    /// Returns the counts of deliveries under this UIDVALIDITY.
    pub(super) fn delivery_counts(&mut self, validity: UidValidity) -> &mut DeliveryCounts {
        &mut self.with_validity(validity).delivery_counts
    }

    /// Counts one more return of these deliveries to the app, and sets their counts: those of `dead_letters` where a
    /// message has one, else the returns by this handle. Deliveries of an earlier UIDVALIDITY keep theirs.
    pub(super) fn count_returns(&mut self, deliveries: &mut [Delivery]) {
        for delivery in deliveries.iter_mut().filter(|it| Some(it.validity) == self.validity) {
            delivery.count = self.delivery_counts.count_return(delivery.uid);
        }
    }

    /// Takes a rejected message back from the app; returns how often it was delivered, 0 under another UIDVALIDITY.
    pub(crate) fn release(&mut self, validity: UidValidity, uid: Uid, reason: &str) -> u32 {
        if self.validity == Some(validity) { self.delivery_counts.release(uid, reason) } else { 0 }
    }

    /// Returns the reason of the message's last rejection by this handle.
    pub(super) fn reject_reason(&self, uid: Uid) -> Option<String> {
        self.delivery_counts.reject_reason(uid)
    }

    /// Replaces the candidates with the SEARCH results; drops the state of mail that is no longer found. Sizes that are
    /// known stay.
    pub(super) fn update_candidates(&mut self, present: &UidSet) {
        let state = self.with_validity(present.validity());
        state.settled.retain(|uid, _| present.contains(*uid));
        state.suspects.retain(present);
        state.delivery_counts.retain(present);
        state.in_flight.retain(present);
        let highest = present.iter().max().max(state.highest);
        state.has_found_new |= highest > state.highest;
        state.highest = highest;
        state.is_searched = true;
        let before = std::mem::take(&mut state.candidates);
        let unsettled = present.iter().filter(|uid| !state.settled.contains_key(uid));
        state.candidates = unsettled.map(|uid| (uid, before.get(&uid).copied().flatten())).collect();
    }

    /// Returns `true`, once, if a SEARCH has found messages with higher UIDs than all searches before.
    pub(super) fn take_found_new(&mut self) -> bool {
        std::mem::take(&mut self.has_found_new)
    }

    /// Returns up to `most` candidates that the cursor has not passed, oldest first. Withheld ones only for a walk.
    ///
    /// Candidates that were delivered are among them: a message that is not acknowledged is fetched again.
    pub(super) fn next_candidates(
        &mut self,
        validity: UidValidity,
        cursor: &Cursor,
        most: usize,
    ) -> Vec<Candidate> {
        let state = self.with_validity(validity);
        let unavailable = state.unavailable(validity, cursor);
        let is_withheld = |uid: &Uid| !cursor.is_walk() && state.suspects.is_withheld(*uid);
        let is_included = |uid: &Uid| !is_withheld(uid) && !unavailable.contains(uid);
        state.remaining(cursor).filter(|(uid, _)| is_included(uid)).take(most).collect()
    }

    /// Returns up to `most` withheld candidates whose retry is due. They are appended to a batch that has room for
    /// them.
    pub(super) fn due_withheld(
        &mut self,
        validity: UidValidity,
        cursor: &Cursor,
        most: usize,
    ) -> Vec<Candidate> {
        let state = self.with_validity(validity);
        let unavailable = state.unavailable(validity, cursor);
        let is_due = |uid: &Uid| {
            let suspect = state.suspects.get(*uid).filter(|it| it.failures > 0 && it.is_due());
            suspect.is_some() && !unavailable.contains(uid)
        };
        state.remaining(cursor).filter(|(uid, _)| is_due(uid)).take(most).collect()
    }

    /// Returns the messages that are in flight or delayed, as far as the cursor leaves those out.
    fn unavailable(&self, validity: UidValidity, cursor: &Cursor) -> HashSet<Uid> {
        if cursor.is_walk() {
            return HashSet::new();
        }
        self.in_flight.unavailable(validity, cursor.is_consumer())
    }

    /// Returns the candidates that the cursor skipped, then those after it; both oldest first.
    fn remaining<'a>(&'a self, cursor: &'a Cursor) -> impl Iterator<Item = Candidate> + 'a {
        let (skipped, last) = self.validity.map_or((&[][..], None), |validity| cursor.position(validity));
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.candidates.range((after, Bound::Unbounded));
        let rest = rest.filter(|(uid, _)| skipped.binary_search(uid).is_err());
        let skipped = skipped.iter().filter_map(|uid| self.candidates.get_key_value(uid));
        skipped.chain(rest).map(|(uid, size)| (*uid, *size))
    }

    /// Returns `true` if the message is a candidate.
    pub(super) fn is_candidate(&self, uid: Uid) -> bool {
        self.candidates.contains_key(&uid)
    }

    /// Returns the number of messages that wait as far as is known; `None` before the first SEARCH.
    pub(super) fn depth(&self) -> Option<u64> {
        self.is_searched.then_some(self.candidates.len() as u64)
    }

    /// Returns `true` if the handle does not know that a message has left the inbox. Under an earlier UIDVALIDITY it
    /// knows that of acknowledged messages only.
    pub(crate) fn is_waiting(&self, delivery: &Delivery) -> bool {
        if self.validity == Some(delivery.validity) {
            return self.is_candidate(delivery.uid);
        }
        delivery.identity.is_some_and(|identity| !self.acknowledged.contains(identity))
    }

    /// Returns `true` if any candidate may be fetched now, but for those that are `leaving`.
    pub(super) fn has_fetchable(&mut self, validity: UidValidity, leaving: &UidSet) -> bool {
        let state = self.with_validity(validity);
        let leaving = leaving.iter().filter(|uid| state.candidates.contains_key(uid)).count();
        state.candidates.len() - leaving > state.suspects.count_not_due()
    }

    /// Returns the results of earlier searches under this UIDVALIDITY, and the suspects.
    pub(super) fn search_state(&mut self, validity: UidValidity) -> (&mut Searched, &mut Suspects) {
        let state = self.with_validity(validity);
        (&mut state.searched, &mut state.suspects)
    }

    /// Returns the candidates whose FETCH failed.
    pub(crate) fn suspects(&mut self) -> &mut Suspects {
        &mut self.suspects
    }

    /// Records the size of a candidate that has to be fetched whole.
    pub(super) fn set_size(&mut self, validity: UidValidity, uid: Uid, size: u64) {
        if let Some(candidate) = self.with_validity(validity).candidates.get_mut(&uid) {
            *candidate = Some(size);
        }
    }

    /// Returns the sizes of earlier messages.
    pub(super) fn sizes(&mut self) -> &mut Sizes {
        &mut self.sizes
    }

    /// Removes messages that have left the inbox.
    ///
    /// Not from the settled ones: those end with the next SEARCH.
    pub(crate) fn remove(&mut self, uids: &UidSet) {
        self.in_flight.remove(uids);
        self.last_batch.remove(uids);
        if self.validity == Some(uids.validity()) {
            for uid in uids.iter() {
                self.candidates.remove(&uid);
                self.delivery_counts.remove(uid);
                self.suspects.remove(uid);
            }
        }
    }

    /// Records why a candidate is not to be fetched again.
    pub(super) fn settle(&mut self, validity: UidValidity, uid: Uid, reason: Settled) {
        let state = self.with_validity(validity);
        state.candidates.remove(&uid);
        state.suspects.remove(uid);
        state.settled.insert(uid, reason);
    }

    /// Returns the mail that is not fetched again, as of the last SEARCH.
    pub(crate) fn settled(&mut self, validity: UidValidity) -> UidSet {
        UidSet::new(validity, self.with_validity(validity).settled.keys().copied())
    }

    /// Returns the duplicates to archive with the next acknowledgement; `None` without any.
    pub(crate) fn duplicates(&self) -> Option<UidSet> {
        let duplicates = self.settled.iter().filter(|(_, reason)| **reason == Settled::Duplicate);
        let duplicates = UidSet::new(self.validity?, duplicates.map(|(uid, _)| *uid));
        Some(duplicates).filter(|duplicates| !duplicates.is_empty())
    }

    /// Forgets the duplicates, which have been archived.
    pub(crate) fn forget_duplicates(&mut self) {
        self.settled.retain(|_, reason| *reason != Settled::Duplicate);
    }

    /// Returns the messages acknowledged last.
    pub(crate) fn acknowledged(&mut self) -> &mut Acknowledged {
        &mut self.acknowledged
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Error;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    fn validity() -> UidValidity {
        UidValidity::new(7, "inbox")
    }

    #[test]
    fn candidates_that_the_cursor_skipped_come_before_those_after_it() {
        let mut state = Inbox::default();
        state.update_candidates(&UidSet::new(validity(), (1..=6).map(uid)));
        state.settle(validity(), uid(5), Settled::Foreign);
        state.set_size(validity(), uid(4), 99);
        let mut cursor = Cursor::default();
        cursor.advance(validity(), Some(uid(3)), vec![uid(2)]);
        let next = state.next_candidates(validity(), &cursor, 3);
        assert_eq!(next, [(uid(2), None), (uid(4), Some(99)), (uid(6), None)]);
        state.update_candidates(&UidSet::new(validity(), (4..=7).map(uid)));
        let next = state.next_candidates(validity(), &cursor, 9);
        assert_eq!(next, [(uid(4), Some(99)), (uid(6), None), (uid(7), None)]);
    }

    #[test]
    fn returns_are_counted_until_the_message_leaves_the_inbox_or_uidvalidity_changes() {
        let mut state = Inbox::default();
        let here = UidSet::new(validity(), [uid(1)]);
        let other = UidValidity::new(8, "inbox");
        let count = |state: &mut Inbox, validity| {
            let mut one = [Delivery::new(uid(1), validity, Err(Error::message("torn")), None)];
            state.count_returns(&mut one);
            one[0].delivery_count()
        };
        assert_eq!(count(&mut state, validity()), 1);
        state.update_candidates(&here);
        assert_eq!([1, 2].map(|_| count(&mut state, validity())), [1, 2]);
        state.update_candidates(&here);
        assert_eq!([count(&mut state, other), count(&mut state, validity())], [1, 3]);
        state.remove(&here);
        assert_eq!(count(&mut state, validity()), 1);
        state.update_candidates(&UidSet::empty(other));
        state.update_candidates(&here);
        assert_eq!(count(&mut state, validity()), 1);
    }

    #[test]
    fn withheld_candidates_come_when_they_are_due_and_in_a_walk() {
        let mut state = Inbox::default();
        state.update_candidates(&UidSet::new(validity(), [uid(1), uid(2)]));
        let backoff = (Duration::ZERO, Duration::ZERO);
        state.suspects().withhold(uid(1), &Error::message("refused"), Duration::ZERO, backoff);
        let next = state.next_candidates(validity(), &Cursor::default(), 9);
        assert_eq!(next, [(uid(2), None)]);
        assert_eq!(state.due_withheld(validity(), &Cursor::default(), 9), [(uid(1), None)]);
        let next = state.next_candidates(validity(), &Cursor::walk(), 9);
        assert_eq!(next, [(uid(1), None), (uid(2), None)]);
    }

    #[test]
    fn rejecting_a_message_of_an_earlier_uidvalidity_releases_none_of_the_current_one() {
        let (mut state, uid) = (Inbox::default(), uid(1));
        let [before, now] = [7, 8].map(|number| UidValidity::new(number, "inbox"));
        state.delivery_counts(before).hand_out(&UidSet::new(before, [uid]), 1);
        state.delivery_counts(now).hand_out(&UidSet::new(now, [uid]), 2);
        assert_eq!(state.release(before, uid, "late"), 0);
        assert_eq!(state.release(now, uid, "now"), 2);
    }
}
