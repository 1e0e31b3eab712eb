//! Bad replies to the commands of a message.

use pymail::ErrorKind;

use super::row::Answer::{Closes, Drips, Endless, Many, Octets, Says, SaysAndCloses, Silent};
use super::row::{Answer, LOST, May, REFUSED, RIGHT, Row, SLOW, UNKNOWN, row};

/// Replies to MAIL, RCPT and DATA alike.
const BEFORE: &[(&str, Answer, &[May])] = &[
    ("silence", Silent, SLOW_OR_LOST),
    ("a drip", Drips("250-ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok"), SLOW),
    ("hanging up", Closes, LOST),
    ("hanging up within a line", SaysAndCloses("25"), LOST),
    ("421", SaysAndCloses("421 4.7.0 later\r\n"), LOST),
    ("421 that stays", Says("421 4.7.0 later\r\n"), LOST),
    ("an empty line", Says("\r\n"), SLOW_OR_LOST),
    ("letters", Says("what?\r\n"), LOST),
    ("000", Says("000 ok\r\n"), LOST),
    ("99", Says("99 ok\r\n"), LOST),
    ("100", Says("100 go on\r\n"), LOST),
    ("600", Says("600 ok\r\n"), LOST),
    ("999", Says("999 ok\r\n"), LOST),
    ("2500", Says("2500 ok\r\n"), LOST),
    ("3540", Says("3540 ok\r\n"), LOST),
    ("-20", Says("-20 ok\r\n"), LOST),
    ("+25", Says("+25 ok\r\n"), LOST),
    ("2_5", Says("2_5 ok\r\n"), LOST),
    ("digits of another script", Says("\u{662}\u{665}\u{660} ok\r\n"), LOST),
    ("a blank before the code", Says(" 250 ok\r\n"), LOST),
    ("NUL", Octets(b"\0\0\0\0\r\n"), LOST),
    ("NUL within the code", Octets(b"25\x000 ok\r\n"), LOST),
    ("no UTF-8", Octets(b"550 \xff\xfe\xc3\x28\r\n"), REFUSED),
    ("control characters", Says("550 \u{1b}[2J\0\u{7}\r no\r\n"), REFUSED),
    ("a bare code", Says("550\r\n"), REFUSED),
    ("a refusal of many lines", Many("", "550-no, not you, never\r\n", 9_000, "550 no\r\n"), REFUSED),
    ("a long line", Many("250 ", "x", 8_300, "\r\n"), LOST),
    ("a line of a megabyte", Many("250 ", "x", 1 << 20, "\r\n"), LOST),
    ("a line without end", Endless("250 ", "x"), LOST),
    ("lines without end", Endless("", "250-ok\r\n"), LOST),
    ("lines of nothing without end", Endless("", "\r\n"), LOST),
    ("codes that differ", Says("250-ok\r\n550 no\r\n"), REFUSED),
    ("IMAP", Says("* BYE\r\n"), LOST),
];

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    row("354", "MAIL", Says("354 go ahead\r\n"), LOST),
    row("354", "RCPT", Says("354 go ahead\r\n"), LOST),
    row("250", "DATA", Says("250 ok\r\n"), LOST),
    row("220", "DATA", Says("220 hello\r\n"), LOST),
    row("451", "DATA", Says("451 not now\r\n"), REFUSED),
    row("552", "MAIL", Says("552 5.3.4 too large\r\n"), &[May::Fail(ErrorKind::TooLarge)]),
    row("252", "RCPT", Says("252 maybe\r\n"), RIGHT),
    row("one reply too many", "MAIL", Says("250 ok\r\n250 ok\r\n"), LOST),
    row("one reply too many", "RCPT", Says("250 ok\r\n250 ok\r\n"), LOST),
    row("one reply too many", ".", Says("250 ok\r\n250 ok\r\n"), DOUBTFUL),
    row("two replies too many", ".", Says("250 ok\r\n250 ok\r\n250 ok\r\n"), DOUBTFUL),
    row("one reply too many, a refusal", ".", Says("250 ok\r\n550 no\r\n"), DOUBTFUL),
    row("one reply too many, 421", ".", Says("250 ok\r\n421 later\r\n"), DOUBTFUL),
    row("one reply too few", ".", Silent, UNKNOWN_OR_LATE),
    row("hanging up", ".", Closes, UNKNOWN),
    row("hanging up within a line", ".", SaysAndCloses("25"), UNKNOWN),
    row("a drip", ".", Drips("250-ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok"), UNKNOWN_OR_LATE),
    row("354", ".", Says("354 go ahead\r\n"), UNKNOWN),
    row("000", ".", Says("000 ok\r\n"), UNKNOWN),
    row("99", ".", Says("99 ok\r\n"), UNKNOWN),
    row("600", ".", Says("600 ok\r\n"), UNKNOWN),
    row("999", ".", Says("999 ok\r\n"), UNKNOWN),
    row("2500", ".", Says("2500 ok\r\n"), UNKNOWN),
    row("-20", ".", Says("-20 ok\r\n"), UNKNOWN),
    row("2_5", ".", Says("2_5 ok\r\n"), UNKNOWN),
    row("letters", ".", Says("thanks\r\n"), UNKNOWN),
    row("NUL", ".", Octets(b"\0\0\0\0\r\n"), UNKNOWN),
    row("NUL in a yes", ".", Octets(b"250 \0\0\0\0\r\n"), RIGHT),
    row("a yes that is no UTF-8", ".", Octets(b"250 \xff\xfe\r\n"), RIGHT),
    row("a yes of many lines", ".", Many("", "250-yes, yes, yes\r\n", 9_000, "250 yes\r\n"), RIGHT),
    row("a bare yes", ".", Says("250\r\n"), RIGHT),
    row("a no of many lines", ".", Many("", "554-no, no, no\r\n", 9_000, "554 no\r\n"), REFUSED),
    row("421", ".", SaysAndCloses("421 later\r\n"), REFUSED),
    row("a line without end", ".", Endless("250 ", "x"), UNKNOWN),
    row("lines without end", ".", Endless("", "250-ok\r\n"), UNKNOWN),
    row("silence", "RSET", Silent, SLOW_OR_LOST),
    row("hanging up", "RSET", Closes, RIGHT_OR_LOST),
    row("354", "RSET", Says("354 go ahead\r\n"), RIGHT_OR_LOST),
    row("550", "RSET", Says("550 no\r\n"), RIGHT_OR_LOST),
    row("letters", "RSET", Says("what?\r\n"), RIGHT_OR_LOST),
    row("lines without end", "RSET", Endless("", "250-ok\r\n"), RIGHT_OR_LOST),
    row("one reply too many", "RSET", Says("250 ok\r\n250 ok\r\n"), RIGHT_OR_LOST),
];

const RIGHT_OR_LOST: &[May] = &[May::Right, May::Fail(ErrorKind::Disconnected)];
/// With PIPELINING, the last 250 may or may not be the reply to the message's end.
const DOUBTFUL: &[May] = &[
    May::Right,
    May::Fail(ErrorKind::Disconnected),
    May::Fail(ErrorKind::Refused),
    May::Fail(ErrorKind::OutcomeUnknown),
];
/// The first message is unknown; the others reach the deadline.
const UNKNOWN_OR_LATE: &[May] = &[
    May::Fail(ErrorKind::OutcomeUnknown),
    May::Fail(ErrorKind::Timeout),
    May::Fail(ErrorKind::Disconnected),
];
const SLOW_OR_LOST: &[May] = &[May::Fail(ErrorKind::Disconnected), May::Fail(ErrorKind::Timeout)];

fn all() -> Vec<Row> {
    let at = |at| BEFORE.iter().map(move |&(name, answer, may)| Row { name, at, answer, may });
    ["MAIL", "RCPT", "DATA"].into_iter().flat_map(at).chain(ROWS.iter().copied()).collect()
}

pub(super) fn rows() -> Vec<Row> {
    all()
}

/// The same rows, with several commands in flight.
pub(super) fn pipelined() -> Vec<Row> {
    all()
}
