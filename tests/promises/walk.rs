//! Bounded: a walk through an inbox of any size holds one batch at a time, and leaves nothing out.

use std::time::Duration;

use pymail::{Delivery, Imap};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{every_site, postfix};
use crate::mail_site::{Site, TAG, mail, message};

fn id(delivery: &Delivery) -> String {
    delivery.message().unwrap().id.clone()
}

/// Returns sorted numbers: a server that delivers several at a time may change their order.
fn walk(imap: &Imap) -> Vec<usize> {
    let mut ids: Vec<usize> = imap.deliveries().map(|it| id(&it.unwrap()).parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<pymail::Message> {
    numbers.map(|number| message(&number.to_string(), "hello")).collect()
}

#[apply(every_site)]
fn a_walk_meets_each_message_once_and_changes_nothing(#[case] site: Site) {
    site.plant(&[], "From: eve@example.test\r\nSubject: lunch\r\n\r\nforeign\r\n");
    site.deliver(&numbered(0..10));
    site.plant(&[], &format!("From: eve@example.test\r\nSubject: Re: {TAG} 3\r\n\r\nforeign\r\n"));
    site.deliver(&numbered(10..20));
    let before = mail(&site.other_client(), "INBOX");
    let imap = Imap::connect(site.imap_config().batch(3)).unwrap();
    assert_eq!(walk(&imap), (0..20).collect::<Vec<_>>());
    assert_eq!(walk(&imap), (0..20).collect::<Vec<_>>(), "another walk begins anew");
    assert_eq!(mail(&site.other_client(), "INBOX"), before);
}

#[apply(every_site)]
fn messages_acknowledged_on_a_walk_go_and_the_rest_stays(#[case] site: Site) {
    site.deliver(&numbered(0..11));
    let imap = Imap::connect(site.imap_config().batch(4)).unwrap();
    for delivery in imap.deliveries() {
        let delivery = delivery.unwrap();
        if id(&delivery).parse::<usize>().unwrap() % 2 == 0 {
            imap.ack([&delivery]).unwrap();
        }
    }
    assert_eq!(walk(&imap), [1, 3, 5, 7, 9]);
    assert_eq!(walk(&site.imap()), [1, 3, 5, 7, 9], "on the server, too");
    assert_eq!(mail(&site.other_client(), TAG).len(), 6);
}

#[rstest]
fn a_message_that_there_is_no_room_for_comes_later_in_its_walk(#[from(postfix)] site: Site) {
    let sizes = [10, 300_000, 200_000, 10, 400_000, 50_000, 300_000, 10];
    let messages = sizes.iter().enumerate();
    let messages: Vec<_> =
        messages.map(|(number, &size)| message(&number.to_string(), vec![b'x'; size])).collect();
    site.deliver(&messages);
    let config = site.imap_config().batch_bytes(600_000).max_message(700_000);
    let imap = Imap::connect(config).unwrap();
    let mut walked: Vec<(usize, usize)> = Vec::new();
    for delivery in imap.deliveries() {
        let message = delivery.unwrap().into_message().unwrap();
        walked.push((message.id.parse().unwrap(), message.body.len()));
    }
    walked.sort_unstable();
    assert_eq!(walked, (0..).zip(sizes).collect::<Vec<(usize, usize)>>());
    let received: usize =
        std::iter::repeat_with(|| imap.fetch_and_ack().unwrap().len()).take_while(|n| *n > 0).sum();
    assert_eq!(received, sizes.len());
}

#[rstest]
fn changes_by_another_client_to_mail_found_before_are_respected(#[from(postfix)] site: Site) {
    site.deliver(&numbered(0..9));
    let (imap, other) = (Imap::connect(site.imap_config().batch(3)).unwrap(), site.other_client());
    let mut found = imap.deliveries().map(|delivery| delivery.unwrap().uid().get());
    assert_eq!(found.next(), Some(1));
    // The handle knows all nine now.
    other.flag("INBOX", 5, &["\\Deleted"]).unwrap();
    other.flag("INBOX", 8, &["\\Deleted"]).unwrap();
    other.expunge("INBOX", &[8]).unwrap();
    assert_eq!(found.collect::<Vec<_>>(), [2, 3, 4, 6, 7, 9]);
    let kept = mail(&other, "INBOX");
    let fifth = kept.iter().find(|seen| seen.uid == 5).unwrap();
    assert!(fifth.flags.contains(&"\\Deleted".into()), "{fifth:?}");
}

#[rstest]
fn an_older_message_that_turns_up_with_new_ones_comes_first(#[from(postfix)] site: Site) {
    let other = site.other_client();
    site.deliver(&numbered(0..2));
    other.flag("INBOX", 1, &["\\Deleted"]).unwrap();
    let imap = Imap::connect(site.imap_config().batch(3)).unwrap();
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 1);
    site.deliver(&numbered(2..4));
    other.unflag("INBOX", 1, &["\\Deleted"]).unwrap();
    let fetched = || imap.fetch().unwrap().iter().map(|it| it.uid().get()).collect::<Vec<_>>();
    assert_eq!(fetched(), [1, 3, 4]);
    assert_eq!(fetched(), [1, 3, 4], "as long as they wait");
}

/// A handle claims a batch of free messages anywhere in the inbox, so that two seldom want the same.
#[rstest]
fn a_walk_through_a_shared_mailbox_leaves_out_no_message_that_is_free(#[from(postfix)] site: Site) {
    site.deliver(&numbered(0..60));
    let config = || site.imap_config().shared(Duration::from_secs(300)).batch(5);
    let other = Imap::connect(config()).unwrap();
    let held: Vec<usize> = other.fetch().unwrap().iter().map(|it| id(it).parse().unwrap()).collect();
    let walked = walk(&Imap::connect(config()).unwrap());
    assert_eq!((held.len(), walked.len()), (5, 55));
    assert!(held.iter().all(|number| walked.binary_search(number).is_err()), "{held:?}");
}
