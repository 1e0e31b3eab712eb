//! Composes the mail that gives the reason for a dead letter.
//!
//! The note names the message by its id and Message-ID, or the mail by its former UID if it could not be parsed.

use mail_builder::MessageBuilder;

use super::Message;

/// The characters of a reason that are kept.
const MAX_REASON: usize = 2_000;

/// The SEARCH criteria of mail that is no note.
pub(crate) const NO_NOTE: &str = "OR NOT SUBJECT \"Dead letter\" NOT FROM \"pymail@localhost\"";

/// The Subject and the sender of a note.
const SUBJECT: &str = "Dead letter";
const FROM: &str = "pymail@localhost";

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
        .text_body(format!("{subject} is in this mailbox, because {reason}.\r\n"));
    let note = match message {
        Some(message) => note.in_reply_to(message.message_id.as_str()),
        None => note,
    };
    note.write_to_vec().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parse;

    #[test]
    fn a_note_names_any_message_and_any_reason() {
        let message = Message::new("42 \r\nBcc: eve@example.org", "alice@example.org", "bob@example.org", "");
        let mail = note(Some(&message), 7, "no such account: Zoë\r\n.\r\n");
        let read = String::from_utf8(mail.clone()).unwrap();
        assert!(read.contains(&format!("\r\nIn-Reply-To: {}\r\n", message.message_id())), "{read}");
        assert!(!read.contains("\nBcc"), "{read}");
        let (note, _) = parse(&mail, "Dead").unwrap().unwrap();
        let text = note.text().unwrap();
        assert!(
            text.contains("42") && text.contains("UID 7") && text.contains("no such account: Zoë"),
            "{text}"
        );
        assert_eq!((&*note.id, note.sent_to), ("letter", Vec::new()));
    }
}
