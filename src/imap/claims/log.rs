//! The log that consumers share: what an entry says, and who has which message by all of them.
//!
//! An entry is a mail in a mailbox of the log's own. Its UID is its place: a mailbox gives strictly ascending UIDs
//! (RFC 3501, section 2.3.1.1), so every consumer reads the same entries in the same order and comes to the same
//! result. Nothing else of a server is relied on: not that MOVE is atomic, which it is not, nor on keywords, nor
//! on anybody's clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::uid::{Uid, UidSet, UidValidity};

/// The first word of an entry: what it is, and in which version.
const MARK: &str = "pymail-claims-1";

/// More UIDs than this, no entry has.
const MOST_UIDS: usize = 100_000;

/// One handle, among all that share the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Consumer(pub(super) u128);

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a consumer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Those of these messages are mine that are nobody's.
    Claim(UidSet),
    /// Those of these that are this one's are mine, unless it has said anything after this entry.
    Take { from: Consumer, last_seen: Uid, uids: UidSet },
    /// I am alive.
    Hold,
    /// What was mine is nobody's.
    Bye,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: Uid,
    pub(super) by: Consumer,
    pub(super) word: Word,
}

/// What a mail in the log is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Entry(Entry),
    /// About an earlier life of the inbox, whose messages are gone.
    Outlived,
    /// No entry: nobody knows how it came there.
    Other,
}

/// What the text of a mail in the log says.
pub(super) fn read(at: Uid, text: &str, validity: UidValidity) -> Line {
    let mut words = text.split_ascii_whitespace();
    let head = (words.next(), words.next().and_then(consumer), words.next().map(str::parse::<u32>));
    let (Some(MARK), Some(by), Some(Ok(number))) = head else { return Line::Other };
    if number != validity.get() {
        // UIDVALIDITY ascends: a higher one is of a life that this connection does not know of yet.
        return if number < validity.get() { Line::Outlived } else { Line::Other };
    }
    word(words, validity).map_or(Line::Other, |word| Line::Entry(Entry { at, by, word }))
}

fn word<'a>(mut words: impl Iterator<Item = &'a str>, validity: UidValidity) -> Option<Word> {
    Some(match words.next()? {
        "claim" => Word::Claim(set(words, validity)?),
        "take" => {
            let (from, last_seen) = (consumer(words.next()?)?, Uid::new(words.next()?.parse().ok()?)?);
            Word::Take { from, last_seen, uids: set(words, validity)? }
        }
        "hold" => Word::Hold,
        "bye" => Word::Bye,
        _ => return None,
    })
}

fn consumer(word: &str) -> Option<Consumer> {
    u128::from_str_radix(word, 16).ok().map(Consumer)
}

/// A set may go over several lines.
fn set<'a>(words: impl Iterator<Item = &'a str>, validity: UidValidity) -> Option<UidSet> {
    UidSet::parse(validity, &words.collect::<String>(), MOST_UIDS)
}

impl Entry {
    /// To how many messages it lays claim.
    pub(super) fn len(&self) -> usize {
        self.uids().map_or(0, UidSet::len)
    }

    fn uids(&self) -> Option<&UidSet> {
        match &self.word {
            Word::Claim(uids) | Word::Take { uids, .. } => Some(uids),
            Word::Hold | Word::Bye => None,
        }
    }

    /// Whom it takes from, or tries to.
    fn robs(&self) -> Option<Consumer> {
        match self.word {
            Word::Take { from, .. } => Some(from),
            _ => None,
        }
    }
}

/// The text of an entry, with lines that every server takes.
pub(super) fn write(by: Consumer, validity: UidValidity, word: &Word) -> String {
    let (verb, uids) = match word {
        Word::Claim(uids) => ("claim".to_owned(), Some(uids)),
        Word::Take { from, last_seen, uids } => (format!("take {from} {last_seen}"), Some(uids)),
        Word::Hold => ("hold".to_owned(), None),
        Word::Bye => ("bye".to_owned(), None),
    };
    let mut text = format!("{MARK} {by} {} {verb}", validity.get());
    for (n, range) in uids.map(UidSet::to_string).unwrap_or_default().split_inclusive(',').enumerate() {
        text.push_str(if n % 32 == 0 { "\r\n " } else { "" });
        text.push_str(range);
    }
    text
}

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
/// reader might come to another result. So is each consumer's last word, and every word of whoever somebody tries
/// to take from, because it decides whether that one may.
pub(super) fn obsolete(entries: &[Entry], present: &UidSet) -> Vec<Uid> {
    let is_alive =
        |entry: &&Entry| entry.uids().is_some_and(|uids| uids.iter().any(|uid| present.contains(uid)));
    let alive: Vec<&Entry> = entries.iter().filter(is_alive).collect();
    let places: HashSet<Uid> = alive.iter().map(|entry| entry.at).collect();
    let speakers: HashSet<Consumer> = alive.iter().map(|entry| entry.by).collect();
    let robbed: HashSet<Consumer> = alive.iter().filter_map(|entry| entry.robs()).collect();
    let ownership = Ownership::of(entries);
    let is_needed = |entry: &&Entry| {
        let is_last = ownership.last_word(entry.by) == Some(entry.at);
        places.contains(&entry.at)
            || robbed.contains(&entry.by)
            || (speakers.contains(&entry.by) && (is_last || entry.word == Word::Bye))
    };
    entries.iter().filter(|entry| !is_needed(entry)).map(|entry| entry.at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Consumer = Consumer(0xa);
    const B: Consumer = Consumer(0xb);
    const C: Consumer = Consumer(0xc);

    fn validity() -> UidValidity {
        UidValidity::new(7, "inbox")
    }

    fn uid(n: u32) -> Uid {
        Uid::new(n).unwrap()
    }

    fn uids(numbers: &[u32]) -> UidSet {
        UidSet::new(validity(), numbers.iter().map(|&n| uid(n)))
    }

    fn log(words: &[(u32, Consumer, Word)]) -> Vec<Entry> {
        words.iter().map(|(at, by, word)| Entry { at: uid(*at), by: *by, word: word.clone() }).collect()
    }

    fn claim(numbers: &[u32]) -> Word {
        Word::Claim(uids(numbers))
    }

    fn take(from: Consumer, last_seen: u32, numbers: &[u32]) -> Word {
        Word::Take { from, last_seen: uid(last_seen), uids: uids(numbers) }
    }

    fn owners(entries: &[Entry], numbers: &[u32]) -> Vec<Option<Consumer>> {
        let all = Ownership::of(entries);
        numbers.iter().map(|&n| all.owner(uid(n))).collect()
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let odd: Vec<u32> = (0..500).map(|n| 4_000_000_000 + 2 * n).collect();
        for word in [claim(&odd), take(B, 17, &odd), claim(&[5]), Word::Hold, Word::Bye] {
            let text = write(A, validity(), &word);
            assert!(text.lines().all(|line| line.len() < 900), "{text}");
            let life = |number| UidValidity::new(number, "inbox");
            assert_eq!(read(uid(3), &text, validity()), Line::Entry(Entry { at: uid(3), by: A, word }));
            assert_eq!(read(uid(3), &text, life(8)), Line::Outlived);
            assert_eq!(read(uid(3), &text, life(6)), Line::Other);
        }
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        for text in [
            "",
            "hello",
            MARK,
            "pymail-claims-1 a 7",
            "pymail-claims-1 a 7 claim",
            "pymail-claims-1 a 7 claim 0:",
        ] {
            assert_eq!(read(uid(1), text, validity()), Line::Other, "{text}");
        }
    }

    #[test]
    fn the_first_claim_wins_and_a_later_one_gets_the_rest() {
        let entries = log(&[(1, A, claim(&[1, 2])), (2, B, claim(&[2, 3]))]);
        assert_eq!(owners(&entries, &[1, 2, 3, 4]), [Some(A), Some(A), Some(B), None]);
    }

    #[test]
    fn only_the_silent_are_taken_from() {
        let silent = log(&[(1, A, claim(&[1])), (2, B, take(A, 1, &[1])), (3, C, take(A, 1, &[1]))]);
        assert_eq!(owners(&silent, &[1]), [Some(B)], "and only once");
        let alive = log(&[(1, A, claim(&[1])), (2, A, Word::Hold), (3, B, take(A, 1, &[1]))]);
        assert_eq!(owners(&alive, &[1]), [Some(A)]);
        let too_late = log(&[(1, A, claim(&[1])), (2, B, take(A, 1, &[1])), (3, A, Word::Hold)]);
        assert_eq!(owners(&too_late, &[1]), [Some(B)]);
    }

    #[test]
    fn what_somebody_has_let_go_is_free() {
        let entries = log(&[(1, A, claim(&[1, 2])), (2, A, Word::Bye), (3, B, claim(&[2]))]);
        assert_eq!(owners(&entries, &[1, 2]), [None, Some(B)]);
    }

    #[test]
    fn of_what_is_gone_nothing_is_kept_and_of_what_is_there_everything_that_decides() {
        let entries = log(&[
            (1, A, claim(&[1])),
            (2, B, claim(&[1, 2])),
            (3, A, Word::Hold),
            (4, B, Word::Hold),
            (5, B, Word::Hold),
            (6, C, take(A, 1, &[1])),
        ]);
        let numbers = |present: &[u32]| {
            obsolete(&entries, &uids(present)).iter().map(|at| at.get()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&[]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers(&[1]), [4], "the words of A decide whether C has it");
        assert_eq!(numbers(&[2]), [1, 3, 4, 6]);
    }

    /// Whatever is dropped, in whatever order: who reads what is left comes to the same owners.
    #[test]
    fn dropping_what_is_obsolete_changes_no_owner_of_what_is_there() {
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..2_000 {
            let mut words = Vec::new();
            for at in 1..=random(12) + 1 {
                let by = [A, B, C][random(3) as usize];
                let numbers: Vec<u32> = (1..=4).filter(|_| random(2) == 0).collect();
                let from = [A, B, C][random(3) as usize];
                let word = match random(5) {
                    0 | 1 if !numbers.is_empty() => claim(&numbers),
                    2 if !numbers.is_empty() && from != by && at > 1 => {
                        take(from, random(at - 1) + 1, &numbers)
                    }
                    3 => Word::Bye,
                    _ => Word::Hold,
                };
                words.push((at, by, word));
            }
            let entries = log(&words);
            let present: Vec<u32> = (1..=4).filter(|_| random(2) == 0).collect();
            let gone = obsolete(&entries, &uids(&present));
            let kept: Vec<Entry> =
                entries.iter().filter(|entry| !gone.contains(&entry.at)).cloned().collect();
            assert_eq!(owners(&kept, &present), owners(&entries, &present), "{entries:?} without {gone:?}");
        }
    }
}
