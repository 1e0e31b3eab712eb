//! The promise "once": a message with an unknown outcome is resent if configured, and duplicates are dropped.

use std::time::Duration;

use pymail::{ErrorKind, Imap, Smtp};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{dovecot, every_site, postfix};
use crate::mail_site::{Site, TAG, mail, message};
use crate::support::process::wait_until;
use crate::support::script::{Script, Step};

/// Appends a tagged mail with a Message-ID to the inbox, several times.
fn plant(site: &Site, message_id: &str, id: &str, times: usize) {
    let headers = format!("Message-ID: <{message_id}>\nFrom: alice@example.test\nSubject: {TAG} {id}\n");
    for _ in 0..times {
        site.plant(&[], &format!("{headers}\nhello\n"));
    }
}

fn ids(imap: &Imap) -> Vec<String> {
    let received = imap.fetch_and_ack().unwrap();
    received.into_iter().map(|delivery| delivery.into_message().unwrap().id).collect()
}

/// Waits for the next messages and returns their ids: a connection may see another one's APPEND late.
fn first_ids(imap: &Imap) -> Vec<String> {
    let mut found = Vec::new();
    wait_until("a message", || {
        found = ids(imap);
        !found.is_empty()
    });
    found
}

#[apply(every_site)]
fn duplicates_in_the_inbox_are_one_delivery_and_are_archived_with_it(#[case] site: Site) {
    plant(&site, "a@example.test", "1", 2);
    plant(&site, "b@example.test", "1", 1);
    let imap = site.imap();
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 2);
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 3, "nothing has changed");
    batch.ack().unwrap();
    assert_eq!(mail(&site.other_client(), "INBOX"), []);
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

#[apply(every_site)]
fn a_duplicate_of_an_acknowledged_message_is_not_delivered_and_leaves_the_inbox(#[case] site: Site) {
    let imap = site.imap();
    plant(&site, "a@example.test", "1", 1);
    assert_eq!(first_ids(&imap), ["1"]);
    plant(&site, "a@example.test", "1", 1);
    plant(&site, "c@example.test", "2", 1);
    assert_eq!(first_ids(&imap), ["2"]);
    assert_eq!(mail(&site.other_client(), "INBOX"), []);
}

#[apply(every_site)]
fn a_duplicate_of_a_message_that_an_earlier_handle_acknowledged_is_not_delivered(#[case] site: Site) {
    plant(&site, "a@example.test", "1", 1);
    assert_eq!(ids(&site.imap()), ["1"]);
    plant(&site, "a@example.test", "1", 1);
    let later = site.imap();
    assert_eq!(ids(&later), Vec::<String>::new());
    assert_eq!(mail(&site.other_client(), "INBOX"), []);
    // Without MOVE, a duplicate may be left by an interrupted acknowledgement, so that it is not archived again.
    let archived = if site.has_move() { 2 } else { 1 };
    assert_eq!(mail(&site.other_client(), TAG).len(), archived);
    plant(&site, "a@example.test", "1", 1);
    let without_memory = Imap::connect(site.imap_config().dedup_window(0)).unwrap();
    assert_eq!(ids(&without_memory), ["1"], "without a memory the duplicate is delivered");
}

#[rstest]
fn duplicates_are_dropped_within_the_configured_window(#[from(postfix)] site: Site) {
    for id in ["1", "2", "3"] {
        plant(&site, &format!("{id}@example.test"), id, 1);
    }
    assert_eq!(ids(&site.imap()).len(), 3);
    for id in ["1", "2", "3"] {
        plant(&site, &format!("{id}@example.test"), id, 1);
    }
    assert_eq!(ids(&Imap::connect(site.imap_config().dedup_window(2)).unwrap()), ["1"]);
}

#[rstest]
fn other_messages_with_the_same_message_id_are_delivered(#[from(postfix)] site: Site) {
    plant(&site, "a@example.test", "1", 1);
    plant(&site, "a@example.test", "2", 1);
    assert_eq!(ids(&site.imap()), ["1", "2"]);
}

#[apply(every_site)]
fn a_message_sent_twice_is_received_once(#[case] site: Site) {
    let sent = message("1", "hello");
    site.deliver(std::slice::from_ref(&sent));
    assert_eq!(ids(&site.imap()), ["1"]);
    site.deliver(std::slice::from_ref(&sent));
    assert_eq!(ids(&site.imap()), Vec::<String>::new());
}

#[rstest]
fn a_batch_is_acknowledged_by_message_id_in_a_mailbox_that_was_recreated() {
    let site = postfix(dovecot());
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
    fill(&["1", "2"]);
    let imap =
        Imap::connect(site.imap_config().inbox("Queue").heartbeat(Duration::from_secs(3_600))).unwrap();
    let batch = imap.fetch().unwrap();
    // Dovecot derives UIDVALIDITY from the time in seconds: the other mailboxes take the old value.
    other.remove_mailbox("Queue").unwrap();
    for name in ["A", "B", "C", "Queue"] {
        other.create_mailbox(name).unwrap();
    }
    fill(&["other", "2", "1"]);
    site.dovecot().disconnect_all();
    batch.ack().unwrap();
    let queue = mail(&other, "Queue");
    assert!(queue.len() == 1 && crate::mail_site::contains(&queue[0].raw, b"Subject: __TEST__ other"));
    assert_eq!(mail(&other, TAG).len(), 2);
    batch.ack().unwrap();
    assert_eq!(mail(&other, TAG).len(), 2, "archived messages are not missed");
}

#[rstest]
fn a_resent_message_keeps_its_message_id() {
    let server = Script::smtp(&["PIPELINING"]).on(".", |heard| Step::Close.when(heard.nth == 1)).start();
    let open = pymail::Server::unencrypted("localhost").port(server.port());
    let config = || pymail::SmtpConfig::new(open.clone(), pymail::Credentials::none()).tag(TAG);
    let sent = message("1", "hello");
    let smtp = Smtp::connect(config().resend_unknown(true)).unwrap();
    assert!(smtp.send(&sent).unwrap().all_accepted());
    let copies = server.data();
    assert_eq!((copies.len(), &copies[0].text), (2, &copies[1].text));
    assert!(copies[0].text.contains(sent.message_id().as_str()));
}

#[rstest]
fn a_message_whose_every_final_reply_is_lost_stays_unknown() {
    let server = Script::smtp(&[]).on(".", |_| Step::Close).start();
    let open = pymail::Server::unencrypted("localhost").port(server.port());
    let config = pymail::SmtpConfig::new(open, pymail::Credentials::none()).resend_unknown(true);
    let error = Smtp::connect(config).unwrap().send(&message("1", "hello")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(server.data().len() <= 8, "{} attempts", server.data().len());
}
