//! Push: a message is handled as soon as the server announces it.

use std::thread;
use std::time::Duration;

use pymail::{Delivery, Imap, ImapConfig, Push};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::every_site;
use crate::mail_site::{Site, TAG, mail, message};

/// So long that a test which needs it fails by its own time limit.
const NEVER: Duration = Duration::from_secs(3_600);

/// The longest wait for a message on a busy machine. Courier looks for new mail once a minute.
const PATIENCE: Duration = Duration::from_secs(150);

fn id(delivery: &Delivery) -> String {
    delivery.message().unwrap().id.clone()
}

/// Returns a configuration by which messages are found by announcements alone.
fn push_only(site: &Site) -> ImapConfig {
    site.imap_config().heartbeat(Duration::from_secs(1)).recheck(NEVER)
}

#[apply(every_site)]
fn a_waiting_consumer_gets_each_message_once_as_it_arrives(#[case] site: Site) {
    let imap = Imap::connect(push_only(&site)).unwrap();
    site.plant(&[], "From: eve@example.test\r\nSubject: lunch\r\n\r\nforeign\r\n");
    thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            let mut ids = Vec::new();
            for delivery in imap.consume() {
                let delivery = delivery.unwrap();
                ids.push(id(&delivery));
                imap.ack([&delivery]).unwrap();
                if ids.len() == 4 {
                    break;
                }
            }
            ids
        });
        // Not by `deliver`, which waits until the messages are in the inbox: they may be in the archive by then.
        let smtp = site.smtp();
        for id in ["1", "2", "3", "4"] {
            assert!(smtp.send(&message(id, "a")).unwrap().all_accepted());
        }
        let mut ids = consumer.join().unwrap();
        ids.sort();
        assert_eq!(ids, ["1", "2", "3", "4"]);
    });
    assert!(imap.status().push.is_some_and(|push| push != Push::Distrusted), "{:?}", imap.status());
    assert_eq!(mail(&site.other_client(), TAG).len(), 4);
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 1);
}

#[apply(every_site)]
fn a_wait_ends_when_mail_arrives_and_not_for_mail_that_was_fetched(#[case] site: Site) {
    let imap = Imap::connect(push_only(&site)).unwrap();
    site.deliver(&[message("1", "a")]);
    while imap.fetch().unwrap().is_empty() {
        assert!(imap.wait(PATIENCE).unwrap());
    }
    // Dovecot announces a message again that it has announced to no one yet.
    while imap.wait(Duration::from_millis(600)).unwrap() {
        assert_eq!(imap.fetch().unwrap().len(), 1);
    }
    site.deliver(&[message("2", "b")]);
    assert!(imap.wait(PATIENCE).unwrap());
    assert_eq!(imap.fetch().unwrap().len(), 2);
}
