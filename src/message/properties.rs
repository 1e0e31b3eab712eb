//! What holds for every message there can be.

use proptest::prelude::*;

#[path = "../../tests/strategies.rs"]
mod strategies;

use self::strategies::{Parts, config, parts, tag};
use super::parse::whole;
use super::{Message, compose, is_ours};
use crate::error::Result;

fn message((id, sent_by, sent_to, body): Parts) -> Message {
    Message::new(id, sent_by, sent_to, body)
}

/// The message alone.
fn parse(mail: &[u8], tag: &str) -> Option<Result<Message>> {
    super::parse(mail, tag).map(|read| read.map(|(message, _)| message))
}

/// Where the body begins.
fn head_len(mail: &[u8]) -> usize {
    mail.windows(4).position(|four| four == b"\r\n\r\n").map_or(mail.len(), |at| at + 4)
}

#[test]
fn a_text_that_was_cut_within_its_last_character_is_not_taken_for_whole() {
    let message = Message::new("1", "alice@example.org", "bob@example.org", "naïve \u{20ac}");
    let mail = compose(&message, "TAG").unwrap();
    // What U+FFFD needs is just what is missing.
    let cut = mail.trim_ascii_end().strip_suffix(b"rA==").expect("the end of the euro sign");
    assert_eq!(parse(cut, "TAG").unwrap().unwrap_err().kind(), crate::ErrorKind::Message);
    assert_eq!(parse(&mail, "TAG").unwrap().unwrap(), message);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_composed_is_parsed_as_it_was(parts in parts(), tag in tag()) {
        let message = message(parts);
        let mail = compose(&message, &tag)?;
        let parsed = parse(&mail, &tag).expect("it is ours")?;
        prop_assert_eq!(parsed, message);
    }

    #[test]
    fn what_is_composed_is_fit_for_every_server(parts in parts(), tag in tag()) {
        let mail = String::from_utf8(compose(&message(parts), &tag)?)?;
        prop_assert!(mail.is_ascii() && !mail.contains('\0'));
        prop_assert!(mail.ends_with("\r\n"));
        for line in mail.split_terminator("\r\n") {
            // RFC 5322, section 2.1.1. And a dot at a line's start is for SMTP's own use.
            prop_assert!(line.len() <= 998 && !line.contains(['\r', '\n']) && !line.starts_with('.'), "{line:?}");
        }
    }

    #[test]
    fn under_another_tag_it_is_not_ours(parts in parts(), tag in tag(), other in tag()) {
        prop_assume!(tag != other);
        let mail = compose(&message(parts), &tag)?;
        prop_assert!(is_ours(&mail, &tag));
        prop_assert!(!is_ours(&mail, &other) && parse(&mail, &other).is_none());
    }

    #[test]
    fn a_body_that_was_cut_is_never_taken_for_whole(parts in parts(), cut in any::<prop::sample::Index>()) {
        let message = message(parts);
        let mail = compose(&message, "TAG")?;
        let head = head_len(&mail);
        let cut = &mail[..head + cut.index(mail.len() - head + 1)];
        if let Ok(parsed) = parse(cut, "TAG").expect("its head is whole") {
            prop_assert_eq!(parsed, message);
        }
    }

    #[test]
    fn any_octets_behind_our_head_are_read_or_are_an_error(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let mail = [b"Subject: TAG 1\r\n", &octets[..]].concat();
        if let Some(Ok(message)) = parse(&mail, "TAG") {
            prop_assert!(message.sent_to.iter().all(|to| !to.is_empty()));
        }
    }

    #[test]
    fn json_keeps_everything_but_the_message_id(parts in parts()) {
        let message = message(parts);
        let json = serde_json::to_string(&message)?;
        let again: Message = serde_json::from_str(&json)?;
        prop_assert_eq!(
            (again.id, again.sent_by, again.sent_to, again.body),
            (message.id, message.sent_by, message.sent_to, message.body)
        );
    }

    #[test]
    fn however_a_mail_is_read_the_same_comes_out(
        parts in parts(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 0..4),
    ) {
        let mut mail = compose(&message(parts), "TAG")?;
        for (at, change) in changes {
            let at = at.index(mail.len());
            mail.splice(at..at + usize::from(change.len() == 1), change);
        }
        if let Some(read) = super::parse(&mail, "TAG") {
            let whole = whole(&mail, "TAG").map(|(message, identity)| (parts_of(message), identity));
            let read = read.map(|(message, identity)| (parts_of(message), identity));
            prop_assert_eq!(read.map_err(|error| error.kind()), whole.map_err(|error| error.kind()));
        }
    }
}

/// Without the Message-ID, which is made up for mails that have none.
fn parts_of(message: Message) -> Parts {
    (message.id, message.sent_by, message.sent_to, message.body)
}

/// What may be found in the place of an octet of a mail, or beside it.
fn change() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop::sample::select(&b"=\r\n AQz/+-\0\xff;:"[..]).prop_map(|octet| vec![octet]);
    let words = [&b""[..], b"\r\n", b"\n\n", b"==", b"\r\n\r\n", b"77u/", b"Subject: TAG 2\r\n", b"7Q=="];
    prop_oneof![octet, prop::sample::select(words.map(<[u8]>::to_vec).to_vec())]
}
