//! Promise 6: one bad message harms only itself.

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
