//! Bad replies while connecting and logging in, to NOOP and to QUIT.

use pymail::ErrorKind;

use super::row::Answer::{Closes, Drips, Endless, Many, Octets, Says, SaysAndCloses, Silent};
use super::row::{AUTH, LOST, May, RIGHT, RIGHT_OR_LOST, Row, SLOW, TOO_LARGE, row};

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    row("silence", "GREETING", Silent, SLOW),
    row("a drip", "GREETING", Drips("220-hello hello hello hello\r\n220-hello hello hello hello\r\n"), SLOW),
    row("hanging up", "GREETING", Closes, LOST),
    row("an empty line", "GREETING", Says("\r\n"), SLOW),
    row("IMAP", "GREETING", Says("* OK hello\r\n"), LOST),
    row("SSH", "GREETING", Says("SSH-2.0-OpenSSH_9.2\r\n"), LOST),
    row("TLS", "GREETING", Octets(b"\x15\x03\x01\x00\x02\x02\x46\r\n"), LOST),
    row("421", "GREETING", SaysAndCloses("421 too busy\r\n"), LOST),
    row("554", "GREETING", Says("554 not you\r\n"), LOST),
    row("354", "GREETING", Says("354 go ahead\r\n"), LOST),
    row("000", "GREETING", Says("000 hello\r\n"), LOST),
    row("99", "GREETING", Says("99 hello\r\n"), LOST),
    row("2200", "GREETING", Says("2200 hello\r\n"), LOST),
    row("no line end", "GREETING", Says("220 hello"), SLOW),
    row("a line without end", "GREETING", Endless("220 ", "x"), LOST),
    row("lines without end", "GREETING", Endless("", "220-hello\r\n"), LOST),
    row("control characters", "GREETING", Says("554 \u{1b}[2J\0\u{7}\r no\r\n"), LOST),
    row("a long refusal", "GREETING", Many("554 ", "x", 8_000, "\r\n"), LOST),
    row("a refusal of many lines", "GREETING", Many("", "554-no, not you, never\r\n", 9_000, "554 no\r\n"), LOST),
    row("silence", "EHLO", Silent, SLOW),
    row("no last line", "EHLO", Says("250-script\r\n250-SIZE 100\r\n"), SLOW),
    row("hanging up", "EHLO", Closes, LOST),
    row("lines without end", "EHLO", Endless("", "250-PIPELINING\r\n"), LOST),
    row("10,000 lines", "EHLO", Many("", "250-XTENSION\r\n", 10_000, "250 HELP\r\n"), RIGHT),
    row("10,000 ways to log in", "EHLO", Many("", "250-AUTH=PLAIN\r\n", 10_000, "250 HELP\r\n"), RIGHT),
    row("a long line", "EHLO", Many("250-AUTH ", "X", 9_000, "\r\n250 HELP\r\n"), LOST),
    row("a line of a megabyte", "EHLO", Many("250-AUTH ", "X", 1 << 20, "\r\n250 HELP\r\n"), LOST),
    row("NUL", "EHLO", Octets(b"250-script\r\n250-\0\0\r\n250 SIZE\0\r\n"), RIGHT),
    row("no UTF-8", "EHLO", Octets(b"250-script\r\n250-\xff\xfe\r\n250 8BITMIME\r\n"), RIGHT),
    row("a SIZE of 10^30", "EHLO", Says("250-script\r\n250 SIZE 1000000000000000000000000000000\r\n"), RIGHT),
    row("a SIZE of 2^64", "EHLO", Says("250-script\r\n250 SIZE 18446744073709551616\r\n"), RIGHT),
    row("a SIZE of 5,000 digits", "EHLO", Many("250-script\r\n250 SIZE ", "9", 5_000, "\r\n"), RIGHT),
    row("a SIZE below 0", "EHLO", Says("250-script\r\n250 SIZE -1\r\n"), RIGHT),
    row("a SIZE in words", "EHLO", Says("250-script\r\n250 SIZE large\r\n"), RIGHT),
    row("a SIZE of 1", "EHLO", Says("250-script\r\n250 SIZE 1\r\n"), TOO_LARGE),
    row("codes that differ", "EHLO", Says("250-script\r\n550 no\r\n"), LOST),
    row("words without a code within", "EHLO", Says("250-script\r\nabc-x\r\n250 HELP\r\n"), RIGHT),
    row("354", "EHLO", Says("354 go ahead\r\n"), LOST),
    row("600", "EHLO", Says("600 hello\r\n"), LOST),
    row("letters", "EHLO", Says("hello, how are you?\r\n"), LOST),
    row("one reply too many", "EHLO", Says("250 script\r\n250 script\r\n"), RIGHT_OR_LOST),
    row("silence", "AUTH", Silent, SLOW),
    row("hanging up", "AUTH", Closes, LOST),
    row("letters", "AUTH", Says("welcome\r\n"), LOST),
    row("000", "AUTH", Says("000 welcome\r\n"), LOST),
    row("99", "AUTH", Says("99 welcome\r\n"), LOST),
    row("-20", "AUTH", Says("-20 welcome\r\n"), LOST),
    row("2350", "AUTH", Says("2350 welcome\r\n"), LOST),
    row("334 without end", "AUTH", Says("334 \r\n"), AUTH_OR_LOST),
    row("354", "AUTH", Says("354 go ahead\r\n"), AUTH_OR_LOST),
    row("the password back", "AUTH", Says("535 5.7.8 mar\"ked \\ s3cret is wrong\r\n"), AUTH),
    row("control characters", "AUTH", Says("535 \u{1b}[2J\0\u{7}\r no\r\n"), AUTH),
    row("a long refusal", "AUTH", Many("", "535-no, not you, never\r\n", 9_000, "535 no\r\n"), AUTH),
    row("421", "AUTH", SaysAndCloses("421 later\r\n"), AUTH_OR_LOST),
    row("lines without end", "AUTH", Endless("", "235-welcome\r\n"), LOST),
    row("silence", "NOOP", Silent, SLOW),
    row("hanging up", "NOOP", Closes, LOST),
    row("421", "NOOP", SaysAndCloses("421 idle\r\n"), LOST),
    row("letters", "NOOP", Says("what?\r\n"), LOST),
    row("600", "NOOP", Says("600 what?\r\n"), LOST),
    row("lines without end", "NOOP", Endless("", "250-ok\r\n"), LOST),
    row("NUL", "NOOP", Octets(b"\0\0\0\0\r\n"), LOST),
    row("one reply too many", "NOOP", Says("250 ok\r\n250 ok\r\n"), RIGHT_OR_LOST),
    row("silence", "QUIT", Silent, SLOW),
    row("hanging up", "QUIT", Closes, RIGHT_OR_LOST),
    row("letters", "QUIT", Says("bye\r\n"), RIGHT_OR_LOST),
    row("no", "QUIT", Says("550 stay\r\n"), RIGHT),
    row("lines without end", "QUIT", Endless("", "221-bye\r\n"), LOST),
    row("data after the goodbye", "QUIT", Endless("221 bye\r\n", "250 ok\r\n"), RIGHT),
];

const AUTH_OR_LOST: &[May] =
    &[May::Fail(ErrorKind::Auth), May::Fail(ErrorKind::Refused), May::Fail(ErrorKind::Disconnected)];

pub(super) fn rows() -> Vec<Row> {
    ROWS.to_vec()
}
