//! Who has which message, by all entries of the log; and which entries matter no more.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::log::{Consumer, Entry, Word};
use crate::uid::{Uid, UidSet};

/// Who has which message, by a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership {
    owners: BTreeMap<Uid, Consumer>,
    /// What each has got, and may have lost since.
    got: HashMap<Consumer, Vec<Uid>>,
    newest: HashMap<Consumer, Uid>,
}

impl Ownership {
    /// Replays the entries of one UIDVALIDITY. What a consumer wrote under another one shows that it was alive.
    pub(super) fn of(entries: &[Entry], life: u32) -> Self {
        let mut all = Self::default();
        for entry in entries {
            all.read(entry, life);
        }
        all
    }

    /// Returns whether it is a claim that counts.
    pub(super) fn read(&mut self, entry: &Entry, life: u32) -> bool {
        let mut counts = entry.life == life;
        match &entry.word {
            _ if !counts => {}
            Word::Claim(uids) => self.give(uids, entry.by, None),
            Word::Take { from, last_seen, uids } => {
                counts = !self.has_spoken_since(*from, *last_seen);
                if counts {
                    self.give(uids, entry.by, Some(*from));
                }
            }
            Word::Bye => self.let_go(entry.by),
            Word::Hold => {}
        }
        self.newest.insert(entry.by, entry.at);
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
                self.got.entry(to).or_default().push(uid);
            }
        }
    }

    /// Takes no longer than it took to get what it is: there may be many goodbyes.
    fn let_go(&mut self, by: Consumer) {
        for uid in self.got.remove(&by).unwrap_or_default() {
            if self.owner(uid) == Some(by) {
                self.owners.remove(&uid);
            }
        }
    }

    fn has_spoken_since(&self, consumer: Consumer, last_seen: Uid) -> bool {
        self.newest.get(&consumer).is_some_and(|newest| *newest > last_seen)
    }

    pub(super) fn owner(&self, uid: Uid) -> Option<Consumer> {
        self.owners.get(&uid).copied()
    }

    /// Returns the messages that a consumer has.
    pub(super) fn of_consumer(&self, consumer: Consumer) -> impl Iterator<Item = Uid> {
        self.owners.iter().filter(move |(_, owner)| **owner == consumer).map(|(uid, _)| *uid)
    }

    /// Forgets who has messages that have left the inbox.
    pub(super) fn forget(&mut self, is_gone: impl Fn(Uid) -> bool) {
        self.owners.retain(|uid, _| !is_gone(*uid));
    }

    /// Returns each consumer's last word.
    pub(super) fn newest(&self) -> impl Iterator<Item = (Consumer, Uid)> {
        self.newest.iter().map(|(consumer, at)| (*consumer, *at))
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
    life: u32,
    is_gone: impl Fn(Uid) -> bool,
    is_old: impl Fn(Uid) -> bool,
) -> Vec<Uid> {
    let is_there = |uid: &Uid| !is_gone(*uid);
    let claims = |entry: &&Entry| {
        entry.life == life && entry.uids().is_some_and(|uids| uids.iter().any(|uid| is_there(&uid)))
    };
    let alive: Vec<&Entry> = entries.iter().filter(claims).collect();
    // Claims under another UIDVALIDITY count until they are removed: the last word says that they are void.
    let elsewhere = entries.iter().filter(|entry| entry.life != life);
    let speakers: HashSet<Consumer> = alive.iter().copied().chain(elsewhere).map(|entry| entry.by).collect();
    let last: HashMap<Consumer, Uid> = entries.iter().map(|entry| (entry.by, entry.at)).collect();
    let first: HashMap<Consumer, Uid> = alive.iter().rev().map(|entry| (entry.by, entry.at)).collect();
    let Effects { effective, void } = effects(entries, life, is_there, is_old);
    let deciding = deciding(entries, &void);
    let is_needed = |entry: &&Entry| {
        let is_last = last.get(&entry.by) == Some(&entry.at);
        let lets_go = entry.word == Word::Bye && first.get(&entry.by).is_some_and(|first| *first < entry.at);
        effective.contains(&entry.at)
            || deciding.contains(&entry.at)
            || lets_go
            || (is_last && speakers.contains(&entry.by))
    };
    let ours = entries.iter().filter(|entry| entry.life == life);
    ours.filter(|entry| !is_needed(entry)).map(|entry| entry.at).collect()
}

/// What claims to messages that are there have done.
#[derive(Default)]
struct Effects<'a> {
    /// They gave their writer a message; but for the oldest of a message when the next one has it with or without that.
    effective: HashSet<Uid>,
    /// They tried to take from a consumer that had spoken.
    void: Vec<&'a Entry>,
}

fn effects(
    entries: &[Entry],
    life: u32,
    is_there: impl Fn(&Uid) -> bool,
    is_old: impl Fn(Uid) -> bool,
) -> Effects<'_> {
    let (mut ownership, mut effects) = (Ownership::default(), Effects::default());
    // Of each message, the first entry that claims it, and whether another one came behind that.
    let mut first: HashMap<Uid, (Uid, bool)> = HashMap::new();
    for entry in entries {
        let counts = ownership.read(entry, life);
        let uids = entry.uids().filter(|_| entry.life == life).into_iter();
        let uids: Vec<Uid> = uids.flat_map(UidSet::iter).filter(&is_there).collect();
        effects.void.extend((!counts && !uids.is_empty()).then_some(entry));
        for uid in uids {
            let has_it = counts && ownership.owner(uid) == Some(entry.by);
            let Some((at, is_followed)) = first.get_mut(&uid) else {
                first.insert(uid, (entry.at, false));
                continue;
            };
            // What has no effect may stand between: it goes first.
            let goes = has_it && is_old(entry.at);
            if !(*is_followed || goes) {
                effects.effective.insert(*at);
            }
            *is_followed = true;
            if has_it {
                effects.effective.insert(entry.at);
            }
        }
    }
    let alone = first.into_values().filter(|(_, is_followed)| !is_followed);
    effects.effective.extend(alone.map(|(at, _)| at));
    effects
}

/// Returns, for each of these that takes, the last word before it of whom it takes from. Entries are in order.
fn deciding(entries: &[Entry], takes: &[&Entry]) -> HashSet<Uid> {
    let mut words: HashMap<Consumer, Vec<Uid>> = HashMap::new();
    for entry in entries {
        words.entry(entry.by).or_default().push(entry.at);
    }
    let last_before = |take: &&Entry| {
        let words = words.get(&take.robs()?)?;
        let before = words.partition_point(|at| *at < take.at);
        words.get(before.checked_sub(1)?).copied()
    };
    takes.iter().filter_map(last_before).collect()
}
