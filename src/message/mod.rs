//! Messages: the public type, composing mail, and parsing mail, all without the interpreter.
//!
//! A message is composed by [`compose()`] and parsed by [`parse()`]. Mail of pymail has one form: a plain tag and the
//! id in the Subject, and a base64 body that declares its size. Mail of other programs has any form, valid or not. The
//! rules for it:
//!
//! 1. The result is the text that a mail program displays.
//! 2. Nothing is lost silently: text that can't be decoded without loss is an error.
//! 3. The time is linear in the size of the mail, times the levels of nested parts; the memory is a small multiple.
//! 4. A panic in a parser, which would be a defect, becomes an error of that one mail.
//!
//! The way of a mail through the modules: `headers` finds the fields, `encoded_words` decodes the Subject, `address`
//! parses From and To, `content` parses Content-Type. `parts` walks the parts and picks the text; `part` decodes one
//! part by `transfer`, `charset`, `flowed` and `html`.

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
mod property_headers;
mod seven_bit;
mod signed;
mod transfer;

use std::collections::BTreeMap;
use std::fmt;
use std::str::{FromStr, Utf8Error};

pub(crate) use compose::{compose, needs_smtputf8, on_the_wire};
pub(crate) use identity::{Identity, IdentityHasher, Origin, origin};
pub(crate) use json::WireBody;
pub(crate) use note::{DeadMail, NO_NOTE, Note, note};
#[cfg(any(test, fuzzing))]
pub(crate) use parse::is_ours;
pub(crate) use parse::{Parsed, parse};

use self::property_headers::Properties;
use crate::error::{Error, Result};
use crate::idna;

/// A message's globally unique identifier (RFC 5322, section 3.6.4), made before the first attempt to send.
///
/// Parses from text with or without angle brackets; as JSON, a string without them. To send a message again after a
/// restart, keep it, or its `MessageId`, in a durable place before the first attempt:
///
/// ```
/// use pymail::{Message, MessageId};
///
/// let first = Message::new("42", "alice@example.org", "bob@example.org", "hello");
/// let kept = first.message_id().to_string();
/// let again = Message::new("42", "alice@example.org", "bob@example.org", "hello")
///     .with_message_id(kept.parse::<MessageId>()?);
/// assert_eq!(again, first); // for a receiver, a duplicate
/// # Ok::<(), pymail::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MessageId(String);

/// The longest Message-ID that is kept. A generated one has at most 285 characters: 32 digits, `@`, the longest domain.
const MAX_MESSAGE_ID: usize = 300;

impl MessageId {
    /// Generates one from 128 random bits and the sender's domain (RFC 5322, section 3.6.4), or `localhost` where that
    /// is not ASCII: the sender's address is checked only when the message is sent.
    fn random(sender: &str) -> Self {
        let mut bits = [0; 16];
        // Nothing in a process works without the system's random numbers.
        getrandom::fill(&mut bits).expect("the system has random numbers");
        let domain = sender.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let domain = &*idna::to_ascii(domain).unwrap_or_default();
        let ascii = domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        let domain = if ascii && !domain.is_empty() { domain } else { "localhost" };
        Self(format!("{:032x}@{domain}", u128::from_be_bytes(bits)))
    }

    /// Returns the Message-ID of a received mail, unless it has characters that would break a header when it is sent
    /// again.
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

impl FromStr for MessageId {
    type Err = Error;

    /// Parses a Message-ID, with or without angle brackets.
    ///
    /// # Errors
    /// `Message` unless it has 1 to 300 visible ASCII characters without `<` and `>`.
    fn from_str(text: &str) -> Result<Self> {
        let inner = text.strip_prefix('<').map_or(Some(text), |rest| rest.strip_suffix('>'));
        let invalid = || Error::message(format!("{text:?} is not a valid Message-ID"));
        inner.and_then(Self::received).ok_or_else(invalid)
    }
}

impl TryFrom<String> for MessageId {
    type Error = Error;

    /// Parses a Message-ID; serde uses this.
    ///
    /// # Errors
    /// As [`from_str`](MessageId::from_str).
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MessageId> for String {
    /// Returns the Message-ID without angle brackets.
    fn from(id: MessageId) -> Self {
        id.0
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

/// A tagged message: the app's id, the sender's and the recipients' addresses, properties, and a body of any bytes.
///
/// As JSON it is an object of the line protocol, `{"Id","SentBy","SentTo","MessageId","Body"}`, whose names are in this
/// case only there; all other JSON of this crate has names such as `message_id`. `"BodyBase64"` takes the place of
/// `"Body"` if the body is not UTF-8, and `"SentTo"` is an array unless there is exactly one recipient. An object
/// without `"MessageId"` becomes a message with a new one. `"Properties"`, an object of strings, is only there if the
/// message has any.
///
/// `Debug` shows the length of the body in place of its content.
///
/// # Addresses
///
/// An address to send from or to is a mailbox (RFC 5321, section 4.1.2) of at most 254 octets, without blanks, a
/// display name, angle brackets, a quoted part, or `(),;:\`. All recipients are named in To: there is no Bcc.
///
/// | beyond ASCII | is sent |
/// | --- | --- |
/// | the domain, `bob@bücher.example` | in its ASCII form, `bob@xn--bcher-kva.example`, by any server; with the rules for a host in [`Server`](crate::Server) |
/// | the part before the `@`, `jürgen@example.org` | in UTF-8 (RFC 6532), by a server with SMTPUTF8 (RFC 6531) |
///
/// Without SMTPUTF8, a message with such an address is an error that names it, and nothing is sent, not to other
/// recipients either: each copy has all addresses in its header. To reach the others, send a message to them alone.
///
/// # Another program's mail
///
/// A mail of any program is a message if the first word of its decoded Subject is the tag. Each field says how it is
/// filled then. A mail that can't be decoded without loss is an error, not a message.
///
/// ```
/// use pymail::Message;
///
/// let message = Message::new("42", "alice@example.org", "bob@example.org", "hello")
///     .with_message_id("1f0c@example.org".parse()?);
/// assert_eq!(message.text()?, "hello");
/// let json = concat!(
///     r#"{"Id":"42","SentBy":"alice@example.org","SentTo":"bob@example.org","#,
///     r#""MessageId":"1f0c@example.org","Body":"hello"}"#,
/// );
/// assert_eq!(serde_json::to_string(&message)?, json);
/// assert_eq!(serde_json::from_str::<Message>(json)?, message);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "json::Wire", try_from = "json::Wire")]
pub struct Message {
    /// The app's id for the message: 1 to 4,096 bytes of any text. It is sent in the Subject, after the tag.
    ///
    /// Up to 64 bytes of printable ASCII are sent as they are; any other id as encoded words (RFC 2047), which mail
    /// programs decode. Either arrives unchanged, with all blanks and line breaks.
    ///
    /// In another program's mail: the decoded Subject after the tag and one blank, which may be empty.
    pub id: String,
    /// The sender's address, such as `alice@example.org`: From, and the envelope sender.
    ///
    /// In another program's mail: the first address of From, else of Sender; empty when neither has one.
    pub sent_by: String,
    /// The recipients' addresses, at least one: To, and the envelope recipients.
    ///
    /// An SMTP server must accept 100 (RFC 5321, section 4.5.3.1.8). Those that it refuses are in the
    /// [`Receipt`](crate::Receipt), and are not tried again. Each entry is a recipient, also one that is listed twice.
    ///
    /// In another program's mail: the addresses of To, which may be none.
    pub sent_to: Vec<String>,
    /// The body: any bytes, which arrive unchanged.
    ///
    /// It is sent in base64, a third larger than it is, with its size, by which a receiver notices a body that was cut
    /// or changed. The limits are the server's SIZE and the receiver's [`max_message`](crate::ImapConfig::max_message).
    ///
    /// In another program's mail: the text that a mail program displays, in UTF-8. Several inline texts are joined; of
    /// alternatives the plain text is taken; HTML is converted to text. A mail without any text has an empty body; a
    /// mail that consists of one binary part has that part's bytes. Encrypted mail is an error.
    pub body: Vec<u8>,
    #[expect(clippy::struct_field_names, reason = "it is not the id, it is the Message-ID")]
    message_id: MessageId,
    properties: Properties,
}

impl Message {
    /// Returns a copy with an empty body.
    #[cfg(feature = "async")]
    pub(crate) fn without_body(&self) -> Self {
        Self {
            id: self.id.clone(),
            sent_by: self.sent_by.clone(),
            sent_to: self.sent_to.clone(),
            body: Vec::new(),
            message_id: self.message_id.clone(),
            properties: self.properties.clone(),
        }
    }

    /// Creates a message with a new Message-ID, which it keeps however often it is sent.
    ///
    /// Id and addresses are checked when the message is sent. Any bytes are a body, such as JSON:
    ///
    /// ```
    /// use pymail::Message;
    ///
    /// let order = serde_json::json!({"item": "tea", "grams": 250});
    /// let message = Message::new("order 42", "shop@example.org", "store@example.org", order.to_string());
    /// assert_eq!(serde_json::from_slice::<serde_json::Value>(&message.body)?, order);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn new(
        id: impl Into<String>,
        sent_by: impl Into<String>,
        sent_to: impl Into<Recipients>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let sent_by = sent_by.into();
        let message_id = MessageId::random(&sent_by);
        Self {
            id: id.into(),
            sent_by,
            sent_to: sent_to.into().0,
            body: body.into(),
            message_id,
            properties: Properties::new(),
        }
    }

    /// Replaces the Message-ID, to send a message again under the one that an earlier process generated.
    #[must_use]
    pub fn with_message_id(mut self, message_id: MessageId) -> Self {
        self.message_id = message_id;
        self
    }

    /// Returns the Message-ID: generated by [`new`](Message::new), or read from the received mail.
    #[must_use]
    pub fn message_id(&self) -> &MessageId {
        &self.message_id
    }

    /// Adds a property, or replaces the one of this name: text that travels beside the body, such as a correlation id.
    ///
    /// Names and values are any text and arrive unchanged; the case of a name counts, and a value may be empty. Each is a
    /// header field, `X-Pymail-Property: name=value`, in which all but visible ASCII is percent-encoded: servers on the
    /// way see it, and log it perhaps. The limits, checked when the message is sent, are 64 properties with non-empty
    /// names, and 8,192 bytes of all names and values.
    ///
    /// ```
    /// use pymail::Message;
    ///
    /// let order = Message::new("42", "shop@example.org", "store@example.org", r#"{"item":"tea"}"#)
    ///     .with_property("content-type", "application/json")
    ///     .with_property("correlation-id", "order 42");
    /// assert_eq!(order.property("correlation-id"), Some("order 42"));
    /// ```
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Returns the value of a property; `None` without it.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// Returns all properties, by name.
    ///
    /// A mail of another program has none, unless it has header fields `X-Pymail-Property`. A message of which one was
    /// dropped, cut or changed in size on the way, or has a malformed field, is an error in its place.
    #[must_use]
    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    /// Returns the body as text. Another program's mail is always UTF-8, unless it consists of one binary part.
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

/// Formats all fields but the body, of which only the length is shown, and the values of properties: logs must not have
/// the text of mails.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, sent_by, sent_to, body, message_id, properties } = self;
        f.debug_struct("Message")
            .field("id", id)
            .field("sent_by", sent_by)
            .field("sent_to", sent_to)
            .field("body", &format_args!("{} bytes", body.len()))
            .field("message_id", message_id)
            .field("properties", &properties.keys())
            .finish()
    }
}

/// The addresses to send to; converts from one address or several, and collects from an iterator.
///
/// Nothing is parsed or checked: an address is one string, and a string with a comma is one invalid address. Without
/// any, the message can be made, and can't be sent.
///
/// ```
/// use pymail::{Message, Recipients};
///
/// let one = Message::new("1", "alice@example.org", "bob@example.org", "");
/// let two = Message::new("2", "alice@example.org", ["bob@example.org", "carol@example.org"], "");
/// assert_eq!((one.sent_to.len(), two.sent_to.len()), (1, 2));
///
/// let all: Recipients = ["bob", "carol"].iter().map(|name| format!("{name}@example.org")).collect();
/// assert_eq!(Message::new("3", "alice@example.org", all, "").sent_to, two.sent_to);
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

impl From<&String> for Recipients {
    fn from(address: &String) -> Self {
        Self(vec![address.clone()])
    }
}

impl<T: Into<String>> FromIterator<T> for Recipients {
    fn from_iter<I: IntoIterator<Item = T>>(addresses: I) -> Self {
        Self(addresses.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>> From<Vec<T>> for Recipients {
    fn from(addresses: Vec<T>) -> Self {
        addresses.into_iter().collect()
    }
}

impl<T: Into<String>, const N: usize> From<[T; N]> for Recipients {
    fn from(addresses: [T; N]) -> Self {
        addresses.into_iter().collect()
    }
}

impl<T: AsRef<str>> From<&[T]> for Recipients {
    fn from(addresses: &[T]) -> Self {
        addresses.iter().map(AsRef::as_ref).collect()
    }
}

impl<T: AsRef<str>> From<&Vec<T>> for Recipients {
    fn from(addresses: &Vec<T>) -> Self {
        addresses.as_slice().into()
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
    fn a_message_id_is_parsed_from_both_forms_and_from_json() {
        let id = MessageId::random("alice@example.org");
        for text in [id.to_string(), id.as_str().to_owned(), String::from(id.clone())] {
            assert_eq!(text.parse::<MessageId>().unwrap(), id);
        }
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("{:?}", id.as_str()));
        assert_eq!(serde_json::from_str::<MessageId>(&json).unwrap(), id);
    }

    #[test]
    fn a_message_id_that_would_break_a_header_is_not_parsed() {
        let long = "x".repeat(MAX_MESSAGE_ID + 1);
        for bad in [
            "",
            "<>",
            "<a@b",
            "a@b>",
            "a b@c",
            "a@b\r\nBcc: eve@example.org",
            "<<a@b>>",
            "\u{fc}@b",
            long.as_str(),
        ] {
            assert!(bad.parse::<MessageId>().is_err(), "{bad:?}");
            assert!(serde_json::from_value::<MessageId>(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_body() {
        let message = Message::new("42", "alice@example.org", "bob@example.org", "private");
        let shown = format!("{message:?}");
        assert!(
            shown.contains("42") && shown.contains("7 bytes") && shown.contains("bob@example.org"),
            "{shown}"
        );
        assert!(!shown.contains("private") && !shown.contains("112, 114"), "{shown}");
    }

    #[test]
    fn recipients_convert_from_references() {
        let bob = String::from("bob@example.org");
        let all = vec![bob.clone(), "carol@example.org".into()];
        assert_eq!(Recipients::from(&bob), Recipients::from("bob@example.org"));
        assert_eq!(Recipients::from(&all), Recipients::from(all.as_slice()));
        assert_eq!(Recipients::from(&["bob@example.org", "carol@example.org"][..]).0, all);
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
