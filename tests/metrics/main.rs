//! The feature `metrics`, with one recorder for all tests; each test has a server of its own, and so labels of its own.
#![allow(unreachable_pub, dead_code, unused_macros, reason = "the fixtures are shared with the other tests")]

#[path = "../fixtures.rs"]
mod fixtures;
#[path = "../mail_site.rs"]
mod mail_site;
mod recorder;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Unit;
use pymail::{Imap, ImapConfig, Message, Stats};
use pymail_test_support as support;
use rstest::rstest;

use crate::fixtures::{embedded, postfix};
use crate::mail_site::{ALICE, REFUSED, Site, TAG, message};
use crate::recorder::Recorder;
use crate::support::process::wait_until;

/// Returns the label of a server of the tests.
fn label(port: u16) -> String {
    format!("localhost:{port}")
}

/// Returns the label of the server that [`Site::imap_config`] names.
fn imap_label(site: &Site) -> String {
    label(if matches!(site, Site::Embedded(_)) { site.ports().imap } else { site.ports().imaps })
}

/// Returns settings without a heartbeat, which counts commands at any time.
fn quiet(site: &Site) -> ImapConfig {
    site.imap_config().heartbeat(Duration::from_secs(3_600))
}

/// Returns the counts, by the names of the metrics.
fn named(stats: &Stats) -> BTreeMap<String, f64> {
    let counts = [
        ("commands", stats.commands),
        ("reconnects", stats.reconnects),
        ("bytes_sent", stats.bytes_sent),
        ("bytes_received", stats.bytes_received),
        ("refused", stats.refused),
        ("sent", stats.sent),
        ("withheld", stats.withheld),
        ("unreadable", stats.unreadable),
        ("dead_letters", stats.dead_letters),
        ("archive_unread", stats.archive_unread),
        ("received", stats.received),
        ("redelivered", stats.redelivered),
        ("acknowledged", stats.acknowledged),
        ("returned", stats.returned),
        ("duplicates", stats.duplicates),
    ];
    let float = |count: u64| f64::from(u32::try_from(count).unwrap());
    let counts = counts.map(|(name, count)| (format!("pymail_{name}_total"), float(count)));
    let latency = (stats.push_latency.count > 0)
        .then(|| ("pymail_push_latency_seconds".to_owned(), float(stats.push_latency.count)));
    let depth = stats.depth.map(|depth| ("pymail_depth".to_owned(), float(depth)));
    counts.into_iter().chain(latency).chain(depth).collect()
}

/// Waits until the recorder has all counts of the only handle of a server: a beat may be under way.
fn agree(protocol: &str, server: &str, stats: impl Fn() -> Stats) {
    let positive = |counts: BTreeMap<String, f64>| counts.into_iter().filter(|(_, count)| *count > 0.0);
    wait_until("the counts", || {
        let published = Recorder::installed().of(protocol, server);
        positive(published).eq(positive(named(&stats())))
    });
}

/// Consumes so many messages, and acknowledges them.
fn consume(imap: &Imap, messages: usize) {
    for delivery in imap.consume().take(messages) {
        imap.ack([&delivery.unwrap()]).unwrap();
    }
}

#[rstest]
fn the_recorder_gets_the_counts_of_stats(#[from(postfix)] site: Site) {
    let recorder = Recorder::installed();
    let (imap, smtp) = (Imap::connect(quiet(&site).dead_letters(5)).unwrap(), site.smtp());
    let (receiving, sending) = (imap_label(&site), label(site.ports().smtp));
    let send = |ids: std::ops::Range<u32>| {
        let messages: Vec<_> = ids.map(|id| message(&format!("order-{id}"), "x")).collect();
        assert!(smtp.send_all(&messages).iter().all(Result::is_ok));
    };
    send(1..2);
    for delivery in imap.consume() {
        imap.reject([&delivery.unwrap()], "not today").unwrap();
        if imap.stats().dead_letters > 0 {
            break;
        }
    }
    send(2..6);
    for delivery in imap.consume().take(2) {
        imap.nack([&delivery.unwrap()], Duration::ZERO).unwrap();
    }
    consume(&imap, 4);
    assert!(imap.search("NONSENSE").is_err());
    let _ = smtp.send(&Message::new("order-6", ALICE, REFUSED, "x")).unwrap_err();
    send(7..8);
    consume(&imap, 1);
    let stats = imap.stats();
    assert_eq!((stats.acknowledged, stats.dead_letters, stats.refused), (5, 1, 1));
    agree("imap", &receiving, || imap.stats());
    agree("smtp", &sending, || smtp.stats());

    let (units, published) = (recorder.units(), recorder.of("imap", &receiving));
    assert!(published.keys().all(|name| units.contains_key(name)), "{units:?}");
    assert_eq!(units["pymail_bytes_sent_total"], Unit::Bytes);
    assert_eq!(units["pymail_push_latency_seconds"], Unit::Seconds);
    assert_eq!(published.get("pymail_archive_unread_total"), Some(&0.0), "before the first failure");
    let all = format!("{:?}", recorder.series());
    for text in ["alice", "@", "order-", TAG] {
        assert!(!all.contains(text), "{text} in {all}");
    }
}

#[rstest]
fn latencies_of_push_are_recorded(#[from(embedded)] site: Site) {
    Recorder::installed();
    let (imap, smtp) = (Imap::connect(site.imap_config()).unwrap(), site.smtp());
    for id in 1..=20 {
        // A message that is there before the consumer waits is not announced.
        let waiting = imap.clone();
        let consumer = std::thread::spawn(move || consume(&waiting, 1));
        assert!(smtp.send(&message(&id.to_string(), "x")).unwrap().all_accepted());
        consumer.join().unwrap();
        if imap.stats().push_latency.count > 0 {
            break;
        }
    }
    assert!(imap.stats().push_latency.count > 0);
    agree("imap", &imap_label(&site), || imap.stats());
}

#[rstest]
fn the_depth_is_the_sum_of_all_open_handles(#[from(embedded)] site: Site) {
    let recorder = Recorder::installed();
    let server = imap_label(&site);
    let depth = || recorder.of("imap", &server).get("pymail_depth").copied();
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let (first, second) = (Imap::connect(quiet(&site)).unwrap(), Imap::connect(quiet(&site)).unwrap());
    assert_eq!(depth(), None);
    let _batch = first.fetch().unwrap();
    assert_eq!(depth(), Some(2.0));
    let _same = first.clone().fetch().unwrap();
    assert_eq!(depth(), Some(2.0), "clones are one handle");
    let batch = second.fetch().unwrap();
    assert_eq!(depth(), Some(4.0));
    first.close().unwrap();
    assert_eq!(depth(), Some(2.0));
    drop(second);
    drop(batch);
    wait_until("the drop", || depth() == Some(0.0));
    assert_eq!(recorder.of("imap", &server)["pymail_received_total"].to_bits(), 6.0_f64.to_bits());
}

#[rstest]
fn a_recorder_that_panics_harms_no_verb_and_no_heartbeat(#[from(embedded)] site: Site) {
    let (recorder, server) = (Recorder::installed(), imap_label(&site));
    let panics = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&panics);
    let panicking = move || {
        count.fetch_add(1, Ordering::SeqCst);
        std::panic::panic_any("the recorder panics")
    };
    recorder.hook(&server, Some(Arc::new(panicking)));
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let imap = Imap::connect(site.imap_config().heartbeat(Duration::from_secs(1))).unwrap();
    consume(&imap, 2);
    let stats = imap.stats();
    assert_eq!((stats.received, stats.acknowledged, stats.reconnects), (2, 2, 0));
    wait_until("two more heartbeats", || imap.stats().commands >= stats.commands + 2);
    assert!(panics.load(Ordering::SeqCst) > 0 && recorder.of("imap", &server).is_empty());

    recorder.hook(&server, None);
    site.deliver(&[message("3", "c")]);
    consume(&imap, 1);
    let after = recorder.of("imap", &server);
    assert_eq!((after["pymail_received_total"], after["pymail_acknowledged_total"]), (1.0, 1.0));
}

#[rstest]
fn a_recorder_that_calls_the_handle_waits_for_no_lock(#[from(embedded)] site: Site) {
    let (recorder, server) = (Recorder::installed(), imap_label(&site));
    let imap = Imap::connect(quiet(&site)).unwrap();
    let (handle, inside, calls) = (imap.clone(), AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&calls);
    let calling = move || {
        if !inside.swap(true, Ordering::SeqCst) {
            handle.noop().unwrap();
            count.fetch_add(usize::from(handle.stats().commands > 0), Ordering::SeqCst);
            let _ = handle.status();
            inside.store(false, Ordering::SeqCst);
        }
    };
    recorder.hook(&server, Some(Arc::new(calling)));
    site.deliver(&[message("1", "a"), message("2", "b")]);
    consume(&imap, 2);
    recorder.hook(&server, None);
    assert!(calls.load(Ordering::SeqCst) > 0);
    agree("imap", &server, || imap.stats());
}
