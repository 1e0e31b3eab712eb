//! Messages: the public type, composing mail, and reading mail, all without the interpreter.

mod address;
mod body;
mod charset;
mod charset_names;
mod compose;
mod content;
mod encoded_words;
mod flowed;
#[cfg(test)]
mod foreign_mail;
mod headers;
mod html;
mod identity;
mod json;
mod note;
mod parse;
mod part;
mod parts;
#[cfg(test)]
mod properties;
mod seven_bit;
mod signed;
mod transfer;

use std::fmt;
use std::str::Utf8Error;

pub(crate) use compose::compose;
pub(crate) use identity::{Identity, Origin, origin};
pub(crate) use json::WireBody;
pub(crate) use note::note;
#[cfg(any(test, fuzzing))]
pub(crate) use parse::is_ours;
pub(crate) use parse::parse;

/// A message's globally unique identifier (RFC 5322, section 3.6.4), made before the first attempt to send.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MessageId(String);

/// The longest Message-ID that is kept. A generated one has at most 285 characters: 32 digits, `@`, the longest domain.
const MAX_MESSAGE_ID: usize = 300;

impl MessageId {
    /// Generates one from 128 random bits and the sender's domain.
    fn random(sender: &str) -> Self {
        let mut bits = [0; 16];
        // Nothing in a process works without the system's random numbers.
        getrandom::fill(&mut bits).expect("the system has random numbers");
        let domain = sender.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let ascii = domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        let domain = if ascii && !domain.is_empty() { domain } else { "localhost" };
        Self(format!("{:032x}@{domain}", u128::from_be_bytes(bits)))
    }

    /// Returns the Message-ID of a received mail, unless it has characters that would break a header when it is sent again.
    fn received(id: &str) -> Option<Self> {
        let plain = id.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b));
        (plain && !id.is_empty() && id.len() <= MAX_MESSAGE_ID).then(|| Self(id.into()))
    }

    /// Returns the Message-ID without angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Formats the Message-ID as in the header, in angle brackets.
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tagged message: the app's id, the sender's and the recipients' addresses, and a body of any bytes.
///
/// In JSON it is `{"Id","SentBy","SentTo","Body"}`, with `"BodyBase64"` in place of `"Body"` when the body is
/// not UTF-8, and an array in `"SentTo"` when there is not exactly one recipient.
///
/// ```
/// use pymail::Message;
///
/// let message = Message::new("42", "alice@example.org", "bob@example.org", "hello");
/// assert_eq!(message.text()?, "hello");
/// assert_eq!(
///     serde_json::to_string(&message)?,
///     r#"{"Id":"42","SentBy":"alice@example.org","SentTo":"bob@example.org","Body":"hello"}"#,
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "json::Wire", try_from = "json::Wire")]
pub struct Message {
    /// The app's id for the message: 1 to 4,096 bytes of any text. It is sent in the Subject, after the tag.
    pub id: String,
    /// The sender's address, such as `alice@example.org`: From, and the envelope sender.
    ///
    /// In another program's mail: the first address of From, else of Sender; empty when neither has one.
    pub sent_by: String,
    /// The recipients' addresses, at least one: To, and the envelope recipients.
    ///
    /// In another program's mail: the addresses of To, which may be none.
    pub sent_to: Vec<String>,
    /// The body: any bytes, which arrive unchanged.
    ///
    /// In another program's mail: the text that a mail program displays, in UTF-8. Several inline texts are joined; of
    /// alternatives the plain text is taken; HTML is converted to text. A mail without any text has an empty body; a mail
    /// that consists of one binary part has that part's bytes. Encrypted mail is an error.
    pub body: Vec<u8>,
    #[expect(clippy::struct_field_names, reason = "it is not the id, it is the Message-ID")]
    message_id: MessageId,
}

impl Message {
    /// Creates a message with a new Message-ID, which it keeps however often it is sent.
    ///
    /// Id and addresses are checked when the message is sent.
    pub fn new(
        id: impl Into<String>,
        sent_by: impl Into<String>,
        sent_to: impl Into<Recipients>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let sent_by = sent_by.into();
        let message_id = MessageId::random(&sent_by);
        Self { id: id.into(), sent_by, sent_to: sent_to.into().0, body: body.into(), message_id }
    }

    /// Returns the Message-ID: generated by [`new`](Message::new), or read from the received mail.
    #[must_use]
    pub fn message_id(&self) -> &MessageId {
        &self.message_id
    }

    /// Returns the body as text.
    ///
    /// # Errors
    /// `Utf8Error` when the body is not UTF-8.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.body)
    }

    /// Returns the body as text, with U+FFFD in place of bytes that are not UTF-8.
    #[must_use]
    pub fn text_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// The addresses to send to; converts from one address or several.
///
/// ```
/// use pymail::Message;
///
/// let one = Message::new("1", "alice@example.org", "bob@example.org", "");
/// let two = Message::new("2", "alice@example.org", ["bob@example.org", "carol@example.org"], "");
/// assert_eq!((one.sent_to.len(), two.sent_to.len()), (1, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients(Vec<String>);

impl From<&str> for Recipients {
    fn from(address: &str) -> Self {
        Self(vec![address.into()])
    }
}

impl From<String> for Recipients {
    fn from(address: String) -> Self {
        Self(vec![address])
    }
}

impl<T: Into<String>> From<Vec<T>> for Recipients {
    fn from(addresses: Vec<T>) -> Self {
        Self(addresses.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>, const N: usize> From<[T; N]> for Recipients {
    fn from(addresses: [T; N]) -> Self {
        Self(addresses.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_gets_a_new_message_id() {
        let make = || Message::new("1", "alice@example.org", "bob@example.org", "");
        assert_ne!(make().message_id(), make().message_id());
        assert!(make().message_id().as_str().ends_with("@example.org"));
    }

    #[test]
    fn a_clone_keeps_its_message_id() {
        let message = Message::new("1", "alice@example.org", "bob@example.org", "");
        assert_eq!(message.clone().message_id(), message.message_id());
    }

    #[test]
    fn a_message_id_at_the_longest_domain_is_received_unchanged() {
        let sender = format!("a@{}", "x".repeat(252));
        let generated = MessageId::random(&sender);
        assert_eq!(MessageId::received(generated.as_str()), Some(generated));
    }

    #[test]
    fn a_line_break_in_the_sender_does_not_reach_the_message_id() {
        let message = Message::new("1", "alice@example.org\r\nBcc: eve@example.org", "bob@example.org", "");
        assert!(
            message.message_id().as_str().ends_with("@example.org")
                || message.message_id().as_str().ends_with("@localhost")
        );
        assert!(!message.message_id().as_str().contains(['\r', '\n']));
    }
}
