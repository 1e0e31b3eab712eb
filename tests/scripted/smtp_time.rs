//! The time that a server has: it grows with the message, and the reply to its end has a limit of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pymail::{Credentials, ErrorKind, Smtp, SmtpConfig};
use rstest::rstest;

use super::smtp_config;
use crate::mail_site::message;
use crate::support::script::{Script, Scripted, Step};

/// The timeout of a call; a busy machine connects sooner.
const TIMEOUT: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(300);

fn config(server: &Scripted) -> SmtpConfig {
    smtp_config(server, Credentials::none()).timeout(TIMEOUT)
}

#[rstest]
fn a_final_reply_may_come_later_than_the_timeout(#[values(&[], &["PIPELINING"])] extensions: &[&str]) {
    let late = |heard: &crate::support::script::Heard| {
        if heard.nth == 1 {
            thread::sleep(TIMEOUT + SHORT);
        }
        Step::Usual
    };
    let server = Script::smtp(extensions).on(".", late).start();
    let smtp = Smtp::connect(config(&server)).unwrap();
    // The second message has the time that the first one has left.
    for outcome in smtp.send_all(&[message("1", "hello"), message("2", "hello")]) {
        assert!(outcome.unwrap().all_accepted());
    }
    assert_eq!(server.connections(), 1);
}

#[rstest]
#[case::silence(Step::Nothing)]
#[case::a_drip(Step::Drip(b"250-ok\r\n".repeat(1_000)))]
fn a_final_reply_that_does_not_come_in_its_time_is_an_unknown_outcome(#[case] step: Step) {
    let server = Script::smtp(&[]).on(".", move |heard| step.clone().when(heard.nth == 1)).start();
    let smtp = Smtp::connect(config(&server).reply_timeout(SHORT)).unwrap();
    let error = smtp.send(&message("1", "hello")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    let told = "delivery unknown: no final reply within 0.3 s (SmtpConfig::reply_timeout)";
    assert_eq!(error.to_string(), told);
    let config = config(&server);
    assert!(Smtp::connect(config).unwrap().send(&message("2", "hello")).unwrap().all_accepted());
}

#[rstest]
fn a_server_that_reads_a_large_message_slowly_has_more_time_than_the_timeout() {
    // It pauses after each 3 MB: the message is larger than all buffers of the connection.
    let lines = AtomicUsize::new(0);
    let slow = move |_: &_| {
        if lines.fetch_add(1, Ordering::Relaxed) % 40_000 == 39_999 {
            thread::sleep(TIMEOUT / 5);
        }
        Step::Usual
    };
    let server = Script::smtp(&[]).on("> ", slow).start();
    let smtp = Smtp::connect(config(&server)).unwrap();
    let began = Instant::now();
    assert!(smtp.send(&message("1", vec![b'a'; 20 << 20])).unwrap().all_accepted());
    assert!(began.elapsed() > TIMEOUT);
}
