//! Tests the counts of `stats()`, on real servers.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pymail::{Imap, Stats};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{every_site, postfix};
use crate::mail_site::{Site, TAG, message};
use crate::support::process::wait_until;

/// Returns the counts of messages: received, redelivered, acknowledged, returned, duplicates.
fn counts(stats: &Stats) -> [u64; 5] {
    [stats.received, stats.redelivered, stats.acknowledged, stats.returned, stats.duplicates]
}

/// Appends a tagged mail with a Message-ID.
fn plant(site: &Site, id: &str) {
    let from = "From: alice@example.test";
    site.plant(&[], &format!("Message-ID: <{id}@example.test>\n{from}\nSubject: {TAG} {id}\n\nhello\n"));
}

#[apply(every_site)]
fn messages_are_counted_as_they_are_received_returned_and_acknowledged(#[case] site: Site) {
    site.deliver(&[message("1", "a"), message("2", "b")]);
    site.plant(&[], "From: eve@example.test\nSubject: lunch\n\nforeign\n");
    let imap = site.imap();
    assert_eq!((counts(&imap.stats()), imap.stats().depth), ([0; 5], None));
    let batch = imap.fetch().unwrap();
    assert_eq!((counts(&imap.stats()), imap.stats().depth), ([2, 0, 0, 0, 0], Some(2)));
    imap.nack(batch.iter().take(1), Duration::ZERO).unwrap();
    assert_eq!(imap.fetch().unwrap().len(), 2);
    assert_eq!(counts(&imap.stats()), [4, 2, 0, 1, 0]);
    batch.ack().unwrap();
    assert_eq!(counts(&imap.stats()), [4, 2, 2, 1, 0]);
    batch.ack().unwrap();
    assert!(imap.fetch().unwrap().is_empty());
    assert_eq!((counts(&imap.stats()), imap.stats().depth), ([4, 2, 2, 1, 0], Some(0)), "each once");
    site.deliver(&[message("3", "c")]);
    wait_until("a message", || imap.fetch_and_ack().unwrap().len() == 1);
    assert_eq!(counts(&imap.clone().stats()), [5, 2, 3, 1, 0]);
}

#[apply(every_site)]
fn copies_that_are_not_delivered_are_counted_as_duplicates(#[case] site: Site) {
    let imap = site.imap();
    plant(&site, "1");
    plant(&site, "1");
    imap.fetch().unwrap().ack().unwrap();
    assert_eq!(counts(&imap.stats()), [1, 0, 1, 0, 1]);
    plant(&site, "1");
    wait_until("the copy", || imap.fetch().unwrap().is_empty() && imap.stats().duplicates == 2);
    assert!(imap.fetch().unwrap().is_empty());
    assert_eq!(counts(&imap.stats()), [1, 0, 1, 0, 2], "a copy of an acknowledged message counts once");
}

#[apply(every_site)]
fn the_time_from_the_announcement_to_the_delivery_is_measured(#[case] site: Site) {
    let imap = Imap::connect(site.imap_config().heartbeat(Duration::from_secs(1))).unwrap();
    let (smtp, (report, deliveries)) = (site.smtp(), mpsc::channel());
    thread::scope(|scope| {
        let imap = &imap;
        scope.spawn(move || {
            for delivery in imap.consume() {
                imap.ack([&delivery.unwrap()]).unwrap();
                report.send(()).unwrap();
            }
        });
        // A message that is there before the consumer waits is not announced.
        for id in 1..=20 {
            assert!(smtp.send(&message(&id.to_string(), "x")).unwrap().all_accepted());
            deliveries.recv().unwrap();
            if imap.stats().push_latency.count > 0 {
                break;
            }
        }
        assert_eq!(imap.drain(Duration::ZERO), 0);
    });
    let stats = imap.stats();
    let latency = stats.push_latency;
    assert!((1..=stats.received).contains(&latency.count), "{stats:?}");
    assert!(latency.quantile(0.5).unwrap() <= latency.max && latency.max <= latency.sum, "{latency:?}");
    assert_eq!((stats.received, stats.redelivered), (stats.acknowledged, 0), "{stats:?}");
}

#[rstest]
fn sent_messages_and_refusals_are_counted(#[from(postfix)] site: Site) {
    let (imap, smtp) = (site.imap(), site.smtp());
    let unknown = pymail::Message::new("2", "alice@example.test", "no-such-user@example.test", "x");
    let results = smtp.send_all(&[message("1", "x"), unknown]);
    let failed = results.iter().filter(|result| result.is_err()).count() as u64;
    assert_eq!((smtp.stats().sent, smtp.stats().refused), (2 - failed, failed), "{results:?}");
    assert_eq!(imap.stats().refused, 0);
    assert!(imap.search("NONSENSE").is_err());
    assert_eq!((imap.stats().refused, imap.stats().reconnects), (1, 0));
}
