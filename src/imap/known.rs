//! What a handle knows of the mail in the inbox, besides what the server says: what is not to be delivered.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::cursor::Cursor;
use super::doubts::{Doubts, SPARING};
use crate::message::Identity;
use crate::python::Since;
use crate::uid::{Uid, UidSet, UidValidity};

/// Candidates that are not to be looked at again, and messages that were acknowledged.
#[derive(Debug, Default)]
pub(super) struct Known {
    validity: Option<UidValidity>,
    /// Candidates that were found, are not settled, and have not left the inbox since as far as this handle knows.
    waiting: BTreeMap<Uid, Size>,
    /// Those of them that failed when they were asked for.
    doubts: Doubts,
    /// Mails whose Subjects the server can't search.
    unsearchable: Option<UidSet>,
    /// Whether the server did not give out mail the last time, and said that it would later.
    put_off: bool,
    settled: BTreeMap<Uid, Settled>,
    sizes: Sizes,
    in_hand: InHand,
    acknowledged: Acknowledged,
}

/// How large mails are, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// The average.
    pub(super) typical: Option<usize>,
    /// Whether the server sends whole mails when it is asked for their beginnings.
    pub(super) are_sent_whole: bool,
    /// Whether the server tells more than there is.
    pub(super) are_estimates: bool,
}

/// So many mails are left out of a search by their UIDs.
const MOST_LEFT_OUT: usize = 100;

/// With its size, what is ours and needs a fetch of its own.
type Size = Option<u64>;

/// A candidate.
pub(super) type Waiting = (Uid, Size);

/// Why a candidate needs no further look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is somebody else's.
    Foreign,
    /// It is a second copy of a message that was acknowledged.
    Spent,
}

impl Known {
    pub(super) fn new(remember: usize) -> Self {
        Self { acknowledged: Acknowledged { most: remember, ..Acknowledged::default() }, ..Self::default() }
    }

    fn of(&mut self, validity: UidValidity) -> &mut Self {
        if self.validity != Some(validity) {
            self.validity = Some(validity);
            self.waiting.clear();
            self.doubts.clear();
            self.unsearchable = None;
            self.settled.clear();
            self.in_hand = InHand::default();
        }
        self
    }

    pub(super) fn in_hand(&mut self, validity: UidValidity) -> &mut InHand {
        &mut self.of(validity).in_hand
    }

    /// Returns how often a message was delivered, and lets go of it; 0 for one of another life of the mailbox.
    pub(super) fn let_go(&mut self, validity: UidValidity, uid: Uid, reason: &str) -> u32 {
        if self.validity == Some(validity) { self.in_hand.let_go(uid, reason) } else { 0 }
    }

    /// Why a message could not be handled the last time, as far as this handle was told.
    pub(super) fn reason(&self, uid: Uid) -> Option<String> {
        self.in_hand.failed.get(&uid).map(|(_, reason)| reason.clone())
    }

    /// These are all candidates that there are: forgets what is none any more.
    pub(super) fn found(&mut self, present: &UidSet) {
        let known = self.of(present.validity());
        known.settled.retain(|uid, _| present.contains(*uid));
        known.doubts.keep(present);
        known.in_hand.keep(present);
        let before = std::mem::take(&mut known.waiting);
        let unsettled = present.iter().filter(|uid| !known.settled.contains_key(uid));
        known.waiting = unsettled.map(|uid| (uid, before.get(&uid).copied().flatten())).collect();
    }

    /// Returns the oldest candidates that wait and that the cursor has not come to, at most this many. Withheld ones are
    /// among them on a walk only.
    pub(super) fn waiting(&mut self, validity: UidValidity, cursor: &Cursor, most: usize) -> Vec<Waiting> {
        let known = self.of(validity);
        let is_given = |uid: &Uid| cursor.is_a_walk() || !known.doubts.is_withheld(*uid);
        known.ahead_of(cursor).filter(|(uid, _)| is_given(uid)).take(most).collect()
    }

    /// Returns withheld candidates that are to be tried again now, at most this many.
    pub(super) fn due(&mut self, validity: UidValidity, cursor: &Cursor, most: usize) -> Vec<Waiting> {
        let known = self.of(validity);
        let is_due = |uid: &Uid| known.doubts.get(*uid).is_some_and(|it| it.failures > 0 && it.is_due());
        known.ahead_of(cursor).filter(|(uid, _)| is_due(uid)).take(most).collect()
    }

    /// The candidates that the cursor has not come to, oldest first but for those that it has left.
    fn ahead_of<'a>(&'a self, cursor: &'a Cursor) -> impl Iterator<Item = Waiting> + 'a {
        let (left, last) = self.validity.map_or((&[][..], None), |validity| cursor.at(validity));
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.waiting.range((after, Bound::Unbounded));
        let behind = behind.filter(|(uid, _)| left.binary_search(uid).is_err());
        let left = left.iter().filter_map(|uid| self.waiting.get_key_value(uid));
        left.chain(behind).map(|(uid, size)| (*uid, *size))
    }

    /// Returns whether this one waits, as far as is known.
    pub(super) fn is_waiting(&self, uid: Uid) -> bool {
        self.waiting.contains_key(&uid)
    }

    /// Returns whether any wait that may be asked for now.
    pub(super) fn is_any_waiting(&mut self, validity: UidValidity) -> bool {
        let known = self.of(validity);
        known.waiting.len() > known.doubts.put_aside()
    }

    /// Returns the mails whose Subjects the server can't search.
    pub(super) fn unsearchable(&mut self, validity: UidValidity) -> &UidSet {
        self.of(validity).unsearchable.get_or_insert_with(|| UidSet::empty(validity))
    }

    /// Returns the same for a command, where there are any that it has room for.
    pub(super) fn left_out(&self) -> Option<UidSet> {
        let uids = self.unsearchable.as_ref().filter(|uids| !uids.is_empty())?;
        Some(uids.chunk(0, MOST_LEFT_OUT))
    }

    pub(super) fn is_unsearchable(&mut self, uids: &UidSet) {
        self.of(uids.validity()).unsearchable = Some(uids.clone());
    }

    pub(super) fn doubts(&mut self) -> &mut Doubts {
        &mut self.doubts
    }

    /// Notes whether the server puts us off; returns whether it did the last time.
    pub(super) fn is_put_off(&mut self, now: bool) -> bool {
        std::mem::replace(&mut self.put_off, now)
    }

    /// This one needs a fetch of its own.
    pub(super) fn is_large(&mut self, validity: UidValidity, uid: Uid, size: u64) {
        if let Some(known) = self.of(validity).waiting.get_mut(&uid) {
            *known = Some(size);
        }
    }

    pub(super) fn sizes(&mut self) -> &mut Sizes {
        &mut self.sizes
    }

    /// These have left the inbox.
    pub(super) fn gone(&mut self, uids: &UidSet) {
        if self.validity == Some(uids.validity()) {
            for uid in uids.iter() {
                self.waiting.remove(&uid);
                self.doubts.remove(uid);
            }
        }
    }

    pub(super) fn settle(&mut self, validity: UidValidity, uid: Uid, how: Settled) {
        let known = self.of(validity);
        known.waiting.remove(&uid);
        known.doubts.remove(uid);
        known.settled.insert(uid, how);
    }

    /// The second copies that wait for the next acknowledgement, to be archived with it.
    pub(super) fn spent(&self) -> Option<UidSet> {
        let spent = self.settled.iter().filter(|(_, how)| **how == Settled::Spent).map(|(uid, _)| *uid);
        Some(UidSet::new(self.validity?, spent)).filter(|spent| !spent.is_empty())
    }

    /// They are archived, and no candidates any more.
    pub(super) fn swept(&mut self) {
        self.settled.retain(|_, how| *how != Settled::Spent);
    }

    pub(super) fn acknowledged(&mut self) -> &mut Acknowledged {
        &mut self.acknowledged
    }
}

/// The messages that the app has, and how often they were delivered.
#[derive(Debug, Default)]
pub(super) struct InHand {
    held: BTreeMap<Uid, u32>,
    /// What is about to be delivered, for which time: the server may have marked it, or not.
    coming: BTreeMap<Uid, u32>,
    failed: BTreeMap<Uid, (u32, String)>,
}

impl InHand {
    pub(super) fn leave_out_of(&self, uids: &mut UidSet) {
        uids.retain(|uid| !self.held.contains_key(&uid));
    }

    /// How often a message was delivered before, that is marked so often: a mark without an answer is no delivery,
    /// and without keywords there are none.
    pub(super) fn count(&self, uid: Uid, marked: u32) -> u32 {
        match self.coming.get(&uid) {
            Some(&nth) if marked <= nth => nth - 1,
            _ => self.failed.get(&uid).map_or(marked, |(times, _)| marked.max(*times)),
        }
    }

    pub(super) fn expect(&mut self, uids: &UidSet, times: u32) {
        self.coming.extend(uids.iter().map(|uid| (uid, times)));
    }

    pub(super) fn take(&mut self, uids: &UidSet, times: u32) {
        self.coming.retain(|uid, _| !uids.contains(*uid));
        self.held.extend(uids.iter().map(|uid| (uid, times)));
    }

    /// How often it was delivered; 0 when it was not in hand.
    fn let_go(&mut self, uid: Uid, reason: &str) -> u32 {
        let Some(times) = self.held.remove(&uid) else { return 0 };
        self.failed.insert(uid, (times, reason.to_owned()));
        times
    }

    fn keep(&mut self, present: &UidSet) {
        self.held.retain(|uid, _| present.contains(*uid));
        self.coming.retain(|uid, _| present.contains(*uid));
        self.failed.retain(|uid, _| present.contains(*uid));
    }
}

/// The messages that were acknowledged last, by this handle or by an earlier one.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    most: usize,
    /// Up to where the archive was read.
    since: Option<Since>,
    /// How often in a row it could not be read, and until when it is left alone.
    failures: u32,
    not_before: Option<Instant>,
    known: HashSet<Identity>,
    order: VecDeque<Identity>,
}

impl Acknowledged {
    /// Returns how many to read from the archive, and since when; nothing when that was done, unless `others` archive
    /// too, or could not be done lately.
    pub(super) fn to_be_recalled(&self, others: bool) -> Option<(usize, Option<Since>)> {
        let is_put_off = self.not_before.is_some_and(|moment| Instant::now() < moment);
        let is_wanted = self.most > 0 && (others || self.since.is_none()) && !is_put_off;
        is_wanted.then_some((self.most, self.since))
    }

    /// Leaves an archive alone that could not be read: longer each time, and long where it took long to fail.
    pub(super) fn put_off(&mut self, took: Duration, backoff: (Duration, Duration)) {
        let wait = backoff.0.saturating_mul(1 << self.failures.min(20)).min(backoff.1);
        self.failures += 1;
        self.not_before = Some(Instant::now() + wait.max(took.saturating_mul(SPARING)));
    }

    /// What the archive has, oldest first. What was acknowledged before it was first read is newer.
    pub(super) fn recall(&mut self, since: Since, archived: impl IntoIterator<Item = Identity>) {
        let newer = if self.since.is_none() { std::mem::take(&mut self.order) } else { VecDeque::new() };
        self.since = Some(since);
        (self.failures, self.not_before) = (0, None);
        for identity in &newer {
            self.known.remove(identity);
        }
        archived.into_iter().chain(newer).for_each(|identity| self.add(identity));
    }

    pub(super) fn add(&mut self, identity: Identity) {
        if self.most == 0 || !self.known.insert(identity) {
            return;
        }
        self.order.push_back(identity);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, identity: Identity) -> bool {
        self.known.contains(&identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(n: u32) -> Identity {
        Identity::read(format!("Message-ID: <{n}@example.org>\r\nSubject: TAG {n}\r\n\r\n").as_bytes())
            .unwrap()
    }

    #[test]
    fn the_newest_are_remembered() {
        let mut acknowledged = Acknowledged { most: 3, ..Acknowledged::default() };
        acknowledged.add(identity(9));
        acknowledged.recall((1, 3), [1, 2, 3].map(identity));
        let known = |acknowledged: &Acknowledged| [1, 2, 3, 4, 9].map(|n| acknowledged.contains(identity(n)));
        assert_eq!(known(&acknowledged), [false, true, true, false, true]);
        acknowledged.add(identity(4));
        assert_eq!(known(&acknowledged), [false, false, true, true, true]);
        assert_eq!(acknowledged.to_be_recalled(false), None);
        assert_eq!(acknowledged.to_be_recalled(true), Some((3, Some((1, 3)))));
    }

    #[test]
    fn a_message_of_an_earlier_uidvalidity_lets_go_of_nothing_of_this_one() {
        let (mut known, uid) = (Known::new(1), Uid::new(1).unwrap());
        let [before, now] = [7, 8].map(|number| UidValidity::new(number, "inbox"));
        known.in_hand(before).take(&UidSet::new(before, [uid]), 1);
        known.in_hand(now).take(&UidSet::new(now, [uid]), 2);
        assert_eq!(known.let_go(before, uid, "late"), 0);
        assert_eq!(known.let_go(now, uid, "now"), 2);
    }

    #[test]
    fn with_no_memory_nothing_is_remembered() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.add(identity(1));
        assert!(!acknowledged.contains(identity(1)) && acknowledged.to_be_recalled(true).is_none());
    }
}
