//! Who has which message, by all entries of the log; and which entries matter no more.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::entry::{Consumer, Entry, Op};
use crate::uid::{Uid, UidSet};

/// Who has which message, by a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership {
    owners: BTreeMap<Uid, Consumer>,
    /// What each has gained, and may have lost since.
    gained: HashMap<Consumer, Vec<Uid>>,
    last_entries: HashMap<Consumer, Uid>,
}

impl Ownership {
    /// Replays the entries of one UIDVALIDITY. What a consumer wrote under another one shows that it was alive.
    pub(super) fn replay(entries: &[Entry], validity: u32) -> Self {
        let mut all = Self::default();
        for entry in entries {
            all.apply(entry, validity);
        }
        all
    }

    /// Returns whether it is a claim that counts.
    pub(super) fn apply(&mut self, entry: &Entry, validity: u32) -> bool {
        let mut counts = entry.validity == validity;
        match &entry.op {
            _ if !counts => {}
            Op::Claim(uids) => self.give(uids, entry.by, None),
            Op::Take { from, last_seen, uids } => {
                counts = !self.has_written_since(*from, *last_seen);
                if counts {
                    self.give(uids, entry.by, Some(*from));
                }
            }
            Op::Release => self.release(entry.by),
            Op::Renew => {}
        }
        self.last_entries.insert(entry.by, entry.uid);
        counts
    }

    /// Gives what has no owner, or is this other one's.
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

    /// Takes no longer than it took to get what it is: there may be many goodbyes.
    fn release(&mut self, by: Consumer) {
        for uid in self.gained.remove(&by).unwrap_or_default() {
            if self.owner(uid) == Some(by) {
                self.owners.remove(&uid);
            }
        }
    }

    fn has_written_since(&self, consumer: Consumer, last_seen: Uid) -> bool {
        self.last_entries.get(&consumer).is_some_and(|last_entries| *last_entries > last_seen)
    }

    pub(super) fn owner(&self, uid: Uid) -> Option<Consumer> {
        self.owners.get(&uid).copied()
    }

    /// Returns the messages that a consumer has.
    pub(super) fn owned_by(&self, consumer: Consumer) -> impl Iterator<Item = Uid> {
        self.owners.iter().filter(move |(_, owner)| **owner == consumer).map(|(uid, _)| *uid)
    }

    /// Forgets who has messages that have left the inbox.
    pub(super) fn remove(&mut self, is_gone: impl Fn(Uid) -> bool) {
        self.owners.retain(|uid, _| !is_gone(*uid));
    }

    /// Returns each consumer's last word.
    pub(super) fn last_entries(&self) -> impl Iterator<Item = (Consumer, Uid)> {
        self.last_entries.iter().map(|(consumer, at)| (*consumer, *at))
    }
}

/// Returns the entries of this UIDVALIDITY that decide nothing any more, where `is_gone` knows the messages that have
/// left the inbox.
///
/// Each reader comes to the same owners without them, in whatever order they are removed and whatever others remove
/// meanwhile. So of each message that is there, claims are removed that had no effect, and the oldest one when the next
/// one has the message with or without it. `is_old` knows entries that were read so long ago that no consumer still acts
/// on a log without them. Of each consumer with any claim to such a message, the last word is kept, its goodbyes, and the
/// last word before each entry that tried to take from it in vain, which decides that.
pub(super) fn obsolete(
    entries: &[Entry],
    validity: u32,
    is_gone: impl Fn(Uid) -> bool,
    is_old: impl Fn(Uid) -> bool,
) -> Vec<Uid> {
    let is_present = |uid: &Uid| !is_gone(*uid);
    let claims = |entry: &&Entry| {
        entry.validity == validity && entry.uids().is_some_and(|uids| uids.iter().any(|uid| is_present(&uid)))
    };
    let alive: Vec<&Entry> = entries.iter().filter(claims).collect();
    // Claims under another UIDVALIDITY count until they are removed: the last word says that they are failed_takes.
    let elsewhere = entries.iter().filter(|entry| entry.validity != validity);
    let writers: HashSet<Consumer> = alive.iter().copied().chain(elsewhere).map(|entry| entry.by).collect();
    let last: HashMap<Consumer, Uid> = entries.iter().map(|entry| (entry.by, entry.uid)).collect();
    let first: HashMap<Consumer, Uid> = alive.iter().rev().map(|entry| (entry.by, entry.uid)).collect();
    let Effects { effective, failed_takes } = effects(entries, validity, is_present, is_old);
    let deciding = deciding(entries, &failed_takes);
    let is_needed = |entry: &&Entry| {
        let is_last = last.get(&entry.by) == Some(&entry.uid);
        let is_needed_release =
            entry.op == Op::Release && first.get(&entry.by).is_some_and(|first| *first < entry.uid);
        effective.contains(&entry.uid)
            || deciding.contains(&entry.uid)
            || is_needed_release
            || (is_last && writers.contains(&entry.by))
    };
    let ours = entries.iter().filter(|entry| entry.validity == validity);
    ours.filter(|entry| !is_needed(entry)).map(|entry| entry.uid).collect()
}

/// What claims to messages that are there have done.
#[derive(Default)]
struct Effects<'a> {
    /// They gave their writer a message; but for the oldest of a message when the next one has it with or without that.
    effective: HashSet<Uid>,
    /// They tried to take from a consumer that had spoken.
    failed_takes: Vec<&'a Entry>,
}

fn effects(
    entries: &[Entry],
    validity: u32,
    is_present: impl Fn(&Uid) -> bool,
    is_old: impl Fn(Uid) -> bool,
) -> Effects<'_> {
    let (mut ownership, mut effects) = (Ownership::default(), Effects::default());
    // Of each message, the first entry that claims it, and whether another one came behind that.
    let mut first: HashMap<Uid, (Uid, bool)> = HashMap::new();
    for entry in entries {
        let counts = ownership.apply(entry, validity);
        let uids = entry.uids().filter(|_| entry.validity == validity).into_iter();
        let uids: Vec<Uid> = uids.flat_map(UidSet::iter).filter(&is_present).collect();
        effects.failed_takes.extend((!counts && !uids.is_empty()).then_some(entry));
        for uid in uids {
            let has_it = counts && ownership.owner(uid) == Some(entry.by);
            let Some((at, is_followed)) = first.get_mut(&uid) else {
                first.insert(uid, (entry.uid, false));
                continue;
            };
            // What has no effect may stand between: it goes first.
            let goes = has_it && is_old(entry.uid);
            if !(*is_followed || goes) {
                effects.effective.insert(*at);
            }
            *is_followed = true;
            if has_it {
                effects.effective.insert(entry.uid);
            }
        }
    }
    let unchallenged = first.into_values().filter(|(_, is_followed)| !is_followed);
    effects.effective.extend(unchallenged.map(|(at, _)| at));
    effects
}

/// Returns, for each of these that takes, the last word before it of whom it takes from. Entries are in order.
fn deciding(entries: &[Entry], takes: &[&Entry]) -> HashSet<Uid> {
    let mut uids_by_writer: HashMap<Consumer, Vec<Uid>> = HashMap::new();
    for entry in entries {
        uids_by_writer.entry(entry.by).or_default().push(entry.uid);
    }
    let last_before = |take: &&Entry| {
        let uids = uids_by_writer.get(&take.takes_from()?)?;
        let before = uids.partition_point(|at| *at < take.uid);
        uids.get(before.checked_sub(1)?).copied()
    };
    takes.iter().filter_map(last_before).collect()
}
