//! Tests with responses in the spellings of many servers, cut at every octet.

use super::*;

const LIMIT: usize = 1 << 20;

/// UID, size, `true` if flagged deleted, and the message.
type Read = (u32, u64, bool, String);

fn is_mail(it: &Attributes) -> bool {
    it.size.is_some() && it.mail.is_some()
}

fn read(it: &Attributes) -> Read {
    let text =
        it.mail.as_ref().or(it.section.as_ref()).map(|octets| String::from_utf8_lossy(octets).into_owned());
    let is_deleted = it.flags.unwrap_or_default().is_deleted;
    (it.uid.map_or(0, Uid::get), it.size.unwrap_or_default(), is_deleted, text.unwrap_or_default())
}

/// What these octets lead to, that arrive in pieces of this length: messages, the other responses, and the error.
fn parse(octets: &[u8], length: usize) -> (Vec<Read>, String, Option<Malformed>) {
    let mut fetched = Fetched::new(LIMIT, is_mail);
    let (mut reads, mut others, mut expunged) = (Vec::new(), String::new(), 0);
    let mut pieces = octets.chunks(length);
    let mut next: &[u8] = pieces.next().unwrap_or_default();
    loop {
        let progress = fetched.add(next, expunged);
        reads.extend(progress.complete.iter().map(read));
        others += &String::from_utf8_lossy(&progress.others);
        expunged += String::from_utf8_lossy(&progress.others).matches("EXPUNGE").count() as u64;
        if progress.error.is_some() {
            return (reads, others, progress.error);
        }
        next = &[];
        if progress.needed > 0 {
            let Some(more) = pieces.next() else { break };
            next = more;
        } else if !progress.rest.is_empty() || progress.others.is_empty() || others.contains("TAG1") {
            others += &String::from_utf8_lossy(&progress.rest);
            break;
        }
    }
    reads.extend(
        fetched.into_incomplete().filter(|it| it.mail.is_some() && it.uid.is_some()).map(|it| read(&it)),
    );
    (reads, others, None)
}

/// Asserts the same outcome for every length of the pieces in which the octets arrive.
#[track_caller]
fn parses(octets: &str, expected: &[(u32, u64, bool, &str)], expected_others: &str) {
    for length in 1..=octets.len() {
        let (reads, others, error) = parse(octets.as_bytes(), length);
        let reads: Vec<_> =
            reads.iter().map(|(uid, size, is, text)| (*uid, *size, *is, text.as_str())).collect();
        assert_eq!(error, None, "{octets:?} in pieces of {length}");
        assert_eq!((&*reads, &*others), (expected, expected_others), "{octets:?} in pieces of {length}");
    }
}

/// Asserts an error, and that the messages before it come.
#[track_caller]
fn fails(octets: &str, uids: &[u32], reason: &str) {
    for length in 1..=octets.len() {
        let (reads, _, error) = parse(octets.as_bytes(), length);
        assert!(
            error.is_some_and(|error| error.contains(reason)),
            "{octets:?} in pieces of {length}: {error:?}"
        );
        assert_eq!(
            reads.iter().map(|read| read.0).collect::<Vec<_>>(),
            uids,
            "{octets:?} in pieces of {length}"
        );
    }
}

const ONE: &str = "* 1 FETCH (UID 5 FLAGS (\\Seen) RFC822.SIZE 5 BODY[]<0> {5}\r\nhello)\r\n";

#[test]
fn messages_are_found_in_every_spelling() {
    let hello = &[(5, 5, false, "hello")];
    parses(ONE, hello, "");
    for spelling in [
        "* 1 fetch (uid 5 flags (\\seen) rfc822.size 5 body[]<0> {5}\r\nhello)\r\n",
        "*  1  FETCH  ( UID  5  FLAGS  ( )  RFC822.SIZE  5  BODY [] <0>  {5}\r\nhello )  \r\n",
        "\r\n\r\n* 1 FETCH (UID 5 RFC822.SIZE 5 BODY[] {5}\r\nhello\r\n\r\n)\r\n",
        "* 1 FETCH (UID 5 RFC822.SIZE 5 BODY[] {5+}\nhello)\n",
        "* 1 FETCH (UID 5 RFC822.SIZE 5 BODY[] ~{5}\r\nhello)\r\n",
        "* 1 FETCH (BODY[] {5}\r\nhello UID 5 RFC822.SIZE 5)\r\n",
        "* 1 FETCH (BODY[]<0> \"hello\" UID 5 RFC822.SIZE 5)\r\n",
        "* 1 FETCH ((UID 5 RFC822.SIZE 5 RFC822 {5}\r\nhello))\r\n",
        "* 1 FETCH (MODSEQ (9) UID \"5\" RFC822.SIZE 5 BODY.PEEK[] {5}\r\nhello X-GM-MSGID 12 INTERNALDATE \"1\")\r\n",
        "* 1 FETCH (ENVELOPE (\"a)\" NIL ((\"\\\"\" NIL {2}\r\n()))) UID 5 RFC822.SIZE 5 BODY[] {5}\r\nhello)\r\n",
        "* 1 FETCH (UID 5 BODYSTRUCTURE (\"TEXT\" (\"[x]\" \"]\")) RFC822.SIZE 5 BODY[] {5}\r\nhello)\r\n",
    ] {
        parses(spelling, hello, "");
    }
    parses("* 1 FETCH (UID 5 FLAGS (\\deleted $x) RFC822.SIZE 5 BODY[] NIL)\r\n", &[(5, 5, true, "")], "");
}

#[test]
fn attributes_of_several_responses_belong_to_one_message() {
    let hello = &[(5, 5, false, "hello")];
    parses("* 1 FETCH (UID 5 RFC822.SIZE 5)\r\n* 1 FETCH (UID 5 BODY[] {5}\r\nhello)\r\n", hello, "");
    parses(
        "* 1 FETCH (RFC822.SIZE 5)\r\n* 1 FETCH (BODY[] {5}\r\nhello)\r\n* 1 FETCH (UID 5)\r\n",
        hello,
        "",
    );
    // An EXPUNGE response gives the sequence number to another message.
    let moved = "* 1 FETCH (RFC822.SIZE 4)\r\n* 1 EXPUNGE\r\n* 1 FETCH (UID 5 BODY[] {5}\r\nhello)\r\n";
    parses(moved, &[(5, 0, false, "hello")], "* 1 EXPUNGE\r\n");
    // Two UIDs with one sequence number are two messages.
    let two = "* 1 FETCH (UID 5 RFC822.SIZE 4)\r\n* 1 FETCH (UID 6 RFC822.SIZE 5 BODY[] {5}\r\nhello)\r\n";
    parses(two, &[(6, 5, false, "hello")], "");
}

#[test]
fn other_responses_are_left_out_with_their_literals_in_order() {
    let others = "* 2 EXPUNGE\r\n* LIST () \"/\" {5}\r\n* 1 F\r\n* OK FETCH {9}\r\n+ go on\r\n";
    let text = format!("{ONE}{others}{ONE}TAG1 OK {{3}}\r\n* 9 FETCH (UID 9)\r\n");
    let both = &[(5, 5, false, "hello"), (5, 5, false, "hello")];
    for length in 1..=text.len() {
        let (reads, left, error) = parse(text.as_bytes(), length);
        assert_eq!(error, None);
        assert_eq!(reads.len(), both.len(), "in pieces of {length}");
        // Octets behind the tagged response are left alone.
        assert!(left.starts_with(&format!("{others}TAG1 OK {{3}}\r\n")), "{left:?}");
    }
}

#[test]
fn a_malformed_response_is_an_error_and_those_before_it_come() {
    for (response, reason) in [
        ("* 2 FETCH (UID 6 RFC822.SIZE 5 BODY[] {3}\r\nhello)\r\n", "malformed"),
        ("* 2 FETCH (UID 6 RFC822.SIZE 5 BODY[] {3}\r\nhel lo (9))\r\n", "continues"),
        ("* 2 FETCH (UID 6 UID 7)\r\n", "contradicts"),
        ("* 2 FETCH (UID 6 UID x)\r\n", "contradicts"),
        ("* 2 FETCH (BODY[] {1}\r\na BODY[] {1}\r\nb)\r\n", "twice"),
        ("* 2 FETCH (UID 6\r\n", "malformed"),
        ("* 2 FETCH (UID)\r\n", "malformed"),
        ("* 2 FETCH UID 6\r\n", "malformed"),
        ("* 2 FETCH (UID 6))\r\n", "malformed"),
        ("* 2 FETCH (UID 6) x\r\n", "malformed"),
        ("* 2 FETCH (UID \"6)\r\n", "malformed"),
        ("* 2 FETCH (FLAGS (a (b))\r\n", "malformed"),
        ("* 4294967296 FETCH (UID 6)\r\n", "sequence"),
        ("* FETCH (UID 6)\r\n", "sequence"),
        ("* 2 FETCH (BODY[] {99999999999}\r\n", "out of range"),
        ("* 2 FETCH (BODY[] {9999999999}\r\n", "limit"),
        ("* 2 FETCH (BODY[] {1048577}\r\n", "limit"),
    ] {
        fails(&format!("{ONE}{response}"), &[5], reason);
    }
}

#[test]
fn uids_and_sizes_that_are_no_numbers_count_as_not_sent() {
    for uid in ["0", "4294967296", "-1", "x", "()", "+5"] {
        parses(&format!("* 1 FETCH (UID {uid} RFC822.SIZE 5 BODY[] {{1}}\r\na)\r\n"), &[], "");
    }
    parses("* 1 FETCH (UID 5 RFC822.SIZE x BODY[] {1}\r\na)\r\n", &[(5, 0, false, "a")], "");
}

#[test]
fn responses_without_end_are_bounded() {
    let mut fetched = Fetched::new(LIMIT, is_mail);
    let mut endless = std::iter::repeat_n([b'x'; 1_000], 10_000);
    assert!(
        endless.any(|octets| fetched.add(&octets, 0).error == Some("a response line exceeds 1000000 bytes"))
    );
    assert!(endless.len() > 8_000);
    let mut fetched = Fetched::new(LIMIT, |_| false);
    let mut endless = 0..u64::MAX;
    assert!(endless.any(|_| fetched.add(b"* 1 FETCH ()\r\n", 0).error.is_some()));
    assert!(endless.start < 10_000);
}
