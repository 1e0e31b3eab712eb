//! Bad responses on the way to a selected mailbox.

use pymail::ErrorKind;

use super::row::Answer::{Closes, Drips, Endless, Later, Many, Octets, Says, SaysAndCloses, Silent};
use super::row::{AUTH, LOST, LOST_IN_TIME, May, REFUSED, RIGHT, Row, SLOW, TLS, row};

const REFUSED_OR_RIGHT: &[May] = &[May::Fail(ErrorKind::Refused), May::Right];
const AUTH_OR_LOST: &[May] = &[May::Fail(ErrorKind::Auth), May::Fail(ErrorKind::Disconnected)];

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    row("silence", "GREETING", Silent, SLOW),
    row("a drip", "GREETING", Drips("* OK hello hello hello hello hello hello hello hello hello"), SLOW),
    row("hanging up", "GREETING", Closes, LOST),
    row("BYE", "GREETING", SaysAndCloses("* BYE too busy\r\n"), LOST),
    row("PREAUTH", "GREETING", Says("* PREAUTH welcome\r\n"), TLS),
    row("NO", "GREETING", Says("* NO not today\r\n"), LOST),
    row("a tagged answer", "GREETING", Says("A1 OK done\r\n"), LOST),
    row("EXISTS", "GREETING", Says("* 3 EXISTS\r\n"), SLOW),
    row("an empty line", "GREETING", Says("\r\n"), LOST_IN_TIME), // imaplib of 2026 reads on
    row("SMTP", "GREETING", Says("220 hello\r\n"), LOST),
    row("SSH", "GREETING", Says("SSH-2.0-OpenSSH_9.2\r\n"), LOST),
    row("no line end", "GREETING", Says("* OK hello"), SLOW),
    row("LF alone", "GREETING", Says("* OK hello\n"), RIGHT),
    row("no UTF-8", "GREETING", Octets(b"* OK \xff\xfe\0\r\n"), RIGHT),
    row("a megabyte", "GREETING", Many("* NO ", "x", 900_000, "\r\n"), LOST),
    row("no end", "GREETING", Endless("* OK ", "x"), LOST),
    row("a literal of 2^63", "GREETING", Says("* OK {9223372036854775808}\r\n"), RIGHT),
    row("too many lines", "GREETING", Endless("", "* OK hello\r\n"), LOST_IN_TIME),
    row("no capabilities", "CAPABILITY", Says("TAG OK done\r\n"), LOST),
    row("empty capabilities", "CAPABILITY", Says("* CAPABILITY\r\nTAG OK done\r\n"), LOST),
    row("another protocol's", "CAPABILITY", Says("* CAPABILITY POP3\r\nTAG OK done\r\n"), LOST),
    row("as a literal", "CAPABILITY", Says("* CAPABILITY {9}\r\nIMAP4rev1\r\nTAG OK done\r\n"), LOST),
    row("no UTF-8", "CAPABILITY", Octets(b"* CAPABILITY IMAP4rev1 \xff\xfe\r\nTAG OK done\r\n"), RIGHT),
    row("100,000 capabilities", "CAPABILITY", Many("* CAPABILITY IMAP4rev1", " XYZZY", 100_000, "\r\nTAG OK done\r\n"), RIGHT),
    row("NO", "CAPABILITY", Says("TAG NO not for you\r\n"), LOST),
    row("BAD", "CAPABILITY", Says("TAG BAD what\r\n"), LOST),
    row("silence", "CAPABILITY", Silent, SLOW),
    row("no capabilities after login", "CAPABILITY", Later("TAG OK done\r\n"), RIGHT),
    row("NO after login", "CAPABILITY", Later("TAG NO not for you\r\n"), RIGHT),
    row("capabilities as a literal after login", "CAPABILITY", Later("* CAPABILITY {9}\r\nIMAP4rev1\r\nTAG OK done\r\n"), RIGHT),
    row("BYE", "CAPABILITY", Says("* BYE no\r\n"), LOST),
    row("no end", "CAPABILITY", Endless("", "* CAPABILITY IMAP4rev1\r\n"), LOST),
    row("LOGINDISABLED", "CAPABILITY", Says("* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK done\r\n"), RIGHT),
    row("the password back", "LOGIN", Says("TAG NO mar\"ked \\ s3cret is wrong\r\n"), AUTH),
    row("an expired password", "LOGIN", Says("TAG NO [EXPIRED] \0\r\n"), AUTH),
    row("a time out of range", "LOGIN", Says("TAG NO [LIMIT] try again in 99999999999999999999999999999999 hours\r\n"), REFUSED),
    row("a long time", "LOGIN", Says("TAG NO [UNAVAILABLE] try again in 18446744073709551615 hours\r\n"), REFUSED),
    row("a refusal as a literal", "LOGIN", Says("TAG NO {3}\r\nabc\r\n"), AUTH_OR_LOST),
    row("capabilities as a literal", "LOGIN", Says("* CAPABILITY {9}\r\nIMAP4rev1\r\nTAG OK done\r\n"), RIGHT),
    row("capabilities that are no UTF-8", "LOGIN", Octets(b"* CAPABILITY \xff\xfe\0\r\nTAG OK done\r\n"), RIGHT),
    row("capabilities without end", "LOGIN", Many("", "* CAPABILITY IMAP4rev1\r\n", 50_000, "TAG OK done\r\n"), RIGHT),
    row("MOVE and UIDPLUS that are lies", "LOGIN", Says("* CAPABILITY IMAP4rev1 MOVE UIDPLUS\r\nTAG OK done\r\n"), RIGHT),
    row("no UIDVALIDITY", "SELECT", Says("* 3 EXISTS\r\nTAG OK done\r\n"), REFUSED),
    row("an empty UIDVALIDITY", "SELECT", Says("* OK [UIDVALIDITY] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY of 0", "SELECT", Says("* OK [UIDVALIDITY 0] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY below 0", "SELECT", Says("* OK [UIDVALIDITY -1] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY of 2^32", "SELECT", Says("* OK [UIDVALIDITY 4294967296] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY of 10^30", "SELECT", Says("* OK [UIDVALIDITY 1000000000000000000000000000000] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY of 100,000 digits", "SELECT", Many("* OK [UIDVALIDITY ", "9", 100_000, "] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY in words", "SELECT", Says("* OK [UIDVALIDITY seven] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY that is no UTF-8", "SELECT", Octets(b"* OK [UIDVALIDITY \xff\xfe] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY in other digits", "SELECT", Says("* OK [UIDVALIDITY \u{663}] x\r\nTAG OK done\r\n"), REFUSED),
    row("a UIDVALIDITY without brackets", "SELECT", Says("* OK UIDVALIDITY 7\r\nTAG OK done\r\n"), REFUSED),
    row("read-only", "SELECT", Says("* OK [UIDVALIDITY 7] x\r\nTAG OK [READ-ONLY] done\r\n"), REFUSED),
    row("EXISTS of 2^32-1", "SELECT", Says("* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done\r\n"), LOST_OR_SLOW),
    row("EXISTS of 10^18", "SELECT", Says("* 1000000000000000000 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done\r\n"), LOST),
    row("EXISTS below 0", "SELECT", Says("* -3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done\r\n"), RIGHT),
    row("EXISTS of 0", "SELECT", Says("* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done\r\n"), RIGHT),
    row("NO", "SELECT", Says("TAG NO [NONEXISTENT] none\r\n"), REFUSED),
    row("BAD after data", "SELECT", Says("* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG BAD no\r\n"), REFUSED),
    row("UIDNEXT in words", "SELECT", Says("* OK [UIDNEXT next] x\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done\r\n"), RIGHT),
    row("nothing", "LIST", Says("TAG OK done\r\n"), RIGHT),
    row("NO", "LIST", Says("TAG NO none\r\n"), RIGHT),
    row("BYE", "LIST", Says("* BYE none\r\n"), LOST),
    row("silence", "LIST", Silent, SLOW),
    row("as a literal", "LIST", Says("* LIST (\\Noselect) \"/\" {0}\r\n\r\nTAG OK done\r\n"), RIGHT),
    row("a delimiter of NUL", "LIST", Octets(b"* LIST () \"\0\" \"\"\r\nTAG OK done\r\n"), RIGHT),
    row("a delimiter of many", "LIST", Says("* LIST () \"////\" \"\"\r\nTAG OK done\r\n"), RIGHT),
    row("flags without end", "LIST", Many("* LIST (", "\\Flag ", 100_000, "\r\nTAG OK done\r\n"), RIGHT),
    row("mailboxes without end", "LIST", Endless("", "* LIST () \"/\" \"a\"\r\n"), LOST),
    row("parentheses 10,000 deep", "NAMESPACE", Many("* NAMESPACE ", "(", 10_000, "\r\nTAG OK done\r\n"), RIGHT),
    row("a half", "NAMESPACE", Says("* NAMESPACE ((\"\r\nTAG OK done\r\n"), RIGHT),
    row("90,000 of them", "NAMESPACE", Many("* NAMESPACE (", "(\"\" \"/\")", 90_000, ") NIL NIL\r\nTAG OK done\r\n"), RIGHT),
    row("as a literal", "NAMESPACE", Says("* NAMESPACE {3}\r\nabc\r\nTAG OK done\r\n"), RIGHT),
    row("no UTF-8", "NAMESPACE", Octets(b"* NAMESPACE ((\"\xff\xfe\" \"/\")) NIL NIL\r\nTAG OK done\r\n"), RIGHT),
    row("a prefix with a command", "NAMESPACE", Says("* NAMESPACE ((\"a\\\"\\\\\" \"/\")) NIL NIL\r\nTAG OK done\r\n"), RIGHT),
    row("INBOX as the archive", "CREATE", Says("TAG NO [CANNOT] no\r\n"), REFUSED_OR_RIGHT),
    row("it exists", "CREATE", Says("TAG NO [ALREADYEXISTS] there\r\n"), RIGHT),
    row("BAD", "CREATE", Says("TAG BAD what\r\n"), REFUSED_OR_RIGHT),
    row("BYE", "CREATE", Says("* BYE no\r\n"), LOST),
    row("silence", "CREATE", Silent, SLOW),
    row("no messages", "CREATE", Says("* 0 EXISTS\r\n* 1 EXPUNGE\r\nTAG OK done\r\n"), RIGHT),
];

const LOST_OR_SLOW: &[May] = &[May::Fail(ErrorKind::Disconnected), May::Fail(ErrorKind::Timeout), May::Right];

pub(super) fn rows() -> Vec<Row> {
    ROWS.to_vec()
}
