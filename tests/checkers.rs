//! The checkers of `cargo xtask consumers` and `cargo xtask soak`: they find every violation, and no other. The measurement
//! of memory: it finds a peak.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use crate::support::books::{Balance, Books, Told};
use crate::support::usage::PeakMemory;
use crate::support::verdict::{Event, Verdict, What, check};

/// Returns the verdict on a record of consumers and messages; an entry's place is its time.
fn verdict(record: &[(usize, What, usize)], killed: &[(usize, u64)], archived: &[usize]) -> Verdict {
    let event = |(at, &(consumer, what, message))| {
        let (pid, text) = (1, String::new());
        Event { at, consumer, pid, what, message: Some(message), text }
    };
    let events: Vec<Event> = (1..).zip(record).map(event).collect();
    check(
        &events,
        &BTreeMap::from_iter(killed.to_vec()),
        2,
        &BTreeSet::from_iter(archived.to_vec()),
        &BTreeSet::new(),
    )
}

/// Returns the counts: handled, twice, twice without need, lost, evicted.
fn counts(verdict: &Verdict) -> [usize; 5] {
    [verdict.handled, verdict.twice, verdict.twice_unheld, verdict.lost, verdict.evicted]
}

use What::{Evicted, Handed, Handled};

const RIGHT: [(usize, What, usize); 4] = [(1, Handed, 0), (2, Handed, 1), (1, Handled, 0), (2, Handled, 1)];

#[test]
fn each_message_once_is_right() {
    let verdict = verdict(&RIGHT, &[], &[0, 1]);
    assert_eq!((counts(&verdict), verdict.stories.len()), ([2, 0, 0, 0, 0], 0));
}

#[test]
fn a_message_that_no_consumer_had_or_that_is_not_archived_is_lost() {
    assert_eq!(counts(&verdict(&RIGHT[..1], &[], &[0, 1])), [1, 0, 0, 1, 0]);
    let verdict = verdict(&RIGHT, &[], &[0]);
    assert_eq!((counts(&verdict), verdict.stories.len()), ([1, 0, 0, 1, 0], 1));
}

#[test]
fn a_message_of_a_killed_consumer_may_be_handed_to_another() {
    let record = [(1, Handed, 0), (2, Handed, 0), (2, Handled, 0), (2, Handed, 1), (2, Handled, 1)];
    assert_eq!(counts(&verdict(&record, &[(1, 2)], &[0, 1])), [2, 1, 0, 0, 0]);
    assert_eq!(counts(&verdict(&record, &[], &[0, 1])), [2, 1, 1, 0, 0], "it lives");
    assert_eq!(counts(&verdict(&record, &[(1, 3)], &[0, 1])), [2, 1, 1, 0, 0], "it was killed later");
    assert_eq!(counts(&verdict(&record, &[(2, 6)], &[0, 1])), [2, 1, 1, 0, 0], "another was killed");
}

#[test]
fn an_acknowledged_message_or_one_handed_again_by_its_owner_is_handed_once_too_often() {
    let acknowledged = [(1, Handed, 0), (1, Handled, 0), (2, Handed, 0), (2, Handed, 1)];
    assert_eq!(counts(&verdict(&acknowledged, &[(1, 3)], &[0, 1])), [2, 1, 1, 0, 0]);
    let same = [(1, Handed, 0), (1, Handed, 0), (2, Handed, 1)];
    assert_eq!(counts(&verdict(&same, &[], &[0, 1])), [2, 1, 1, 0, 0]);
}

#[test]
fn a_living_consumer_that_lost_its_messages_is_reported() {
    let record = [(1, Handed, 0), (1, Evicted, 0), (1, Handed, 1)];
    let verdict = verdict(&record, &[], &[0, 1]);
    assert_eq!((counts(&verdict), verdict.stories.len()), ([2, 0, 0, 0, 1], 1));
}

/// Returns the balance of one message: the outcome that the sender got, and the number of times it was received.
fn balance(told: Told, received: usize) -> Balance {
    let mut books = Books::default();
    books.told(1, 0, told, 1);
    (0..received).for_each(|_| books.received(1, 0, 7, 2));
    books.balance(1, &[1])
}

#[test]
fn a_sent_message_is_received_once_an_unknown_one_at_most_once_and_a_failed_one_never() {
    for (told, wrong) in [
        (Told::Sent, [(1, 0), (0, 0), (0, 1)]),
        (Told::Unknown, [(0, 0), (0, 0), (0, 1)]),
        (Told::Failed, [(0, 0), (0, 1), (0, 1)]),
        (Told::Nothing, [(0, 0), (0, 1), (0, 1)]),
    ] {
        let balances = [0, 1, 2].map(|received| balance(told, received));
        assert_eq!(balances.each_ref().map(|it| (it.lost, it.duplicates)), wrong, "{told:?}");
        assert!(balances.iter().all(|it| it.stories.len() == it.lost + it.duplicates), "{told:?}");
    }
}

#[test]
fn copies_that_a_server_has_made_are_no_duplicates_for_consumers_that_share_a_mailbox() {
    let balance = |uids: [u32; 2], shared, submitted: &[u64]| {
        let mut books = Books::default();
        books.told(1, 0, Told::Sent, 1);
        for uid in uids {
            books.received(1, 0, uid, 2);
        }
        let balance = books.balance(shared, submitted);
        (balance.duplicates, balance.copied)
    };
    assert_eq!(balance([7, 8], 1, &[1]), (0, 1));
    assert_eq!(balance([7, 8], 1, &[1, 1]), (1, 0), "the library has sent it twice");
    assert_eq!(balance([7, 7], 1, &[1]), (1, 0), "the same copy");
    assert_eq!(balance([7, 8], 0, &[1]), (1, 0), "one consumer drops duplicates");
}

#[test]
fn memory_that_is_free_again_was_part_of_the_peak() {
    let memory = PeakMemory::watch();
    drop(black_box(vec![1_u8; 256 << 20]));
    // Other tests in this process may have freed some.
    assert!(memory.growth() > 128 << 20, "{} MiB", memory.growth() >> 20);
}
