//! Futures that are dropped at each await point: nothing is lost, doubled or half done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use pymail::{AsyncImap, AsyncSmtp, Credentials, Delivery, ImapConfig, Server};
use rstest::rstest;
use rstest_reuse::apply;

use crate::executor::{DropPoint, Runtime, Wakes, next, poll_next};
use crate::fixtures::every_site;
use crate::mail_site::{ALICE, Site, TAG, mail, message};
use crate::streams::id;
use crate::support::process::wait_until;
use crate::support::script::{Script, Step};

/// Connects, with dead letters after the first failure.
fn connect(site: &Site) -> AsyncImap {
    Runtime::Smol.block_on(AsyncImap::connect(site.imap_config().dead_letters(1))).unwrap()
}

/// Waits for the calls before.
fn settle(imap: &AsyncImap) {
    Runtime::Smol.block_on(imap.noop()).unwrap();
}

/// Returns the ids of the messages in a mailbox, in order.
fn ids(site: &Site, mailbox: &str) -> Vec<String> {
    let mut ids: Vec<String> = mail(&site.other_client(), mailbox)
        .iter()
        .filter_map(|seen| {
            let text = String::from_utf8_lossy(&seen.raw).into_owned();
            let subject = text.lines().find_map(|line| line.strip_prefix(&format!("Subject: {TAG} ")))?;
            Some(subject.trim().to_owned())
        })
        .collect();
    ids.sort();
    ids
}

/// Checks that messages are archived once each, and that the inbox is empty.
fn assert_archived_once(site: &Site, all: &[String]) {
    assert_eq!((ids(site, TAG), ids(site, "INBOX")), (all.to_vec(), Vec::new()));
}

/// Fetches and acknowledges a batch; returns its ids, in order.
fn ack_the_rest(imap: &AsyncImap) -> Vec<String> {
    Runtime::Smol.block_on(async {
        let batch = imap.fetch().await.unwrap();
        imap.ack(&batch).await.unwrap();
        let mut ids: Vec<String> = batch.iter().map(id).collect();
        ids.sort();
        ids
    })
}

/// Returns a place for each message, and the messages' ids.
fn points() -> (Vec<DropPoint>, Vec<String>) {
    let points: Vec<_> = DropPoint::all(2).collect();
    let ids = (0..points.len()).map(|number| number.to_string()).collect();
    (points, ids)
}

fn deliver(site: &Site, ids: &[String]) {
    site.deliver(&ids.iter().map(|id| message(id, "hello")).collect::<Vec<_>>());
}

#[apply(every_site)]
fn an_acknowledgement_is_done_or_not(#[case] site: Site) {
    let (points, all) = points();
    deliver(&site, &all);
    let imap = connect(&site);
    let batch = Runtime::Smol.block_on(imap.fetch()).unwrap();
    for (point, delivery) in points.iter().zip(&batch) {
        let done = point.drop(imap.ack([delivery]));
        settle(&imap);
        let is_archived = ids(&site, TAG).contains(&id(delivery));
        assert_ne!(is_archived, ids(&site, "INBOX").contains(&id(delivery)), "{point:?}");
        assert!(point.may_have_done(is_archived), "{point:?}");
        assert!(done.is_none_or(|done| done.is_ok()));
        Runtime::Smol.block_on(imap.ack([delivery])).unwrap();
    }
    assert_archived_once(&site, &all);
}

#[apply(every_site)]
fn a_fetch_changes_nothing(#[case] site: Site) {
    let (points, all) = points();
    deliver(&site, &all);
    let imap = Runtime::Smol.block_on(AsyncImap::connect(site.imap_config())).unwrap();
    for point in points {
        point.drop(imap.fetch());
        let mut walk = imap.deliveries();
        point.drop(async { next(&mut walk).await.is_some() });
    }
    assert_eq!(ack_the_rest(&imap), all);
    assert_archived_once(&site, &all);
}

#[apply(every_site)]
fn a_rejection_is_done_or_not(#[case] site: Site) {
    let (points, all) = points();
    deliver(&site, &all);
    let imap = connect(&site);
    let batch = Runtime::Smol.block_on(imap.fetch()).unwrap();
    for (point, delivery) in points.iter().zip(&batch) {
        point.drop(imap.reject([delivery], "it is dropped"));
        settle(&imap);
        let is_in_inbox = ids(&site, "INBOX").contains(&id(delivery));
        assert!(point.may_have_done(!is_in_inbox), "{point:?}");
    }
    assert_eq!(ids(&site, TAG), Vec::<String>::new());
}

#[apply(every_site)]
fn fetch_and_ack_returns_each_message_once(#[case] site: Site) {
    let (points, all) = points();
    let imap = connect(&site);
    for (number, point) in points.iter().enumerate() {
        let sent = number.to_string();
        deliver(&site, std::slice::from_ref(&sent));
        let mut returned = point.drop(imap.fetch_and_ack()).transpose().unwrap().unwrap_or_default();
        for _ in 0..2 {
            returned.extend(Runtime::Smol.block_on(imap.fetch_and_ack()).unwrap());
        }
        assert_eq!(returned.iter().map(id).collect::<Vec<_>>(), [sent], "{point:?}");
    }
    assert_archived_once(&site, &all);
}

#[apply(every_site)]
fn a_message_is_sent_once_or_not(#[case] site: Site) {
    let (points, all) = points();
    let smtp = Runtime::Tokio.block_on(AsyncSmtp::connect(site.smtp_config())).unwrap();
    for (point, id) in points.iter().zip(&all) {
        point.drop(smtp.send(&message(id, "hello")));
    }
    assert!(Runtime::Tokio.block_on(smtp.send(&message("last", "hello"))).unwrap().all_accepted());
    // A server delivers messages in any order.
    let sent = points.iter().zip(&all).filter(|(point, _)| !point.may_have_done(false)).map(|(_, id)| id);
    let sent: Vec<&str> = sent.map(String::as_str).chain(["last"]).collect();
    let mut arrived = Vec::new();
    wait_until("all that was sent", || {
        arrived = ids(&site, "INBOX");
        sent.iter().all(|id| arrived.iter().any(|arrived| arrived == id))
    });
    for (point, id) in points.iter().zip(&all) {
        let copies = arrived.iter().filter(|arrived| *arrived == id).count();
        assert!(copies <= 1 && point.may_have_done(copies == 1), "{point:?}: {copies}");
    }
}

/// Polls a stream like a future of its next items, up to so many, and drops it at the place.
async fn consume(mut stream: pymail::AsyncConsumer, seen: &mut Vec<Delivery>, most: usize) {
    while seen.len() < most
        && let Some(item) = next(&mut stream).await
    {
        seen.push(item.unwrap());
    }
}

#[apply(every_site)]
fn a_stream_lets_go_of_its_messages(#[case] site: Site) {
    let all: Vec<String> = (1..=3).map(|number| number.to_string()).collect();
    deliver(&site, &all);
    let imap = Runtime::Smol.block_on(AsyncImap::connect(site.imap_config().batch(2))).unwrap();
    for point in DropPoint::all(3) {
        let mut seen = Vec::new();
        point.drop(consume(imap.consume(), &mut seen, all.len()));
        // More of them if a call ends within the poll that begins it.
        assert!(seen.len() >= [0, 0, 2, 3][point.polls], "{point:?}: {}", seen.len());
        // The second one is dropped with what it has fetched of the first.
        settle(&imap);
        assert_eq!(Runtime::Smol.block_on(imap.drain(Duration::ZERO)), 0, "{point:?}");
    }
    let mut stream = imap.consume();
    let yielded: BTreeSet<String> = Runtime::Smol.block_on(async {
        let mut yielded = BTreeSet::new();
        for _ in &all {
            let delivery = next(&mut stream).await.unwrap().unwrap();
            imap.ack([&delivery]).await.unwrap();
            yielded.insert(id(&delivery));
        }
        yielded
    });
    assert_eq!(yielded.len(), 3);
    assert_archived_once(&site, &all);
}

#[apply(every_site)]
fn messages_that_arrive_while_all_futures_are_dropped_are_archived_once(#[case] site: Site) {
    const MESSAGES: usize = 40;
    let all: Vec<String> = (10..10 + MESSAGES).map(|number| number.to_string()).collect();
    let config = site.imap_config().batch(3).max_in_flight(5).heartbeat(Duration::from_secs(1));
    let imap = Runtime::Smol.block_on(AsyncImap::connect(config)).unwrap();
    thread::scope(|scope| {
        let smtp = site.smtp();
        let messages: Vec<_> = all.iter().map(|id| message(id, "hello")).collect();
        scope.spawn(move || messages.iter().for_each(|it| assert!(smtp.send(it).unwrap().all_accepted())));
        let mut points = DropPoint::all(3).collect::<Vec<_>>().into_iter().cycle();
        wait_until("all messages in the archive", || {
            let mut seen = Vec::new();
            let received = consume(imap.consume(), &mut seen, MESSAGES);
            // While nothing arrives, a wake-up comes from a fetch only, which may have ended within the poll that began it.
            points.next().unwrap().drop_within(Duration::from_secs(1), received);
            for delivery in &seen {
                points.next().unwrap().drop(imap.ack([delivery]));
            }
            settle(&imap);
            ids(&site, TAG).len() >= MESSAGES
        });
    });
    assert_archived_once(&site, &all);
}

#[apply(every_site)]
fn what_one_stream_lets_go_of_another_gets(#[case] site: Site) {
    deliver(&site, &["1".to_owned()]);
    let never = Duration::from_secs(3_600);
    let config = site.imap_config().heartbeat(Duration::from_secs(1)).recheck(never);
    Runtime::Tokio.block_on(async {
        let imap = AsyncImap::connect(config).await.unwrap();
        let (mut first, mut second) = (imap.consume(), imap.consume());
        assert_eq!(id(&next(&mut first).await.unwrap().unwrap()), "1");
        let wakes = Arc::<Wakes>::default();
        assert!(poll_next(&mut second, &wakes).is_pending());
        imap.noop().await.unwrap(); // Its turn comes after that of the fetch.
        assert!(matches!(poll_next(&mut second, &wakes), Poll::Pending));
        drop(first);
        assert_eq!(id(&next(&mut second).await.unwrap().unwrap()), "1");
    });
}

#[rstest]
fn a_connection_that_no_future_returned_is_closed() {
    for point in DropPoint::all(1) {
        let server = Script::imap(&[]).start();
        let account = Credentials::new(ALICE, "secret");
        let config = ImapConfig::new(Server::unencrypted("localhost").port(server.port()), account);
        assert!(point.drop(AsyncImap::connect(config)).is_none());
        wait_until("the connection to end", || server.heard("LOGOUT").len() == server.connections());
        wait_until("the connection", || point.may_have_done(server.connections() == 1));
    }
}

#[rstest]
fn the_last_handle_closes_its_connection_without_blocking() {
    let server = Script::imap(&[]).on("LOGOUT", |_| Step::Nothing).start();
    let account = Credentials::new(ALICE, "secret");
    let config = ImapConfig::new(Server::unencrypted("localhost").port(server.port()), account);
    let imap = Runtime::Smol.block_on(AsyncImap::connect(config)).unwrap();
    let stream = imap.consume();
    drop(imap);
    assert_eq!(server.heard("LOGOUT").len(), 0);
    drop(stream);
    wait_until("LOGOUT", || server.heard("LOGOUT").len() == 1);
}
