//! Promise 5: any number of handles may share a mailbox, and a message is handed to one of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use pymail::{ErrorKind, Imap, ImapConfig, Server, State};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{dovecot_without, every_site, postfix};
use crate::site::{Site, TAG, contains, mail, message};
use crate::support::postfix::PostfixOptions;
use crate::support::process::wait_until;
use crate::support::relay::Relay;

fn shared(site: &Site) -> ImapConfig {
    site.imap_config().shared(Duration::from_secs(300))
}

/// Short enough to be waited for, and long enough for a handshake on a busy machine.
const DEADLINE: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(10);

fn briefly(site: &Site) -> ImapConfig {
    site.imap_config().deadline(DEADLINE).shared(LEASE)
}

fn ids(imap: &Imap) -> Vec<String> {
    let batch = imap.fetch().unwrap();
    batch.iter().map(|delivery| delivery.message().unwrap().id.clone()).collect()
}

fn deliver(site: &Site, count: usize) {
    site.deliver(&(0..count).map(|n| message(&n.to_string(), "hello")).collect::<Vec<_>>());
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
fn what_a_stopped_handle_had_is_handed_to_another_at_once(
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
        first.stop().unwrap();
    }
    let third = Imap::connect(shared(&site)).unwrap();
    assert_eq!(ids(&third).len(), 3);
}

/// As [`briefly`], through what can cut its connection, or stall it.
fn through_a_relay(site: &Site) -> (ImapConfig, Relay) {
    let relay = Relay::start("127.0.0.1", site.dovecot().imaps_port());
    let server = Server::tls("localhost").port(relay.port()).trust_pem(site.ca_pem());
    let config = ImapConfig::new(server, site.credentials()).tag(TAG);
    (config.deadline(DEADLINE).shared(LEASE), relay)
}

/// A handle that does not come back by itself once its connection is cut, and what cuts it.
fn fragile(site: &Site) -> (Imap, Relay) {
    let (config, relay) = through_a_relay(site);
    let late = Duration::from_secs(600);
    (Imap::connect(config.backoff(late, late)).unwrap(), relay)
}

#[rstest]
fn what_a_lost_handle_had_is_handed_to_another_when_its_lease_is_over_and_it_is_told_so(
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
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("LEASE")), "{error:?}");
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 3);
    other.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

/// It is connected again before it acknowledges, and has said that it is alive.
#[rstest]
fn a_handle_that_came_back_too_late_is_told_so(#[from(postfix)] site: Site) {
    deliver(&site, 3);
    let (config, relay) = through_a_relay(&site);
    let late = Imap::connect(config.connects_a_minute(600)).unwrap();
    let batch = late.fetch().unwrap();
    let other = Imap::connect(briefly(&site)).unwrap();
    relay.stall(2 * LEASE);
    wait_until("the lease's end", || ids(&other).len() == 3);
    let before = late.stats().commands;
    wait_until("signs of life", || {
        late.status().state == State::Connected && late.stats().commands > before + 10
    });
    let error = batch.ack().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("LEASE")), "{error:?}");
    other.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

#[rstest]
fn what_was_acknowledged_may_be_acknowledged_again(#[from(postfix)] site: Site) {
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
fn who_was_away_for_longer_than_its_lease_keeps_what_nobody_wanted(#[from(postfix)] site: Site) {
    deliver(&site, 3);
    let (lost, relay) = fragile(&site);
    let batch = lost.fetch().unwrap();
    relay.cut();
    let over = Instant::now() + LEASE + Duration::from_secs(2);
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
        let entries = mail(&site.other_client(), &format!("{TAG}.claims")).len();
        assert!(entries <= 4, "{entries} entries after round {round}");
    }
}

#[rstest]
fn foreign_mail_is_not_claimed_and_does_not_stand_in_the_way(#[from(postfix)] site: Site) {
    for n in 0..5 {
        site.plant(&[], &format!("From: eve@example.test\nSubject: x{TAG} {n}\n\nforeign\n"));
    }
    deliver(&site, 1);
    let before = mail(&site.other_client(), "INBOX");
    let imap = Imap::connect(shared(&site).batch(2)).unwrap();
    wait_until("the message", || imap.drain().unwrap().len() == 1);
    let mut after = mail(&site.other_client(), "INBOX");
    after.extend(before.iter().filter(|seen| !contains(&seen.raw, b"foreign")).cloned());
    assert_eq!(after, before);
}

#[rstest]
fn a_lease_that_a_single_call_could_outlast_is_a_config_error(#[from(postfix)] site: Site) {
    let error = Imap::connect(site.imap_config().shared(Duration::from_secs(100))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
