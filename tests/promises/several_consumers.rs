//! Several consumers: any number of handles share a mailbox, and a message is handed to one of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use pymail::{Error, ErrorKind, Imap, ImapConfig, Server, State};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{every_site, postfix};
use crate::mail_site::{Site, TAG, contains, mail, message};
use crate::support::dovecot::{DovecotOptions, dovecot_without};
use crate::support::events::Events;
use crate::support::other_client::OtherClient;
use crate::support::postfix::PostfixOptions;
use crate::support::process::wait_until;
use crate::support::relay::Relay;

fn shared(site: &Site) -> ImapConfig {
    site.imap_config().shared(Duration::from_secs(300))
}

/// Long enough for a log that takes a busy machine minutes to read.
const HOUR: Duration = Duration::from_secs(3_600);

/// Short enough to be waited for, and long enough for a handshake on a busy machine.
const DEADLINE: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(10);

/// By which a consumer that is not alive has lost its lease for certain.
const MARGIN: Duration = Duration::from_secs(2);

fn briefly(site: &Site) -> ImapConfig {
    site.imap_config().timeout(DEADLINE).shared(LEASE)
}

fn ids(imap: &Imap) -> Vec<String> {
    let batch = imap.fetch().unwrap();
    batch.iter().map(|delivery| delivery.message().unwrap().id.clone()).collect()
}

fn deliver(site: &Site, count: usize) {
    site.deliver(&(0..count).map(|n| message(&n.to_string(), "hello")).collect::<Vec<_>>());
}

/// Returns the number of entries in the log.
fn entries(site: &Site) -> usize {
    mail(&site.other_client(), &format!("{TAG}.claims")).len()
}

/// Repeats `meanwhile` for this time.
fn during(long: Duration, mut meanwhile: impl FnMut()) {
    let until = Instant::now() + long;
    while Instant::now() < until {
        meanwhile();
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[apply(every_site)]
#[case::without_move(Site::real(&dovecot_without(&["MOVE"]), &PostfixOptions::default()))]
#[case::without_move_and_uidplus(Site::real(&dovecot_without(&["MOVE", "UIDPLUS"]), &PostfixOptions::default()))]
fn each_message_is_handed_to_one_of_four_handles(#[case] site: Site) {
    deliver(&site, 60);
    let handed = Mutex::new(BTreeMap::<String, usize>::new());
    let consume = || {
        let imap = Imap::connect(shared(&site).batch(5)).unwrap();
        let began = Instant::now();
        while handed.lock().unwrap().len() < 60 && began.elapsed() < Duration::from_secs(60) {
            let batch = imap.fetch().unwrap();
            for delivery in &batch {
                *handed.lock().unwrap().entry(delivery.message().unwrap().id.clone()).or_default() += 1;
            }
            batch.ack().unwrap();
        }
    };
    thread::scope(|threads| (0..4).for_each(|_| drop(threads.spawn(consume))));
    let handed = handed.into_inner().unwrap();
    assert_eq!(handed.len(), 60);
    assert!(handed.values().all(|&times| times == 1), "{handed:?}");
    assert_eq!(mail(&site.other_client(), TAG).len(), 60);
}

#[apply(every_site)]
fn a_closed_handles_messages_are_handed_to_another_at_once(
    #[case] site: Site,
    #[values(false, true)] drops: bool,
) {
    deliver(&site, 3);
    let (first, second) = (Imap::connect(shared(&site)).unwrap(), Imap::connect(shared(&site)).unwrap());
    assert_eq!(ids(&first).len(), 3);
    assert_eq!(ids(&first).len(), 3, "to the same handle again, as long as they are not acknowledged");
    assert_eq!(ids(&second), Vec::<String>::new());
    if drops {
        drop(first);
    } else {
        first.close().unwrap();
    }
    let third = Imap::connect(shared(&site)).unwrap();
    assert_eq!(ids(&third).len(), 3);
}

/// Returns the settings of [`briefly`] through a relay that can cut or stall its connection.
fn through_a_relay(site: &Site) -> (ImapConfig, Relay) {
    let relay = Relay::start("127.0.0.1", site.dovecot().imaps_port());
    let server = Server::tls("localhost").port(relay.port()).add_root_certificate_pem(site.ca_pem());
    let config = ImapConfig::new(server, site.credentials()).tag(TAG);
    (config.timeout(DEADLINE).shared(LEASE), relay)
}

/// Returns a handle that does not reconnect by itself, and the relay that cuts its connection.
fn fragile(site: &Site) -> (Imap, Relay) {
    let (config, relay) = through_a_relay(site);
    let late = Duration::from_secs(600);
    (Imap::connect(config.backoff(late, late)).unwrap(), relay)
}

#[rstest]
fn a_disconnected_handles_messages_are_handed_to_another_after_its_lease_and_it_gets_lease_lost(
    #[from(postfix)] site: Site,
) {
    deliver(&site, 3);
    let (lost, relay) = fragile(&site);
    let before = Instant::now();
    let batch = lost.fetch().unwrap();
    assert_eq!(batch.len(), 3);
    relay.cut();
    let other = Imap::connect(briefly(&site)).unwrap();
    wait_until("the lease's end", || ids(&other).len() == 3);
    assert!(before.elapsed() >= LEASE, "{:?}", before.elapsed());
    let error = batch.ack().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::LeaseLost, Some("LEASE")), "{error:?}");
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 3);
    other.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

/// The handle reconnects before it acknowledges, and renews its lease.
#[rstest]
fn a_handle_that_reconnects_after_its_lease_gets_lease_lost(#[from(postfix)] site: Site) {
    deliver(&site, 3);
    let (config, relay) = through_a_relay(&site);
    let late = Imap::connect(config.max_connects_per_minute(600)).unwrap();
    let batch = late.fetch().unwrap();
    let other = Imap::connect(briefly(&site)).unwrap();
    relay.stall(3 * LEASE);
    wait_until("the lease's end", || ids(&other).len() == 3);
    let before = late.stats().commands;
    wait_until("a reconnection and some commands", || {
        late.status().state == State::Connected && late.stats().commands > before + 10
    });
    let error = batch.ack().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::LeaseLost, Some("LEASE")), "{error:?}");
    other.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

#[rstest]
fn an_acknowledgement_may_be_repeated(#[from(postfix)] site: Site) {
    deliver(&site, 3);
    let imap = Imap::connect(shared(&site)).unwrap();
    let batch = imap.fetch().unwrap();
    batch.ack().unwrap();
    batch.ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

/// Their messages have the same UIDs, and their inboxes the same archive.
#[rstest]
fn consumers_of_two_inboxes_do_not_disturb_each_other(#[from(postfix)] site: Site) {
    let mails = |name: &str| format!("From: bob@example.test\nSubject: {TAG} {name}\n\nhello\n");
    let inboxes = ["first", "second"];
    for inbox in inboxes {
        site.other_client().create_mailbox(&site.mailbox(inbox)).unwrap();
        site.other_client()
            .append(&site.mailbox(inbox), &[], mails(inbox).replace('\n', "\r\n").as_bytes())
            .unwrap();
    }
    let of = |inbox: &str| Imap::connect(shared(&site).inbox(site.mailbox(inbox)).archive("both")).unwrap();
    let handles = [of("first"), of("second"), of("first"), of("second")];
    let fetched: Vec<_> = handles.iter().map(ids).collect();
    assert_eq!(fetched, [vec!["first".to_owned()], vec!["second".to_owned()], vec![], vec![]]);
}

#[rstest]
fn a_consumer_that_was_away_for_longer_than_its_lease_keeps_messages_not_taken_over(
    #[from(postfix)] site: Site,
) {
    deliver(&site, 3);
    let (lost, relay) = fragile(&site);
    let batch = lost.fetch().unwrap();
    relay.cut();
    let over = Instant::now() + LEASE + MARGIN;
    wait_until("the lease's end", || Instant::now() > over);
    batch.ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

#[rstest]
fn a_handle_keeps_its_messages_as_long_as_it_lives(#[from(postfix)] site: Site) {
    deliver(&site, 2);
    let holder = Imap::connect(briefly(&site)).unwrap();
    let batch = holder.fetch().unwrap();
    let other = Imap::connect(briefly(&site)).unwrap();
    let until = Instant::now() + 2 * LEASE + Duration::from_secs(1);
    while Instant::now() < until {
        assert_eq!(ids(&other), Vec::<String>::new());
        thread::park_timeout(LEASE / 100);
    }
    batch.ack().unwrap();
    assert_eq!(ids(&other), Vec::<String>::new());
}

#[rstest]
fn the_log_does_not_grow(#[from(postfix)] site: Site) {
    let imap = Imap::connect(shared(&site)).unwrap();
    for round in 0..5 {
        deliver(&site, 3);
        let mut received = 0;
        wait_until("the messages", || {
            let batch = imap.fetch().unwrap();
            received += batch.len();
            batch.ack().unwrap();
            received == 3
        });
        let entries = entries(&site);
        assert!(entries <= 4, "{entries} entries after round {round}");
    }
}

/// For several leases, some hold messages, some have acknowledged a part of theirs, some have none.
#[rstest]
fn the_log_is_short_while_all_are_idle(#[from(postfix)] site: Site) {
    deliver(&site, 6);
    let handles: Vec<Imap> = (0..4).map(|_| Imap::connect(briefly(&site).batch(2)).unwrap()).collect();
    let batches: Vec<_> = handles.iter().map(|imap| imap.fetch().unwrap()).collect();
    assert_eq!(batches.iter().map(pymail::Batch::len).collect::<Vec<_>>(), [2, 2, 2, 0]);
    handles[0].ack(batches[0].iter().take(1)).unwrap();
    handles[1].ack(&batches[1]).unwrap();
    let mut most = 0;
    during(2 * LEASE, || {
        assert_eq!((handles[1].fetch().unwrap().len(), handles[3].fetch().unwrap().len()), (0, 0));
        most = most.max(entries(&site));
    });
    assert!(most <= 16, "{most} entries");
    handles[0].ack(&batches[0]).unwrap();
    handles[2].ack(&batches[2]).unwrap();
    wait_until("an empty log", || {
        let are_idle = handles.iter().all(|imap| imap.fetch().unwrap().is_empty());
        are_idle && entries(&site) == 0
    });
}

/// A log that an earlier version may have left: claims to mail that is gone, and renewals.
#[rstest]
fn a_log_of_thirty_thousand_entries_is_read_and_shortened(#[from(postfix)] site: Site) {
    const MANY: usize = 30_000;
    deliver(&site, 3);
    // Dovecot takes in each file of a Maildir, which takes a busy machine a minute.
    let imap = Imap::connect(shared(&site).shared(HOUR).timeout(HOUR / 6)).unwrap();
    site.other_client().create_mailbox(&format!("{TAG}.claims")).unwrap();
    let folder =
        site.dovecot().dir().join(format!("mail/{}/mail/.{TAG}.claims/cur", crate::mail_site::ALICE));
    let validity = imap.search("ALL").unwrap().validity().get();
    for n in 0..MANY {
        let word = if n % 100 == 0 { format!("claim {}", 1_000_000 + n) } else { "hold".to_owned() };
        let entry = format!("pymail-claims-1 {:032x} {validity} {word}", u128::MAX - (n % 8) as u128);
        let mail = format!("Subject: pymail claims\nFrom: pymail@localhost\n\n{entry}\n");
        std::fs::write(folder.join(format!("{}.M{n}P1.host:2,S", 1_700_000_000 + n)), mail).unwrap();
    }
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 3);
    batch.ack().unwrap();
    wait_until("a short log", || imap.fetch().unwrap().is_empty() && entries(&site) < 1_000);
}

#[rstest]
#[case::noop(|imap: &Imap| imap.noop())]
#[case::search(|imap: &Imap| imap.search("ALL").map(drop))]
fn a_handle_that_is_busy_with_other_verbs_keeps_its_messages(
    #[from(postfix)] site: Site,
    #[case] verb: fn(&Imap) -> Result<(), Error>,
) {
    deliver(&site, 2);
    let (busy, other) = (Imap::connect(briefly(&site)).unwrap(), Imap::connect(briefly(&site)).unwrap());
    let batch = busy.fetch().unwrap();
    let until = Instant::now() + 2 * LEASE;
    thread::scope(|threads| {
        threads.spawn(|| {
            while Instant::now() < until {
                verb(&busy).unwrap();
            }
        });
        during(2 * LEASE, || assert!(other.fetch().unwrap().is_empty()));
    });
    batch.ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 2);
}

/// With the next call, by the log alone: the lease is long.
#[rstest]
fn a_released_message_is_handed_over_with_the_next_fetch(#[from(postfix)] site: Site) {
    deliver(&site, 2);
    let (first, second) = (Imap::connect(shared(&site)).unwrap(), Imap::connect(shared(&site)).unwrap());
    assert_eq!((ids(&first).len(), ids(&second).len()), (2, 0));
    first.close().unwrap();
    assert_eq!(ids(&second).len(), 2);
}

#[rstest]
fn an_ack_archives_messages_still_held_and_names_the_lost_ones(#[from(postfix)] site: Site) {
    deliver(&site, 3);
    let (lost, relay) = fragile(&site);
    let batch = lost.fetch().unwrap();
    assert_eq!(batch.len(), 3);
    relay.cut();
    let other = Imap::connect(briefly(&site).batch(1)).unwrap();
    wait_until("the lease's end", || ids(&other).len() == 1);
    let taken = other.fetch().unwrap().iter().next().unwrap().uid();
    let error = batch.ack().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::LeaseLost, Some("LEASE")), "{error:?}");
    assert!(error.to_string().contains(&format!("1 of 3 messages may be another consumer's: UID {taken}")));
    assert_eq!(mail(&site.other_client(), TAG).len(), 2);
    other.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

/// The lease is in its own claim; that of the waiting consumer does not matter.
#[rstest]
fn of_two_leases_the_longer_counts_and_there_is_an_event(#[from(postfix)] site: Site) {
    deliver(&site, 2);
    let (config, relay) = through_a_relay(&site);
    let late = Duration::from_secs(600);
    let long = Imap::connect(config.shared(Duration::from_secs(300)).backoff(late, late)).unwrap();
    assert_eq!(long.fetch().unwrap().len(), 2);
    relay.cut();
    let events = Events::default();
    tracing::subscriber::with_default(events.clone(), || {
        let short = Imap::connect(briefly(&site)).unwrap();
        during(LEASE + MARGIN, || assert!(short.fetch().unwrap().is_empty()));
    });
    assert!(events.text().contains("have different leases"), "{}", events.text());
}

#[rstest]
fn consumers_with_another_archive_cause_an_event(#[from(postfix)] site: Site) {
    deliver(&site, 1);
    let _first = Imap::connect(shared(&site)).unwrap();
    let fetched = |config: ImapConfig| {
        let events = Events::default();
        tracing::subscriber::with_default(events.clone(), || {
            let imap = Imap::connect(config).unwrap();
            let _ = imap.fetch().unwrap();
        });
        events.text().contains("another archive has a log of claims")
    };
    assert!(!fetched(shared(&site)));
    assert!(fetched(shared(&site).archive("elsewhere")));
    assert!(fetched(shared(&site)), "after both logs exist");
}

/// Another client removes held and waiting mail.
#[rstest]
fn mail_that_another_client_removes_stops_no_consumer_and_is_not_held(#[from(postfix)] site: Site) {
    deliver(&site, 4);
    let (first, second) =
        (Imap::connect(briefly(&site).batch(3)).unwrap(), Imap::connect(briefly(&site).batch(3)).unwrap());
    let batch = first.fetch().unwrap();
    let other = site.other_client();
    let inbox = mail(&other, "INBOX");
    let gone: Vec<u32> = inbox[..2].iter().map(|seen| seen.uid).collect();
    remove(&other, "INBOX", &gone);
    let rest = second.fetch().unwrap();
    assert_eq!((batch.len(), rest.len()), (3, 1));
    rest.ack().unwrap();
    let removed = |uid: pymail::Uid| gone.contains(&uid.get());
    first.ack(batch.iter().filter(|delivery| !removed(delivery.uid()))).unwrap();
    assert_eq!(mail(&other, TAG).len(), 2);
    wait_until("an empty log", || {
        assert!(ids(&first).is_empty() && ids(&second).is_empty());
        entries(&site) == 0
    });
}

/// The holder has searched since, and knows that the mail is gone.
#[rstest]
fn a_message_that_another_client_has_removed_is_not_reported_as_a_lost_lease(#[from(postfix)] site: Site) {
    deliver(&site, 3);
    let imap = Imap::connect(briefly(&site)).unwrap();
    let batch = imap.fetch().unwrap();
    let other = site.other_client();
    remove(&other, "INBOX", &[batch.iter().nth(1).unwrap().uid().get()]);
    during(LEASE / 5, || assert_eq!(ids(&imap).len(), 2)); // long enough for the log to be read again
    batch.ack().unwrap();
    assert_eq!(mail(&other, TAG).len(), 2);
}

fn remove(other: &OtherClient, mailbox: &str, uids: &[u32]) {
    for uid in uids {
        other.flag(mailbox, *uid, &["\\Deleted"]).unwrap();
    }
    other.expunge(mailbox, uids).unwrap();
}

/// Starts a Dovecot whose accounts hold this many mails.
fn with_room_for(mails: usize) -> Site {
    let extra = format!(
        "mail_plugins = quota\nprotocol imap {{\n mail_plugins = quota imap_quota\n}}\n\
         plugin {{\n quota = maildir:User\n quota_rule = *:messages={mails}\n quota_grace = 0\n}}\n"
    );
    Site::real(&DovecotOptions { extra, ..DovecotOptions::default() }, &PostfixOptions::default())
}

#[rstest]
fn in_a_full_mailbox_held_messages_are_delivered_and_archived_and_a_failed_claim_is_an_error() {
    let site = with_room_for(20);
    deliver(&site, 6);
    let (first, second) =
        (Imap::connect(briefly(&site).batch(3)).unwrap(), Imap::connect(briefly(&site)).unwrap());
    let batch = first.fetch().unwrap();
    let other = site.other_client();
    other.create_mailbox("Junk").unwrap();
    while other.append("Junk", &[], b"Subject: junk\r\n\r\n").is_ok() {}
    let over = Instant::now() + LEASE + MARGIN;
    wait_until("the lease's end", || Instant::now() > over);
    let error = second.fetch().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("OVERQUOTA")), "{error:?}");
    first.noop().unwrap();
    batch.ack().unwrap();
    assert_eq!(mail(&other, TAG).len(), 3);
    let junk: Vec<u32> = mail(&other, "Junk").iter().map(|seen| seen.uid).collect();
    remove(&other, "Junk", &junk);
    wait_until("the rest", || {
        let rest = second.fetch().unwrap();
        rest.ack().unwrap();
        mail(&other, TAG).len() == 6
    });
}

/// Each consumer finds the same mails under new UIDs.
#[rstest]
fn after_a_change_of_uidvalidity_no_message_is_handed_to_two_consumers(#[from(postfix)] site: Site) {
    let other = site.other_client();
    let fill = |ids: &[&str]| {
        for id in ids {
            let mail = format!(
                "Message-ID: <{id}@example.test>\r\nFrom: bob@example.test\r\nSubject: {TAG} {id}\r\n\r\n{id}\r\n"
            );
            other.append("Queue", &[], mail.as_bytes()).unwrap();
        }
    };
    other.create_mailbox("Queue").unwrap();
    fill(&["1", "2", "3"]);
    let config = || briefly(&site).inbox("Queue").max_connects_per_minute(600);
    let holder = Imap::connect(config().batch(2)).unwrap();
    let second = Imap::connect(config()).unwrap();
    let batch = holder.fetch().unwrap();
    let held = second.fetch().unwrap();
    assert_eq!((batch.len(), held.len()), (2, 1));
    // Dovecot makes a UIDVALIDITY of the time, in seconds: other mailboxes use up this one's.
    other.remove_mailbox("Queue").unwrap();
    for name in ["A", "B", "C", "Queue"] {
        other.create_mailbox(name).unwrap();
    }
    fill(&["new", "3", "2", "1"]);
    site.dovecot().disconnect_all();
    let third = Imap::connect(config()).unwrap();
    let mut handed = Vec::new();
    wait_until("the new one", || {
        match third.fetch() {
            Ok(batch) => {
                handed.extend(batch.iter().map(|it| it.message().unwrap().text_lossy().into_owned()));
            }
            Err(error) => assert!(error.is_transient() && error.retry_after().is_some(), "{error:?}"),
        }
        !handed.is_empty()
    });
    assert_eq!(handed.iter().map(|text| text.trim_end()).collect::<Vec<_>>(), ["new"]);
    during(LEASE, || assert_eq!(third.fetch().unwrap().len(), 1));
    batch.ack().unwrap();
    held.ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
    third.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), "Queue").len(), 0);
}

/// The consumer that held them is away for longer than its lease.
#[rstest]
fn after_a_change_of_uidvalidity_a_lost_lease_is_an_error_and_nothing_is_archived(
    #[from(postfix)] site: Site,
) {
    let other = site.other_client();
    let fill = || {
        for id in ["1", "2"] {
            let mail = format!("Message-ID: <{id}@example.test>\r\nSubject: {TAG} {id}\r\n\r\n{id}\r\n");
            other.append("Queue", &[], mail.as_bytes()).unwrap();
        }
    };
    other.create_mailbox("Queue").unwrap();
    fill();
    let (config, relay) = through_a_relay(&site);
    let late = Duration::from_secs(600);
    let lost = Imap::connect(config.inbox("Queue").backoff(late, late)).unwrap();
    let batch = lost.fetch().unwrap();
    assert_eq!(batch.len(), 2);
    other.remove_mailbox("Queue").unwrap();
    for name in ["A", "B", "C", "Queue"] {
        other.create_mailbox(name).unwrap();
    }
    fill();
    relay.cut();
    let second = Imap::connect(briefly(&site).inbox("Queue")).unwrap();
    let mut taken = None;
    wait_until("the lease's end", || {
        taken = second.fetch().ok();
        taken.as_ref().is_some_and(|batch| batch.len() == 2)
    });
    let error = batch.ack().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::LeaseLost, Some("LEASE")), "{error:?}");
    assert_eq!((mail(&other, "Queue").len(), mail(&other, TAG).len()), (2, 0));
    taken.unwrap().ack().unwrap();
    assert_eq!(mail(&other, TAG).len(), 2);
}

#[rstest]
fn a_log_that_another_client_removes_is_made_anew_and_held_messages_are_claimed_again(
    #[from(postfix)] site: Site,
) {
    let other = site.other_client();
    deliver(&site, 2);
    let (first, second) = (Imap::connect(shared(&site)).unwrap(), Imap::connect(shared(&site)).unwrap());
    let batch = first.fetch().unwrap();
    assert_eq!((batch.len(), ids(&second)), (2, vec![]));
    other.remove_mailbox(&format!("{TAG}.claims")).unwrap();
    site.deliver(&[message("new", "hello")]);
    assert_eq!(ids(&second), ["new"], "the first handle's messages are left alone");
    site.deliver(&[message("newer", "hello")]);
    assert_eq!(first.fetch().unwrap().len(), 3, "two again, and the newer one");
    let third = Imap::connect(shared(&site)).unwrap();
    assert_eq!(ids(&third), Vec::<String>::new(), "all are claimed");
    batch.ack().unwrap();
    assert_eq!(mail(&other, TAG).len(), 2);
}

#[rstest]
fn foreign_mail_is_not_claimed_and_does_not_stand_in_the_way(#[from(postfix)] site: Site) {
    for n in 0..5 {
        site.plant(&[], &format!("From: eve@example.test\nSubject: x{TAG} {n}\n\nforeign\n"));
    }
    deliver(&site, 1);
    let before = mail(&site.other_client(), "INBOX");
    let imap = Imap::connect(shared(&site).batch(2)).unwrap();
    wait_until("the message", || imap.fetch_and_ack().unwrap().len() == 1);
    let mut after = mail(&site.other_client(), "INBOX");
    after.extend(before.iter().filter(|seen| !contains(&seen.raw, b"foreign")).cloned());
    assert_eq!(after, before);
}

#[rstest]
fn a_lease_that_a_single_call_could_outlast_is_a_config_error(#[from(postfix)] site: Site) {
    let error = Imap::connect(site.imap_config().shared(Duration::from_secs(100))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
