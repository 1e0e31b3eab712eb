//! Tests what a delivery says beside its message: when it was sent and when it arrived, on every kind of server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pymail::Delivery;
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
