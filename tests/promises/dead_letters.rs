//! Dead letters: a message that can't be read or handled goes there with the reason, and is never dropped.

use std::time::Duration;

use pymail::{ErrorKind, Imap, ImapConfig};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{embedded, every_site, postfix};
use crate::mail_site::{Site, TAG, contains, mail, message};
use crate::support::dovecot::{DovecotOptions, dovecot_without};
use crate::support::other_client::Seen;
use crate::support::postfix::PostfixOptions;

fn config(site: &Site, after: u32) -> ImapConfig {
    site.imap_config().dead_letters(after)
}

fn ids(imap: &Imap) -> Vec<String> {
    let batch = imap.fetch().unwrap();
    batch.iter().map(|delivery| delivery.message().unwrap().id.clone()).collect()
}

/// Lists the dead letters and the notes beside them.
fn dead(site: &Site) -> (Vec<Seen>, Vec<String>) {
    let other = site.other_client();
    let name = other.mailboxes().unwrap().into_iter().find(|name| name.ends_with("dead"));
    let all = name.map(|name| mail(&other, &name)).unwrap_or_default();
    let (notes, letters): (Vec<Seen>, Vec<Seen>) =
        all.into_iter().partition(|seen| contains(&seen.raw, b"Subject: Dead letter"));
    let text = |seen: Seen| String::from_utf8(seen.raw).unwrap().replace("=\r\n", "").replace("\r\n", " ");
    (letters, notes.into_iter().map(text).collect())
}

#[apply(every_site)]
#[case::without_move(Site::real(&dovecot_without(&["MOVE"]), &PostfixOptions::default()))]
fn a_message_rejected_as_often_as_configured_goes_to_the_dead_letters_with_the_last_reason(
    #[case] site: Site,
) {
    site.deliver(&[message("bad", "a"), message("good", "b")]);
    let imap = Imap::connect(config(&site, 2)).unwrap();
    for reason in ["no such account", "no such account, still"] {
        let batch = imap.fetch().unwrap();
        assert_eq!(batch.len(), 2);
        assert_eq!(dead(&site).0, []);
        imap.reject(batch.iter().filter(|it| it.message().unwrap().id == "bad"), reason).unwrap();
    }
    assert_eq!(ids(&imap), ["good"]);
    let (letters, notes) = dead(&site);
    assert!(letters.len() == 1 && contains(&letters[0].raw, b"Subject: __TEST__ bad"));
    assert!(notes.len() == 1 && notes[0].contains("no such account, still"), "{notes:?}");
    let message_id = String::from_utf8_lossy(&letters[0].raw).into_owned();
    let message_id =
        message_id.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().to_owned();
    assert!(notes[0].contains(&format!("In-Reply-To: {message_id}")), "{notes:?}");
}

/// With mbox, a mailbox contains either mails or other mailboxes.
#[rstest]
fn where_no_mailbox_is_within_another_dead_letters_and_claims_are_beside_the_archive() {
    let mbox = DovecotOptions { mailbox_format: "mbox".into(), ..DovecotOptions::default() };
    let site = Site::real(&mbox, &PostfixOptions::default());
    site.deliver(&[message("bad", "a"), message("good", "b")]);
    let consumer = || Imap::connect(config(&site, 1).shared(Duration::from_secs(300))).unwrap();
    let (first, second) = (consumer(), consumer());
    let batch = first.fetch().unwrap();
    assert_eq!((batch.len(), ids(&second)), (2, Vec::<String>::new()), "they know of one another");
    first.reject(batch.iter().filter(|it| it.message().unwrap().id == "bad"), "no such account").unwrap();
    first.ack(batch.iter().filter(|it| it.message().unwrap().id == "good")).unwrap();
    let other = site.other_client();
    let mut names = other.mailboxes().unwrap();
    names.retain(|name| name.contains(TAG));
    names.sort();
    assert_eq!(names, [TAG.to_owned(), format!("{TAG}-claims"), format!("{TAG}-dead")]);
    assert_eq!((dead(&site).0.len(), mail(&other, TAG).len(), mail(&other, "INBOX").len()), (1, 1, 0));
}

#[rstest]
fn without_keywords_the_count_ends_with_the_handle(#[from(embedded)] site: Site) {
    site.deliver(&[message("poison", "a")]);
    for _ in 0..3 {
        let imap = Imap::connect(config(&site, 1)).unwrap();
        assert_eq!(ids(&imap), ["poison"]);
    }
}

#[rstest]
fn a_message_that_ends_its_handles_is_delivered_only_so_often(#[from(postfix)] site: Site) {
    site.deliver(&[message("poison", "a")]);
    for _ in 0..2 {
        let imap = Imap::connect(config(&site, 2)).unwrap();
        assert_eq!(ids(&imap), ["poison"]);
        assert_eq!(ids(&imap), ["poison"], "in the same hands it has not failed");
    }
    let imap = Imap::connect(config(&site, 2)).unwrap();
    assert_eq!(ids(&imap), Vec::<String>::new());
    let (letters, notes) = dead(&site);
    assert_eq!((letters.len(), notes.len()), (1, 1));
    assert!(notes[0].contains("delivered 2 times"), "{notes:?}");
    assert_eq!(mail(&site.other_client(), "INBOX"), []);
}

#[apply(every_site)]
fn an_unreadable_message_goes_there_at_once_and_is_an_error_in_its_place_once(#[case] site: Site) {
    site.plant(
        &[],
        "From: bob@example.test\nSubject: __TEST__ cut\nContent-Disposition: inline; size=5\n\nno\n",
    );
    site.deliver(&[message("good", "b")]);
    let imap = Imap::connect(config(&site, 9)).unwrap();
    let batch = imap.fetch().unwrap();
    let kinds: Vec<_> = batch.iter().map(|it| it.message().err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [Some(ErrorKind::Message), None]);
    assert_eq!(ids(&imap), ["good"]);
    batch.ack().unwrap();
    let (letters, notes) = dead(&site);
    assert!(letters.len() == 1 && notes.len() == 1 && notes[0].contains("the declared 5"), "{notes:?}");
    assert_eq!(mail(&site.other_client(), TAG).len(), 1);
    assert_eq!(mail(&site.other_client(), "INBOX"), []);
}

#[rstest]
fn an_acknowledged_message_is_no_dead_letter_however_late(#[from(postfix)] site: Site) {
    site.deliver(&[message("1", "a")]);
    let imap = Imap::connect(config(&site, 1)).unwrap();
    let batch = imap.fetch().unwrap();
    assert_eq!(ids(&imap), ["1"]);
    batch.ack().unwrap();
    assert_eq!(dead(&site), (vec![], vec![]));
    assert_eq!(mail(&site.other_client(), TAG).len(), 1);
}

#[rstest]
fn without_dead_letters_a_reject_is_an_error_and_the_message_is_delivered_again(#[from(postfix)] site: Site) {
    site.deliver(&[message("1", "a")]);
    let imap = site.imap();
    for _ in 0..5 {
        let batch = imap.fetch().unwrap();
        assert_eq!(batch.len(), 1);
        let error = imap.reject(&batch, "no").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("ImapConfig::dead_letters"), "{error}");
    }
    assert_eq!(dead(&site), (vec![], vec![]));
    assert_eq!(mail(&site.other_client(), "INBOX")[0].flags, Vec::<String>::new(), "and nothing is marked");
}

#[rstest]
fn a_count_that_makes_no_sense_is_a_config_error(#[from(postfix)] site: Site, #[values(0, 21)] after: u32) {
    assert_eq!(Imap::connect(config(&site, after)).unwrap_err().kind(), ErrorKind::Config);
}
