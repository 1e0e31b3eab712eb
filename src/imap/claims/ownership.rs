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
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut all = Self::default();
        for entry in entries {
            all.read(entry);
        }
        all
    }

    fn read(&mut self, entry: &Entry) {
        match &entry.word {
            Word::Claim(uids) => self.give(uids, entry.by, None),
            Word::Take { from, last_seen, uids } if !self.has_spoken_since(*from, *last_seen) => {
                self.give(uids, entry.by, Some(*from));
            }
            Word::Bye => self.let_go(entry.by),
            Word::Take { .. } | Word::Hold => {}
        }
        self.newest.insert(entry.by, entry.at);
    }

    /// Gives what is nobody's, or this other one's.
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

    /// Takes no longer than it took to get what it is: there may be many who say goodbye.
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

    pub(super) fn has_any(&self, consumer: Consumer) -> bool {
        self.owners.values().any(|owner| *owner == consumer)
    }

    /// Messages that have left the inbox are nobody's.
    pub(super) fn forget(&mut self, uids: &UidSet) {
        self.owners.retain(|uid, _| !uids.contains(*uid));
    }

    /// Each consumer's last word.
    pub(super) fn newest(&self) -> impl Iterator<Item = (Consumer, Uid)> {
        self.newest.iter().map(|(consumer, at)| (*consumer, *at))
    }

    /// A consumer's last word.
    pub(super) fn last_word(&self, consumer: Consumer) -> Option<Uid> {
        self.newest.get(&consumer).copied()
    }
}

/// The entries that change nothing for anybody any more, when these messages are in the inbox.
///
/// An entry about a message that is there is kept, whoever wrote it and whether or not it won: without it another
/// reader might come to another result. So is each consumer's last word, and the last one before somebody tries to
/// take from it, because it decides whether that one may.
pub(super) fn obsolete(entries: &[Entry], present: &UidSet) -> Vec<Uid> {
    let is_alive =
        |entry: &&Entry| entry.uids().is_some_and(|uids| uids.iter().any(|uid| present.contains(uid)));
    let alive: Vec<&Entry> = entries.iter().filter(is_alive).collect();
    let places: HashSet<Uid> = alive.iter().map(|entry| entry.at).collect();
    let speakers: HashSet<Consumer> = alive.iter().map(|entry| entry.by).collect();
    let deciding = deciding(entries, &alive);
    let ownership = Ownership::of(entries);
    let is_needed = |entry: &&Entry| {
        let is_last = ownership.last_word(entry.by) == Some(entry.at);
        places.contains(&entry.at)
            || deciding.contains(&entry.at)
            || (speakers.contains(&entry.by) && (is_last || entry.word == Word::Bye))
    };
    entries.iter().filter(|entry| !is_needed(entry)).map(|entry| entry.at).collect()
}

/// For each of these that takes, the last word before it of whom it takes from. Entries are in order.
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
