//! Tests of the log's format, of owners, and of obsolete entries.

use std::collections::BTreeSet;
use std::time::Duration;

use super::entry::*;
use super::ownership::*;
use crate::uid::{Uid, UidSet, UidValidity};

const A: Consumer = Consumer(0xa);
const B: Consumer = Consumer(0xb);
const C: Consumer = Consumer(0xc);

const VALIDITY: u32 = 7;

fn validity() -> UidValidity {
    UidValidity::new(VALIDITY, "inbox")
}

fn uid(n: u32) -> Uid {
    Uid::new(n).unwrap()
}

fn uids(numbers: &[u32]) -> UidSet {
    UidSet::new(validity(), numbers.iter().map(|&n| uid(n)))
}

fn log(ops: &[(u32, Consumer, Op)]) -> Vec<Entry> {
    ops.iter().map(|(at, by, op)| entry(*at, *by, op.clone())).collect()
}

fn entry(at: u32, by: Consumer, op: Op) -> Entry {
    Entry { uid: uid(at), by, validity: VALIDITY, lease: None, op }
}

fn claim(numbers: &[u32]) -> Op {
    Op::Claim(uids(numbers))
}

fn take(from: Consumer, last_seen: u32, numbers: &[u32]) -> Op {
    Op::Take { from, last_seen: uid(last_seen), uids: uids(numbers) }
}

fn owners(entries: &[Entry], numbers: &[u32]) -> Vec<Option<Consumer>> {
    let all = Ownership::replay(entries, VALIDITY);
    numbers.iter().map(|&n| all.owner(uid(n))).collect()
}

#[test]
fn an_entry_is_read_as_it_was_written() {
    let odd: Vec<u32> = (0..500).map(|n| 4_000_000_000 + 2 * n).collect();
    for op in [claim(&odd), take(B, 17, &odd), claim(&[5]), Op::Renew, Op::Release] {
        let lease = Duration::from_secs(300);
        let mail = write(A, lease, validity(), &op);
        assert!(mail.lines().all(|line| line.len() < 900), "{mail}");
        let written = Entry { lease: Some(lease), ..entry(3, A, op) };
        for number in [6, VALIDITY, 8] {
            let mailbox = UidValidity::new(number, "inbox");
            assert_eq!(read(uid(3), &mail, mailbox).as_ref(), Some(&written), "with its own UIDVALIDITY");
            let bare = mail.replace('\r', "");
            assert_eq!(read(uid(3), &bare, mailbox).as_ref(), Some(&written), "with bare LFs");
        }
    }
}

#[test]
fn an_entry_of_an_earlier_version_is_read() {
    let mail =
        "Subject: pymail claims\r\nFrom: pymail@localhost\r\n\r\npymail-claims-1 a 7 claim\r\n 1:2\r\n";
    assert_eq!(read(uid(3), mail, validity()), Some(entry(3, A, claim(&[1, 2]))));
}

/// It parses the text only, and ignores the header with the lease.
#[test]
fn an_earlier_version_reads_what_is_written() {
    let mail = write(B, Duration::from_secs(300), validity(), &take(A, 17, &[1, 2, 5]));
    let (_, text) = mail.split_once("\r\n\r\n").unwrap();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (a, b) = (A.to_string(), B.to_string());
    assert_eq!(words, ["pymail-claims-1", &b, "7", "take", &a, "17", "1:2,5"]);
}

#[test]
fn a_mail_that_is_no_entry_is_ignored() {
    for text in [
        "",
        "hello",
        MARK,
        "pymail-claims-1 a 7",
        "pymail-claims-1 a 7 claim",
        "pymail-claims-1 a 7 claim 0:",
    ] {
        assert_eq!(read(uid(1), text, validity()), None, "{text}");
    }
}

#[test]
fn the_first_claim_wins_and_a_later_one_gets_the_rest() {
    let entries = log(&[(1, A, claim(&[1, 2])), (2, B, claim(&[2, 3]))]);
    assert_eq!(owners(&entries, &[1, 2, 3, 4]), [Some(A), Some(A), Some(B), None]);
}

#[test]
fn messages_are_taken_only_from_a_consumer_that_has_not_written_since() {
    let silent = log(&[(1, A, claim(&[1])), (2, B, take(A, 1, &[1])), (3, C, take(A, 1, &[1]))]);
    assert_eq!(owners(&silent, &[1]), [Some(B)], "and only once");
    let alive = log(&[(1, A, claim(&[1])), (2, A, Op::Renew), (3, B, take(A, 1, &[1]))]);
    assert_eq!(owners(&alive, &[1]), [Some(A)]);
    let too_late = log(&[(1, A, claim(&[1])), (2, B, take(A, 1, &[1])), (3, A, Op::Renew)]);
    assert_eq!(owners(&too_late, &[1]), [Some(B)]);
}

#[test]
fn a_released_message_can_be_claimed() {
    let entries = log(&[(1, A, claim(&[1, 2])), (2, A, Op::Release), (3, B, claim(&[2]))]);
    assert_eq!(owners(&entries, &[1, 2]), [None, Some(B)]);
}

#[test]
fn entries_of_expunged_messages_are_obsolete_and_those_that_decide_owners_are_kept() {
    let entries = log(&[
        (1, A, claim(&[1])),
        (2, B, claim(&[1, 2])),
        (3, A, Op::Renew),
        (4, B, Op::Renew),
        (5, B, Op::Renew),
        (6, C, take(A, 1, &[1])),
    ]);
    let numbers =
        |present: &[u32]| gone(&entries, &uids(present)).iter().map(|at| at.get()).collect::<Vec<_>>();
    assert_eq!(numbers(&[]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(&[1]), [2, 4], "the renewal of A makes the take by C invalid");
    assert_eq!(numbers(&[2]), [1, 3, 4, 6]);
}

/// Returns the obsolete entries: all entries are old, and these messages are present.
fn gone(entries: &[Entry], present: &UidSet) -> Vec<Uid> {
    obsolete(entries, VALIDITY, |uid| !present.contains(uid), |_| true)
}

#[test]
fn of_a_consumer_that_lost_its_messages_only_the_deciding_and_the_last_entry_are_kept() {
    let mut ops = vec![(1, A, claim(&[1])), (2, A, Op::Renew), (3, C, take(A, 2, &[1]))];
    ops.extend((4..100).map(|at| (at, A, if at % 2 == 0 { claim(&[at]) } else { Op::Renew })));
    let entries = log(&ops);
    let gone = gone(&entries, &uids(&[1]));
    let kept = entries.iter().map(|entry| entry.uid).filter(|at| !gone.contains(at));
    assert_eq!(kept.map(Uid::get).collect::<Vec<_>>(), [3, 99]);
}

#[test]
fn each_inbox_and_each_tag_has_a_log_of_its_own() {
    let plain = log_name("INBOX", "__A__", "__A__");
    assert_eq!((plain.as_str(), log_name("inbox", "__A__", "__A__").as_str()), ("claims", "claims"));
    let logs = [("INBOX", "__A__"), ("INBOX", "__B__"), ("lists", "__A__"), ("lists", "__B__")];
    let names: BTreeSet<String> = logs.iter().map(|(inbox, tag)| log_name(inbox, tag, "archive")).collect();
    assert_eq!(names.len(), logs.len());
    assert_eq!(log_name("InBox", "__A__", "archive"), log_name("INBOX", "__A__", "archive"));
}

/// A pseudo-random generator with a seed.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % below
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(u32::try_from(of.len()).unwrap()) as usize]
    }

    fn some(&mut self, of: &[u32]) -> Vec<u32> {
        of.iter().copied().filter(|_| self.roll(2) == 0).collect()
    }
}

/// Removes obsolete entries in random order.
#[test]
fn removing_obsolete_entries_changes_no_owner_of_a_present_message() {
    let mut dice = Dice(1);
    for _ in 0..5_000 {
        let mut ops = Vec::new();
        for at in 1..=dice.roll(12) + 1 {
            let (by, from) = (dice.any(&[A, B, C]), dice.any(&[A, B, C]));
            let numbers = dice.some(&[1, 2, 3, 4]);
            let op = match dice.roll(5) {
                0 | 1 if !numbers.is_empty() => claim(&numbers),
                2 if !numbers.is_empty() && from != by && at > 1 => {
                    take(from, dice.roll(at - 1) + 1, &numbers)
                }
                3 => Op::Release,
                _ => Op::Renew,
            };
            ops.push((at, by, op));
        }
        let entries = log(&ops);
        let present = dice.some(&[1, 2, 3, 4]);
        let mut left = entries.clone();
        let mut dropped = gone(&left, &uids(&present));
        while !dropped.is_empty() {
            while !dropped.is_empty() {
                let next = dropped.swap_remove(dice.roll(u32::try_from(dropped.len()).unwrap()) as usize);
                left.retain(|entry| entry.uid != next);
                assert_eq!(owners(&left, &present), owners(&entries, &present), "{entries:?}: {left:?}");
            }
            dropped = gone(&left, &uids(&present));
        }
    }
}

/// The lease, in steps. A consumer acts only on a log that it has read less than a lease ago.
const LEASE: u32 = 40;

/// A model of a consumer, with steps instead of seconds.
#[derive(Clone, Default)]
struct Actor {
    view: Vec<Entry>,
    /// The step of the last read.
    read: u32,
    /// The step of the first read of each entry.
    seen: std::collections::HashMap<Uid, u32>,
    present: Vec<u32>,
    /// Entries that it is about to remove, one at a time.
    dropping: Vec<Uid>,
    released: BTreeSet<u32>,
    /// The operation that it is about to write.
    next_op: Option<Op>,
}

/// The log of several consumers, and the owners by all entries that were ever written.
struct World {
    dice: Dice,
    at: u32,
    now: u32,
    server: Vec<Entry>,
    /// The owners without any removal.
    all: Ownership,
    present: Vec<u32>,
    actors: Vec<Actor>,
}

impl World {
    fn step(&mut self) {
        self.now += 1;
        let index = self.dice.roll(3) as usize;
        match self.dice.roll(8) {
            0 | 1 => self.read(index),
            2 | 3 => self.decide(index),
            4 | 5 => self.write(index),
            6 => self.drop_one(index),
            _ => self.acknowledge(index),
        }
    }

    /// Searches and reads the log. The removed entries are those of an older search.
    fn read(&mut self, index: usize) {
        let actor = &mut self.actors[index];
        if actor.dropping.is_empty() {
            actor.dropping = actor.obsolete(self.now);
        }
        actor.view = self.server.clone();
        actor.read = self.now;
        let seen = std::mem::take(&mut actor.seen);
        actor.seen = self.server.iter().map(|it| (it.uid, *seen.get(&it.uid).unwrap_or(&self.now))).collect();
        actor.present = self.present.clone();
    }

    fn decide(&mut self, index: usize) {
        let (me, now) = ([A, B, C][index], self.now);
        let actor = &mut self.actors[index];
        if actor.next_op.is_some() || now - actor.read > LEASE / 4 {
            return;
        }
        let all = Ownership::replay(&actor.view, VALIDITY);
        let from = self.dice.any(&[A, B, C]);
        let last = actor.view.iter().filter(|entry| entry.by == from).map(|entry| entry.uid).max();
        let is_silent = last.is_some_and(|last| now - actor.seen[&last] > LEASE);
        let of = |owner: Option<Consumer>| {
            let is_so = |&n: &u32| all.owner(uid(n)) == owner;
            actor.present.iter().copied().filter(is_so).collect::<Vec<_>>()
        };
        let (free, theirs) = (of(None), of(Some(from)));
        actor.next_op = match self.dice.roll(6) {
            0 | 1 if !free.is_empty() => Some(claim(&free)),
            2 | 3 if from != me && is_silent && !theirs.is_empty() => {
                Some(take(from, last.unwrap().get(), &theirs))
            }
            4 => Some(Op::Renew),
            5 => Some(Op::Release),
            _ => None,
        };
    }

    /// Writes nothing that was decided on an old log: the call has ended by its deadline.
    fn write(&mut self, index: usize) {
        let (now, actor) = (self.now, &mut self.actors[index]);
        let Some(op) = actor.next_op.take().filter(|_| now - actor.read < LEASE) else { return };
        self.at += 1;
        let entry = entry(self.at, [A, B, C][index], op);
        self.all.apply(&entry, VALIDITY);
        self.server.push(entry);
    }

    fn drop_one(&mut self, index: usize) {
        let dropping = &mut self.actors[index].dropping;
        if let Some(last) = u32::try_from(dropping.len()).ok().filter(|&count| count > 0) {
            let next = dropping.swap_remove(self.dice.roll(last) as usize);
            self.server.retain(|entry| entry.uid != next);
        }
    }

    /// Removes a message from the inbox, and adds a new one.
    fn acknowledge(&mut self, index: usize) {
        let mine =
            |&n: &u32| Ownership::replay(&self.server, VALIDITY).owner(uid(n)) == Some([A, B, C][index]);
        if let Some(number) = self.present.iter().copied().find(mine).filter(|_| self.dice.roll(3) == 0) {
            self.present.retain(|&n| n != number);
            self.actors[index].released.insert(number);
            self.present.push(self.present.iter().max().unwrap_or(&0).max(&number) + 1);
        }
    }
}

impl Actor {
    /// Returns the entries that are obsolete by its knowledge: it has archived a message, or a SEARCH before its last read of the
    /// log did not find it.
    fn obsolete(&self, now: u32) -> Vec<Uid> {
        let is_gone = |uid: Uid| {
            let last = self.present.iter().max().copied().unwrap_or(0);
            let n = uid.get();
            self.released.contains(&n) || (n <= last && !self.present.contains(&n))
        };
        obsolete(&self.view, VALIDITY, is_gone, |at| now - self.seen[&at] > LEASE)
    }
}

#[test]
fn consumers_that_remove_entries_at_the_same_time_compute_the_same_owners_and_the_log_stays_short() {
    let mut longest = 0;
    for seed in 0..40 {
        let actors = vec![Actor::default(); 3];
        let (server, all, present) = (Vec::new(), Ownership::default(), vec![1, 2, 3]);
        let mut world = World { dice: Dice(seed), at: 0, now: 0, server, all, present, actors };
        for _ in 0..3_000 {
            world.step();
            let all: Vec<_> = world.present.iter().map(|&n| world.all.owner(uid(n))).collect();
            assert_eq!(owners(&world.server, &world.present), all, "seed {seed}: {:?}", world.server);
        }
        longest = longest.max(world.server.len());
        assert!(world.at > 80, "{}", world.at);
    }
    assert!(longest < 60, "{longest} entries");
}
