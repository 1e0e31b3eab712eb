//! Bad responses to a consumer among several: logs that no consumers have written.

use std::iter::repeat_n;

use pymail::{ErrorKind, Imap, Result};

use super::checker::{Findings, deadline};
use super::imap::{config, server};
use super::row::Answer::{self, Endless, Many, Says};
use super::row::{FEWER, Malice, May, REFUSED, Row, row};
use crate::support::script::Scripted;

const LOG: &str = "UID FETCH 1:* (UID BODY.PEEK[]<0";

const SELECT: &str = r#"SELECT "__TEST__-claims""#;

const FEWER_OR_LOST: &[May] = &[May::Fewer, May::Fail(ErrorKind::Disconnected)];
const FEWER_OR_LATE: &[May] = &[May::Fewer, May::Fail(ErrorKind::Timeout)];
const LOST: &[May] = &[May::Fail(ErrorKind::Disconnected)];

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    row("another consumer has everything", LOG, Says("* 1 FETCH (UID 1 BODY[]<0> {29}\r\npymail-claims-1 f 7 claim 1:9)\r\nTAG OK done\r\n"), FEWER),
    row("the same entry twice", LOG, Many("", "* 1 FETCH (UID 1 BODY[]<0> {29}\r\npymail-claims-1 f 7 claim 1:9)\r\n", 2, "TAG OK done\r\n"), FEWER),
    row("NO after data", LOG, Says("* 1 FETCH (UID 1 BODY[]<0> {29}\r\npymail-claims-1 f 7 claim 1:9)\r\nTAG NO done\r\n"), REFUSED),
    row("a log of four billion entries", SELECT, Says("* 4000000000 EXISTS\r\n* OK [UIDVALIDITY 9] log\r\nTAG OK [READ-WRITE] done\r\n"), FEWER_OR_LATE),
    row("a strange UIDNEXT", SELECT, Says("* OK [UIDNEXT 99999999999] next\r\nTAG OK [READ-WRITE] done\r\n"), REFUSED),
    row("other mailboxes without end", "LIST \"\" \"*claims", Endless("", "* LIST () \"/\" x-claims\r\n"), REFUSED),
    row("other mailboxes of strange names", "LIST \"\" \"*claims", Says("* LIST () \"/\" {3}\r\na\"b\r\n* LIST () NIL \"x\r\nTAG NO done\r\n"), REFUSED),
    row("an entry without a UID", LOG, Says("* 1 FETCH (BODY[]<0> {29}\r\npymail-claims-1 f 7 claim 1:9)\r\nTAG OK done\r\n"), LOST),
    row("one entry 10,000 times", LOG, Many("", "* 1 FETCH (UID 1 BODY[]<0> {29}\r\npymail-claims-1 f 7 claim 1:9)\r\n", 10_000, "TAG OK done\r\n"), FEWER_OR_LOST),
    row("10,000 entries", LOG, Answer::Made(|_| log(repeat_n("f 7 claim 1:9", 10_000))), FEWER_OR_LATE),
    row("entries of all UIDs", LOG, Answer::Made(|_| log(repeat_n("f 7 claim 1:4294967295", 10_000).chain(["f 7 claim 1:9"]))), FEWER_OR_LOST),
    row("1,000 claims to 100,000 messages each", LOG, Answer::Made(|_| log(repeat_n("f 7 claim 1:100000", 1_000))), REFUSED),
    row("5,000 goodbyes after 200,000 claims", LOG, Answer::Made(goodbyes), FEWER_OR_LATE),
    row("entries without end", LOG, Endless("", "* 1 FETCH (UID 1 BODY[]<0> {34}\r\npymail-claims-1 f 7 claim 1:100000)\r\n"), LOST),
];

/// Returns the response with a log of these entries.
fn log(texts: impl IntoIterator<Item: AsRef<str>>) -> String {
    let entry = |(n, text): (usize, _)| {
        let text = format!("pymail-claims-1 {}", AsRef::<str>::as_ref(&text));
        format!("* {n} FETCH (UID {n} BODY[]<0> {{{}}}\r\n{text})\r\n", text.len())
    };
    (1..).zip(texts).map(entry).collect::<String>() + "TAG OK done\r\n"
}

fn goodbyes(_: &str) -> String {
    let claims = (0..2).map(|n| format!("ffffff 7 claim {}:{}", n * 100_000 + 1, (n + 1) * 100_000));
    log(claims.chain((0..5_000).flat_map(|n| [format!("{n:x} 7 claim 200001"), format!("{n:x} 7 bye")])))
}

pub(super) fn rows() -> Vec<Row> {
    ROWS.to_vec()
}

/// Returns `true` if mail is changed in another mailbox than the log, whose entries may be removed.
fn changes_the_inbox(heard: &[String]) -> bool {
    let mut is_in_log = false;
    heard.iter().any(|line| {
        if line.starts_with("SELECT") || line.starts_with("EXAMINE") {
            is_in_log = line.contains("claims");
        }
        !is_in_log && ["UID MOVE", "UID COPY", "UID STORE"].iter().any(|verb| line.starts_with(verb))
    })
}

/// A consumer that gets no message, or an error; and can call again then.
pub(super) fn meet(row: &Row, findings: &Findings) {
    let malice = Malice::default();
    let server = server(row, &malice);
    malice.set(usize::MAX);
    match life(&server, findings) {
        Ok(outcome) => findings.allows("fetch", row, outcome),
        Err(error) => findings.allowed("fetch", row, &error),
    }
    findings
        .check(!changes_the_inbox(&server.heard("")), || "it changes mail that is another consumer's".into());
}

fn life(server: &Scripted, findings: &Findings) -> Result<May> {
    let imap = Imap::connect(config(server).shared(4 * deadline()))?;
    let fetched = findings.timed("fetch", || imap.fetch());
    let searched = findings.timed("the next command", || imap.search("ALL"));
    findings.check(searched.is_ok(), || format!("the next command: {searched:?}"));
    fetched.map(|batch| if batch.is_empty() { May::Fewer } else { May::Right })
}
