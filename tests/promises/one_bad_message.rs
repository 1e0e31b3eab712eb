//! Promise 6: one bad message harms only itself, and none is taken for another's.

use std::time::Duration;

use pymail::{ErrorKind, Imap};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::every_site;
use crate::site::{Site, TAG, mail, message};

/// The kinds of what came, with ids for what could be read.
fn kinds(imap: &Imap) -> Vec<Result<String, ErrorKind>> {
    let batch = imap.fetch().unwrap();
    let kind = |delivery: &pymail::Delivery| {
        delivery.message().map(|message| message.id.clone()).map_err(|error| error.kind())
    };
    batch.iter().map(kind).collect()
}

#[apply(every_site)]
fn a_message_that_cannot_be_read_is_an_error_in_its_place(#[case] site: Site) {
    site.deliver(&[message("before", "a")]);
    site.plant(
        &[],
        "From: bob@example.test\nSubject: __TEST__ grown\nContent-Disposition: inline; size=5\n\ntoo much\n",
    );
    site.plant(&[], "From: bob@example.test\nSubject: __TEST__ cut\nContent-Transfer-Encoding: base64\nContent-Disposition: inline; size=5\n\naGVs\n");
    site.deliver(&[message("after", "b")]);
    let imap = site.imap();
    let expected =
        [Ok("before".into()), Err(ErrorKind::Message), Err(ErrorKind::Message), Ok("after".into())];
    assert_eq!(kinds(&imap), expected);
    imap.fetch().unwrap().ack().unwrap();
    assert!(kinds(&imap).is_empty());
    assert_eq!(mail(&site.other_client(), TAG).len(), 4, "the unreadable ones are kept, too");
}

#[apply(every_site)]
fn a_message_over_the_limit_is_an_error_in_its_place(#[case] site: Site) {
    for message in [message("small", "a"), message("large", vec![0; 200_000]), message("small too", "b")] {
        site.deliver(&[message]);
    }
    let imap = Imap::connect(site.imap_config().max_message(100_000)).unwrap();
    let expected = [Ok("small".into()), Err(ErrorKind::TooLarge), Ok("small too".into())];
    assert_eq!(kinds(&imap), expected);
}

#[apply(every_site)]
fn large_messages_come_a_few_at_a_time_and_keep_their_order(#[case] site: Site) {
    let large = |id: &str| message(id, vec![7; 300_000]);
    for message in [large("1"), message("2", "small"), large("3"), large("4")] {
        site.deliver(&[message]);
    }
    let imap = Imap::connect(site.imap_config().batch_bytes(900_000)).unwrap();
    let mut seen = Vec::new();
    loop {
        let batch = imap.fetch().unwrap();
        if batch.is_empty() {
            break;
        }
        seen.push(batch.iter().map(|delivery| delivery.message().unwrap().id.clone()).collect::<Vec<_>>());
        assert!(batch.iter().all(|d| matches!(d.message().unwrap().body.len(), 5 | 300_000)));
        batch.ack().unwrap();
    }
    assert_eq!(seen, [vec!["1", "2", "3"], vec!["4"]]);
}

/// A mail with so many octets of headers before its Subject.
fn plant_behind_headers(site: &Site, octets: usize, subject: &str) {
    let line = format!("X-Diagnostics: {}\r\n", "x".repeat(60));
    let headers = line.repeat(octets / line.len());
    site.plant(
        &[],
        &format!("From: bob@example.test\r\n{headers}Subject: {subject}\r\n\r\nforeign or not\r\n"),
    );
}

/// Enough that mails are known to be small, whose beginnings are fetched.
fn deliver_small(site: &Site) {
    site.deliver(&(0..3).map(|n| message(&format!("small {n}"), "a")).collect::<Vec<_>>());
}

#[apply(every_site)]
fn a_subject_behind_long_headers_is_read(#[case] site: Site, #[values(false, true)] is_shared: bool) {
    let config = || {
        let config = site.imap_config();
        if is_shared { config.shared(Duration::from_secs(300)) } else { config }
    };
    let imap = Imap::connect(config()).unwrap();
    deliver_small(&site);
    imap.fetch().unwrap().ack().unwrap();
    for octets in [20_000, 150_000, 300_000] {
        plant_behind_headers(&site, octets, &format!("{TAG} behind {octets}"));
        plant_behind_headers(&site, octets, &format!("Re: {TAG} behind {octets}"));
    }
    let expected = [20_000, 150_000, 300_000].map(|octets| Ok(format!("behind {octets}")));
    assert_eq!(kinds(&imap), expected);
    drop(imap);
    let another = Imap::connect(config()).unwrap();
    assert_eq!(kinds(&another), expected, "to a handle that knows no sizes yet");
    another.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 3, "the others are foreign, and stay");
}

#[apply(every_site)]
fn a_message_over_the_limit_is_too_large_wherever_its_subject_stands(#[case] site: Site) {
    plant_behind_headers(&site, 200_000, &format!("{TAG} large"));
    plant_behind_headers(&site, 200_000, "Re: __TEST__ lunch");
    deliver_small(&site);
    let imap = Imap::connect(site.imap_config().max_message(100_000)).unwrap();
    let mut small: Vec<_> = (0..3).map(|n| Ok(format!("small {n}"))).collect();
    small.insert(0, Err(ErrorKind::TooLarge));
    let mut came = kinds(&imap);
    came[1..].sort_by_key(|it| it.clone().ok());
    assert_eq!(came, small);
}

#[apply(every_site)]
fn no_limit_is_no_limit(#[case] site: Site, #[values(false, true)] is_shared: bool) {
    site.deliver(&[message("small", "a"), message("large", vec![7; 300_000])]);
    let config = site.imap_config().batch(usize::MAX).batch_bytes(usize::MAX).max_message(usize::MAX);
    let config = config.remember(usize::MAX);
    let config = if is_shared { config.shared(Duration::from_secs(300)) } else { config };
    let imap = Imap::connect(config).unwrap();
    let mut came = kinds(&imap);
    came.sort_by_key(|it| it.clone().ok());
    assert_eq!(came, [Ok("large".into()), Ok("small".into())]);
    let uids = imap.search("ALL").unwrap();
    assert_eq!(imap.fetch_uids(&uids).unwrap().len(), 2);
    assert_eq!(imap.drain().unwrap().len(), 2);
}
