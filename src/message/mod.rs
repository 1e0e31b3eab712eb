//! What is sent and received.

mod address;
mod body;
mod charset;
mod charset_names;
mod compose;
mod content;
mod flowed;
mod head;
mod html;
mod identity;
mod json;
mod note;
mod parse;
mod part;
mod parts;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reading;
mod seven_bit;
mod signed;
mod transfer;
mod words;

use std::fmt;
use std::str::Utf8Error;

pub(crate) use compose::compose;
pub(crate) use identity::{Identity, Origin, origin};
pub(crate) use json::WireBody;
pub(crate) use note::note;
#[cfg(any(test, fuzzing))]
pub(crate) use parse::is_ours;
pub(crate) use parse::parse;

/// The name of one message in the whole world, made before it is first sent (RFC 5322, section 3.6.4).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MessageId(String);

/// 32 digits, an `@` and the longest domain that an address has room for are 285, and pass.
const LONGEST_MESSAGE_ID: usize = 300;

impl MessageId {
    /// 128 random bits at the domain of the sender.
    fn random(sender: &str) -> Self {
        let mut bits = [0; 16];
        // Without randomness from the system nothing else in this process works either.
        getrandom::fill(&mut bits).expect("the system has random numbers");
        let domain = sender.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let ascii = domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        let domain = if ascii && !domain.is_empty() { domain } else { "localhost" };
        Self(format!("{:032x}@{domain}", u128::from_be_bytes(bits)))
    }

    /// One that came with a mail, if it can be sent on: what stands in a header may break another.
    fn received(id: &str) -> Option<Self> {
        let plain = id.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b));
        (plain && !id.is_empty() && id.len() <= LONGEST_MESSAGE_ID).then(|| Self(id.into()))
    }

    /// Without the angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As it stands in the header: in angle brackets.
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

/// A tagged message: an id that means something to the app, who sent it to whom, and bytes.
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
    /// The app's own name for the message: 1 to 4,096 bytes of any text. It travels in the Subject.
    pub id: String,
    /// The sender's address, as in `alice@example.org`: From and the envelope sender.
    ///
    /// In a received message of another program, the first address of From, or else of Sender, as it stands there;
    /// empty when there is none.
    pub sent_by: String,
    /// The recipients' addresses, at least one: To and the envelope recipients.
    ///
    /// In a received message of another program, the addresses of To, of which there may be none.
    pub sent_to: Vec<String>,
    /// Any bytes; they arrive as they are.
    ///
    /// In a received message of another program, the text that a mail program shows, in UTF-8: of several parts, the
    /// texts that are not attached, one after the other, and of several ways to say the same, the plain one; of HTML its
    /// text. Empty when it has no text, and the bytes themselves when it is nothing but bytes. Encrypted mail is an error.
    pub body: Vec<u8>,
    #[expect(clippy::struct_field_names, reason = "it is not the id, it is the Message-ID")]
    message_id: MessageId,
}

impl Message {
    /// A message with a Message-ID of its own, which it keeps however often it is sent.
    ///
    /// What it is made of is checked when it is sent.
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

    /// The Message-ID, made by [`new`](Message::new) or read from a received message.
    #[must_use]
    pub fn message_id(&self) -> &MessageId {
        &self.message_id
    }

    /// The body as text.
    ///
    /// # Errors
    /// The body is not UTF-8.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.body)
    }

    /// The body as text, with U+FFFD for what is not UTF-8.
    #[must_use]
    pub fn text_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// Addresses to send to, made from one or from several.
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
    fn no_two_messages_have_the_same_message_id() {
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
    fn a_message_id_at_the_longest_domain_is_received_as_it_was_made() {
        let sender = format!("a@{}", "x".repeat(252));
        let made = MessageId::random(&sender);
        assert_eq!(MessageId::received(made.as_str()), Some(made));
    }

    #[test]
    fn a_senders_line_break_does_not_reach_the_message_id() {
        let message = Message::new("1", "alice@example.org\r\nBcc: eve@example.org", "bob@example.org", "");
        assert!(
            message.message_id().as_str().ends_with("@example.org")
                || message.message_id().as_str().ends_with("@localhost")
        );
        assert!(!message.message_id().as_str().contains(['\r', '\n']));
    }
}
