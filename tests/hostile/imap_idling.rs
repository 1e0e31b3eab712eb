//! Bad responses while a handle waits in IDLE, and to DONE.

use std::time::Duration;

use pymail::{ErrorKind, Imap};

use super::checker::{Findings, brief, deadline};
use super::imap::config;
use super::row::Answer::{Closes, Drips, Endless, Many, Octets, Says, SaysAndCloses, Silent};
use super::row::{Malice, May, Row, row};
use crate::scripted::imap::{holding, three};

const IDLE: &str = "IDLE";
const DONE: &str = "DONE";

/// The connection may be lost at the next verb, or not answer it in time.
const ANY: &[May] = &[
    May::Right,
    May::Fail(ErrorKind::Connect),
    May::Fail(ErrorKind::Disconnected),
    May::Fail(ErrorKind::Timeout),
];

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    row("silence", IDLE, Silent, ANY),
    row("hanging up", IDLE, Closes, ANY),
    row("BYE", IDLE, SaysAndCloses("+ idling\r\n* BYE the end\r\n"), ANY),
    row("BYE that goes on", IDLE, Says("+ idling\r\n* BYE the end\r\n"), ANY),
    row("EXISTS without end", IDLE, Endless("+ idling\r\n", "* 3 EXISTS\r\n"), ANY),
    row("EXISTS without end and without a plus", IDLE, Endless("", "* 3 EXISTS\r\n"), ANY),
    row("EXISTS up and down without end", IDLE, Endless("+ idling\r\n", "* 10 EXISTS\r\n* 9 EXISTS\r\n"), ANY),
    row("EXISTS up and down", IDLE, Many("+ idling\r\n", "* 10 EXISTS\r\n* 9 EXISTS\r\n", 10, ""), ANY),
    row("EXPUNGE without end", IDLE, Endless("+ idling\r\n", "* 1 EXPUNGE\r\n"), ANY),
    row("EXPUNGE of everything and EXISTS", IDLE, Many("+ idling\r\n", "* 1 EXPUNGE\r\n", 9, "* 9 EXISTS\r\n"), ANY),
    row("FETCH without end", IDLE, Endless("+ idling\r\n", "* 3 FETCH (FLAGS (\\Seen))\r\n"), ANY),
    row("a hundred thousand FETCH", IDLE, Many("+ idling\r\n", "* 3 FETCH (FLAGS (\\Seen))\r\n", 100_000, ""), ANY),
    row("FETCH with literals without end", IDLE, Endless("+ idling\r\n", "* 3 FETCH (BODY[] {3}\r\nabc)\r\n"), ANY),
    row("OK without end", IDLE, Endless("+ idling\r\n", "* OK still here\r\n"), ANY),
    row("a plus without end", IDLE, Endless("", "+ idling\r\n"), ANY),
    row("a tagged OK without end", IDLE, Endless("+ idling\r\n", "TAG OK done\r\n"), ANY),
    row("a line without end", IDLE, Endless("+ idling\r\n* X ", "x"), ANY),
    row("a plus without end of its line", IDLE, Endless("+ ", "x"), ANY),
    row("octets without end", IDLE, Endless("+ idling\r\n", "\0"), ANY),
    row("empty lines without end", IDLE, Endless("+ idling\r\n", "\r\n"), ANY),
    row("literals without end", IDLE, Endless("+ idling\r\n", "* X {3}\r\nabc\r\n"), ANY),
    row("nothing but literals in one line", IDLE, Endless("+ idling\r\n* X", " {3}\r\nabc"), ANY),
    row("a line of a megabyte", IDLE, Many("+ idling\r\n* X ", "x", 1 << 20, "\r\n"), ANY),
    row("a literal of 2^31", IDLE, Says("+ idling\r\n* X {2147483648}\r\n"), ANY),
    row("a literal of 2^64", IDLE, Says("+ idling\r\n* X {18446744073709551616}\r\n"), ANY),
    row("a literal of 10^30", IDLE, Says("+ idling\r\n* X {1000000000000000000000000000000}\r\n"), ANY),
    row("a huge literal that comes", IDLE, Endless("+ idling\r\n* X {2000000000}\r\n", "x"), ANY),
    row("a literal as large as an answer may be", IDLE, Says("+ idling\r\n* X {16000000}\r\nabc"), ANY),
    row("announcements that drip", IDLE, Drips("+ idling\r\n* 9 EXISTS\r\n* 9 EXISTS\r\n* 9 EXISTS\r\n* 9 EXISTS\r\n* 9 EX"), ANY),
    row("a plus that drips", IDLE, Drips("+ idling, and idling, and idling, and idling, and idling, and idling, and idl"), ANY),
    row("half a line", IDLE, Says("+ idling\r\n* 10 EXI"), ANY),
    row("EXISTS of 2^64", IDLE, Says("+ idling\r\n* 18446744073709551616 EXISTS\r\n"), ANY),
    row("EXISTS of a hundred thousand digits", IDLE, Many("+ idling\r\n* ", "9", 100_000, " EXISTS\r\n"), ANY),
    row("EXISTS of no number", IDLE, Says("+ idling\r\n* EXISTS many\r\n"), ANY),
    row("many kinds of responses", IDLE, Many("+ idling\r\n", "* Q\r\n* R\r\n* S\r\n", 10_000, ""), ANY),
    row("octets that are no UTF-8", IDLE, Octets(b"+ idling\r\n\xff\xfe\xc3\x28\r\n"), ANY),
    row("another client's tag", IDLE, Says("+ idling\r\nX1 OK done\r\n"), ANY),
    row("parentheses 10,000 deep", IDLE, Many("+ idling\r\n* X ", "(", 10_000, "\r\n"), ANY),
    row("a mailbox that turned read-only", IDLE, Says("+ idling\r\n* OK [READ-ONLY] now\r\n"), ANY),
    row("the end of IDLE at once", IDLE, Says("TAG OK done\r\n"), ANY),
    row("the end of IDLE by itself", IDLE, Says("+ idling\r\nTAG OK done\r\n"), ANY),
    row("a BAD of a megabyte", IDLE, Many("TAG BAD ", "no ", 300_000, "\r\n"), ANY),
    row("silence", DONE, Silent, ANY),
    row("hanging up", DONE, Closes, ANY),
    row("NO", DONE, Says("TAG NO done\r\n"), ANY),
    row("BAD", DONE, Says("TAG BAD done\r\n"), ANY),
    row("another client's tag", DONE, Says("X1 OK done\r\n"), ANY),
    row("the end twice", DONE, Says("TAG OK done\r\nTAG OK done\r\n"), ANY),
    row("EXISTS without end", DONE, Endless("", "* 3 EXISTS\r\n"), ANY),
    row("a line without end", DONE, Endless("* X ", "x"), ANY),
    row("a plus without end", DONE, Endless("", "+ idling\r\n"), ANY),
    row("a literal of 2^31", DONE, Says("* X {2147483648}\r\n"), ANY),
    row("an answer that drips", DONE, Drips("* 9 EXISTS\r\n* 9 EXISTS\r\n* 9 EXISTS\r\n* 9 EXISTS\r\n* 9 EXISTS\r\nTAG OK"), ANY),
];

/// Short, so that a server that hangs up meets the handle again and again.
const BACKOFF: Duration = Duration::from_millis(20);

pub(super) fn rows() -> Vec<Row> {
    ROWS.to_vec()
}

/// Waits on a server that answers badly each time, then goes on.
pub(super) fn meet(row: &Row, findings: &Findings) {
    let malice = Malice::default();
    let server = malice.spoil(holding(&["UIDPLUS", "IDLE"], &three()), row).start();
    let Ok(imap) = findings.timed("connecting", || Imap::connect(config(&server).backoff(BACKOFF, BACKOFF)))
    else {
        return findings.add("it does not connect");
    };
    let fetch = || findings.timed("fetch", || imap.fetch());
    let is_whole = |come: usize| findings.check(come == 3, || format!("{come} messages come"));
    match fetch() {
        Ok(batch) => is_whole(batch.len()),
        Err(error) => findings.add(format!("the first fetch: {}", brief(&error))),
    }
    malice.set(usize::MAX);
    if let Err(error) = findings.timed("wait", || imap.wait(deadline()).map(drop)) {
        findings.add(format!("wait: {}", brief(&error)));
    }
    if let Err(error) = findings.timed("noop", || imap.noop()) {
        findings.allowed("noop", row, &error);
    }
    malice.set(0);
    // The first one may find the connection lost.
    match fetch().or_else(|_| fetch()).and_then(|batch| batch.ack().map(|()| batch.len())) {
        Ok(come) => is_whole(come),
        Err(error) => findings.add(format!("the fetch afterwards: {}", brief(&error))),
    }
}
