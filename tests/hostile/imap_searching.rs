//! Bad responses to NOOP, SEARCH and LOGOUT.

use pymail::ErrorKind;

use super::row::Answer::{Closes, Drips, Endless, Many, Octets, Says, SaysAndCloses, Silent};
use super::row::{FEWER, LOST, LOST_IN_TIME, May, REFUSED, RIGHT, RIGHT_OR_LOST, Row, SLOW, row};

const SEARCH: &str = "UID SEARCH UNDELETED";

/// A SEARCH for new mail, whose result is fetched in the same round trip (SEARCHRES), and one for all other mail.
const NEW: &str = "UID SEARCH RETURN (SAVE";
const OTHERS: &str = "UID SEARCH RETURN (ALL)";
const SAVED: &str = "UID FETCH $";

const RIGHT_OR_FEWER: &[May] = &[May::Right, May::Fewer];
/// A mail whose response names another mail.
const HIDDEN: &[May] = &[May::Fewer, May::Hidden, May::Fail(ErrorKind::Disconnected)];
/// A UID in the result that can't be fetched is an error in its place.
const RIGHT_OR_SPOILT: &[May] = &[May::Right, May::Spoilt(ErrorKind::Message)];
const FEWER_OR_LOST: &[May] = &[May::Fewer, May::Fail(ErrorKind::Disconnected)];
const RIGHT_OR_LATE: &[May] =
    &[May::Right, May::Fail(ErrorKind::Disconnected), May::Fail(ErrorKind::Timeout)];

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    row("OK without data", SEARCH, Says("TAG OK done\r\n"), FEWER),
    row("nothing found", SEARCH, Says("* SEARCH\r\nTAG OK done\r\n"), FEWER),
    row("NO after data", SEARCH, Says("* SEARCH 1 2 3\r\nTAG NO done\r\n"), REFUSED),
    row("BAD after data", SEARCH, Says("* SEARCH 1 2 3\r\nTAG BAD done\r\n"), REFUSED),
    row("UID 0", SEARCH, Says("* SEARCH 0\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("UID 0 among others", SEARCH, Says("* SEARCH 0 1 2 3\r\nTAG OK done\r\n"), RIGHT_OR_LATE),
    row("UID 2^32", SEARCH, Says("* SEARCH 4294967296\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("UID 2^64 among others", SEARCH, Says("* SEARCH 1 2 3 18446744073709551616\r\nTAG OK done\r\n"), RIGHT_OR_LATE),
    row("a UID of 100,000 digits", SEARCH, Many("* SEARCH ", "9", 100_000, "\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("a UID below 0", SEARCH, Says("* SEARCH -1\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("words", SEARCH, Says("* SEARCH one two three\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("ranges", SEARCH, Says("* SEARCH 1:3\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("commas", SEARCH, Says("* SEARCH 1,2,3\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("ESEARCH unasked", SEARCH, Says("* ESEARCH (TAG \"TAG\") UID ALL 1:3\r\nTAG OK done\r\n"), RIGHT),
    row("digits of another script", SEARCH, Says("* SEARCH \u{661} \u{662}\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("NUL", SEARCH, Octets(b"* SEARCH 1\x002\x003\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("a literal", SEARCH, Says("* SEARCH {5}\r\n1 2 3\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("the same UIDs 100,000 times", SEARCH, Many("* SEARCH", " 1 2 3", 100_000, "\r\nTAG OK done\r\n"), RIGHT_OR_LATE),
    row("UIDs that no mail has", SEARCH, Says("* SEARCH 4294967290 4294967295\r\nTAG OK done\r\n"), RIGHT_OR_FEWER),
    row("UIDs backwards and twice", SEARCH, Says("* SEARCH 3 2 1 3\r\n* SEARCH 2\r\nTAG OK done\r\n"), RIGHT),
    row("millions of UIDs", SEARCH, Many("* SEARCH", " 301 302 303 304 305 306 307 308 309 310", 24_000, "\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("three megabytes of UIDs", SEARCH, Many("", "* SEARCH 301 302 303 304 305 306 307 308 309 310 311 312 313 314 315 316\r\n", 40_000, "TAG OK done\r\n"), FEWER_OR_LOST),
    row("parentheses 10,000 deep", SEARCH, Many("* SEARCH 1 2 3 ", "(", 10_000, "\r\nTAG OK done\r\n"), RIGHT_OR_LATE),
    row("EXPUNGE of everything", SEARCH, Many("* SEARCH 1 2 3\r\n", "* 1 EXPUNGE\r\n", 3, "TAG OK done\r\n"), RIGHT),
    row("EXISTS of 2^32-1", SEARCH, Says("* 4294967295 EXISTS\r\n* SEARCH 1 2 3\r\nTAG OK done\r\n"), RIGHT_OR_LATE),
    row("EXISTS of 10^18", SEARCH, Says("* 1000000000000000000 EXISTS\r\n* SEARCH 1 2 3\r\nTAG OK done\r\n"), RIGHT_OR_LATE),
    row("another UIDVALIDITY", SEARCH, Says("* OK [UIDVALIDITY 8] new\r\n* SEARCH 1 2 3\r\nTAG OK done\r\n"), RIGHT_OR_LATE),
    row("the answer in two lines", SEARCH, Says("* SEARCH 1\r\n* SEARCH 2 3\r\nTAG OK done\r\n"), RIGHT),
    row("BYE after the answer", SEARCH, SaysAndCloses("* SEARCH 1 2 3\r\nTAG OK done\r\n* BYE\r\n"), RIGHT_OR_LOST),
    row("NO", "NOOP", Says("TAG NO no\r\n"), REFUSED),
    row("BAD", "NOOP", Says("TAG BAD no\r\n"), REFUSED),
    row("two answers", "NOOP", Says("TAG OK one\r\nTAG OK two\r\n"), RIGHT_OR_LATE),
    row("BYE", "NOOP", SaysAndCloses("* BYE idle\r\n"), LOST),
    row("silence", "NOOP", Silent, SLOW),
    row("hanging up", "NOOP", Closes, LOST),
    row("a drip", "NOOP", Drips("* OK still here\r\n* OK still here\r\n* OK still here\r\n* OK still here\r\n"), SLOW),
    row("no end", "NOOP", Endless("", "* 2 RECENT\r\n"), LOST),
    row("kinds without end", "NOOP", Endless("", "* ABCDEFGH\r\n* HGFEDCBA\r\n* AAAA\r\n"), LOST),
    row("EXPUNGE of everything", "NOOP", Many("", "* 1 EXPUNGE\r\n", 9, "* 0 EXISTS\r\nTAG OK done\r\n"), RIGHT),
    row("100,000 EXPUNGE", "NOOP", Many("", "* 1 EXPUNGE\r\n", 100_000, "TAG OK done\r\n"), RIGHT_OR_LATE),
    row("EXISTS of 10^18", "NOOP", Says("* 1000000000000000000 EXISTS\r\nTAG OK done\r\n"), LOST),
    row("EXISTS of no number", "NOOP", Says("* EXISTS\r\nTAG OK done\r\n"), LOST),
    row("FETCH unasked", "NOOP", Says("* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\nTAG OK done\r\n"), RIGHT),
    row("OK without data", NEW, Says("TAG OK done\r\n"), FEWER),
    row("NO", NEW, Says("TAG NO no\r\n"), RIGHT),
    row("BAD", NEW, Says("TAG BAD no\r\n"), RIGHT),
    row("NO after data", NEW, Says("* ESEARCH (TAG \"TAG\") UID ALL 1:3\r\nTAG NO no\r\n"), RIGHT),
    row("nothing", NEW, Says("* ESEARCH (TAG \"TAG\") UID\r\nTAG OK done\r\n"), FEWER),
    row("SEARCH instead", NEW, Says("* SEARCH 1 2 3\r\nTAG OK done\r\n"), RIGHT),
    row("a range of all UIDs", NEW, Says("* ESEARCH (TAG \"TAG\") UID ALL 1:4294967295\r\nTAG OK done\r\n"), LOST),
    row("many large ranges", NEW, Many("* ESEARCH (TAG \"TAG\") UID ALL 1:3", ",1:900000", 1_000, "\r\nTAG OK done\r\n"), LOST),
    row("many lines of large ranges", NEW, Many("", "* ESEARCH UID ALL 1:900000\r\n", 5_000, "TAG OK done\r\n"), LOST),
    row("a range backwards", NEW, Says("* ESEARCH (TAG \"TAG\") UID ALL 3:1\r\nTAG OK done\r\n"), RIGHT),
    row("UID 0", NEW, Says("* ESEARCH (TAG \"TAG\") UID ALL 0:3\r\nTAG OK done\r\n"), FEWER),
    row("UID 2^32", NEW, Says("* ESEARCH (TAG \"TAG\") UID ALL 4294967296\r\nTAG OK done\r\n"), FEWER),
    row("UIDs of 20 digits", NEW, Says("* ESEARCH (TAG \"TAG\") UID ALL 1:18446744073709551615\r\nTAG OK done\r\n"), FEWER),
    row("a star", NEW, Says("* ESEARCH (TAG \"TAG\") UID ALL 1:*\r\nTAG OK done\r\n"), FEWER),
    row("other mail's UIDs", NEW, Says("* ESEARCH (TAG \"TAG\") UID ALL 71:73\r\nTAG OK done\r\n"), RIGHT),
    row("a literal", NEW, Says("* ESEARCH {3}\r\n1:3\r\nTAG OK done\r\n"), LOST),
    row("BYE", NEW, SaysAndCloses("* BYE idle\r\n"), LOST),
    row("hanging up", NEW, Closes, LOST),
    row("silence", NEW, Silent, SLOW),
    row("no end", NEW, Endless("", "* ESEARCH UID ALL 1\r\n"), LOST),
    row("NO", SAVED, Says("TAG NO [NOTSAVED] no\r\n"), RIGHT),
    row("BAD", SAVED, Says("TAG BAD no\r\n"), RIGHT),
    row("OK without data", SAVED, Says("TAG OK done\r\n"), RIGHT),
    row("mail that was not found", SAVED, Says("* 7 FETCH (UID 7 RFC822.SIZE 3 BODY[]<0> {3}\r\nabc)\r\nTAG OK done\r\n"), RIGHT),
    row("a cut literal", SAVED, SaysAndCloses("* 1 FETCH (UID 1 RFC822.SIZE 90 BODY[]<0> {90}\r\nabc"), RIGHT_OR_LOST),
    row("mails without end", SAVED, Endless("", "* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> {9}\r\nabcdefghi)\r\n"), HIDDEN),
    row("hanging up", SAVED, Closes, RIGHT_OR_LOST),
    row("silence", SAVED, Silent, SLOW),
    row("NO", OTHERS, Says("TAG NO no\r\n"), RIGHT),
    row("the same again", OTHERS, Says("* ESEARCH (TAG \"TAG\") UID ALL 1:3\r\nTAG OK done\r\n"), RIGHT),
    row("UIDs that no mail has", OTHERS, Says("* ESEARCH (TAG \"TAG\") UID ALL 4294967290:4294967295\r\nTAG OK done\r\n"), RIGHT_OR_SPOILT),
    row("hanging up", OTHERS, Closes, LOST),
    row("silence", OTHERS, Silent, SLOW),
    row("silence", "LOGOUT", Silent, SLOW),
    row("OK without BYE", "LOGOUT", Says("TAG OK done\r\n"), RIGHT),
    row("hanging up", "LOGOUT", Closes, LOST),
    row("data after BYE", "LOGOUT", Says("* BYE\r\nTAG OK done\r\n* 3 EXISTS\r\n* SEARCH 1 2 3\r\n"), RIGHT),
    row("data without end after BYE", "LOGOUT", Endless("* BYE\r\nTAG OK done\r\n", "* 3 EXISTS\r\n"), RIGHT),
    row("data without end", "LOGOUT", Endless("", "* 3 EXISTS\r\n"), LOST_IN_TIME),
    row("NO", "LOGOUT", Says("TAG NO stay\r\n"), &[May::Right, May::Fail(ErrorKind::Refused)]),
    row("BAD", "LOGOUT", Says("TAG BAD stay\r\n"), &[May::Right, May::Fail(ErrorKind::Refused), May::Fail(ErrorKind::Disconnected)]),
    row("a megabyte", "LOGOUT", Many("", "x", 900_000, "\r\n"), LOST),
    row("a drip", "LOGOUT", Drips("* OK wait\r\n* OK wait\r\n* OK wait\r\n* OK wait\r\n* OK wait\r\n* OK wait\r\n"), SLOW),
];

pub(super) fn rows() -> Vec<Row> {
    ROWS.to_vec()
}
