//! A connection that ends is noticed at once, at whichever octet of a response it ends.
//!
//! The timeout is long: a reader that waits for more data than there is, or reads again and again, ends with `Timeout`,
//! and not with the messages of a new connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use pymail::{ErrorKind, Imap};
use rstest::rstest;

use super::imap::mail;
use super::imap_config;
use crate::mail_site::TAG;
use crate::support::script::{Script, Step};

/// The number of servers at a time.
const AT_ONCE: usize = 4;

fn fetched(uid: u32) -> String {
    let mail = mail(uid, "hello");
    format!("* {uid} FETCH (UID {uid} FLAGS () RFC822.SIZE {0} BODY[]<0> {{{0}}}\r\n{mail})\r\n", mail.len())
}

/// The same response in another form: data behind a blank line, and attributes behind the data.
fn otherwise(uid: u32) -> String {
    let mail = mail(uid, "hello");
    format!("* {uid} FETCH (BODY[] {{{}}}\r\n{mail}\r\n UID {uid} FLAGS ())\r\n", mail.len())
}

/// Returns the responses of one connection, by the beginnings of commands.
fn answers(one: fn(u32) -> String) -> Vec<(&'static str, String)> {
    vec![
        ("GREETING", "* OK ready\r\n".into()),
        ("CAPABILITY", "* CAPABILITY IMAP4rev1 MOVE UIDPLUS\r\nTAG OK done\r\n".into()),
        ("LOGIN", "TAG OK [CAPABILITY IMAP4rev1 MOVE UIDPLUS] done\r\n".into()),
        ("LIST", "* LIST (\\Noselect) \"/\" \"\"\r\nTAG OK done\r\n".into()),
        ("SELECT", "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-WRITE] done\r\n".into()),
        ("CREATE", "TAG NO [ALREADYEXISTS] there\r\n".into()),
        ("STATUS", format!("* STATUS \"{TAG}\" (MESSAGES 0)\r\nTAG OK done\r\n")),
        ("NOOP", "* 2 EXISTS\r\nTAG OK done\r\n".into()),
        ("UID SEARCH", "* SEARCH 1 2\r\nTAG OK done\r\n".into()),
        ("UID FETCH", [one(1), one(2), "TAG OK done\r\n".into()].concat()),
        (
            "UID MOVE",
            "* OK [COPYUID 9 1:2 1:2] moved\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nTAG OK done\r\n".into(),
        ),
    ]
}

/// Makes a server that hangs up once, behind this many octets of a response.
fn cut(answers: &[(&'static str, String)], nth: usize, at: usize) -> Script {
    let cut = Arc::new(AtomicUsize::new(1));
    answers.iter().enumerate().fold(Script::imap(&[]), |script, (n, (command, answer))| {
        let (cut, answer) = (Arc::clone(&cut), answer.clone());
        script.on(command, move |_| {
            let strikes = n == nth && cut.swap(0, Ordering::SeqCst) == 1;
            let part = || answer.get(..at).unwrap_or_default().to_owned();
            if strikes { Step::SayAndClose(part()) } else { Step::say(&answer) }
        })
    })
}

/// Connects, repeatedly if necessary, and receives the messages in one call.
fn lives(script: Script, place: &str) {
    let server = script.start();
    let config = || imap_config(&server).dedup_window(0).max_connects_per_minute(6_000);
    let imap = Imap::connect(config()).or_else(|error| {
        assert!(matches!(error.kind(), ErrorKind::Connect | ErrorKind::Disconnected), "{place}: {error:?}");
        Imap::connect(config())
    });
    let imap = imap.unwrap_or_else(|error| panic!("{place}: {error:?}"));
    let batch = imap.fetch().unwrap_or_else(|error| panic!("{place}: {error:?}"));
    let bodies = batch.iter().map(|delivery| delivery.message().unwrap().text_lossy().into_owned());
    assert_eq!(bodies.collect::<Vec<_>>(), ["hello", "hello"], "{place}");
    batch.ack().unwrap_or_else(|error| panic!("{place}: {error:?}"));
}

#[rstest]
#[case::as_most_servers_write_it(fetched)]
#[case::otherwise(otherwise)]
fn a_connection_that_ends_is_noticed_at_once_at_every_octet(#[case] one: fn(u32) -> String) {
    let answers = answers(one);
    let lengths = answers.iter().map(|(_, answer)| answer.len());
    let places = lengths.enumerate().flat_map(|(nth, length)| (0..length).map(move |at| (nth, at)));
    let waiting = Mutex::new(places.collect::<Vec<_>>().into_iter());
    let next = || waiting.lock().unwrap().next();
    thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some((nth, at)) = next() {
                    lives(cut(&answers, nth, at), &format!("{} at {at}", answers[nth].0));
                }
            });
        }
    });
}
