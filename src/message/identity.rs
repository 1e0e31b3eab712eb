//! What tells a message from all others, so that a second copy of it is known.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use super::head::{Head, Name, with_line_feeds};
use super::parse::{guarded, message_id, sender, subject};

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
}
