//! The judges of `cargo xtask consumers` and `cargo xtask soak`, judged: they find what is wrong, and only that.

#[path = "soak/books.rs"]
#[allow(dead_code, reason = "only the balance is judged")]
mod books;
#[path = "consumers/verdict.rs"]
#[allow(dead_code, reason = "the record is written and read elsewhere")]
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use books::{Balance, Books, Told};
use verdict::{Event, Verdict, What, judge};

/// What two consumers do with two messages: at the time that is its place, each does this with that.
fn verdict(record: &[(usize, What, usize)], killed: &[(usize, u64)], archived: &[usize]) -> Verdict {
    let event = |(at, &(consumer, what, message))| {
        let (pid, text) = (1, String::new());
        Event { at, consumer, pid, what, message: Some(message), text }
    };
    let events: Vec<Event> = (1..).zip(record).map(event).collect();
    judge(
        &events,
        &BTreeMap::from_iter(killed.to_vec()),
        2,
        &BTreeSet::from_iter(archived.to_vec()),
        &BTreeSet::new(),
    )
}

/// Handled, twice, twice without need, lost, evicted.
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
fn a_message_that_nobody_had_or_that_is_not_archived_is_lost() {
    assert_eq!(counts(&verdict(&RIGHT[..1], &[], &[0, 1])), [1, 0, 0, 1, 0]);
    let verdict = verdict(&RIGHT, &[], &[0]);
    assert_eq!((counts(&verdict), verdict.stories.len()), ([1, 0, 0, 1, 0], 1));
}

#[test]
fn who_was_killed_with_a_message_may_be_followed_by_another() {
    let record = [(1, Handed, 0), (2, Handed, 0), (2, Handled, 0), (2, Handed, 1), (2, Handled, 1)];
    assert_eq!(counts(&verdict(&record, &[(1, 2)], &[0, 1])), [2, 1, 0, 0, 0]);
    assert_eq!(counts(&verdict(&record, &[], &[0, 1])), [2, 1, 1, 0, 0], "it lives");
    assert_eq!(counts(&verdict(&record, &[(1, 3)], &[0, 1])), [2, 1, 1, 0, 0], "it was killed later");
    assert_eq!(counts(&verdict(&record, &[(2, 6)], &[0, 1])), [2, 1, 1, 0, 0], "another was killed");
}

#[test]
fn what_was_acknowledged_or_is_handed_again_by_the_same_one_is_handed_once_too_often() {
    let acknowledged = [(1, Handed, 0), (1, Handled, 0), (2, Handed, 0), (2, Handed, 1)];
    assert_eq!(counts(&verdict(&acknowledged, &[(1, 3)], &[0, 1])), [2, 1, 1, 0, 0]);
    let same = [(1, Handed, 0), (1, Handed, 0), (2, Handed, 1)];
    assert_eq!(counts(&verdict(&same, &[], &[0, 1])), [2, 1, 1, 0, 0]);
}

#[test]
fn a_living_consumer_that_lost_its_messages_is_told_of() {
    let record = [(1, Handed, 0), (1, Evicted, 0), (1, Handed, 1)];
    let verdict = verdict(&record, &[], &[0, 1]);
    assert_eq!((counts(&verdict), verdict.stories.len()), ([2, 0, 0, 0, 1], 1));
}

/// One message, of which the sender was told this, and which was received so often.
fn balance(told: Told, received: usize) -> Balance {
    let mut books = Books::default();
    books.told(1, 0, told, 1);
    (0..received).for_each(|_| books.received(1, 0, 2));
    books.balance()
}

#[test]
fn what_is_sent_is_received_once_what_is_unknown_at_most_once_and_what_failed_never() {
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
