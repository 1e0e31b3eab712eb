//! Bad responses to FETCH, and bad mail in good ones.

use std::fmt::Write as _;

use pymail::ErrorKind;

use super::imap::SIZES;
use super::row::Answer::{Endless, Made, Many, Says};
use super::row::{FEWER, LOST, LOST_IN_TIME, May, RIGHT, Row, SLOW, TOO_LARGE, row};
use crate::mail_site::TAG;
use crate::scripted::imap::{fetched, mail, three};

const FETCH: &str = "UID FETCH";

const FEWER_OR_LOST: &[May] = &[May::Fewer, May::Fail(ErrorKind::Disconnected)];
const SPOILT_OR_LOST: &[May] = &[May::Spoilt(ErrorKind::TooLarge), May::Fail(ErrorKind::Disconnected)];
const RIGHT_OR_LOST: &[May] = &[May::Right, May::Fail(ErrorKind::Disconnected)];
const RIGHT_OR_LATE: &[May] =
    &[May::Right, May::Fail(ErrorKind::Disconnected), May::Fail(ErrorKind::Timeout)];
/// The effect of these rows: no other message is harmed.
const NOT_OURS: &[May] = &[May::Fewer, May::Hidden, May::Odd, May::Right, May::Spoilt(ErrorKind::Message)];
const LOST_OR_HIDDEN: &[May] = &[May::Hidden, May::Fail(ErrorKind::Disconnected)];
const HIDDEN: &[May] = &[May::Fewer, May::Hidden];

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    row("OK without data", FETCH, Says("TAG OK done\r\n"), FEWER),
    row("NO after data", FETCH, Made(|command| good(command) + "TAG NO done\r\n"), RIGHT),
    row("BAD after data", FETCH, Made(|command| good(command) + "TAG BAD done\r\n"), RIGHT),
    row("BYE after data", FETCH, Made(|command| good(command) + "* BYE done\r\n"), RIGHT_OR_LOST),
    row("BYE after the answer", FETCH, Made(|command| good(command) + "TAG OK done\r\n* BYE done\r\n"), RIGHT_OR_LOST),
    row("mail that was not requested", FETCH, Made(|command| good(command) + &other(7, command) + "TAG OK done\r\n"), RIGHT),
    row("only mail that was not requested", FETCH, Made(|command| other(7, command) + "TAG OK done\r\n"), FEWER),
    row("the same UID twice", FETCH, Made(|command| good(command) + &good(command) + "TAG OK done\r\n"), RIGHT),
    row("the same UID with another mail", FETCH, Made(|command| good(command) + &other(2, command) + "TAG OK done\r\n"), RIGHT),
    row("a UID of 0", FETCH, Made(|command| good(command).replace("(UID 2", "(UID 0") + "TAG OK done\r\n"), FEWER),
    row("a UID below 0", FETCH, Made(|command| good(command).replace("(UID 2", "(UID -2") + "TAG OK done\r\n"), FEWER),
    row("a UID of 2^32", FETCH, Made(|command| good(command).replace("(UID 2", "(UID 4294967296") + "TAG OK done\r\n"), FEWER),
    row("a UID of 10^30", FETCH, Made(|command| good(command).replace("(UID 2", "(UID 1000000000000000000000000000000") + "TAG OK done\r\n"), FEWER),
    row("no UID", FETCH, Made(|command| good(command).replace("(UID 2", "(FLAGS ()") + "TAG OK done\r\n"), FEWER),
    row("a UID in words", FETCH, Made(|command| good(command).replace("(UID 2", "(UID two") + "TAG OK done\r\n"), FEWER),
    row("a size of 2^63", FETCH, Made(|command| sized(command, "9223372036854775808")), RIGHT),
    row("a size of 2^64", FETCH, Made(|command| sized(command, "18446744073709551616")), RIGHT),
    row("a size of 10^30", FETCH, Made(|command| sized(command, "1000000000000000000000000000000")), RIGHT),
    row("a size of 0", FETCH, Made(|command| sized(command, "0")), RIGHT),
    row("a size below 0", FETCH, Made(|command| sized(command, "-1")), RIGHT),
    row("a size that is too large", FETCH, Made(|command| sized(command, "99999999")), RIGHT),
    row("no size", FETCH, Made(|command| good(command).replace("RFC822.SIZE", "X-SIZE") + "TAG OK done\r\n"), RIGHT),
    row("a literal of 2^63", FETCH, Says("* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> {9223372036854775808}\r\n"), LOST),
    row("a literal of 64 MiB", FETCH, Says("* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> {67108864}\r\n"), LOST),
    row("a literal below 0", FETCH, Says("* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> {-1}\r\n)\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("a literal without a number", FETCH, Says("* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> {}\r\n)\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("a literal of LITERAL+", FETCH, Made(|command| good(command).replace("}\r\n", "+}\r\n") + "TAG OK done\r\n"), RIGHT),
    row("a literal of LITERAL8", FETCH, Says("* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[]<0> ~{3}\r\nabc)\r\nTAG OK done\r\n"), HIDDEN),
    row("a literal too long for its data", FETCH, Says("* 1 FETCH (UID 1 RFC822.SIZE 900 BODY[]<0> {900}\r\nabc)\r\nTAG OK done\r\n"), SLOW),
    row("a mail that is larger than was asked for", FETCH, Made(|_| whole(&padded(1, 2 << 20))), SPOILT_OR_LOST),
    row("mails without end", FETCH, Endless("", "* 1 FETCH (UID 1 RFC822.SIZE 90 BODY[]<0> {90}
123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 )
"), LOST_OR_HIDDEN),
    row("a thousand literals in one answer", FETCH, Many("* 1 FETCH (UID 1 RFC822.SIZE 3", " BODY[] {3}\r\nabc", 1_000, ")\r\nTAG OK done\r\n"), LOST),
    row("parentheses 10,000 deep", FETCH, Many("* 1 FETCH (UID 1 ", "(", 10_000, "\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("parentheses 10,000 deep behind a mail", FETCH, Made(|command| good(command).replace("hello)", &format!("hello X {}{})", "(".repeat(10_000), ")".repeat(10_000))) + "TAG OK done\r\n"), LOST),
    row("a megabyte behind a mail", FETCH, Made(|command| good(command).replace("hello)", &format!("hello{})", " X NIL".repeat(150_000))) + "TAG OK done\r\n"), RIGHT_OR_LATE),
    row("a megabyte of quotes behind a mail", FETCH, Made(|command| good(command).replace("hello)", &format!("hello X {})", "\"".repeat(900_000))) + "TAG OK done\r\n"), LOST_IN_TIME),
    row("a megabyte of blanks before a mail", FETCH, Made(|command| good(command).replace(" BODY[]", &format!("{}BODY[]", " ".repeat(900_000))) + "TAG OK done\r\n"), RIGHT_OR_LATE),
    row("a short mail of a megabyte", FETCH, Many("* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> \"", "x", 900_000, "\")\r\nTAG OK done\r\n"), NOT_OURS),
    row("a short mail of backslashes", FETCH, Many("* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> \"", "\\\\", 450_000, "\")\r\nTAG OK done\r\n"), NOT_OURS),
    row("a short mail without an end", FETCH, Many("* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> \"", "x", 900_000, ")\r\nTAG OK done\r\n"), LOST),
    row("BODY[] a hundred thousand times", FETCH, Many("* 1 FETCH (UID 1 RFC822.SIZE 9 ", "BODY[] ", 100_000, ")\r\nTAG OK done\r\n"), LOST),
    row("UID a hundred thousand times", FETCH, Many("* 1 FETCH (", "UID ", 200_000, "BODY[] NIL)\r\nTAG OK done\r\n"), FEWER_OR_LOST),
    row("NIL for a mail", FETCH, Says("* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[]<0> NIL)\r\nTAG OK done\r\n"), HIDDEN),
    row("a mail of nothing", FETCH, Says("* 1 FETCH (UID 1 RFC822.SIZE 0 BODY[]<0> {0}\r\n)\r\nTAG OK done\r\n"), HIDDEN),
    row("EXPUNGE of everything", FETCH, Made(|command| "* 1 EXPUNGE\r\n".repeat(9) + &good(command) + "TAG OK done\r\n"), RIGHT),
    row("an unasked mail without a size", FETCH, Made(|command| good(command) + "* 9 FETCH (UID 9 BODY[] {3}\r\nabc)\r\nTAG OK done\r\n"), RIGHT_OR_LOST),
    row("NUL in a mail", FETCH, Made(|command| spoilt(command, &format!("Subject: {TAG} 1\r\n\r\n\0\0\0"))), NOT_OURS),
    row("a header of parentheses", FETCH, Made(|command| spoilt(command, &header("From", &"(".repeat(60_000)))), NOT_OURS),
    row("a header of encoded words", FETCH, Made(|command| spoilt(command, &header("From", &"=?utf-8?q?x?= ".repeat(8_000)))), NOT_OURS),
    row("a header of halves of encoded words", FETCH, Made(|command| spoilt(command, &header("To", &"=?utf-8?q?".repeat(10_000)))), NOT_OURS),
    row("a header of angles", FETCH, Made(|command| spoilt(command, &header("To", &"<".repeat(100_000)))), NOT_OURS),
    row("a header of groups", FETCH, Made(|command| spoilt(command, &header("To", &"a:".repeat(50_000)))), NOT_OURS),
    row("a header of parameters", FETCH, Made(|command| spoilt(command, &header("Content-Type", &format!("text/plain{}", "; a*0*=''%41".repeat(8_000))))), NOT_OURS),
    row("a header of commas", FETCH, Made(|command| spoilt(command, &header("References", &",".repeat(100_000)))), NOT_OURS),
    row("ten thousand headers", FETCH, Made(|command| spoilt(command, &header("X", &"1\r\nReceived: by x;".repeat(6_000)))), NOT_OURS),
    row("folds without end", FETCH, Made(|command| spoilt(command, &header("From", &"x\r\n ".repeat(30_000)))), NOT_OURS),
    row("a date out of range", FETCH, Made(|command| spoilt(command, &header("Date", "99999999999999999999 Jan 99999999999999999999 99:99:99 +99999999999"))), NOT_OURS),
    row("parts within parts", FETCH, Made(|command| spoilt(command, &multiparts(900))), NOT_OURS),
    row("mails within mails", FETCH, Made(|command| spoilt(command, &header("Content-Type", &"message/rfc822\r\n\r\nContent-Type: ".repeat(900)))), NOT_OURS),
    row("boundaries within boundaries", FETCH, Made(|command| spoilt(command, &boundaries(40_000))), NOT_OURS),
    row("an unknown charset", FETCH, Made(|command| spoilt(command, &header("Content-Type", "text/plain; charset=\"\u{1b}\0utf-99\""))), NOT_OURS),
    row("base64 that is none", FETCH, Made(|command| spoilt(command, &header("Content-Transfer-Encoding", "base64\r\n\r\n=A=B=\0\u{ff}"))), NOT_OURS),
    row("HTML without end", FETCH, Made(|command| spoilt(command, &header("Content-Type", &format!("text/html\r\n\r\n{}", "<a <!-- &#x".repeat(9_000))))), NOT_OURS),
    row("a size of its body below 0", FETCH, Made(|command| spoilt(command, &header("Content-Disposition", "inline; size=-1"))), NOT_OURS),
    row("no sizes", SIZES, Says("TAG OK done\r\n"), RIGHT),
    row("sizes as literals", SIZES, Says("* 1 FETCH (UID 1 RFC822.SIZE {2}\r\n99)\r\nTAG OK done\r\n"), RIGHT),
    row("a size of 2^64", SIZES, Says("* 1 FETCH (UID 1 RFC822.SIZE 18446744073709551616)\r\nTAG OK done\r\n"), RIGHT_OR_LOST),
    row("a size of 2^63-1", SIZES, Says("* 1 FETCH (UID 1 RFC822.SIZE 9223372036854775807)\r\nTAG OK done\r\n"), TOO_LARGE),
    row("a size below 0", SIZES, Says("* 1 FETCH (UID 1 RFC822.SIZE -1)\r\nTAG OK done\r\n"), RIGHT_OR_LOST),
    row("sizes of 2^62 each", SIZES, Says("* 1 FETCH (UID 1 RFC822.SIZE 4611686018427387904)\r\n* 2 FETCH (UID 2 RFC822.SIZE 4611686018427387904)\r\nTAG OK done\r\n"), TOO_LARGE),
    row("sizes of others", SIZES, Says("* 7 FETCH (UID 7 RFC822.SIZE 99999999999)\r\nTAG OK done\r\n"), RIGHT),
    row("a size without a UID", SIZES, Says("* 1 FETCH (RFC822.SIZE 5)\r\nTAG OK done\r\n"), LOST),
    row("a UID of 2^32", SIZES, Says("* 1 FETCH (UID 4294967296 RFC822.SIZE 5)\r\nTAG OK done\r\n"), RIGHT_OR_LOST),
    row("mails instead of sizes", SIZES, Made(|command| good(command) + "TAG OK done\r\n"), RIGHT),
    row("sizes of the same mail", SIZES, Many("", "* 1 FETCH (UID 1 RFC822.SIZE 1)\r\n", 100_000, "TAG OK done\r\n"), RIGHT_OR_LOST),
];

pub(super) fn rows() -> Vec<Row> {
    ROWS.to_vec()
}

/// Returns a good server's response, without its last line.
fn good(command: &str) -> String {
    (1..).zip(three()).map(|(uid, mail)| fetched(uid, &mail, command)).collect()
}

fn other(uid: u32, command: &str) -> String {
    fetched(uid, &mail(uid, "another"), command)
}

/// Returns the three mails, the second with this size.
fn sized(command: &str, size: &str) -> String {
    let second = fetched(2, &mail(2, "hello"), command);
    let (before, after) = second.split_once("RFC822.SIZE ").unwrap();
    let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
    good(command).replace(&second, &format!("{before}RFC822.SIZE {size}{after}")) + "TAG OK done\r\n"
}

/// Returns a whole mail, whatever part was requested.
fn one(uid: u32, mail: &str) -> String {
    fetched(uid, mail, "")
}

fn whole(mail: &str) -> String {
    one(1, mail) + "TAG OK done\r\n"
}

fn padded(uid: u32, octets: usize) -> String {
    mail(uid, &"x".repeat(octets))
}

/// Returns the three mails, the first replaced by this one.
fn spoilt(command: &str, mail: &str) -> String {
    let mails = [mail.to_owned(), three().remove(1), three().remove(2)];
    let answers: String = (1..).zip(&mails).map(|(uid, mail)| fetched(uid, mail, command)).collect();
    answers + "TAG OK done\r\n"
}

/// Returns the first mail, with this header behind its others.
fn header(name: &str, value: &str) -> String {
    let mail = mail(1, "hello");
    let (headers, body) = mail.split_once("\r\n\r\n").unwrap();
    format!("{headers}\r\n{name}: {value}\r\n\r\n{body}")
}

/// Returns this many parts, each within the one before.
fn multiparts(depth: usize) -> String {
    let mut text = format!("Subject: {TAG} 1\r\n");
    for part in 0..depth {
        let _ = write!(text, "Content-Type: multipart/mixed; boundary=b{part}\r\n\r\n--b{part}\r\n");
    }
    text
}

fn boundaries(times: usize) -> String {
    let head = format!("Subject: {TAG} 1\r\nContent-Type: multipart/mixed; boundary=\"\"\r\n\r\n");
    head + &"--\r\n".repeat(times)
}
