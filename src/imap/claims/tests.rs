//! The log, entry by entry.

use std::collections::BTreeSet;

use super::log::*;
use super::ownership::*;
use crate::uid::{Uid, UidSet, UidValidity};

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
    let numbers =
        |present: &[u32]| obsolete(&entries, &uids(present)).iter().map(|at| at.get()).collect::<Vec<_>>();
    assert_eq!(numbers(&[]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(&[1]), [4], "the words of A decide whether C has it");
    assert_eq!(numbers(&[2]), [1, 3, 4, 6]);
}

#[test]
fn of_whoever_was_taken_from_no_more_is_kept_than_decides_about_that() {
    let mut words = vec![(1, A, claim(&[1])), (2, A, Word::Hold), (3, C, take(A, 2, &[1]))];
    words.extend((4..100).map(|at| (at, A, if at % 2 == 0 { claim(&[at]) } else { Word::Hold })));
    let entries = log(&words);
    let gone = obsolete(&entries, &uids(&[1]));
    let kept = entries.iter().map(|entry| entry.at).filter(|at| !gone.contains(at));
    assert_eq!(kept.map(Uid::get).collect::<Vec<_>>(), [1, 2, 3, 99]);
}

#[test]
fn each_inbox_and_each_tag_has_a_log_of_its_own() {
    let plain = name("INBOX", "__A__", "__A__");
    assert_eq!((plain.as_str(), name("inbox", "__A__", "__A__").as_str()), ("claims", "claims"));
    let logs = [("INBOX", "__A__"), ("INBOX", "__B__"), ("lists", "__A__"), ("lists", "__B__")];
    let names: BTreeSet<String> = logs.iter().map(|(inbox, tag)| name(inbox, tag, "archive")).collect();
    assert_eq!(names.len(), logs.len());
    assert_eq!(name("InBox", "__A__", "archive"), name("INBOX", "__A__", "archive"));
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
                2 if !numbers.is_empty() && from != by && at > 1 => take(from, random(at - 1) + 1, &numbers),
                3 => Word::Bye,
                _ => Word::Hold,
            };
            words.push((at, by, word));
        }
        let entries = log(&words);
        let present: Vec<u32> = (1..=4).filter(|_| random(2) == 0).collect();
        let gone = obsolete(&entries, &uids(&present));
        let kept: Vec<Entry> = entries.iter().filter(|entry| !gone.contains(&entry.at)).cloned().collect();
        assert_eq!(owners(&kept, &present), owners(&entries, &present), "{entries:?} without {gone:?}");
    }
}
