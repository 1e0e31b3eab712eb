//! Dead letters are listed with their reasons, and moved back into the inbox to be delivered again.

use std::thread;
use std::time::{Duration, SystemTime};

use pymail::{DeadLetter, ErrorKind, Imap, ImapConfig};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{embedded, every_site, postfix};
use crate::mail_site::{Site, TAG, mail, message};
use crate::support::dovecot::{DovecotOptions, dovecot_without};
use crate::support::other_client::Seen;
use crate::support::postfix::PostfixOptions;

fn config(site: &Site, after: u32) -> ImapConfig {
    site.imap_config().dead_letters(after)
}

fn connected(site: &Site) -> Imap {
    Imap::connect(config(site, 1)).unwrap()
}

fn ids(imap: &Imap) -> Vec<String> {
    let batch = imap.fetch().unwrap();
    batch.iter().map(|delivery| delivery.message().unwrap().id.clone()).collect()
}

fn letters(imap: &Imap) -> Vec<DeadLetter> {
    imap.dead_letters().map(Result::unwrap).collect()
}

/// Returns the id and the reason of each letter.
fn listed(imap: &Imap) -> Vec<(String, String)> {
    let shown = |letter: DeadLetter| {
        let id = letter.message().map_or_else(|error| error.to_string(), |message| message.id.clone());
        (id, letter.reason().unwrap_or("none").to_owned())
    };
    let mut all: Vec<_> = letters(imap).into_iter().map(shown).collect();
    all.sort(); // servers deliver in any order
    all
}

fn find(imap: &Imap, id: &str) -> DeadLetter {
    letters(imap).into_iter().find(|letter| letter.message().is_ok_and(|it| it.id == id)).unwrap()
}

/// Lists the mail in the mailbox of dead letters that is not flagged `\Deleted`.
fn dead(site: &Site) -> Vec<Seen> {
    let other = site.other_client();
    let name = other.mailboxes().unwrap().into_iter().find(|name| name.ends_with("dead"));
    let mut all = name.map(|name| mail(&other, &name)).unwrap_or_default();
    all.retain(|seen| !seen.flags.contains(&"\\Deleted".to_owned()));
    all
}

fn without(capabilities: &[&str]) -> Site {
    Site::real(&dovecot_without(capabilities), &PostfixOptions::default())
}

#[apply(every_site)]
#[case::without_move(without(&["MOVE"]))]
#[case::without_uidplus(without(&["MOVE", "UIDPLUS"]))]
fn a_redriven_message_is_delivered_its_full_number_of_times_and_its_note_is_gone(#[case] site: Site) {
    site.deliver(&[message("bad", "a"), message("worse", "b"), message("good", "c")]);
    let imap = Imap::connect(config(&site, 2)).unwrap();
    assert_eq!(listed(&imap), [], "there is no mailbox of dead letters");
    for reason in ["no such account", "no such account, still"] {
        let batch = imap.fetch().unwrap();
        imap.reject(batch.iter().filter(|it| it.message().unwrap().id != "good"), reason).unwrap();
    }
    assert_eq!(ids(&imap), ["good"]);
    let reason = "its handling failed 2 times; the last time: no such account, still".to_owned();
    assert_eq!(listed(&imap), [("bad".into(), reason.clone()), ("worse".into(), reason.clone())]);
    let bad = find(&imap, "bad");
    assert_eq!(bad.message().unwrap().body, b"a");
    let age = SystemTime::now().duration_since(bad.moved_at().unwrap()).unwrap_or_default();
    assert!(age < Duration::from_secs(600), "{age:?}");

    imap.redrive([&bad]).unwrap();
    assert_eq!(listed(&imap), [("worse".into(), reason)], "and its own note is the only one left");
    assert_eq!(dead(&site).len(), 2);
    let depth = imap.depth().unwrap();
    assert_eq!((depth.waiting, depth.dead_letters), (2, 1));
    for _ in 0..2 {
        let batch = imap.fetch().unwrap();
        let bad = batch.iter().find(|it| it.message().unwrap().id == "bad").expect("it is delivered again");
        assert_eq!(bad.message().unwrap().body, b"a");
        imap.reject([bad], "no such account, once more").unwrap();
    }
    assert_eq!(ids(&imap), ["good"]);
    assert_eq!(listed(&imap).len(), 2);

    imap.redrive(&letters(&imap)).unwrap();
    let mut back = ids(&imap);
    back.sort();
    assert_eq!((back, dead(&site)), (vec!["bad".into(), "good".into(), "worse".into()], vec![]));
    imap.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

/// A consumer that is not the operator's handle, and remembers what it has acknowledged.
#[apply(every_site)]
fn a_redriven_message_is_delivered_to_other_consumers_also_if_they_have_acknowledged_it(#[case] site: Site) {
    let keeps_keywords = site.keeps_keywords();
    site.deliver(&[message("bad", "a")]);
    let lease = Duration::from_secs(300);
    let consumer = Imap::connect(config(&site, 1).shared(lease)).unwrap();
    let idle = Imap::connect(config(&site, 1).shared(lease)).unwrap();
    let batch = consumer.fetch().unwrap();
    consumer.reject(&batch, "no such account").unwrap();
    batch.ack().unwrap();
    let operator = if keeps_keywords { site.imap() } else { consumer.clone() };
    operator.redrive(&letters(&operator)).unwrap();
    assert_eq!(ids(&consumer), ["bad"], "it is no duplicate of what was acknowledged");
    assert_eq!(ids(&idle), Vec::<String>::new(), "and the consumer has claimed it");
    consumer.fetch().unwrap().ack().unwrap();
    assert_eq!((dead(&site).len(), mail(&site.other_client(), TAG).len()), (0, 1));
}

#[apply(every_site)]
fn unreadable_letters_are_errors_in_their_places_with_their_reasons(#[case] site: Site) {
    site.plant(
        &[],
        "From: bob@example.test\nSubject: __TEST__ cut\nContent-Disposition: inline; size=5\n\nno\n",
    );
    site.deliver(&[message("bad", "b")]);
    let imap = connected(&site);
    let batch = imap.fetch().unwrap();
    imap.reject(batch.iter().filter(|it| it.message().is_ok()), "no such account").unwrap();
    let found = letters(&imap);
    let kinds: Vec<_> = found.iter().map(|it| it.message().err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [Some(ErrorKind::Message), None]);
    assert!(found[0].reason().unwrap().contains("the declared 5"), "{found:?}");
    assert!(found[1].reason().unwrap().contains("no such account"), "{found:?}");
    imap.redrive(&found[..1]).unwrap();
    assert_eq!(dead(&site).len(), 2, "the other letter and its note");
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 1);
}

#[rstest]
fn dead_letters_are_read_in_batches_and_one_over_the_limit_is_an_error_in_its_place(
    #[from(postfix)] site: Site,
    #[values((1, 64 << 20), (2, 64 << 20), (9, 1), (9, 3_000), (9, 64 << 20))] limits: (usize, usize),
) {
    let bodies = [1_000, 2_000, 60_000, 900, 0];
    let messages: Vec<_> =
        (1..).zip(bodies).map(|(id, size)| message(&format!("{id}"), vec![b'x'; size])).collect();
    site.deliver(&messages);
    let imap = connected(&site);
    imap.reject(&imap.fetch().unwrap(), "no such account").unwrap();
    let (batch, octets) = limits;
    let small = Imap::connect(config(&site, 1).batch(batch).batch_bytes(octets).max_message(20_000)).unwrap();
    let sizes = |letter: &DeadLetter| letter.message().map(|it| it.body.len()).map_err(|error| error.kind());
    let mut found: Vec<_> = letters(&small).iter().map(sizes).collect();
    found.sort_by_key(|size| size.unwrap_or(usize::MAX));
    assert_eq!(found, [Ok(0), Ok(900), Ok(1_000), Ok(2_000), Err(ErrorKind::TooLarge)]);
    small.redrive(&letters(&small)).unwrap();
    assert_eq!(ids(&imap).len(), 5);
}

/// Two processes may have moved the message, or a network has delivered it twice.
#[rstest]
fn copies_of_one_message_are_one_letter_and_are_redriven_together(#[from(postfix)] site: Site) {
    let twice = message("twice", "a");
    site.deliver(&[twice.clone(), twice]);
    let imap = connected(&site);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 1);
    imap.reject(&batch, "no such account").unwrap();
    assert_eq!((listed(&imap).len(), dead(&site).len()), (1, 3));
    imap.redrive(&letters(&imap)).unwrap();
    assert_eq!((dead(&site), ids(&imap)), (vec![], vec!["twice".to_owned()]));
    imap.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), "INBOX"), []);
}

#[rstest]
fn letters_of_a_mailbox_that_was_made_anew_are_stale(#[from(postfix)] site: Site) {
    site.deliver(&[message("bad", "a")]);
    let imap = connected(&site);
    imap.reject(&imap.fetch().unwrap(), "no such account").unwrap();
    let old = letters(&imap);
    let other = site.other_client();
    let name = other.mailboxes().unwrap().into_iter().find(|name| name.ends_with("dead")).unwrap();
    other.remove_mailbox(&name).unwrap();
    assert_eq!(imap.redrive(&old).unwrap_err().kind(), ErrorKind::StaleUids);
    assert_eq!(listed(&imap), []);
    site.deliver(&[message("worse", "a")]);
    imap.reject(&imap.fetch().unwrap(), "no such account").unwrap();
    assert_eq!(imap.redrive(&old).unwrap_err().kind(), ErrorKind::StaleUids);
    assert_eq!(listed(&imap).len(), 1);
    imap.redrive(&[]).unwrap();
}

#[rstest]
fn a_letter_that_is_gone_is_left_out(#[from(embedded)] site: Site) {
    site.deliver(&[message("bad", "a"), message("worse", "b")]);
    let imap = connected(&site);
    imap.reject(&imap.fetch().unwrap(), "no such account").unwrap();
    let both = letters(&imap);
    imap.redrive(&both[..1]).unwrap();
    imap.redrive(&both).unwrap();
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 2);
}

/// With mbox, a mailbox contains either mails or other mailboxes.
#[rstest]
fn letters_beside_the_archive_are_found_by_a_new_handle() {
    let mbox = DovecotOptions { mailbox_format: "mbox".into(), ..DovecotOptions::default() };
    let site = Site::real(&mbox, &PostfixOptions::default());
    site.deliver(&[message("bad", "a")]);
    let imap = connected(&site);
    imap.reject(&imap.fetch().unwrap(), "no such account").unwrap();
    let operator = site.imap();
    assert_eq!(operator.depth().unwrap().dead_letters, 1);
    operator.redrive(&letters(&operator)).unwrap();
    assert_eq!((dead(&site).len(), ids(&imap)), (0, vec!["bad".to_owned()]));
}

/// By one handle for all, and by one that others wait on.
#[apply(every_site)]
fn a_waiting_consumer_gets_a_redriven_message_at_once(
    #[case] site: Site,
    #[values(true, false)] is_shared: bool,
) {
    site.deliver(&[message("bad", "a")]);
    let never = Duration::from_secs(3_600);
    let imap = Imap::connect(config(&site, 1).recheck(never).heartbeat(Duration::from_secs(1))).unwrap();
    imap.reject(&imap.fetch().unwrap(), "no such account").unwrap();
    let operator = if is_shared { imap.clone() } else { site.imap() };
    let found = letters(&operator);
    thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            let delivery = imap.consume().next().unwrap().unwrap();
            imap.ack([&delivery]).unwrap();
            delivery.message().unwrap().id.clone()
        });
        operator.redrive(&found).unwrap();
        assert_eq!(consumer.join().unwrap(), "bad");
    });
    assert_eq!((dead(&site).len(), mail(&site.other_client(), TAG).len()), (0, 1));
}
