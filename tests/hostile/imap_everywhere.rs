//! Responses that are bad to any IMAP command.

use super::row::Answer::{Closes, Drips, Endless, Many, Octets, Says, SaysAndCloses, Silent};
use super::row::{Answer, LOST, LOST_IN_TIME, May, Row, SLOW};

type Bad = (&'static str, Answer, &'static [May]);

/// Recognised as bad at once.
const PROMPT: &[Bad] = &[
    ("another client's tag", Says("X1 OK done\r\n"), LOST),
    ("an unknown tag", Says("TAG9 OK done\r\n"), LOST),
    ("a tag alone", Says("TAG\r\n"), LOST),
    ("a tag and a blank", Says("TAG \r\n"), LOST),
    ("OK without a text", Says("TAG OK\r\n"), EMPTY),
    ("a lower-case answer", Says("TAG ok done\r\n"), EMPTY),
    ("a star alone", Says("*\r\n"), LOST),
    ("a number alone", Says("* 3\r\n"), LOST),
    ("a line without CR", Says("TAG OK done\n"), EMPTY),
    ("an untagged line without CR", Says("* 3 EXISTS\nTAG OK done\r\n"), EMPTY),
    ("NUL", Octets(b"\0\0\0\0\r\n"), LOST),
    ("NUL before a tag", Octets(b"\0TAG OK done\r\n"), LOST),
    ("octets that are no UTF-8", Octets(b"\xff\xfe\xc3\x28\r\n"), LOST),
    ("another protocol", Says("HTTP/1.1 400 Bad Request\r\n"), LOST),
    ("SMTP", Says("250 2.0.0 Ok\r\n"), LOST),
    ("TLS", Octets(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03\r\n"), LOST),
    ("a terminal's commands", Says("\u{1b}[2J\u{1b}]0;owned\u{7}\r\n"), LOST),
    ("BYE", SaysAndCloses("* BYE the end\r\n"), LOST),
    ("BYE that goes on", Says("* BYE the end\r\n"), LOST),
    ("BYE and OK", Says("* BYE the end\r\nTAG OK done\r\n"), LOST),
    ("BYE with control characters", SaysAndCloses("* BYE \u{1b}[2J\0\u{7}\u{9b}31m\r\n"), LOST),
    ("BYE of a megabyte", Many("* BYE ", "x", 900_000, "\r\n"), LOST),
    ("hanging up", Closes, LOST),
    ("hanging up within a line", SaysAndCloses("TAG O"), LOST),
    ("hanging up within a literal", SaysAndCloses("* X {1000}\r\nabc"), LOST),
    ("a line of a megabyte", Many("", "x", (1 << 20) - 100, "\r\n"), LOST),
    ("a line of a megabyte of NUL", Many("", "\0", (1 << 20) - 100, "\r\n"), LOST),
    ("a line over a megabyte", Many("* X ", "x", 3 << 20, "\r\nTAG OK done\r\n"), LOST),
    ("a line without end", Endless("* X ", "x"), LOST),
    ("octets without end", Endless("", "\0"), LOST),
    ("empty lines without end", Endless("", "\r\n"), LOST),
    ("short lines without end", Endless("", "* X y\r\n"), LOST),
    ("EXISTS without end", Endless("", "* 3 EXISTS\r\n"), LOST),
    ("EXPUNGE without end", Endless("", "* 1 EXPUNGE\r\n"), LOST),
    ("FETCH without end", Endless("", "* 123 FETCH (UID 123)\r\n"), LOST),
    ("SEARCH without end", Endless("", "* SEARCH 77 88 99\r\n"), LOST),
    (
        "long lines without end",
        Endless("* X ", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n* X "),
        LOST,
    ),
    ("OK without end", Endless("", "* OK [ALERT] look\r\n"), LOST),
    ("literals without end", Endless("", "* X {3}\r\nabc\r\n"), LOST),
    ("nothing but literals in one line", Endless("* X", " {3}\r\nabc"), LOST),
    ("a literal of 2^31", Says("* X {2147483648}\r\n"), LOST),
    ("a literal of 2^63", Says("* X {9223372036854775808}\r\n"), LOST),
    ("a literal of 2^64", Says("* X {18446744073709551616}\r\n"), LOST),
    ("a literal of 10^30", Says("* X {1000000000000000000000000000000}\r\n"), LOST),
    ("a literal of a hundred thousand digits", Many("* X {", "9", 100_000, "}\r\n"), LOST),
    ("braces", Many("* X ", "{1", 400_000, "\r\nTAG NO done\r\n"), REFUSED_OR_LOST),
    ("brackets in a refusal", Many("TAG NO [", "[A", 450_000, "\r\n"), REFUSED_OR_LOST),
    ("a code without end in a refusal", Many("TAG NO [", "A", 900_000, "\r\n"), REFUSED_OR_LOST),
    ("a refusal of a megabyte", Many("TAG NO ", "no ", 300_000, "\r\n"), REFUSED_OR_LOST),
    ("a BAD of a megabyte", Many("TAG BAD ", "no ", 300_000, "\r\n"), REFUSED_OR_LOST),
    ("a BAD of quotes and NUL", Many("TAG BAD ", "'\"\\\0", 1_000, "\r\n"), REFUSED_OR_LOST),
    (
        "a refusal that looks like Python",
        Many("TAG NO X command error: BAD [", "-", 100_000, "1]\r\n"),
        REFUSED_OR_LOST,
    ),
    (
        "a refusal that looks like a list",
        Many("TAG NO X command error: BAD [", "[", 100_000, "]\r\n"),
        REFUSED_OR_LOST,
    ),
    ("a refusal with control characters", Says("TAG NO \u{1b}[2J\0\u{7}\r again\r\n"), REFUSED_OR_LOST),
    ("a refusal that is no UTF-8", Octets(b"TAG NO \xff\xfe\xc3\x28\r\n"), REFUSED_OR_LOST),
    ("an answer of a kind that is unknown", Says("TAG MAYBE later\r\n"), REFUSED_OR_LOST),
    ("an answer twice", Says("TAG BAD one\r\nTAG BAD two\r\n"), REFUSED_OR_LOST),
    ("PREAUTH in the middle", Says("* PREAUTH hello\r\nTAG NO done\r\n"), REFUSED_OR_LOST),
    ("kinds of answers without end", Many("", "* Q\r\n", 200_000, "TAG NO done\r\n"), REFUSED_OR_LOST),
    ("EXISTS of 2^64", Says("* 18446744073709551616 EXISTS\r\nTAG NO done\r\n"), REFUSED_OR_LOST),
    ("EXISTS of no number", Says("* EXISTS many\r\nTAG NO done\r\n"), REFUSED_OR_LOST),
    (
        "EXISTS of a hundred thousand digits",
        Many("* ", "9", 100_000, " EXISTS\r\nTAG NO done\r\n"),
        REFUSED_OR_LOST,
    ),
    ("EXISTS with a literal", Says("* 3 EXISTS {3}\r\nabc\r\nTAG NO done\r\n"), REFUSED_OR_LOST),
    ("EXPUNGE of everything", Many("", "* 1 EXPUNGE\r\n", 9, "TAG NO done\r\n"), REFUSED_OR_LOST),
    ("parentheses 10,000 deep", Many("* X ", "(", 10_000, "\r\nTAG NO done\r\n"), REFUSED_OR_LOST),
    ("a mailbox that turned read-only", Says("* OK [READ-ONLY] now\r\nTAG NO done\r\n"), REFUSED_OR_LOST),
];

/// Empty responses, which are too little for some commands.
const EMPTY: &[May] = &[May::Right, May::Fewer, May::Fail(pymail::ErrorKind::Refused)];

const REFUSED_OR_LOST: &[May] = &[
    May::Fail(pymail::ErrorKind::Refused),
    May::Fail(pymail::ErrorKind::Auth),
    May::Fail(pymail::ErrorKind::Disconnected),
];

/// Recognised as bad by the timeout alone.
const LATE: &[Bad] = &[
    ("silence", Silent, SLOW),
    ("an empty line", Says("\r\n"), SLOW),
    ("a blank line", Says(" \t \r\n"), SLOW),
    (
        "an answer that drips",
        Drips("* 3 EXISTS\r\n* 3 EXISTS\r\n* 3 EXISTS\r\n* 3 EXISTS\r\n* 3 EXISTS\r\n* 3 EXISTS\r\nTAG OK"),
        SLOW,
    ),
    ("a line that never ends", Says("TAG OK done"), SLOW),
    ("CR alone", Says("TAG OK done\r"), SLOW),
    ("lines that end in CR", Says("* 3 EXISTS\rTAG OK done\r"), SLOW),
    ("data without an answer", Says("* 3 EXISTS\r\n* SEARCH 1 2 3\r\n"), SLOW),
    ("a literal longer than its data", Says("* X {1000}\r\nabc\r\nTAG OK done\r\n"), SLOW),
    ("a literal as large as an answer may be", Says("* X {16000000}\r\nabc"), SLOW),
    ("it waits for more", Says("+ go ahead\r\n"), SLOW),
    ("it waits for more without end", Endless("", "+ go ahead\r\n"), LOST_IN_TIME),
];

fn rows(answers: &[Bad], at: &'static str) -> Vec<Row> {
    answers.iter().map(|&(name, answer, may)| Row { name, at, answer, may }).collect()
}

pub(super) fn prompt(at: &'static str) -> Vec<Row> {
    rows(PROMPT, at)
}

pub(super) fn late(at: &'static str) -> Vec<Row> {
    rows(LATE, at)
}
