//! Detects duplicates of a message, and mail that is not tagged.
//!
//! Both work on the header block, or on its first octets, so that a receiver can decide before it fetches a whole mail.
//!
//! SEARCH SUBJECT matches the tag anywhere in a Subject, in any case (RFC 3501, section 6.4.4), and some servers search
//! the encoded Subject. So its results have foreign mail among them, and the decision is made here, by the decoded
//! Subject.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::panic::catch_unwind;
use std::sync::OnceLock;

use super::headers::{Headers, Name, with_line_feeds};
use super::parse::{catch_panic, is_tagged, message_id, sender, subject};

/// A hash of a message's Message-ID, Subject and sender, by which a duplicate is detected.
///
/// A Message-ID alone is not enough: some programs give the same one to different messages. Subject and sender are
/// hashed as decoded, because servers fold and encode them anew in a copy. Comparable within one process only, since
/// its keys are random: the archive is read anew by each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity([u64; 2]);

/// The hasher of tables of identities: these are random already, by secret keys.
pub(crate) type IdentityHasher = BuildHasherDefault<FirstHalf>;

/// Returns the first half of an [`Identity`] as its hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FirstHalf(u64);

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

impl Hasher for FirstHalf {
    fn write(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(octet);
        }
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Identity {
    /// Computes the identity from a header block with at least these three fields; `None` without a Message-ID, or for
    /// headers that make the parser panic. Such a mail is never taken for a duplicate.
    pub(crate) fn read(headers: &[u8]) -> Option<Self> {
        catch_panic(|| {
            let headers = with_line_feeds(headers);
            let headers = Headers::of_mail(&headers);
            let value = headers.first(Name::MessageId)?;
            let sender = sender(&headers).unwrap_or_default();
            Some(Self::of(message_id(&value)?, &subject(&headers)?.text, &sender))
        })
    }

    /// Computes the identity from decoded values.
    pub(super) fn of(message_id: &str, subject: &str, sender: &str) -> Self {
        // Random keys: an attacker can't craft two messages with the same hash.
        static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
        let keys = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
        let hashed = (message_id, subject, sender);
        Self([keys[0].hash_one(hashed), keys[1].hash_one(hashed)])
    }
}

/// The origin of a mail, by its Subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The Subject begins with the tag.
    Ours,
    /// The Subject does not begin with the tag, or there is none.
    Foreign,
    /// The Subject is not within the octets that were fetched.
    Undecided,
}

/// Returns the origin of a mail, given its first octets; `is_partial` if the mail may have more.
///
/// | octets | origin |
/// | --- | --- |
/// | a whole Subject, also at the end of a whole mail without a line end | by its first word |
/// | headers up to their empty line, or a whole mail, without a Subject | foreign |
/// | headers that end before the Subject, or within it | undecided: more must be fetched |
/// | none at all | undecided: no mail is empty, so the server withholds it |
pub(crate) fn origin(octets: &[u8], is_partial: bool, tag: &str) -> Origin {
    let octets = &*with_line_feeds(octets);
    let has_all = !is_partial || has_all_headers(octets);
    let fields = if has_all { octets } else { complete_fields(octets) };
    let fields = with_line_end(fields);
    // A panic of the parser decides nothing.
    let decide = || Some(is_tagged(&subject(&Headers::of_mail(&fields))?.text, tag));
    match catch_unwind(decide) {
        Ok(Some(true)) => Origin::Ours,
        Ok(Some(false)) => Origin::Foreign,
        Ok(None) if has_all && !octets.is_empty() => Origin::Foreign,
        _ => Origin::Undecided,
    }
}

/// Appends a line end where it is missing: without it, the parser would ignore the last line.
fn with_line_end(fields: &[u8]) -> Cow<'_, [u8]> {
    match fields.last() {
        None | Some(b'\n') => fields.into(),
        Some(_) => [fields, b"\r\n"].concat().into(),
    }
}

/// Returns `true` if an empty line ends the headers.
fn has_all_headers(octets: &[u8]) -> bool {
    let is_empty = |line: &&[u8]| matches!(*line, b"\n" | b"\r\n");
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    lines.skip_while(is_empty).any(|line| is_empty(&line))
}

/// Returns the header fields without the last one, which may be incomplete: after a line end, too, a continuation line
/// can follow (RFC 5322, section 2.2.3).
fn complete_fields(octets: &[u8]) -> &[u8] {
    let starts_field = |at: &usize| octets[at - 1] == b'\n' && !b" \t".contains(&octets[*at]);
    let end = (1..octets.len()).rev().find(starts_field).unwrap_or(0);
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
    fn another_message_id_subject_or_sender_is_another_message() {
        let one = mail("<1@a>", "TAG 1", "bob@example.org");
        assert!(one.is_some());
        assert_eq!(
            one,
            mail("<1@a>", "TAG\r\n 1", "Bob <bob@example.org>"),
            "decoded values count, not their spelling"
        );
        assert_ne!(one, mail("<2@a>", "TAG 1", "bob@example.org"));
        assert_ne!(one, mail("<1@a>", "TAG 2", "bob@example.org"));
        assert_ne!(one, mail("<1@a>", "TAG 1", "eve@example.org"));
    }

    #[test]
    fn a_mail_without_a_message_id_has_no_identity() {
        assert_eq!(Identity::read(b"Subject: TAG 1\r\nFrom: bob@example.org\r\n\r\n"), None);
        assert_eq!(Identity::read(b""), None);
    }

    #[test]
    fn the_headers_alone_give_the_same_identity_as_the_whole_mail() {
        let message = Message::new("naïve 1", "alice@example.org", "bob@example.org", "hello");
        let mail = compose(&message, "TAG").unwrap();
        let identity = parse(&mail, "TAG").unwrap().unwrap().identity;
        assert!(identity.is_some());
        let fields = String::from_utf8(mail).unwrap().replace("\r\n ", " ");
        let fields = fields
            .lines()
            .filter(|line| ["Message-ID", "Subject", "From"].iter().any(|name| line.starts_with(name)));
        let fields: String = fields.flat_map(|line| [line, "\r\n"]).collect();
        assert_eq!(Identity::read(fields.as_bytes()), identity);
    }

    #[test]
    fn a_partial_mail_is_foreign_only_after_another_subject_or_the_end_of_its_headers() {
        let long = format!("Received: {}\r\n\tby x;\r\n", "x".repeat(20_000));
        for (start, expected) in [
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
            assert_eq!(origin(start.as_bytes(), true, "TAG"), expected, "{start:?}");
            let after_others = format!("{long}{start}");
            assert_eq!(origin(after_others.as_bytes(), true, "TAG"), expected, "after others: {start:?}");
        }
    }

    #[test]
    fn blank_lines_before_the_headers_do_not_end_them() {
        assert_eq!(origin(b"\r\n\r\nTo: bob@example.org\r\n", true, "TAG"), Origin::Undecided);
        assert_eq!(origin(b"\r\nSubject: TAG 1\r\nT", true, "TAG"), Origin::Ours);
    }

    #[test]
    fn a_whole_mail_is_ours_or_foreign() {
        assert_eq!(origin(b"Subject: TAG 1", false, "TAG"), Origin::Ours);
        assert_eq!(origin(b"Subject: lunch", false, "TAG"), Origin::Foreign);
        assert_eq!(origin(b"To: bob@example.org", false, "TAG"), Origin::Foreign);
        assert_eq!(origin(b"", false, "TAG"), Origin::Undecided, "no mail is empty");
    }
}
