//! Writes and reads the properties of a message: one header field each, and their size in Content-Disposition.
//!
//! ```text
//! X-Pymail-Property: content-type=application/json
//! X-Pymail-Property: correlation-id=order%2042
//! Content-Disposition: inline; size=5; properties-size=50
//! ```
//!
//! | in the field | means |
//! | --- | --- |
//! | the text before the first `=` | the name |
//! | the text after it | the value, which may be empty |
//! | `%` and two hexadecimal digits | an octet of UTF-8 |
//! | blanks, tabs and line ends | nothing: servers fold and unfold fields as they like |
//! | any other visible ASCII | itself |
//!
//! The name is not a part of the field's name, which is compared in any case, and written anew by some gateways.
//! Percent encoding and no encoded words (RFC 2047): those lose blanks at their ends in some readers, mailing lists
//! decode and encode them anew, and a filter on the server can't match them. It leaves UUIDs, addresses and media types
//! readable.
//!
//! The size is the octets of all names and values. By it a receiver notices a property that was dropped or cut on the
//! way. A mail of another program may have the fields without it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use memchr::memchr;

use super::content::Content;
use super::headers::{Headers, Name};
use super::transfer::hex_octet;
use crate::error::{Error, Result};

/// The properties of a message, by name.
pub(super) type Properties = BTreeMap<String, String>;

/// The header field of a property.
pub(super) const FIELD: &str = "X-Pymail-Property";

/// The parameter of Content-Disposition that declares the octets of all properties.
pub(super) const SIZE: &str = "properties-size";

/// The most properties of a message.
const MAX_COUNT: usize = 64;

/// The most octets of all names and values. Encoded they are up to three times as many, and sendmail refuses headers of
/// more than 32 KiB.
const MAX_OCTETS: usize = 8_192;

/// The longest piece of a field without a blank, so that its line has at most 78 octets (RFC 5322, section 2.1.1).
const MAX_PIECE: usize = 57;

/// Returns the octets of all names and values.
pub(super) fn size(properties: &Properties) -> usize {
    properties.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Checks the names and the limits; returns the first one that is broken.
pub(super) fn broken_rule(properties: &Properties) -> Option<String> {
    if properties.contains_key("") {
        return Some("a property has an empty name".into());
    }
    let (count, octets) = (properties.len(), size(properties));
    let is_within = count <= MAX_COUNT && octets <= MAX_OCTETS;
    let text =
        || format!("{count} properties of {octets} bytes; the limits are {MAX_COUNT} and {MAX_OCTETS}");
    (!is_within).then(text)
}

/// Returns the value of the header field of a property, with blanks where it can be folded.
pub(super) fn field_value(name: &str, value: &str) -> String {
    let mut field = String::new();
    for octet in name.bytes() {
        push_encoded(&mut field, octet, octet == b'=');
    }
    field.push('=');
    for octet in value.bytes() {
        push_encoded(&mut field, octet, false);
    }
    with_blanks(&field)
}

/// Returns a field's ASCII text with a blank after each piece. A blank within an escape does no harm.
fn with_blanks(text: &str) -> String {
    let blank = |at: usize| (at > 0 && at.is_multiple_of(MAX_PIECE)).then_some(' ');
    text.chars().enumerate().flat_map(|(at, c)| blank(at).into_iter().chain([c])).collect()
}

/// Appends one octet. A `?` is encoded, so that no reader takes `=?` for the beginning of an encoded word.
fn push_encoded(field: &mut String, octet: u8, is_special: bool) {
    if octet.is_ascii_graphic() && !is_special && !b"%?".contains(&octet) {
        field.push(char::from(octet));
    } else {
        let _ = write!(field, "%{octet:02X}");
    }
}

/// Reads the properties of a mail; mail of other programs has none.
///
/// # Errors
/// `Message` for a malformed field, a name with two values, more than can be sent, and a size that is not the declared
/// one: no properties are read in part.
pub(super) fn read(headers: &Headers<'_>, disposition: &Content) -> Result<Properties> {
    let mut properties = Properties::new();
    for field in headers.all(Name::Property) {
        let malformed = || Error::message(format!("a header field {FIELD} is malformed"));
        let (name, value) = parse(&field).ok_or_else(malformed)?;
        // A field that came twice is one property.
        if properties.get(&name).is_some_and(|before| *before != value) {
            return Err(Error::message(format!("a property has two values in the header fields {FIELD}")));
        }
        properties.insert(name, value);
    }
    let declared = disposition.parameter(SIZE).and_then(|size| size.parse::<usize>().ok());
    if let Some(declared) = declared.filter(|&declared| declared != size(&properties)) {
        let arrived = size(&properties);
        return Err(Error::message(format!(
            "the properties have {arrived} bytes, not the declared {declared}: they were changed on the way"
        )));
    }
    broken_rule(&properties).map_or(Ok(properties), |rule| Err(Error::message(rule)))
}

/// Returns the name and the value in a field; `None` if it is malformed.
fn parse(field: &[u8]) -> Option<(String, String)> {
    let text: Vec<u8> = field.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    let at = memchr(b'=', &text)?;
    let name = decoded(&text[..at]).filter(|name| !name.is_empty())?;
    Some((name, decoded(&text[at + 1..])?))
}

/// Decodes a name or a value; `None` for an incomplete escape, octets that are never written, and invalid UTF-8.
fn decoded(mut rest: &[u8]) -> Option<String> {
    let mut octets = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        rest = if first == b'%' { after.get(2..)? } else { after };
        octets.push(if first == b'%' {
            hex_octet(after)?
        } else {
            Some(first).filter(u8::is_ascii_graphic)?
        });
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::message::{compose, parse};
    use crate::{ErrorKind, Message};

    fn message() -> Message {
        Message::new("1", "alice@example.org", "bob@example.org", "hello")
    }

    fn composed(message: &Message) -> String {
        String::from_utf8(compose(message, "TAG").unwrap()).unwrap()
    }

    fn received(mail: &str) -> Result<Message> {
        parse(mail.as_bytes(), "TAG").expect("it is ours").map(|parsed| parsed.message)
    }

    fn with_fields(fields: &str) -> Result<BTreeMap<String, String>> {
        received(&format!("Subject: TAG 1\r\n{fields}\r\nhello")).map(|it| it.properties().clone())
    }

    #[test]
    fn usual_properties_are_readable_and_others_percent_encoded() {
        let message = message()
            .with_property("content-type", "application/json")
            .with_property("Correlation-ID", "order 42?")
            .with_property("a=b", "\u{fc}");
        let mail = composed(&message);
        for line in [
            "X-Pymail-Property: Correlation-ID=order%2042%3F",
            "X-Pymail-Property: a%3Db=%C3%BC",
            "X-Pymail-Property: content-type=application/json",
            "Content-Disposition: inline; size=5; properties-size=56",
        ] {
            assert!(mail.contains(&format!("\r\n{line}\r\n")), "{line}: {mail}");
        }
        assert_eq!(received(&mail).unwrap(), message);
    }

    #[test]
    fn without_properties_a_mail_is_what_it_was() {
        let mail = composed(&message());
        assert!(!mail.to_ascii_lowercase().contains("propert"), "{mail}");
    }

    #[test]
    fn properties_survive_any_folding() {
        let long = message().with_property("long", "\u{fc} x".repeat(100)).with_property("short", " a b ");
        let mail = composed(&long);
        assert!(mail.lines().all(|line| line.len() <= 78), "{mail}");
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ");
        let tabs = head.replace("\r\n ", "\r\n\t \t");
        // A fold within what was one piece.
        let cut = head.replace("%C3", "%\r\n C3").replace("=%20a", "=%20\r\n\ta");
        assert_ne!(cut, head);
        for head in [unfolded, tabs, cut] {
            assert_eq!(received(&format!("{head}\r\n\r\n{body}")).unwrap(), long, "{head}");
        }
    }

    #[test]
    fn field_names_in_another_case_and_fields_that_came_twice_are_read() {
        let once = with_fields("x-pymail-property: A=1\r\n");
        let twice = with_fields("X-PYMAIL-PROPERTY: A=1\r\nX-Pymail-Property: A=1\r\n");
        assert_eq!(once.unwrap(), BTreeMap::from([("A".to_owned(), "1".to_owned())]));
        assert_eq!(twice.unwrap().len(), 1);
    }

    #[test]
    fn a_mail_without_the_fields_has_no_properties() {
        assert_eq!(with_fields("X-Pymail-Property-Of: A=1\r\nX-Other: B=2\r\n").unwrap(), BTreeMap::new());
    }

    #[rstest]
    #[case::empty("")]
    #[case::no_value("a")]
    #[case::no_name("=a")]
    #[case::half_an_escape("a=%C")]
    #[case::no_escape("a=%zz")]
    #[case::no_utf_8("a=%FF")]
    #[case::raw_octets("a=\u{fc}")]
    #[case::control("a=b\u{1}")]
    #[case::two_values("a=1\r\nX-Pymail-Property: a=2")]
    fn a_malformed_field_is_an_error_and_never_half_read(#[case] field: &str) {
        let good = "X-Pymail-Property: good=1\r\n";
        let error = with_fields(&format!("{good}X-Pymail-Property: {field}\r\n{good}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Message);
    }

    #[test]
    fn a_property_that_was_dropped_or_cut_on_the_way_is_an_error() {
        let mail = composed(&message().with_property("a", "1").with_property("b", "234"));
        for (from, to) in
            [("X-Pymail-Property: a=1\r\n", ""), ("X-Pymail-Property: ", "X-Other: "), ("b=234", "b=23")]
        {
            let changed = mail.replace(from, to);
            assert_ne!(changed, mail);
            assert_eq!(received(&changed).unwrap_err().kind(), ErrorKind::Message);
        }
    }

    #[test]
    fn excess_is_invalid_input_when_it_is_sent_and_an_error_when_it_is_read() {
        let many = |count: usize| (0..count).fold(message(), |it, n| it.with_property(n.to_string(), ""));
        let large = |octets: usize| message().with_property("x", "\u{e9}".repeat(octets / 2));
        assert_eq!(received(&composed(&many(MAX_COUNT))).unwrap().properties().len(), MAX_COUNT);
        assert!(composed(&large(MAX_OCTETS - 1)).len() < 32_768);
        for excess in [many(MAX_COUNT + 1), large(MAX_OCTETS), message().with_property("", "x")] {
            assert_eq!(compose(&excess, "TAG").unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let fields: Vec<_> = (0..=MAX_COUNT).map(|n| format!("X-Pymail-Property: {n}=\r\n")).collect();
        assert_eq!(with_fields(&fields.concat()).unwrap_err().kind(), ErrorKind::Message);
    }

    #[test]
    fn a_message_with_properties_takes_the_fast_path() {
        let mail = composed(&message().with_property("a", "1"));
        let body = super::super::body::decode_own_format(&Headers::of_mail(mail.as_bytes()));
        assert_eq!(body, Some(b"hello".to_vec()));
    }
}
