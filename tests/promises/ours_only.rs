//! Ours only: other mail is never flagged, moved, marked seen or expunged.

use std::time::Duration;

use pymail::{Imap, ImapConfig, UidSet};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::every_site;
use crate::mail_site::{Site, contains, mail, message};
use crate::support::dovecot::dovecot_without;
use crate::support::other_client::Seen;
use crate::support::postfix::PostfixOptions;
use crate::support::process::wait_until;

/// Mail that a careless SEARCH would take for ours, or that an EXPUNGE would remove.
fn plant_foreign(site: &Site) {
    let subjects =
        ["hello", "x__TEST__", "__TEST__x 1", "Re: __TEST__ 1", "__test__ 1", "=?utf-8?q?Re=3A?= __TEST__ 2"];
    for (n, subject) in subjects.into_iter().enumerate() {
        let raw =
            format!("From: eve@example.test\nTo: alice@example.test\nSubject: {subject}\n\nforeign {n}\n");
        site.plant(&[], &raw);
        site.plant(&["\\Deleted"], &raw);
        site.plant(&["\\Seen", "\\Flagged"], &raw);
    }
    // Ours by its Subject, but marked as deleted by another client.
    site.plant(
        &["\\Deleted"],
        "From: eve@example.test\nSubject: __TEST__ deleted by another client\n\nforeign\n",
    );
}

/// Lists the mail in the inbox that these tests did not send.
fn foreign(site: &Site) -> Vec<Seen> {
    let mut inbox = mail(&site.other_client(), "INBOX");
    inbox.retain(|seen| contains(&seen.raw, b"foreign"));
    inbox
}

/// Uses every verb of the transport, and the heartbeat.
fn use_everything(site: &Site) {
    let config: ImapConfig = site.imap_config().heartbeat(Duration::from_millis(20)).batch(2);
    let imap = Imap::connect(config.clone()).unwrap();
    site.deliver(&[message("1", "a"), message("2", "b"), message("3", "c")]);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 2);
    imap.ack(batch.iter().take(1)).unwrap();
    batch.ack().unwrap();
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 1);
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 0);
    imap.noop().unwrap();
    imap.close().unwrap();
    drop(Imap::connect(config).unwrap());
}

fn other_mail_is_untouched(site: &Site) {
    plant_foreign(site);
    let before = foreign(site);
    assert_eq!(before.len(), 19);
    use_everything(site);
    assert_eq!(foreign(site), before);
}

#[apply(every_site)]
#[case::without_move(Site::real(&dovecot_without(&["MOVE"]), &PostfixOptions::default()))]
#[case::without_move_and_uidplus(Site::real(&dovecot_without(&["MOVE", "UIDPLUS"]), &PostfixOptions::default()))]
fn foreign_mail_keeps_its_place_its_flags_and_its_bytes(#[case] site: Site) {
    other_mail_is_untouched(&site);
}

#[apply(every_site)]
fn fetching_marks_nothing_as_seen(#[case] site: Site) {
    site.deliver(&[message("1", "a")]);
    let imap = site.imap();
    let uids = imap.search("ALL").unwrap();
    assert_eq!(imap.fetch_uids(&uids).unwrap().len(), 1);
    assert_eq!(imap.fetch().unwrap().len(), 1);
    assert_eq!(mail(&site.other_client(), "INBOX")[0].flags, Vec::<String>::new());
}

#[apply(every_site)]
fn foreign_candidates_do_not_stand_in_the_way_of_ours(#[case] site: Site) {
    for n in 0..5 {
        site.plant(&[], &format!("From: eve@example.test\nSubject: x__TEST__ {n}\n\nforeign\n"));
    }
    site.deliver(&[message("behind them", "a")]);
    let imap = Imap::connect(site.imap_config().batch(2)).unwrap();
    wait_until("the message", || {
        imap.fetch().unwrap().iter().any(|d| d.message().unwrap().id == "behind them")
    });
    assert_eq!(imap.fetch().unwrap().len(), 1);
}

/// Finds the mail in the inbox with this Subject: by its text, or by its UID where the server's SEARCH does not.
fn named(site: &Site, imap: &Imap, subject: &str) -> UidSet {
    if site.searches_texts() {
        return imap.search(&format!("SUBJECT \"{subject}\"")).unwrap();
    }
    let header = format!("Subject: {subject}\r\n");
    let inbox = mail(&site.other_client(), "INBOX");
    let seen = inbox.iter().find(|seen| contains(&seen.raw, header.as_bytes())).expect("the mail");
    imap.search(&format!("UID {}", seen.uid)).unwrap()
}

#[apply(every_site)]
fn delete_removes_exactly_what_it_is_given(#[case] site: Site) {
    plant_foreign(&site);
    site.plant(&[], "From: bob@example.test\nSubject: to be deleted\n\nbye\n");
    let before = foreign(&site);
    let imap = site.imap();
    imap.delete(&named(&site, &imap, "to be deleted")).unwrap();
    assert_eq!(foreign(&site), before);
    assert_eq!(mail(&site.other_client(), "INBOX").len(), before.len());
}

#[apply(every_site)]
fn copy_and_move_to_do_what_they_say(#[case] site: Site) {
    let other = site.other_client();
    other.create_mailbox("Elsewhere").unwrap();
    site.plant(&[], "From: bob@example.test\nSubject: one\n\n1\n");
    site.plant(&[], "From: bob@example.test\nSubject: two\n\n2\n");
    let imap = site.imap();
    imap.copy(&named(&site, &imap, "one"), &site.mailbox("Elsewhere")).unwrap();
    imap.move_to(&named(&site, &imap, "two"), &site.mailbox("Elsewhere")).unwrap();
    let subjects = |mailbox: &str| {
        let mut mail = mail(&other, mailbox);
        mail.sort_by_key(|seen| seen.raw.clone());
        mail.iter().map(|seen| contains(&seen.raw, b"Subject: two")).collect::<Vec<_>>()
    };
    assert_eq!((subjects("INBOX"), subjects("Elsewhere")), (vec![false], vec![false, true]));
    let missing = imap.copy(&named(&site, &imap, "one"), &site.mailbox("Nowhere")).unwrap_err();
    assert_eq!((missing.kind(), missing.code()), (pymail::ErrorKind::Refused, Some("TRYCREATE")));
}
