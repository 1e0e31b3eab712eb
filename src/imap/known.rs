//! What a handle knows of the mail in the inbox, besides what the server says: what is not to be delivered.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::message::Identity;
use crate::python::Since;
use crate::uid::{Uid, UidSet, UidValidity};

/// Candidates that are not to be looked at again, and messages that were acknowledged.
#[derive(Debug, Default)]
pub(super) struct Known {
    validity: Option<UidValidity>,
    settled: BTreeMap<Uid, Settled>,
    in_hand: InHand,
    acknowledged: Acknowledged,
}

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

    fn of(&mut self, validity: UidValidity) -> &mut BTreeMap<Uid, Settled> {
        if self.validity != Some(validity) {
            self.validity = Some(validity);
            self.settled.clear();
            self.in_hand = InHand::default();
        }
        &mut self.settled
    }

    pub(super) fn in_hand(&mut self, validity: UidValidity) -> &mut InHand {
        self.of(validity);
        &mut self.in_hand
    }

    /// Why a message could not be handled the last time, as far as this handle was told.
    pub(super) fn reason(&self, uid: Uid) -> Option<String> {
        self.in_hand.failed.get(&uid).map(|(_, reason)| reason.clone())
    }

    /// Takes what is settled out of the candidates, and forgets what is no candidate any more.
    pub(super) fn leave_out_of(&mut self, wanted: &mut UidSet) {
        let settled = self.of(wanted.validity());
        settled.retain(|uid, _| wanted.contains(*uid));
        wanted.retain(|uid| !settled.contains_key(&uid));
        self.in_hand.keep(wanted);
    }

    pub(super) fn settle(&mut self, validity: UidValidity, uid: Uid, how: Settled) {
        self.of(validity).insert(uid, how);
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
    failed: BTreeMap<Uid, (u32, String)>,
}

impl InHand {
    pub(super) fn leave_out_of(&self, uids: &mut UidSet) {
        uids.retain(|uid| !self.held.contains_key(&uid));
    }

    /// How often a message was delivered that this handle was told it could not be handled.
    pub(super) fn count(&self, uid: Uid) -> u32 {
        self.failed.get(&uid).map_or(0, |(times, _)| *times)
    }

    pub(super) fn take(&mut self, uids: &UidSet, times: u32) {
        self.held.extend(uids.iter().map(|uid| (uid, times)));
    }

    /// How often it was delivered; 0 when it was not in hand.
    pub(super) fn let_go(&mut self, uid: Uid, reason: &str) -> u32 {
        let Some(times) = self.held.remove(&uid) else { return 0 };
        self.failed.insert(uid, (times, reason.to_owned()));
        times
    }

    fn keep(&mut self, present: &UidSet) {
        self.held.retain(|uid, _| present.contains(*uid));
        self.failed.retain(|uid, _| present.contains(*uid));
    }
}

/// The messages that were acknowledged last, by this handle or by an earlier one.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    most: usize,
    /// Up to where the archive was read.
    since: Option<Since>,
    known: HashSet<Identity>,
    order: VecDeque<Identity>,
}

impl Acknowledged {
    /// How many are to be read from the archive, and since when; nothing when that was done, unless `others`
    /// archive too.
    pub(super) fn to_be_recalled(&self, others: bool) -> Option<(usize, Option<Since>)> {
        (self.most > 0 && (others || self.since.is_none())).then_some((self.most, self.since))
    }

    /// What the archive has, oldest first. What was acknowledged before it was first read is newer.
    pub(super) fn recall(&mut self, since: Since, archived: impl IntoIterator<Item = Identity>) {
        let newer = if self.since.is_none() { std::mem::take(&mut self.order) } else { VecDeque::new() };
        self.since = Some(since);
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
        Identity::read(format!("Message-ID: <{n}@example.org>\r\n\r\n").as_bytes()).unwrap()
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
    fn with_no_memory_nothing_is_remembered() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.add(identity(1));
        assert!(!acknowledged.contains(identity(1)) && acknowledged.to_be_recalled(true).is_none());
    }
}
