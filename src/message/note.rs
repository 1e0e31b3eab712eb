//! Composes the mail that gives the reason for a dead letter, and reads it again.
//!
//! The note names the message by its id and Message-ID, or the mail by its former UID if it could not be parsed.

use std::time::SystemTime;

use mail_builder::MessageBuilder;

use super::headers::{Headers, Name, with_line_feeds};
use super::parse::{catch_panic, message_id, parse, sender, subject};
use super::{Identity, Message};

/// The characters of a reason that are kept.
const MAX_REASON: usize = 2_000;

/// The SEARCH criteria of mail that is no note.
pub(crate) const NO_NOTE: &str = "OR NOT SUBJECT \"Dead letter\" NOT FROM \"pymail@localhost\"";

/// The Subject and the sender of a note.
const SUBJECT: &str = "Dead letter";
const FROM: &str = "pymail@localhost";

/// The words between the message and the reason.
const BECAUSE: &str = " is in this mailbox, because ";

/// Composes a mail to append beside a dead letter; it is a reply to the message, if that could be read.
pub(crate) fn note(message: Option<&Message>, uid: u32, reason: &str) -> Vec<u8> {
    let reason: String = reason.chars().take(MAX_REASON).collect();
    let subject = message.map_or_else(
        || format!("The mail that had UID {uid}"),
        |message| format!("The message {:?} ({}), which had UID {uid},", message.id, message.message_id),
    );
    let note = MessageBuilder::new()
        .from(FROM)
        .subject(SUBJECT)
        .text_body(format!("{subject}{BECAUSE}{reason}.\r\n"));
    let note = match message {
        Some(message) => note.in_reply_to(message.message_id.as_str()),
        None => note,
    };
    note.write_to_vec().unwrap_or_default()
}

/// A mail among the dead letters, by its headers: a letter or a note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadMail {
    pub(crate) is_note: bool,
    /// A hash of the Message-ID, of a note that of the message that it is about; `None` without one.
    pub(crate) message_id: Option<Identity>,
    /// The identity of a letter; `None` without a Message-ID.
    pub(crate) identity: Option<Identity>,
}

impl DeadMail {
    /// Reads Subject, From, Message-ID and In-Reply-To. Headers that make the parser panic are a letter's.
    pub(crate) fn read(octets: &[u8]) -> Self {
        let read = || {
            let fields = with_line_feeds(octets);
            let headers = Headers::of_mail(&fields);
            let is_note = subject(&headers)?.text == SUBJECT && sender(&headers).as_deref() == Some(FROM);
            let id = headers.first(if is_note { Name::InReplyTo } else { Name::MessageId });
            let message_id = id.as_deref().and_then(message_id).map(|id| Identity::of(id, "", ""));
            Some(Self { is_note, message_id, identity: None })
        };
        let read = catch_panic(read).unwrap_or_default();
        Self { identity: if read.is_note { None } else { Identity::read(octets) }, ..read }
    }
}

/// The contents of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) reason: String,
    /// The moment when it was written, just before the message was moved; `None` without a readable Date.
    pub(crate) written: Option<SystemTime>,
}

impl Note {
    /// Reads a note; `None` for a mail that is none.
    pub(crate) fn read(mail: &[u8]) -> Option<Self> {
        let (tag, _) = SUBJECT.split_once(' ')?;
        let note = parse(mail, tag)?.ok()?;
        let text = note.message.text_lossy();
        let (_, reason) = text.split_once(BECAUSE)?;
        let reason = reason.trim_end();
        let reason = reason.strip_suffix('.').unwrap_or(reason).to_owned();
        Some(Self { reason, written: note.sent_at })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::parse;

    #[test]
    fn a_note_names_any_message_and_any_reason() {
        let message = Message::new("42 \r\nBcc: eve@example.org", "alice@example.org", "bob@example.org", "");
        let mail = note(Some(&message), 7, "no such account: Zoë\r\n.\r\n");
        let read = String::from_utf8(mail.clone()).unwrap();
        assert!(read.contains(&format!("\r\nIn-Reply-To: {}\r\n", message.message_id())), "{read}");
        assert!(!read.contains("\nBcc"), "{read}");
        let note = parse(&mail, "Dead").unwrap().unwrap().message;
        let text = note.text().unwrap();
        assert!(
            text.contains("42") && text.contains("UID 7") && text.contains("no such account: Zoë"),
            "{text}"
        );
        assert_eq!((&*note.id, note.sent_to), ("letter", Vec::new()));
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let message = Message::new("42", "alice@example.org", "bob@example.org", "");
        for reason in ["no such account: Zoë", "see above...", "a, because b.\r\nc", &"x".repeat(MAX_REASON)]
        {
            for about in [Some(&message), None] {
                let mail = note(about, 7, reason);
                let read = Note::read(&mail).unwrap();
                assert_eq!(read.reason.replace("\r\n", "\n"), reason.replace("\r\n", "\n"));
                let age = SystemTime::now().duration_since(read.written.unwrap()).unwrap();
                assert!(age < Duration::from_secs(3_600), "{age:?}");
                let headers = DeadMail::read(&mail);
                assert!(headers.is_note && headers.identity.is_none());
                assert_eq!(headers.message_id.is_some(), about.is_some());
            }
        }
    }

    #[test]
    fn a_note_is_told_from_a_letter_and_has_the_message_id_of_its_letter() {
        let message = Message::new("letter", "alice@example.org", "bob@example.org", "");
        let letter = DeadMail::read(&crate::message::compose(&message, "Dead").unwrap());
        assert!(!letter.is_note && letter.identity.is_some() && letter.message_id.is_some());
        assert_eq!(DeadMail::read(&note(Some(&message), 7, "no")).message_id, letter.message_id);
        assert_eq!(DeadMail::read(b"\xff\x00"), DeadMail::default());
        assert_eq!(Note::read(b"Subject: Dead letter\r\n\r\nhello\r\n"), None);
    }
}
