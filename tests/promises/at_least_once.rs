//! At least once: a message leaves the inbox only by `ack`, and is in the archive then.

use pymail::{ErrorKind, Imap};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{dovecot, every_site, postfix};
use crate::mail_site::{Site, TAG, contains, mail, message};
use crate::support::dovecot::dovecot_without;
use crate::support::postfix::PostfixOptions;

/// Returns sorted ids, because Postfix delivers several messages at a time.
fn ids(imap: &Imap) -> Vec<String> {
    let batch = imap.fetch().unwrap();
    let mut ids: Vec<String> = batch.iter().map(|delivery| delivery.message().unwrap().id.clone()).collect();
    ids.sort();
    ids
}

#[apply(every_site)]
fn an_unacknowledged_message_is_delivered_again(#[case] site: Site) {
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let first = site.imap();
    assert_eq!(ids(&first), ["1", "2"]);
    assert_eq!(ids(&first), ["1", "2"], "on the same connection");
    drop(first);
    let second = site.imap();
    let batch = second.fetch().unwrap();
    second.ack(batch.iter().filter(|delivery| delivery.message().unwrap().id == "1")).unwrap();
    drop(second);
    assert_eq!(ids(&site.imap()), ["2"], "after a crash between two acknowledgements");
}

#[apply(every_site)]
#[case::without_move(Site::real(&dovecot_without(&["MOVE"]), &PostfixOptions::default()))]
fn an_acknowledged_message_is_in_the_archive_and_nowhere_else(#[case] site: Site) {
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let other = site.other_client();
    let waiting = mail(&other, "INBOX");
    let imap = site.imap();
    imap.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&other, "INBOX"), []);
    let raw = |mail: Vec<crate::support::other_client::Seen>| {
        mail.into_iter().map(|seen| seen.raw).collect::<Vec<_>>()
    };
    assert_eq!(raw(mail(&other, TAG)), raw(waiting));
    assert!(ids(&imap).is_empty());
}

#[rstest]
fn without_move_and_uidplus_an_acknowledged_message_is_archived_and_not_delivered_again() {
    let site = Site::real(&dovecot_without(&["MOVE", "UIDPLUS"]), &PostfixOptions::default());
    site.deliver(&[message("1", "a")]);
    let imap = site.imap();
    imap.fetch().unwrap().ack().unwrap();
    assert!(ids(&imap).is_empty() && ids(&site.imap()).is_empty());
    let other = site.other_client();
    assert_eq!(mail(&other, TAG).len(), 1);
    assert_eq!(
        mail(&other, "INBOX")[0].flags,
        ["\\Deleted"],
        "flagged, but never expunged with others' mail"
    );
}

#[apply(every_site)]
fn acknowledging_twice_is_the_same_as_once(#[case] site: Site) {
    site.deliver(&[message("1", "a")]);
    let batch = site.imap().fetch().unwrap();
    batch.ack().unwrap();
    batch.ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 1);
}

#[apply(every_site)]
fn an_archive_that_was_removed_is_made_again(#[case] site: Site) {
    site.deliver(&[message("1", "a")]);
    let imap = site.imap();
    let batch = imap.fetch().unwrap();
    let other = site.other_client();
    other.remove_mailbox(TAG).unwrap();
    batch.ack().unwrap();
    assert_eq!(mail(&other, TAG).len(), 1);
}

#[rstest]
fn uids_of_a_recreated_mailbox_touch_nothing() {
    let site = postfix(dovecot());
    let other = site.other_client();
    let tagged = |body: &str| format!("From: bob@example.test\r\nSubject: {TAG} 1\r\n\r\n{body}\r\n");
    other.create_mailbox("Queue").unwrap();
    other.append("Queue", &[], tagged("old").as_bytes()).unwrap();
    let imap = Imap::connect(site.imap_config().inbox("Queue")).unwrap();
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 1);
    // Dovecot makes a UIDVALIDITY of the time, in seconds: creating other mailboxes advances it.
    other.remove_mailbox("Queue").unwrap();
    for name in ["A", "B", "C", "Queue"] {
        other.create_mailbox(name).unwrap();
    }
    other.append("Queue", &[], tagged("new").as_bytes()).unwrap();
    site.dovecot().disconnect_all();
    let error = batch.ack().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::StaleUids, Some("UIDVALIDITY")));
    let queue = mail(&other, "Queue");
    assert!(queue.len() == 1 && contains(&queue[0].raw, b"new") && queue[0].flags.is_empty());
}
