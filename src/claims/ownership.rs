//! Computes the owner of each message from the log, and the entries that are obsolete.
//!
//! Pure functions of the entries, in the order of their UIDs: no clock, and no view. Consumers that have read different
//! parts of the log, of which others were removed as obsolete, come to the same owners.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::entry::{Consumer, Entry, Op};
use crate::uid::{Uid, UidSet};

/// The owner of each message, by the entries applied so far.
///
/// About 60 octets for each message that has an owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership {
    owners: BTreeMap<Uid, Consumer>,
    /// The messages that each consumer has gained, some of which it may have lost since.
    ///
    /// A message may be named twice. Only for [`release`](Self::release).
    gained: HashMap<Consumer, Vec<Uid>>,
    /// The UID of each consumer's last entry.
    last_entries: HashMap<Consumer, Uid>,
}

impl Ownership {
    /// Applies all entries of a log, in order, for one UIDVALIDITY of the inbox.
    ///
    /// Entries of other UIDVALIDITYs show only that their writers were alive.
    ///
    /// In time n log m for n claims to m messages.
    pub(super) fn replay(entries: &[Entry], validity: u32) -> Self {
        let mut all = Self::default();
        for entry in entries {
            all.apply(entry, validity);
        }
        all
    }

    /// Applies one entry. Returns `false` if it is of another UIDVALIDITY, or a take from a consumer that has written
    /// since.
    ///
    /// `last_entries` is updated last: a take is compared with the entries before it.
    pub(super) fn apply(&mut self, entry: &Entry, validity: u32) -> bool {
        let mut is_valid = entry.validity == validity;
        match &entry.op {
            _ if !is_valid => {}
            Op::Claim(uids) => self.give(uids, entry.by, None),
            Op::Take { from, last_seen, uids } => {
                is_valid = !self.has_written_since(*from, *last_seen);
                if is_valid {
                    self.give(uids, entry.by, Some(*from));
                }
            }
            Op::Release => self.release(entry.by),
            Op::Renew => {}
        }
        self.last_entries.insert(entry.by, entry.uid);
        is_valid
    }

    /// Gives messages to a consumer: those without an owner, and those of `from`. A claim never takes from another
    /// owner: the first one wins.
    fn give(&mut self, uids: &UidSet, to: Consumer, from: Option<Consumer>) {
        for uid in uids.iter() {
            let owner = self.owners.entry(uid).or_insert(to);
            if Some(*owner) == from {
                *owner = to;
            }
            if *owner == to {
                self.gained.entry(to).or_default().push(uid);
            }
        }
    }

    /// Removes a consumer's messages, in time proportional to their number: a log may have many releases.
    fn release(&mut self, by: Consumer) {
        for uid in self.gained.remove(&by).unwrap_or_default() {
            if self.owner(uid) == Some(by) {
                self.owners.remove(&uid);
            }
        }
    }

    /// Returns `true` if the consumer has an entry behind `last_seen`.
    fn has_written_since(&self, consumer: Consumer, last_seen: Uid) -> bool {
        self.last_entries.get(&consumer).is_some_and(|last| *last > last_seen)
    }

    /// Returns the owner of a message; `None` for one that was never claimed, or was released.
    pub(super) fn owner(&self, uid: Uid) -> Option<Consumer> {
        self.owners.get(&uid).copied()
    }

    /// Returns the messages that have an owner.
    pub(super) fn owners(&self) -> impl Iterator<Item = (Uid, Consumer)> {
        self.owners.iter().map(|(uid, owner)| (*uid, *owner))
    }

    /// Returns the messages that a consumer owns.
    ///
    /// In time that is proportional to all owners.
    pub(super) fn owned_by(&self, consumer: Consumer) -> impl Iterator<Item = Uid> {
        self.owners.iter().filter(move |(_, owner)| **owner == consumer).map(|(uid, _)| *uid)
    }

    /// Removes messages that have left the inbox.
    pub(super) fn remove(&mut self, is_gone: impl Fn(Uid) -> bool) {
        self.owners.retain(|uid, _| !is_gone(*uid));
    }

    /// Returns the UID of each consumer's last entry.
    pub(super) fn last_entries(&self) -> impl Iterator<Item = (Consumer, Uid)> {
        self.last_entries.iter().map(|(consumer, uid)| (*consumer, *uid))
    }
}

/// Returns the entries of this UIDVALIDITY that can be removed: without them, every reader computes the same owners of
/// the messages that are present, in whatever order they are removed, and whatever others remove at the same time.
///
/// `is_gone` tells the messages that have left the inbox, `is_old` the entries that were first read so long ago that no
/// consumer still acts on an earlier state of the log.
///
/// For each message that is present, these entries are kept:
/// - the claims that gave it to their writers; an old claim replaces the one before it;
/// - of each consumer that claims any such message: the last entry, and each release after its first claim; the last
///   entry of each writer under another UIDVALIDITY, too;
/// - the entry that made a take invalid: the last one that its target wrote before it.
///
/// An example, with message 5 in the inbox:
///
/// ```text
///  1  A claim 5      needed: gave the message to A
///  2  B claim 5      obsolete: without effect
///  3  A bye          needed: without it, the message would still be A's
///  4  B claim 5      needed: gave the message to B
/// ```
///
/// Without 2, and once 4 is old, 1 is obsolete: 4 gives the message to B by itself. Without 1, 3 is obsolete, too. All
/// are, when the message has left the inbox, but for the last entry of a consumer that claims another message.
///
/// If 1 were removed before 2, then 2 would give the message to its writer. So 1 stays until 4 is old; by then 2 is
/// gone.
///
/// In time that is proportional to the UIDs of all entries.
pub(super) fn obsolete(
    entries: &[Entry],
    validity: u32,
    is_gone: impl Fn(Uid) -> bool,
    is_old: impl Fn(Uid) -> bool,
) -> Vec<Uid> {
    let is_present = |uid: &Uid| !is_gone(*uid);
    let claims_present = |entry: &&Entry| {
        entry.validity == validity && entry.uids().is_some_and(|uids| uids.iter().any(|uid| is_present(&uid)))
    };
    let claims: Vec<&Entry> = entries.iter().filter(claims_present).collect();
    // Consumers wait for the writers of entries of another UIDVALIDITY: the last entry shows that the wait is over.
    let others = entries.iter().filter(|entry| entry.validity != validity);
    let writers: HashSet<Consumer> = claims.iter().copied().chain(others).map(|entry| entry.by).collect();
    let last: HashMap<Consumer, Uid> = entries.iter().map(|entry| (entry.by, entry.uid)).collect();
    let first_claim: HashMap<Consumer, Uid> =
        claims.iter().rev().map(|entry| (entry.by, entry.uid)).collect();
    let Effects { effective, invalid_takes } = effects(entries, validity, is_present, is_old);
    let deciding = deciding(entries, &invalid_takes);
    let is_needed = |entry: &&Entry| {
        let is_last = last.get(&entry.by) == Some(&entry.uid);
        let is_release_of_claims =
            entry.op == Op::Release && first_claim.get(&entry.by).is_some_and(|first| *first < entry.uid);
        effective.contains(&entry.uid)
            || deciding.contains(&entry.uid)
            || is_release_of_claims
            || (is_last && writers.contains(&entry.by))
    };
    let current = entries.iter().filter(|entry| entry.validity == validity);
    current.filter(|entry| !is_needed(entry)).map(|entry| entry.uid).collect()
}

/// The claims and takes of messages that are present, by their effect.
#[derive(Default)]
struct Effects<'a> {
    /// Entries that gave their writer a message, without the first of a message whose successor is old.
    effective: HashSet<Uid>,
    /// Takes from a consumer that had written since.
    invalid_takes: Vec<&'a Entry>,
}

/// Computes the effects of a log's claims and takes.
fn effects(
    entries: &[Entry],
    validity: u32,
    is_present: impl Fn(&Uid) -> bool,
    is_old: impl Fn(Uid) -> bool,
) -> Effects<'_> {
    let (mut ownership, mut effects) = (Ownership::default(), Effects::default());
    // For each message the first entry that claims it, and `true` after a second one.
    let mut first: HashMap<Uid, (Uid, bool)> = HashMap::new();
    for entry in entries {
        let is_valid = ownership.apply(entry, validity);
        let uids = entry.uids().filter(|_| entry.validity == validity).into_iter();
        let uids: Vec<Uid> = uids.flat_map(UidSet::iter).filter(&is_present).collect();
        effects.invalid_takes.extend((!is_valid && !uids.is_empty()).then_some(entry));
        for uid in uids {
            let owns = is_valid && ownership.owner(uid) == Some(entry.by);
            let Some((first_claim, is_followed)) = first.get_mut(&uid) else {
                first.insert(uid, (entry.uid, false));
                continue;
            };
            // An entry without effect between the two is removed before the first: else it would get the message.
            let replaces_first = owns && is_old(entry.uid);
            if !(*is_followed || replaces_first) {
                effects.effective.insert(*first_claim);
            }
            *is_followed = true;
            if owns {
                effects.effective.insert(entry.uid);
            }
        }
    }
    let single = first.into_values().filter(|(_, is_followed)| !is_followed);
    effects.effective.extend(single.map(|(uid, _)| uid));
    effects
}

/// Returns, for each of these takes, the last entry that its target wrote before it. Entries are in order.
///
/// If that entry were removed, the take would become valid, and give messages to its writer long after.
fn deciding(entries: &[Entry], takes: &[&Entry]) -> HashSet<Uid> {
    let mut uids_by_writer: HashMap<Consumer, Vec<Uid>> = HashMap::new();
    for entry in entries {
        uids_by_writer.entry(entry.by).or_default().push(entry.uid);
    }
    let last_before = |take: &&Entry| {
        let uids = uids_by_writer.get(&take.takes_from()?)?;
        let before = uids.partition_point(|uid| *uid < take.uid);
        uids.get(before.checked_sub(1)?).copied()
    };
    takes.iter().filter_map(last_before).collect()
}
