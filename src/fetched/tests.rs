//! Tests with responses in the spellings of many servers, cut at every octet.

use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::pieces::{LIMIT, in_pieces, is_mail};
use super::*;

/// Asserts the same outcome for every length of the pieces in which the octets arrive.
#[track_caller]
fn parses(octets: &str, expected: &[(u32, u64, bool, &str)], expected_others: &str) {
    for length in 1..=octets.len() {
        let (reads, others, error) = in_pieces(octets.as_bytes(), length);
        let text = |octets| std::str::from_utf8(octets).unwrap();
        let reads: Vec<_> =
            reads.iter().map(|(uid, size, is, octets)| (*uid, *size, *is, text(octets))).collect();
        assert_eq!(error, None, "{octets:?} in pieces of {length}");
        assert_eq!((&*reads, &*others), (expected, expected_others), "{octets:?} in pieces of {length}");
    }
}

/// Asserts an error, and that the messages before it come.
#[track_caller]
fn fails(octets: &str, uids: &[u32], reason: &str) {
    for length in 1..=octets.len() {
        let (reads, _, error) = in_pieces(octets.as_bytes(), length);
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
        "* 1 FETCH (UID 5 FLAGS (foo[ ]x) RFC822.SIZE 5 BODY[]<0> {5}\r\nhello)\r\n",
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
    let both = "* 1 FETCH (UID 5 BODY[] {1}\r\na)\r\n* 1 FETCH (UID 6 BODY[] {1}\r\nb)\r\n";
    parses(both, &[(5, 0, false, "a"), (6, 0, false, "b")], "");
    let two = "* 1 FETCH (UID 5 RFC822.SIZE 4)\r\n* 1 FETCH (UID 6 RFC822.SIZE 5 BODY[] {5}\r\nhello)\r\n";
    parses(two, &[(6, 5, false, "hello")], "");
}

#[test]
fn other_responses_are_left_out_with_their_literals_in_order() {
    let others = "* 2 EXPUNGE\r\n* LIST () \"/\" {5}\r\n* 1 F\r\n* OK FETCH {9}\r\n+ go on\r\n";
    let text = format!("{ONE}{others}{ONE}TAG1 OK {{3}}\r\n* 9 FETCH (UID 9)\r\n");
    let both = &[(5, 5, false, "hello"), (5, 5, false, "hello")];
    for length in 1..=text.len() {
        let (reads, left, error) = in_pieces(text.as_bytes(), length);
        assert_eq!(error, None);
        assert_eq!(reads.len(), both.len(), "in pieces of {length}");
        // Octets behind the tagged response are left alone.
        assert_eq!(left, format!("{others}TAG1 OK {{3}}\r\n"));
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
fn an_internaldate_is_the_time_of_arrival_in_every_spelling_and_nonsense_is_none() {
    let then = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(837_596_665));
    for (date, expected) in [
        (" INTERNALDATE \"17-Jul-1996 02:44:25 -0700\"", then),
        (" internaldate \"17-JUL-1996 09:44:25 +0000\"", then),
        (" INTERNALDATE {26}\r\n17-Jul-1996 02:44:25 -0700", then),
        (" INTERNALDATE 17-Jul-1996 02:44:25 -0700", then),
        (" INTERNALDATE (\"17-Jul-1996 02:44:25 -0700\")", None),
        (" INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" INTERNALDATE \"now\"", None),
        (" INTERNALDATE \"\"", None),
        (" INTERNALDATE NIL", None),
        (" INTERNALDATE 0", None),
        (" INTERNALDATE 17-Jul-1996", None),
        (" INTERNALDATE unknown", None),
        (" INTERNALDATE \"31-Feb-1996 02:44:25 -0700\"", None),
        ("", None),
    ] {
        for response in [
            format!("* 1 FETCH (UID 5 RFC822.SIZE 5{date} BODY[]<0> {{5}}\r\nhello)\r\n"),
            format!("* 1 FETCH (BODY[] {{5}}\r\nhello{date} UID 5 RFC822.SIZE 5)\r\n"),
            format!("* 1 FETCH (UID 5{date})\r\n* 1 FETCH (RFC822.SIZE 5 BODY[] {{5}}\r\nhello)\r\n"),
        ] {
            let mut fetched = Fetched::new(LIMIT, is_mail);
            fetched.buffer().extend_from_slice(response.as_bytes());
            let Progress { complete, error, .. } = fetched.parse(0);
            assert_eq!((complete.len(), error), (1, None), "{response}");
            assert_eq!((complete[0].arrived_at, complete[0].size), (expected, Some(5)), "{response}");
        }
    }
}

#[test]
fn responses_without_end_are_bounded() {
    let mut fetched = Fetched::new(LIMIT, is_mail);
    let mut endless = std::iter::repeat_n([b'x'; 1_000], 10_000);
    let add = |fetched: &mut Fetched, octets: &[u8]| {
        fetched.buffer().extend_from_slice(octets);
        fetched.parse(0).error
    };
    assert!(
        endless.any(|octets| add(&mut fetched, &octets) == Some("a response line exceeds 1000000 bytes"))
    );
    assert!(endless.len() > 8_000);
    let mut fetched = Fetched::new(LIMIT, |_| false);
    let mut endless = 0..u64::MAX;
    assert!(endless.any(|_| add(&mut fetched, b"* 1 FETCH ()\r\n").is_some()));
    assert!(endless.start < 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_the_octets_are_cut_the_messages_are_the_same(
        parts in vec(select(PARTS.to_vec()), 0..12),
        length in 1_usize..40,
    ) {
        let octets = parts.concat();
        prop_assert_eq!(in_pieces(octets.as_bytes(), length), in_pieces(octets.as_bytes(), octets.len().max(1)));
    }
}

/// Parts of responses, of which some fit together.
const PARTS: [&str; 22] = [
    ONE,
    "* 2 FETCH (UID 6 RFC822.SIZE 3)\r\n",
    "* 2 FETCH (BODY[] {3}\r\nabc)\r\n",
    "* 3 FETCH (",
    "UID 7 ",
    "FLAGS (\\Deleted $PymailDelivery3) ",
    "RFC822.SIZE 9 ",
    "BODY[] {9}\r\n",
    "BODY[HEADER.FIELDS (SUBJECT)]<0> {2}\r\nab",
    "BODY[] \"a\\\"b\"",
    "123456789",
    ")\r\n",
    "(\r\n",
    "\r\n",
    "\n",
    " ",
    "}",
    "* 2 EXPUNGE\r\n",
    "* LIST () NIL {3}\r\nabc\r\n",
    "* OK {3}\r\n",
    "+ idling\r\n",
    "TAG1 OK done\r\n",
];
