//! Tests what a delivery says beside its message: when it was sent, when it arrived, and how often it was
//! delivered, on every kind of server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pymail::{Delivery, Imap};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{every_site, postfix};
use crate::mail_site::{Site, TAG, message};

/// Returns this moment in whole seconds, as Date and INTERNALDATE have them.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(UNIX_EPOCH.elapsed().unwrap().as_secs())
}

#[apply(every_site)]
fn a_delivery_says_when_it_was_sent_and_when_it_arrived(#[case] site: Site) {
    let (imap, before) = (site.imap(), now());
    let check = |delivery: &Delivery| {
        let (sent, arrived) = (delivery.sent_at().unwrap(), delivery.arrived_at().unwrap());
        let all = [before, sent, arrived, now()];
        assert!(all.is_sorted(), "{all:?}");
    };
    // The second is larger than a preview, and the third comes in the round trip of its SEARCH where the server can.
    site.deliver(&[message("1", "x"), message("2", vec![b'x'; 300_000])]);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 2);
    batch.iter().for_each(check);
    batch.ack().unwrap();
    site.deliver(&[message("3", "x")]);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 1);
    batch.iter().for_each(check);
}

#[rstest]
fn a_date_of_another_program_is_read_leniently_and_nonsense_is_none(#[from(postfix)] site: Site) {
    let before = now();
    for date in ["Date: 21 Nov 97 09(comment):   55  :  06 EST\n", "Date: yesterday\n", ""] {
        site.plant(&[], &format!("From: eve@example.test\nSubject: {TAG} 1\n{date}\nhello\n"));
    }
    let batch = site.imap().fetch().unwrap();
    let then = UNIX_EPOCH + Duration::from_secs(880_124_106);
    assert_eq!(batch.iter().map(Delivery::sent_at).collect::<Vec<_>>(), [Some(then), None, None]);
    assert!(batch.iter().all(|it| it.message().is_ok() && it.arrived_at() >= Some(before)));
}

/// Fetches, and returns each message's id with its count, in order of the ids.
fn counts(imap: &Imap) -> Vec<(String, u32)> {
    let count = |it: &Delivery| (it.message().unwrap().id.clone(), it.delivery_count());
    let mut counts: Vec<_> = imap.fetch().unwrap().iter().map(count).collect();
    counts.sort();
    counts
}

fn numbered<const N: usize>(counts: [(&str, u32); N]) -> Vec<(String, u32)> {
    counts.map(|(id, count)| (id.to_owned(), count)).to_vec()
}

#[apply(every_site)]
fn without_dead_letters_a_handle_counts_its_own_deliveries(#[case] site: Site) {
    site.deliver(&[message("1", "x")]);
    let imap = site.imap();
    assert_eq!(counts(&imap), numbered([("1", 1)]));
    site.deliver(&[message("2", "x")]);
    assert_eq!(counts(&imap.clone()), numbered([("1", 2), ("2", 1)]));
    let walked: Vec<u32> = imap.deliveries().map(|it| it.unwrap().delivery_count()).collect();
    assert_eq!(walked.iter().sum::<u32>(), 5);
    assert_eq!(counts(&site.imap()), numbered([("1", 1), ("2", 1)]), "another handle counts anew");
    let received = imap.fetch_and_ack().unwrap();
    assert_eq!(received.iter().map(Delivery::delivery_count).sum::<u32>(), 7);
}

#[apply(every_site)]
fn with_dead_letters_each_delivery_after_a_reject_counts_once(#[case] site: Site) {
    site.deliver(&[message("1", "x"), message("2", "x")]);
    let imap = Imap::connect(site.imap_config().dead_letters(5)).unwrap();
    assert_eq!(counts(&imap), numbered([("1", 1), ("2", 1)]));
    let batch = imap.fetch().unwrap();
    assert!(batch.iter().all(|it| it.delivery_count() == 1), "in the same hands it is the same delivery");
    imap.reject(batch.iter().filter(|it| it.message().unwrap().id == "2"), "no").unwrap();
    assert_eq!(counts(&imap), numbered([("1", 1), ("2", 2)]));
}

#[rstest]
fn with_dead_letters_the_count_is_that_of_all_handles(#[from(postfix)] site: Site) {
    site.deliver(&[message("1", "x")]);
    for nth in 1..=3 {
        let imap = Imap::connect(site.imap_config().dead_letters(3)).unwrap();
        assert_eq!(counts(&imap), numbered([("1", nth)]));
    }
}

#[rstest]
fn an_error_in_place_of_a_message_is_counted_too(#[from(postfix)] site: Site) {
    site.plant(&[], &format!("Subject: {TAG} 1\nContent-Disposition: inline; size=5\n\nno\n"));
    let imap = site.imap();
    for nth in 1..=3 {
        let batch = imap.fetch().unwrap();
        let seen: Vec<_> = batch.iter().map(|it| (it.message().is_err(), it.delivery_count())).collect();
        assert_eq!(seen, [(true, nth)]);
    }
}
