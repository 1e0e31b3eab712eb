//! Bad responses to an acknowledgement: mail that is not certainly archived stays in the inbox.

use pymail::ErrorKind;

use super::row::Answer::{Closes, Endless, Many, Octets, Says, SaysAndCloses, Silent};
use super::row::{LOST, May, REFUSED, RIGHT, Row, SLOW, row};

const COPY: &str = "UID COPY";
const MOVE: &str = "UID MOVE";
const STORE: &str = "UID STORE";
const EXPUNGE: &str = "UID EXPUNGE";
/// Responses to the search for flagged mail without UIDPLUS, and for mail after a COPY.
const SEARCH: &str = "UID SEARCH UID";

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    row("UIDPLUS without COPYUID", COPY, Says("TAG OK done\r\n"), REFUSED),
    row("an empty COPYUID", COPY, Says("TAG OK [COPYUID] done\r\n"), REFUSED),
    row("a COPYUID of nothing", COPY, Says("TAG OK [COPYUID 9  ] done\r\n"), REFUSED),
    row("a COPYUID in words", COPY, Says("TAG OK [COPYUID nine one eleven] done\r\n"), REFUSED),
    row("a COPYUID that is no UTF-8", COPY, Octets(b"TAG OK [COPYUID 9 \xff\xfe 11] done\r\n"), REFUSED),
    row("a COPYUID of everything", COPY, Says("TAG OK [COPYUID 9 1:4294967295 1:4294967295] done\r\n"), REFUSED),
    row("a COPYUID of a star", COPY, Says("TAG OK [COPYUID 9 1:* 11:13] done\r\n"), REFUSED),
    row("a COPYUID of 0", COPY, Says("TAG OK [COPYUID 9 0 11] done\r\n"), NOTHING),
    row("a COPYUID of 2^32", COPY, Says("TAG OK [COPYUID 9 1:4294967296 11] done\r\n"), REFUSED),
    row("a COPYUID of 10^30", COPY, Says("TAG OK [COPYUID 9 1000000000000000000000000000000 11] done\r\n"), REFUSED),
    row("a COPYUID below 0", COPY, Says("TAG OK [COPYUID 9 -1:3 11] done\r\n"), REFUSED),
    row("a COPYUID of others", COPY, Says("TAG OK [COPYUID 9 77,88 11:12] done\r\n"), NOTHING),
    row("a COPYUID of ours and others", COPY, Says("TAG OK [COPYUID 9 1:3,77 11:14] done\r\n"), NOTHING),
    row("a COPYUID of commas", COPY, Many("TAG OK [COPYUID 9 1", ",1", 400_000, " 11] done\r\n"), REFUSED),
    row("COPYUID for OK and NO for an answer", COPY, Says("* OK [COPYUID 9 1:3 11:13] x\r\nTAG NO done\r\n"), REFUSED),
    row("COPYUID and BAD", COPY, Says("* OK [COPYUID 9 1:3 11:13] x\r\nTAG BAD done\r\n"), REFUSED),
    row("COPYUID and BYE", COPY, SaysAndCloses("* OK [COPYUID 9 1:3 11:13] x\r\n* BYE\r\n"), LOST),
    row("COPYUID in NO", COPY, Says("TAG NO [COPYUID 9 1:3 11:13] done\r\n"), REFUSED),
    row("COPYUID twice, differently", COPY, Says("* OK [COPYUID 9 1:3 11:13] x\r\nTAG OK [COPYUID 9 77 11] done\r\n"), NOTHING),
    row("brackets within COPYUID", COPY, Many("TAG OK [COPYUID 9 ", "[", 400_000, "] done\r\n"), REFUSED),
    row("COPYUID and EXPUNGE of everything", COPY, Says("* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nTAG OK done\r\n"), REFUSED),
    row("TRYCREATE without end", COPY, Says("TAG NO [TRYCREATE] make it\r\n"), REFUSED),
    row("an over full mailbox", COPY, Says("TAG NO [OVERQUOTA] full\r\n"), REFUSED),
    row("silence", COPY, Silent, SLOW),
    row("hanging up", COPY, Closes, LOST),
    row("a new UIDVALIDITY", COPY, Says("* OK [UIDVALIDITY 8] new\r\nTAG OK done\r\n"), REFUSED),
    row("MOVE is a lie, BAD", MOVE, Says("TAG BAD unknown command\r\n"), RIGHT),
    row("MOVE is a lie, NO", MOVE, Says("TAG NO unknown command\r\n"), REFUSED),
    row("NO after EXPUNGE of everything", MOVE, Says("* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nTAG NO done\r\n"), REFUSED),
    row("TRYCREATE without end", MOVE, Says("TAG NO [TRYCREATE] make it\r\n"), REFUSED),
    row("silence", MOVE, Silent, SLOW),
    row("hanging up", MOVE, Closes, LOST),
    row("BYE after data", MOVE, SaysAndCloses("* OK [COPYUID 9 1:3 11:13] x\r\n* BYE\r\n"), LOST),
    row("EXPUNGE without end", MOVE, Endless("", "* 1 EXPUNGE\r\n"), LOST),
    row("OK without data", MOVE, Says("TAG OK done\r\n"), REFUSED),
    row("COPYUID of everything", MOVE, Says("* OK [COPYUID 9 1:4294967295 1:4294967295] x\r\nTAG OK done\r\n"), RIGHT_OR_REFUSED),
    row("NO", STORE, Says("TAG NO [CANNOT] no\r\n"), REFUSED),
    row("BAD", STORE, Says("TAG BAD no\r\n"), REFUSED),
    row("NO after data", STORE, Says("* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\nTAG NO no\r\n"), REFUSED),
    row("silence", STORE, Silent, SLOW),
    row("hanging up", STORE, Closes, LOST),
    row("BYE", STORE, SaysAndCloses("* BYE\r\n"), LOST),
    row("flags of everything", STORE, Many("", "* 7 FETCH (UID 7 FLAGS (\\Deleted))\r\n", 9, "TAG OK done\r\n"), RIGHT),
    row("flags without end", STORE, Many("* 1 FETCH (FLAGS (", "\\Deleted ", 90_000, "\r\nTAG OK done\r\n"), RIGHT),
    row("NO", EXPUNGE, Says("TAG NO no\r\n"), REFUSED),
    row("BAD", EXPUNGE, Says("TAG BAD unknown command\r\n"), REFUSED),
    row("EXPUNGE of everything", EXPUNGE, Many("", "* 1 EXPUNGE\r\n", 9, "TAG OK done\r\n"), RIGHT),
    row("EXPUNGE of 0, below 0 and 2^64", EXPUNGE, Says("* 0 EXPUNGE\r\n* 18446744073709551616 EXPUNGE\r\nTAG OK done\r\n"), RIGHT),
    row("silence", EXPUNGE, Silent, SLOW),
    row("hanging up", EXPUNGE, Closes, LOST),
    row("BYE after data", EXPUNGE, SaysAndCloses("* 1 EXPUNGE\r\n* BYE\r\n"), LOST),
    row("others' UIDs", SEARCH, Says("* SEARCH 77 88 4294967295\r\nTAG OK done\r\n"), RIGHT),
    row("UID 0", SEARCH, Says("* SEARCH 0\r\nTAG OK done\r\n"), RIGHT_OR_LOST),
    row("UID 2^32", SEARCH, Says("* SEARCH 4294967296\r\nTAG OK done\r\n"), RIGHT_OR_LOST),
    row("NO after data", SEARCH, Says("* SEARCH 1 2 3\r\nTAG NO done\r\n"), REFUSED),
    row("hanging up", SEARCH, Closes, LOST),
    row("silence", SEARCH, Silent, SLOW),
];

const NOTHING: &[May] = &[May::Right, May::Fail(ErrorKind::Refused)];
const RIGHT_OR_LOST: &[May] = &[May::Right, May::Fail(ErrorKind::Disconnected)];
const RIGHT_OR_REFUSED: &[May] = NOTHING;

pub(super) fn rows() -> Vec<Row> {
    ROWS.to_vec()
}
