//! What tells a message from all others, so that a second copy of it is known.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::catch_unwind;
use std::sync::OnceLock;

use super::head::{Head, Name, with_line_feeds};
use super::parse::{guarded, is_tagged, message_id, sender, subject};

/// The Message-ID, Subject and sender of a message, in little room.
///
/// A Message-ID alone is not enough: there are programs that give the same one to different messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity([u64; 2]);

impl Identity {
    /// By the headers of a mail, of which these three are enough; `None` without a Message-ID.
    pub(crate) fn read(headers: &[u8]) -> Option<Self> {
        guarded(|| {
            let headers = with_line_feeds(headers);
            let head = Head::of_mail(&headers);
            Self::of(&head, &subject(&head)?.text, &sender(&head).unwrap_or_default())
        })
    }

    /// By the Subject and the sender that were read from these headers.
    pub(super) fn of(head: &Head<'_>, subject: &str, sender: &str) -> Option<Self> {
        // The keys are random, so that no two messages can be made to look like one.
        static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
        let keys = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
        let given = head.first(Name::MessageId)?;
        let whole = (message_id(&given)?, subject, sender);
        Some(Self([keys[0].hash_one(whole), keys[1].hash_one(whole)]))
    }
}

/// Whose a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its Subject begins with the tag.
    Ours,
    /// It has another Subject, or none.
    Foreign,
    /// Its Subject has not come.
    Undecided,
}

/// Tells whose a mail is by the beginning of it, which `is_cut` where there may be more.
pub(crate) fn origin(octets: &[u8], is_cut: bool, tag: &str) -> Origin {
    let octets = &*with_line_feeds(octets);
    let has_ended = !is_cut || has_all_headers(octets);
    let fields = if has_ended { octets } else { whole_fields(octets) };
    let fields = ended(fields);
    // A parser that gives up has shown nothing.
    let judge = || Some(is_tagged(&subject(&Head::of_mail(&fields))?.text, tag));
    match catch_unwind(judge) {
        Ok(Some(true)) => Origin::Ours,
        Ok(Some(false)) => Origin::Foreign,
        Ok(None) if has_ended && !octets.is_empty() => Origin::Foreign,
        _ => Origin::Undecided,
    }
}

/// Ends the last line, without which a parser does not take it for one.
fn ended(fields: &[u8]) -> Cow<'_, [u8]> {
    match fields.last() {
        None | Some(b'\n') => fields.into(),
        Some(_) => [fields, b"\r\n"].concat().into(),
    }
}

/// Returns whether an empty line ends the headers.
fn has_all_headers(octets: &[u8]) -> bool {
    let is_empty = |line: &&[u8]| matches!(*line, b"\n" | b"\r\n");
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    lines.skip_while(is_empty).any(|line| is_empty(&line))
}

/// Cuts off the last header field, which may go on.
fn whole_fields(octets: &[u8]) -> &[u8] {
    let begins = |at: &usize| octets[at - 1] == b'\n' && !b" \t".contains(&octets[*at]);
    let end = (1..octets.len()).rev().find(begins).unwrap_or(0);
    &octets[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use crate::message::{compose, parse};

    fn mail(message_id: &str, subject: &str, from: &str) -> Option<Identity> {
        let mail = format!("Message-ID: {message_id}\r\nSubject: {subject}\r\nFrom: {from}\r\n\r\n");
        Identity::read(mail.as_bytes())
    }

    #[test]
    fn each_of_the_three_headers_makes_another_message() {
        let one = mail("<1@a>", "TAG 1", "bob@example.org");
        assert!(one.is_some());
        assert_eq!(
            one,
            mail("<1@a>", "TAG\r\n 1", "Bob <bob@example.org>"),
            "as they are read, not as they are written"
        );
        assert_ne!(one, mail("<2@a>", "TAG 1", "bob@example.org"));
        assert_ne!(one, mail("<1@a>", "TAG 2", "bob@example.org"));
        assert_ne!(one, mail("<1@a>", "TAG 1", "eve@example.org"));
    }

    #[test]
    fn without_a_message_id_no_two_mails_are_the_same() {
        assert_eq!(Identity::read(b"Subject: TAG 1\r\nFrom: bob@example.org\r\n\r\n"), None);
        assert_eq!(Identity::read(b""), None);
    }

    #[test]
    fn headers_alone_and_the_whole_mail_have_the_same_identity() {
        let message = Message::new("naïve 1", "alice@example.org", "bob@example.org", "hello");
        let mail = compose(&message, "TAG").unwrap();
        let (_, identity) = parse(&mail, "TAG").unwrap().unwrap();
        assert!(identity.is_some());
        let fields = String::from_utf8(mail).unwrap().replace("\r\n ", " ");
        let fields = fields
            .lines()
            .filter(|line| ["Message-ID", "Subject", "From"].iter().any(|name| line.starts_with(name)));
        let fields: String = fields.flat_map(|line| [line, "\r\n"]).collect();
        assert_eq!(Identity::read(fields.as_bytes()), identity);
    }

    #[test]
    fn a_cut_mail_is_foreign_only_when_another_subject_or_the_end_of_its_headers_has_come() {
        let long = format!("Received: {}\r\n\tby x;\r\n", "x".repeat(20_000));
        for (begin, expected) in [
            ("", Origin::Undecided),
            ("To: bob@example.org\r\n", Origin::Undecided),
            ("Subject: TAG 1", Origin::Undecided),
            ("Subject: TA", Origin::Undecided),
            ("Subject: lunch", Origin::Undecided),
            ("Subject: TAG\r\n 1", Origin::Undecided),
            ("Subject: TAG 1\r\nT", Origin::Ours),
            ("Subject: lunch\r\nT", Origin::Foreign),
            ("Subject: lunch\r\nSubject: TAG 1\r\nT", Origin::Foreign),
            ("To: bob@example.org\r\n\r\nSubject: TAG 1", Origin::Foreign),
            ("To: bob@example.org\n\nhello", Origin::Foreign),
        ] {
            assert_eq!(origin(begin.as_bytes(), true, "TAG"), expected, "{begin:?}");
            let behind = format!("{long}{begin}");
            assert_eq!(origin(behind.as_bytes(), true, "TAG"), expected, "behind others: {begin:?}");
        }
    }

    #[test]
    fn blank_lines_before_the_headers_end_none() {
        assert_eq!(origin(b"\r\n\r\nTo: bob@example.org\r\n", true, "TAG"), Origin::Undecided);
        assert_eq!(origin(b"\r\nSubject: TAG 1\r\nT", true, "TAG"), Origin::Ours);
    }

    #[test]
    fn a_mail_that_has_come_to_its_end_is_decided() {
        assert_eq!(origin(b"Subject: TAG 1", false, "TAG"), Origin::Ours);
        assert_eq!(origin(b"Subject: lunch", false, "TAG"), Origin::Foreign);
        assert_eq!(origin(b"To: bob@example.org", false, "TAG"), Origin::Foreign);
        assert_eq!(origin(b"", false, "TAG"), Origin::Undecided, "no mail is empty");
    }
}
