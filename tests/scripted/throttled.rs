//! Servers that ask for a pause, and servers that drop every connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use pymail::{Credentials, ErrorKind, Imap, Smtp, State};
use rstest::rstest;

use super::{imap_config, smtp_config};
use crate::mail_site::message;
use crate::support::script::{Heard, Script, Step};

#[rstest]
#[case::imap_says_unavailable("TAG NO [UNAVAILABLE] down for maintenance, try again in 5 minutes\r\n", 300)]
#[case::exchange("TAG BAD Request is throttled. Suggested Backoff Time: 40000 milliseconds\r\n", 40)]
fn an_imap_server_that_asks_to_wait_gets_no_connection_until_then(
    #[case] no: &'static str,
    #[case] seconds: u64,
) {
    let server = Script::imap(&[])
        .on("NOOP", |heard| Step::Close.when(heard.connection == 1))
        .on("LOGIN", move |heard| Step::say(no).when(heard.connection == 2))
        .start();
    let imap = Imap::connect(imap_config(&server)).unwrap();
    for _ in 0..3 {
        let error = imap.noop().unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        let wait = error.retry_after().unwrap();
        assert!(wait <= Duration::from_secs(seconds) && wait > Duration::from_secs(seconds - 20), "{wait:?}");
        assert_eq!(imap.status().state, State::Throttled);
    }
    assert_eq!(server.connections(), 2);
}

#[rstest]
fn an_smtp_server_that_asks_to_wait_gets_no_connection_until_then() {
    let busy = || Step::SayAndClose("421 4.7.0 too many messages, try again in 90 seconds\r\n".into());
    let server = Script::smtp(&[]).on("MAIL", move |_| busy()).start();
    let smtp = Smtp::connect(smtp_config(&server, Credentials::none())).unwrap();
    for _ in 0..3 {
        let error = smtp.send(&message("1", "a")).unwrap_err();
        assert!(error.is_transient() && error.retry_after().is_some(), "{error:?}");
    }
    assert_eq!((server.connections(), smtp.status().state), (1, State::Throttled));
}

#[rstest]
#[case::a_recipient("RCPT", "450 4.7.1 greylisted, try again in 5 minutes\r\n")]
#[case::a_message(".", "452 4.3.1 no room, try again in 5 minutes\r\n")]
fn a_refusal_that_says_when_to_try_again_is_heard(#[case] at: &str, #[case] no: &'static str) {
    let server = Script::smtp(&["PIPELINING"]).says(at, no).start();
    let error = super::smtp(&server).send(&message("1", "a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    let wait = error.retry_after().unwrap();
    assert!(wait <= Duration::from_secs(300) && wait > Duration::from_secs(280), "{wait:?}");
}

/// The second of two connections is lost, and can't be replaced.
#[rstest]
fn messages_of_a_broken_connection_are_sent_over_the_others() {
    let begun = Barrier::new(2);
    let server = Script::smtp(&["PIPELINING"])
        .on("MAIL", move |heard| {
            // Neither has finished its messages before the other has begun.
            if heard.here == 1 && heard.connection <= 2 {
                begun.wait();
            }
            Step::Close.when(heard.connection == 2)
        })
        .on("GREETING", |heard| Step::SayAndClose("421 too many\r\n".into()).when(heard.connection > 2))
        .start();
    let smtp = Smtp::connect(smtp_config(&server, Credentials::none()).connections(2)).unwrap();
    let messages: Vec<_> = (0..1_000).map(|n| message(&n.to_string(), "a")).collect();
    let sent = smtp.send_all(&messages).iter().filter(|outcome| outcome.is_ok()).count();
    assert!((900..1_000).contains(&sent), "{sent}");
}

/// A final reply that is late keeps its connection alone.
#[rstest]
fn messages_are_sent_over_the_connections_that_are_free() {
    let (held, released) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (holds, release) = (Arc::clone(&held), Arc::clone(&released));
    let late = move |heard: &Heard| {
        if heard.nth == 1 {
            holds.wait();
            release.wait();
        }
        Step::Usual
    };
    let server = Script::smtp(&["PIPELINING"]).on(".", late).start();
    let smtp = Smtp::connect(smtp_config(&server, Credentials::none()).connections(2)).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| smtp.send(&message("0", "a")));
        held.wait();
        for id in 1..=6 {
            assert!(smtp.send(&message(&id.to_string(), "a")).unwrap().all_accepted());
        }
        let several: Vec<_> = (7..=12).map(|id| message(&id.to_string(), "a")).collect();
        assert!(smtp.send_all(&several).iter().all(Result::is_ok));
        released.wait();
        assert!(first.join().unwrap().unwrap().all_accepted());
    });
    assert_eq!((server.connections(), server.data().len()), (2, 13));
}

#[rstest]
fn a_connection_that_can_not_be_replaced_keeps_no_message_from_the_others() {
    let server = Script::smtp(&["PIPELINING"])
        .on("MAIL", |heard| Step::Close.when(heard.connection == 1))
        .on("GREETING", |heard| Step::SayAndClose("421 too many\r\n".into()).when(heard.connection > 2))
        .start();
    let smtp = Smtp::connect(smtp_config(&server, Credentials::none()).connections(2)).unwrap();
    let sent = (0..10).filter(|id| smtp.send(&message(&id.to_string(), "a")).is_ok()).count();
    assert_eq!((sent, server.data().len()), (9, 9), "the first one has found the connection lost");
}

#[rstest]
fn all_connections_but_the_first_are_made_at_the_same_time() {
    let others = Barrier::new(3);
    let greet = move |heard: &Heard| {
        if heard.connection > 1 {
            others.wait();
        }
        Step::Usual
    };
    let server = Script::smtp(&[]).on("GREETING", greet).start();
    let smtp = Smtp::connect(smtp_config(&server, Credentials::none()).connections(4)).unwrap();
    smtp.close().unwrap();
    assert_eq!((server.connections(), server.heard("QUIT").len()), (4, 4));
}

#[rstest]
fn a_server_that_accepts_and_drops_sees_most_of_the_configured_connections_at_once_and_the_others_later() {
    let server = Script::imap(&[]).on("NOOP", |_| Step::Close).start();
    let imap = Imap::connect(imap_config(&server).max_connects_per_minute(4)).unwrap();
    let errors: Vec<_> = (0..20).map(|_| imap.noop().unwrap_err()).collect();
    assert!(errors.iter().all(pymail::Error::is_transient));
    assert_eq!(server.connections(), 3);
    let last = &errors[19];
    assert_eq!(last.kind(), ErrorKind::Connect);
    assert!(last.retry_after().is_some_and(|wait| wait <= Duration::from_secs(30)), "{last:?}");
    let stats = imap.stats();
    assert_eq!(stats.reconnects, 2);
    assert!(stats.commands >= 12 && stats.bytes_sent > 100 && stats.bytes_received > 100, "{stats:?}");
}

/// An app that polls without a pause has made few attempts when the server is back, and is connected soon after.
#[rstest]
fn a_polling_handle_is_not_locked_out_by_an_outage() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let server = Script::imap(&[])
        .on("NOOP", |heard| Step::Close.when(heard.connection == 1))
        .on("GREETING", move |_| Step::Close.when(down.load(Ordering::SeqCst)))
        .start();
    let imap = Imap::connect(imap_config(&server)).unwrap();
    is_down.store(true, Ordering::SeqCst);
    let mut errors: Vec<_> = (0..1_000).map(|_| imap.noop().unwrap_err()).collect();
    assert!((2..20).contains(&server.connections()), "{}", server.connections());
    is_down.store(false, Ordering::SeqCst);
    errors.extend(std::iter::from_fn(|| imap.noop().err()));
    assert!(errors.iter().all(pymail::Error::is_transient));
    let longest = errors.iter().filter_map(pymail::Error::retry_after).max();
    assert!(longest.is_some_and(|wait| wait < Duration::from_secs(3)), "{longest:?}");
    assert_eq!(imap.status().state, State::Connected);
}
