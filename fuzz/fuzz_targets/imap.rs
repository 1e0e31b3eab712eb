//! Fuzzes the responses of an IMAP server: no panic, no hang, no secret in an error, no command that harms other mail.
#![no_main]

mod mailboxes;
mod server;

use std::collections::BTreeSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pymail::fuzz::uid_set;
use pymail::{Batch, Credentials, Delivery, Error, Imap, ImapConfig, Result, Server, Uid};

use crate::mailboxes::Mailboxes;

const SECRET: &str = "S3CRET";
/// Commands that change no mail.
const HARMLESS: [&str; 9] =
    ["CAPABILITY", "LOGIN", "AUTHENTICATE", "NAMESPACE", "LIST", "CREATE", "STATUS", "NOOP", "LOGOUT"];

const MAX_MESSAGE: usize = 4_096;

/// The options of the handle that are fuzzed.
#[derive(Clone, Copy, Default)]
struct Mode {
    shared: bool,
    dead_letters: bool,
}

fuzz_target!(init: server::follow_python(), |octets: &[u8]| {
    let (mode, answers) = mode(octets);
    let mut delivered = BTreeSet::new();
    let heard = server::serve(answers, Mailboxes::default(), || {
        let _ = converse(mode, &mut delivered).inspect_err(check_error);
    });
    let text = String::from_utf8_lossy(answers).to_lowercase();
    // A duplicate is archived without a delivery; it needs a Message-ID.
    let copies = text.contains("message-id");
    // A mail that can't be parsed becomes a dead letter without a delivery, but only under a UID that the server named.
    let named = |uid: Uid| uid.get() <= 2 || text.contains(&format!("uid {uid}"));
    let may_go = |uid| copies || delivered.contains(&uid) || (mode.dead_letters && named(uid));
    check_commands(&heard, mode, may_go);
});

/// Reads the mode from the first octet, if that is a digit with which no response begins.
fn mode(octets: &[u8]) -> (Mode, &[u8]) {
    match octets {
        [octet @ b'1'..=b'3', answers @ ..] => {
            (Mode { shared: octet & 1 != 0, dead_letters: octet & 2 != 0 }, answers)
        }
        answers => (Mode::default(), answers),
    }
}

fn converse(mode: Mode, delivered: &mut BTreeSet<Uid>) -> Result<()> {
    let imap = Imap::connect(config(mode))?;
    let rejected = if mode.dead_letters { reject_some(&imap, delivered) } else { Ok(()) };
    let batch = imap.fetch()?;
    delivered.extend(batch.iter().map(Delivery::uid));
    check_batch(&batch);
    let acknowledged = batch.ack();
    let found = imap.search("ALL")?;
    assert!(found.iter().collect::<Vec<_>>().is_sorted());
    drop(batch);
    rejected.and(acknowledged).and(imap.close())
}

fn config(mode: Mode) -> ImapConfig {
    let server = Server::unencrypted("127.0.0.1").port(server::port());
    let config = ImapConfig::new(server, Credentials::new("alice", SECRET))
        .tag("OURS")
        .dedup_window(0)
        .heartbeat(Duration::from_secs(3_600))
        .timeout(Duration::from_secs(2))
        .batch(8)
        .batch_bytes(2 * MAX_MESSAGE)
        .max_message(MAX_MESSAGE);
    let config = if mode.shared { config.shared(Duration::from_secs(3_600)) } else { config };
    if mode.dead_letters { config.dead_letters(2) } else { config }
}

/// Rejects the oldest message until it is a dead letter.
fn reject_some(imap: &Imap, delivered: &mut BTreeSet<Uid>) -> Result<()> {
    for _ in 0..2 {
        let batch = imap.fetch()?;
        delivered.extend(batch.iter().map(Delivery::uid));
        check_batch(&batch);
        imap.reject(batch.iter().take(1), "no such account")?;
    }
    Ok(())
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

/// Checks that all commands are allowed, and change only mail that was delivered.
fn check_commands(heard: &[u8], mode: Mode, may_go: impl Fn(Uid) -> bool) {
    let mut rest = heard;
    let mut in_log = false;
    while !rest.is_empty() {
        let end = rest.iter().position(|&octet| octet == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after_literal(line, after);
        let line = String::from_utf8_lossy(line);
        let Some((_, command)) = line.trim_end().split_once(' ') else { continue };
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            // All mail in the claims log is ours.
            ["UID", "STORE", _, "+FLAGS.SILENT", r"(\Deleted)"] | ["UID", "EXPUNGE", _] | ["EXPUNGE"]
                if in_log => {}
            ["UID", "MOVE" | "COPY", set, ..]
            | ["UID", "STORE", set, "+FLAGS.SILENT", r"(\Deleted)"]
            | ["UID", "EXPUNGE", set] => {
                let set = uid_set(set, 1_000).expect("a set");
                assert!(set.iter().all(&may_go), "for a mail that was not delivered: {command}");
            }
            ["UID", "STORE", _, "+FLAGS.SILENT", "($PymailDelivery1)" | "($PymailDelivery2)"]
                if mode.dead_letters => {}
            ["APPEND", ..] => assert!(may_append(command, mode), "unexpected APPEND: {command}"),
            ["UID", "SEARCH" | "FETCH", ..] => {}
            ["SELECT" | "EXAMINE", ..] => in_log = mode.shared && command.ends_with("claims\""),
            [name, ..] if HARMLESS.contains(&name) => {}
            _ => panic!("unexpected command: {command}"),
        }
    }
}

/// Returns the octets after a command and its literal, which is sent only if the server asks for it.
fn after_literal<'a>(line: &[u8], after: &'a [u8]) -> &'a [u8] {
    let is_sent = after.starts_with(b"Subject: ") || after.starts_with(b"From: ");
    match server::literal_after(line).filter(|_| is_sent) {
        Some(length) => &after[after.len().min(length + 2)..],
        None => after,
    }
}

/// Returns `true` for an entry of the claims log, and for the note beside a dead letter.
fn may_append(command: &str, mode: Mode) -> bool {
    let Some((mailbox, _)) = command.split_once(" (\\Seen) {") else { return false };
    mailbox.contains("OURS")
        && (mode.shared && mailbox.ends_with("claims\"") || mode.dead_letters && mailbox.ends_with("dead\""))
}
