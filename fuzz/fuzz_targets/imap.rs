//! Any octets from an IMAP server: no panic, no hang, no secret, and no command that could harm other mail.
#![no_main]

mod server;

use std::collections::BTreeSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pymail::fuzz::uid_set;
use pymail::{Batch, Credentials, Error, Imap, ImapConfig, Server, Uid};

const SECRET: &str = "S3CRET";
/// Commands that change no mail.
const HARMLESS: [&str; 11] = [
    "CAPABILITY",
    "LOGIN",
    "AUTHENTICATE",
    "NAMESPACE",
    "LIST",
    "CREATE",
    "STATUS",
    "SELECT",
    "EXAMINE",
    "NOOP",
    "LOGOUT",
];

const MAX_MESSAGE: usize = 4_096;

fuzz_target!(init: server::follow_python(), |octets: &[u8]| {
    let mut delivered = BTreeSet::new();
    let heard = server::serve(octets, usual, || converse(&mut delivered));
    // A copy beside its first is archived with it, and not delivered; only a Message-ID makes one.
    let copies = String::from_utf8_lossy(octets).to_lowercase().contains("message-id");
    check_commands(&heard, |uid| copies || delivered.contains(&uid));
});

fn converse(delivered: &mut BTreeSet<Uid>) {
    let server = Server::unencrypted("127.0.0.1").port(server::port());
    let config = ImapConfig::new(server, Credentials::new("alice", SECRET))
        .tag("OURS")
        .remember(0)
        .heartbeat(Duration::from_secs(3_600))
        .deadline(Duration::from_secs(2))
        .batch(8)
        .batch_bytes(2 * MAX_MESSAGE)
        .max_message(MAX_MESSAGE);
    let outcome = Imap::connect(config).and_then(|imap| {
        let batch = imap.fetch()?;
        delivered.extend(batch.iter().map(pymail::Delivery::uid));
        check_batch(&batch);
        let acknowledged = batch.ack();
        let found = imap.search("ALL")?;
        assert!(found.iter().collect::<Vec<_>>().is_sorted());
        drop(batch);
        acknowledged.and(imap.stop())
    });
    let _ = outcome.inspect_err(check_error);
}

fn check_batch(batch: &Batch) {
    let uids: Vec<Uid> = batch.iter().map(pymail::Delivery::uid).collect();
    assert!(uids.is_sorted_by(|a, b| a < b), "each once, in order: {uids:?}");
    assert!(uids.len() <= 8);
    for delivery in batch {
        match delivery.message() {
            Ok(message) => assert!(message.body.len() <= 3 * MAX_MESSAGE, "U+FFFD has three bytes"),
            Err(error) => check_error(&error),
        }
    }
}

fn check_error(error: &Error) {
    assert!(!format!("{error} {error:?}").contains(SECRET), "a secret shows: {error:?}");
    assert!(!(error.is_transient() && error.is_permanent()), "{error:?}");
}

/// Only commands that are ours to give, and only for what was delivered.
fn check_commands(heard: &[u8], may_go: impl Fn(Uid) -> bool) {
    for line in heard.split(|&octet| octet == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((_, command)) = line.trim_end().split_once(' ') else { continue };
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["UID", "MOVE" | "COPY", set, ..]
            | ["UID", "STORE", set, "+FLAGS.SILENT", r"(\Deleted)"]
            | ["UID", "EXPUNGE", set] => {
                let set = uid_set(set, 1_000).expect("a set");
                assert!(set.iter().all(&may_go), "it was not delivered: {command}");
            }
            ["UID", "SEARCH" | "FETCH", ..] => {}
            [name, ..] if HARMLESS.contains(&name) => {}
            _ => panic!("not ours to say: {command}"),
        }
    }
}

fn usual(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line).to_ascii_uppercase();
    let command = line.split_once(' ').map_or(line.as_str(), |(_, command)| command);
    let mail = "From: bob@example.org\r\nSubject: OURS 1\r\n\r\nhello";
    let said = match command.split([' ', '\r']).take(2).collect::<Vec<_>>()[..] {
        ["GREETING", ..] => return "* OK ready\r\n".into(),
        ["CAPABILITY", ..] => "* CAPABILITY IMAP4rev1 MOVE UIDPLUS\r\n".into(),
        ["SELECT" | "EXAMINE", ..] => "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\n".into(),
        ["UID", "SEARCH"] => "* SEARCH 1 2\r\n".into(),
        ["UID", "FETCH"] => {
            let size = mail.len();
            let one = |n: u8| {
                format!("* {n} FETCH (UID {n} RFC822.SIZE {size} BODY[]<0> {{{size}}}\r\n{mail})\r\n")
            };
            format!("{}{}", one(1), one(2))
        }
        ["LIST", ..] => "* LIST (\\Noselect) \".\" \"\"\r\n".into(),
        ["LOGOUT", ..] => "* BYE\r\n".into(),
        _ => String::new(),
    };
    format!("{said}TAG OK done\r\n")
}
