//! Streams on every server, on two runtimes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_core::FusedStream as _;
use pymail::{
    AccessToken, AsyncImap, AsyncSmtp, Credentials, Delivery, Error, ErrorKind, ImapConfig, Push, Server,
    State,
};
use rstest::rstest;
use rstest_reuse::apply;

use crate::executor::{Runtime, Wakes, next, poll, poll_next};
use crate::fixtures::{embedded, every_site};
use crate::mail_site::{ALICE, Site, TAG, mail, message};
use crate::support::process::wait_until;
use crate::support::script::{Heard, Script, Step};

/// So long that a test which needs it fails by its own time limit.
const NEVER: Duration = Duration::from_secs(3_600);

/// The longest wait for a message on a busy machine. Courier looks for new mail once a minute.
const PATIENCE: Duration = Duration::from_secs(150);

pub fn id(delivery: &Delivery) -> String {
    delivery.message().unwrap().id.clone()
}

/// Delivers messages with the ids from 1 on. One after the other: Postfix delivers several in any order.
fn deliver(site: &Site, count: usize) {
    for id in 1..=count {
        site.deliver(&[message(&id.to_string(), "hello")]);
    }
}

/// Connects a handle to which messages come by announcements alone.
async fn push_only(site: &Site) -> AsyncImap {
    AsyncImap::connect(site.imap_config().heartbeat(Duration::from_secs(1)).recheck(NEVER)).await.unwrap()
}

#[apply(every_site)]
fn a_stream_yields_each_message_once_as_it_arrives(
    #[case] site: Site,
    #[values(Runtime::Tokio, Runtime::Smol)] runtime: Runtime,
) {
    let (imap, mut ids) = runtime.block_on(async {
        let imap = push_only(&site).await;
        let smtp = AsyncSmtp::connect(site.smtp_config()).await.unwrap();
        let mut stream = imap.consume();
        let (wakes, mut ids) = (Arc::<Wakes>::default(), Vec::new());
        wait_until("the stream to wait", || {
            assert!(poll_next(&mut stream, &wakes).is_pending());
            imap.status().push.is_some()
        });
        for sent in [&["1", "2"][..], &["3"], &["4"]] {
            let messages: Vec<_> = sent.iter().map(|id| message(id, "hello")).collect();
            assert!(smtp.send_all(messages).await.into_iter().all(|receipt| receipt.unwrap().all_accepted()));
            for _ in sent {
                let delivery = next(&mut stream).await.unwrap().unwrap();
                imap.ack([&delivery]).await.unwrap();
                ids.push(id(&delivery));
            }
        }
        smtp.close().await.unwrap();
        (imap, ids)
    });
    ids.sort();
    assert_eq!(ids, ["1", "2", "3", "4"]);
    assert!(imap.status().push.is_some_and(|push| push != Push::Distrusted), "{:?}", imap.status());
    assert_eq!((mail(&site.other_client(), TAG).len(), mail(&site.other_client(), "INBOX").len()), (4, 0));
    imap.blocking().close().unwrap();
}

#[apply(every_site)]
fn futures_do_what_the_verbs_do(
    #[case] site: Site,
    #[values(Runtime::Tokio, Runtime::Smol)] runtime: Runtime,
) {
    deliver(&site, 3);
    runtime.block_on(async {
        let imap = AsyncImap::connect(site.imap_config().dead_letters(5)).await.unwrap();
        imap.noop().await.unwrap();
        let batch = imap.fetch().await.unwrap();
        assert_eq!(batch.iter().map(id).collect::<Vec<_>>(), ["1", "2", "3"]);
        imap.nack([&batch[0]], NEVER).await.unwrap();
        imap.reject([&batch[1]], "not today").await.unwrap();
        imap.ack([&batch[2]]).await.unwrap();
        let mut walk = imap.deliveries();
        assert_eq!(id(&next(&mut walk).await.unwrap().unwrap()), "1");
        assert_eq!(id(&next(&mut walk).await.unwrap().unwrap()), "2");
        assert!(next(&mut walk).await.is_none() && next(&mut walk).await.is_none());
        let all = imap.search("ALL").await.unwrap();
        assert_eq!((all.len(), imap.fetch_uids(&all).await.unwrap().len()), (2, 2));
        imap.copy(&all, &site.mailbox(TAG)).await.unwrap();
        assert_eq!(mail(&site.other_client(), TAG).len(), 3);
        assert_eq!(imap.fetch_and_ack().await.unwrap().len(), 1);
        imap.delete(&imap.search("ALL").await.unwrap()).await.unwrap();
        assert!(!imap.wait(Duration::from_millis(1)).await.unwrap());
        imap.close().await.unwrap();
        assert_eq!(imap.noop().await.unwrap_err().kind(), ErrorKind::Closed);
    });
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 0);
}

#[apply(every_site)]
fn dead_letters_are_counted_listed_and_redriven(
    #[case] site: Site,
    #[values(Runtime::Tokio, Runtime::Smol)] runtime: Runtime,
) {
    deliver(&site, 3);
    runtime.block_on(async {
        let imap = AsyncImap::connect(site.imap_config().dead_letters(1).batch(2)).await.unwrap();
        for _ in 0..2 {
            imap.reject(&imap.fetch().await.unwrap(), "not today").await.unwrap();
        }
        let depth = imap.depth().await.unwrap();
        assert_eq!((depth.waiting, depth.dead_letters), (0, 3));
        let (mut letters, mut listed) = (imap.dead_letters(), Vec::new());
        while let Some(letter) = next(&mut letters).await {
            listed.push(letter.unwrap());
        }
        assert!(letters.is_terminated());
        let ids: Vec<_> = listed.iter().map(|it| it.message().unwrap().id.clone()).collect();
        assert_eq!(ids, ["1", "2", "3"]);
        imap.redrive(&listed[..2]).await.unwrap();
        let depth = imap.depth().await.unwrap();
        assert_eq!((depth.waiting, depth.dead_letters), (2, 1));
        assert_eq!(imap.fetch().await.unwrap().len(), 2);
        imap.close().await.unwrap();
    });
}

#[apply(every_site)]
fn a_wait_ends_when_mail_arrives(#[case] site: Site) {
    Runtime::Smol.block_on(async {
        let imap = push_only(&site).await;
        assert!(imap.fetch().await.unwrap().is_empty());
        let wait = smol::spawn(imap.wait(PATIENCE));
        site.deliver(&[message("1", "a")]);
        assert!(wait.await.unwrap());
    });
}

#[apply(every_site)]
fn no_more_messages_are_in_flight_than_the_limit(#[case] site: Site) {
    deliver(&site, 5);
    Runtime::Tokio.block_on(async {
        let imap = AsyncImap::connect(site.imap_config().max_in_flight(2)).await.unwrap();
        let (wakes, mut stream) = (Arc::<Wakes>::default(), imap.consume());
        let mut in_flight = Vec::new();
        for expected in 1..=5 {
            in_flight.push(next(&mut stream).await.unwrap().unwrap());
            assert_eq!(in_flight.last().map(id), Some(expected.to_string()));
            if in_flight.len() == 2 {
                assert!(poll_next(&mut stream, &wakes).is_pending());
                imap.noop().await.unwrap(); // Its turn comes after that of a fetch.
                assert!(poll_next(&mut stream, &wakes).is_pending());
                imap.ack([&in_flight.remove(0)]).await.unwrap();
                wakes.wait_for_more_than(0);
            }
        }
    });
}

#[apply(every_site)]
fn streams_share_the_limit_of_messages_in_flight(#[case] site: Site) {
    deliver(&site, 2);
    Runtime::Tokio.block_on(async {
        let imap = AsyncImap::connect(site.imap_config().max_in_flight(1)).await.unwrap();
        let (wakes, mut streams) = (Arc::<Wakes>::default(), [imap.consume(), imap.consume()]);
        // Both find room before either has fetched.
        assert!(streams.iter_mut().all(|stream| poll_next(stream, &wakes).is_pending()));
        let [first, second] = &mut streams;
        let delivery = next(first).await.unwrap().unwrap();
        imap.noop().await.unwrap(); // Its turn comes after that of the second one's fetch.
        assert!(poll_next(second, &wakes).is_pending());
        imap.noop().await.unwrap();
        assert!(poll_next(second, &wakes).is_pending());
        imap.ack([&delivery]).await.unwrap();
        assert_eq!(id(&next(second).await.unwrap().unwrap()), "2");
    });
}

#[rstest]
fn drain_waits_for_the_messages_in_flight_at_most_for_its_limit(#[from(embedded)] site: Site) {
    site.deliver(&[message("1", "a")]);
    Runtime::Smol.block_on(async {
        let imap = push_only(&site).await;
        let mut stream = imap.consume();
        let delivery = next(&mut stream).await.unwrap().unwrap();
        assert_eq!(imap.drain(Duration::from_millis(20)).await, 1);
        assert!(next(&mut stream).await.is_none());
        let (wakes, mut drain) = (Arc::<Wakes>::default(), Box::pin(imap.drain(NEVER)));
        assert!(poll(drain.as_mut(), &wakes).is_pending());
        imap.ack([&delivery]).await.unwrap();
        assert_eq!((wakes.count(), drain.await), (1, 0));
    });
}

#[rstest]
fn a_stream_that_waits_ends_when_the_handle_is_drained_or_closed(
    #[from(embedded)] site: Site,
    #[values(false, true)] closes: bool,
) {
    Runtime::Smol.block_on(async {
        let imap = push_only(&site).await;
        let mut stream = imap.consume();
        let waiting = smol::spawn(async move { next(&mut stream).await.is_none() });
        wait_until("the stream to wait", || imap.status().push.is_some());
        if closes {
            imap.close().await.unwrap();
        } else {
            assert_eq!(imap.drain(NEVER).await, 0);
        }
        assert!(waiting.await);
    });
}

#[rstest]
fn a_stream_survives_a_server_that_hangs_up_each_time_it_idles() {
    let hangs_up = |heard: &Heard| Step::SayAndClose("+ idling\r\n".into()).when(heard.nth < 4);
    let mail = format!("From: bob@example.test\r\nSubject: {TAG} 1\r\n\r\nhello");
    let size = mail.len();
    let fetched =
        format!("* 1 FETCH (UID 1 RFC822.SIZE {size} BODY[]<0> {{{size}}}\r\n{mail})\r\nTAG OK done\r\n");
    let server = Script::imap(&["IDLE"])
        .on("IDLE", hangs_up)
        .on("UID SEARCH UNDELETED SUBJECT", |heard| {
            Step::say(format!("* SEARCH{}\r\nTAG OK done\r\n", if heard.nth < 4 { "" } else { " 1" }))
        })
        .says("UID FETCH", fetched)
        .start();
    let config =
        ImapConfig::new(Server::unencrypted("localhost").port(server.port()), Credentials::new(ALICE, "a"))
            .tag(TAG)
            .backoff(Duration::from_millis(1), Duration::from_millis(400))
            .heartbeat(NEVER)
            .max_connects_per_minute(1_000);
    let imap = Runtime::Smol.block_on(AsyncImap::connect(config)).unwrap();
    let mut stream = imap.consume();
    assert_eq!(id(&Runtime::Smol.block_on(next(&mut stream)).unwrap().unwrap()), "1");
    assert!(server.connections() > 1 && !stream.is_terminated());
    Runtime::Smol.block_on(async {
        imap.close().await.unwrap();
        assert!(next(&mut stream).await.is_none());
    });
    assert!(stream.is_terminated());
}

#[rstest]
fn a_stream_ends_after_an_error_that_does_not_pass() {
    let refuses = |heard: &Heard| Step::say("TAG NO [AUTHENTICATIONFAILED] wrong\r\n").when(heard.nth > 1);
    let server = Script::imap(&["IDLE"]).on("IDLE", |_| Step::Close).on("LOGIN", refuses).start();
    let account = Credentials::new(ALICE, "a");
    let config = ImapConfig::new(Server::unencrypted("localhost").port(server.port()), account)
        .backoff(Duration::from_millis(1), Duration::from_millis(400));
    Runtime::Tokio.block_on(async {
        let mut stream = AsyncImap::connect(config).await.unwrap().consume();
        assert_eq!(next(&mut stream).await.unwrap().unwrap_err().kind(), ErrorKind::Auth);
        assert!(next(&mut stream).await.is_none() && stream.is_terminated());
    });
}

#[rstest]
fn a_stream_yields_the_lost_grant_and_goes_on_after_the_sign_in() {
    let server = Script::imap(&["AUTH=XOAUTH2"])
        .says("AUTHENTICATE", "+ \r\n")
        .on("UID SEARCH", |heard| Step::Close.when(heard.connection == 1))
        .start();
    let asked = AtomicUsize::new(0);
    let account = Credentials::oauth2(ALICE, move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        1 => Err(Error::grant_gone("invalid_grant")),
        _ => Ok(AccessToken::new("token")),
    });
    let config = ImapConfig::new(Server::unencrypted("localhost").port(server.port()), account);
    Runtime::Tokio.block_on(async {
        let imap = AsyncImap::connect(config.heartbeat(Duration::from_millis(1))).await.unwrap();
        let mut stream = imap.consume();
        for _ in 0..2 {
            assert_eq!(next(&mut stream).await.unwrap().unwrap_err().kind(), ErrorKind::SignInNeeded);
        }
        assert_eq!(imap.wait(NEVER).await.unwrap_err().kind(), ErrorKind::SignInNeeded);
        imap.signed_in().await.unwrap();
        imap.noop().await.unwrap();
        assert!(imap.status().state == State::Connected && !stream.is_terminated());
    });
}
