//! Composes a message as a mail for SMTP's DATA.
//!
//! ```text
//! Subject: TAG 42
//! Message-ID: <1f0c...@example.org>
//! From: <alice@example.org>
//! To: <bob@example.org>
//! X-Pymail-Property: correlation-id=7   one for each property; see `property_headers`
//! Date: ...
//! MIME-Version: 1.0
//! Content-Type: text/plain; charset=utf-8
//! Content-Disposition: inline; size=5
//! Content-Transfer-Encoding: base64
//!
//! aGVsbG8=
//! ```
//!
//! The mail is ASCII with short lines, which no server changes: base64 protects line ends, blanks, dots and `From `
//! lines, and the size reveals a truncated body. Only an address whose local part is beyond ASCII is in UTF-8 (RFC 6532);
//! the server must have SMTPUTF8 for it. A body that is not UTF-8 is `application/octet-stream`.

use std::borrow::Cow;
use std::fmt::Write as _;

use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::message_id::MessageId as MessageIdHeader;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use super::address::is_invisible;
use super::{Message, property_headers};
use crate::error::{Error, Result};
use crate::idna;

/// The longest id, in bytes, that stays readable in the Subject. A much longer one may have no blank at which a line of
/// at most 998 octets can be folded (RFC 5322, section 2.1.1).
const MAX_PLAIN_ID: usize = 64;
/// The longest id, in bytes.
const MAX_ID: usize = 4_096;
/// The encoded characters that fit into an encoded word: 75 (RFC 2047, section 2) less `=?utf-8?q?` and `?=`.
const MAX_ENCODED_TEXT: usize = 63;

/// Composes a message for DATA: CRLF line ends, dots stuffed, without the final dot.
///
/// Subject, Message-ID and From come before To, whose length has no limit: a receiver decides by the first octets of a
/// mail. The same message is composed with the same Message-ID each time, and with the Date of that time.
///
/// # Errors
/// `Message` when the id is empty or too long, an address is invalid, or there is no recipient; `InvalidInput` for too
/// many or too long properties.
pub(crate) fn compose(message: &Message, tag: &str) -> Result<Vec<u8>> {
    check_message(message)?;
    let to: Vec<Address<'_>> = message.sent_to.iter().map(|to| mailbox(to)).collect();
    // A receiver fetches the first octets of a mail: the fields that it decides by precede a long To.
    let mut builder = MessageBuilder::new()
        .header("Subject", Raw::new(format!("{tag} {}", id_in_subject(&message.id))))
        .message_id(MessageIdHeader::new(message.message_id.as_str()))
        .from(mailbox(&message.sent_by))
        .to(Address::new_list(to))
        .body(body_part(message));
    for (name, value) in &message.properties {
        builder =
            builder.header(property_headers::FIELD, Raw::new(property_headers::field_value(name, value)));
    }
    let mut data = Vec::new();
    builder.serialize(&mut data);
    Ok(with_final_line_end(dot_stuffed(data)))
}

fn mailbox(address: &str) -> Address<'_> {
    Address::new_address(None::<&str>, on_the_wire(address))
}

/// Returns an address as it is sent: with its domain in ASCII.
pub(crate) fn on_the_wire(address: &str) -> Cow<'_, str> {
    if address.is_ascii() {
        return address.into();
    }
    let parts = address.rsplit_once('@').map(|(local, domain)| (local, idna::to_ascii(domain)));
    match parts {
        Some((local, Ok(domain))) => format!("{local}@{domain}").into(),
        _ => address.into(), // refused by `check_address`
    }
}

/// Returns the first address of a message that a server must have SMTPUTF8 for (RFC 6531): its local part is beyond
/// ASCII.
pub(crate) fn needs_smtputf8(message: &Message) -> Option<&str> {
    let mut addresses = std::iter::once(&message.sent_by).chain(&message.sent_to);
    addresses.find(|address| !on_the_wire(address).is_ascii()).map(String::as_str)
}

/// The Content-Type of a body that is UTF-8, and of any other.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const BINARY: &str = "application/octet-stream";

/// Returns the body as a base64 part that declares its size, by which a receiver notices that it was cut or changed, and
/// the size of the properties.
fn body_part(Message { body, properties, .. }: &Message) -> MimePart<'_> {
    let text = std::str::from_utf8(body).is_ok();
    let content_type = if text { TEXT } else { BINARY };
    let mut disposition = format!("inline; size={}", body.len());
    if !properties.is_empty() {
        let _ = write!(disposition, "; {}={}", property_headers::SIZE, property_headers::size(properties));
    }
    // Raw headers: for a part that it knows as text, mail-builder would choose another encoding.
    let headers: Vec<(Cow<'_, str>, HeaderType<'_>)> = vec![
        ("Content-Type".into(), Raw::new(content_type).into()),
        ("Content-Disposition".into(), Raw::new(disposition).into()),
    ];
    MimePart { headers, contents: BodyPart::Binary(body.as_slice().into()) }
}

/// Checks the id, the properties, the addresses and the number of recipients.
fn check_message(message: &Message) -> Result<()> {
    if message.id.is_empty() || message.id.len() > MAX_ID {
        return Err(Error::message(format!(
            "the id has {} bytes; the limits are 1 and {MAX_ID}",
            message.id.len()
        )));
    }
    if let Some(rule) = property_headers::broken_rule(&message.properties) {
        return Err(Error::invalid_input(rule));
    }
    if message.sent_to.is_empty() {
        return Err(Error::message("the message has no recipient"));
    }
    std::iter::once(&message.sent_by).chain(&message.sent_to).try_for_each(|address| check_address(address))
}

/// Checks that an address is a mailbox (RFC 5321, section 4.1.2; RFC 6531, section 3.3) without quoted parts.
///
/// The check keeps a command on its line and an address in its angle brackets; it is the server that knows if the
/// address exists. The 254 characters are those of a path with its brackets (RFC 5321, section 4.5.3.1.3). Nor may it
/// contain an encoded word, which some readers would decode although RFC 2047, section 5, forbids it there.
fn check_address(address: &str) -> Result<()> {
    let allowed = |c: char| match c {
        ..='~' => c.is_ascii_graphic() && !"<>(),;:\\\"".contains(c),
        c => !c.is_control() && !c.is_whitespace() && !is_invisible(c),
    };
    let invalid = |why| Error::message(format!("{address:?} is not a valid address{why}"));
    let (local, domain) = address.rsplit_once('@').unwrap_or_default();
    let ascii = idna::to_ascii(domain).map_err(|why| invalid(format!(": its domain {why}")))?;
    let is_bounded = local.len() + 1 + ascii.len() <= 254;
    let has_both = !local.is_empty() && !domain.is_empty();
    if has_both && is_bounded && address.chars().all(allowed) && !address.contains("=?") {
        return Ok(());
    }
    Err(invalid(", such as alice@example.org".into()))
}

/// Returns the id as it is if every mail program displays it unchanged, else as encoded words.
///
/// Blanks at the ends and runs of blanks are encoded, too: servers fold and unfold headers, and unfolding may leave one
/// blank of several (RFC 5322, section 2.2.3).
fn id_in_subject(id: &str) -> String {
    let printable = id.bytes().all(|b| (b' '..=b'~').contains(&b));
    let has_fragile_blanks = id.starts_with(' ') || id.ends_with(' ') || id.contains("  ");
    if id.len() <= MAX_PLAIN_ID && printable && !has_fragile_blanks && !id.contains("=?") {
        return id.into();
    }
    encoded_words(id)
}

/// Encodes text as encoded words in "Q" (RFC 2047, section 4.2), none of which ends inside a character: section 5
/// forbids that, and some readers decode each word by itself.
fn encoded_words(text: &str) -> String {
    let mut words = String::new();
    let mut room = 0;
    for c in text.chars() {
        let code = q_encoded(c);
        if code.len() > room {
            words.push_str(if words.is_empty() { "=?utf-8?q?" } else { "?= =?utf-8?q?" });
            room = MAX_ENCODED_TEXT;
        }
        room -= code.len();
        words.push_str(&code);
    }
    words + "?="
}

/// Encodes one character in "Q". Only letters and digits stay: section 5 of RFC 2047 allows few others, not in every
/// place.
fn q_encoded(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        return c.into();
    }
    let mut code = String::new();
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        let _ = write!(code, "={byte:02X}");
    }
    code
}

/// Doubles dots at line starts (RFC 5321, section 4.5.2). A safeguard: the mails composed here have none.
fn dot_stuffed(data: Vec<u8>) -> Vec<u8> {
    if !data.starts_with(b".") && !data.windows(2).any(|pair| pair == b"\n.") {
        return data;
    }
    let lines = data.split_inclusive(|&b| b == b'\n');
    lines
        .flat_map(|line| [if line.starts_with(b".") { b".".as_slice() } else { b"" }, line])
        .flatten()
        .copied()
        .collect()
}

/// Appends CRLF, unless the data ends in it.
fn with_final_line_end(mut data: Vec<u8>) -> Vec<u8> {
    if !data.ends_with(b"\r\n") {
        data.extend_from_slice(b"\r\n");
    }
    data
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ErrorKind;

    fn message(id: &str) -> Message {
        Message::new(id, "alice@example.org", "bob@example.org", "hello")
    }

    fn composed(message: &Message) -> String {
        String::from_utf8(compose(message, "TAG").unwrap()).unwrap()
    }

    #[test]
    fn a_plain_id_stays_readable() {
        assert!(composed(&message("order 42")).starts_with("Subject: TAG order 42\r\n"));
    }

    #[test]
    fn any_other_id_is_encoded_after_the_plain_tag() {
        let long = "x".repeat(1_000);
        for id in
            ["naïve", " x", "x ", "a  b", "a\r\nBcc: eve@example.org", "=?utf-8?q?x?=", "\0", long.as_str()]
        {
            let text = composed(&message(id));
            assert!(
                text.starts_with("Subject: TAG =?utf-8?q?")
                    || text.starts_with("Subject: TAG\r\n =?utf-8?q?"),
                "{text}"
            );
            assert!(text.lines().all(|line| line.len() <= 78), "{text}");
            assert!(!text.contains("\nBcc"), "{text}");
        }
    }

    #[test]
    fn the_body_is_base64_and_declares_its_size() {
        let text = composed(&message("1"));
        assert!(text.contains("\r\nContent-Transfer-Encoding: base64\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Disposition: inline; size=5\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\naGVsbG8=\r\n"), "{text}");
    }

    #[rstest]
    #[case::cr_lf("eve@example.org\r\nRCPT TO:<mallory@example.org>")]
    #[case::nul("eve@exa\0mple.org")]
    #[case::empty("")]
    #[case::no_domain("eve@")]
    #[case::no_local("@example.org")]
    #[case::two("eve@example.org, mallory@example.org")]
    #[case::brackets("<eve@example.org>")]
    #[case::another_dot_in_the_domain("eve@ex\u{2024}ample.org")]
    #[case::decomposed_domain("eve@bu\u{308}cher.example")]
    #[case::blank_beyond_ascii("\u{e8}ve\u{a0}x@example.org")]
    #[case::control_beyond_ascii("\u{e8}ve\u{85}@example.org")]
    #[case::bidirectional("\u{e8}ve\u{202e}@example.org")]
    #[case::encoded_word("=?utf-8?q?eve?=@example.org")]
    fn an_invalid_address_is_a_message_error(#[case] address: &str) {
        let to = Message::new("1", "alice@example.org", address, "");
        let by = Message::new("1", address, "bob@example.org", "");
        assert_eq!(compose(&to, "TAG").unwrap_err().kind(), ErrorKind::Message);
        assert_eq!(compose(&by, "TAG").unwrap_err().kind(), ErrorKind::Message);
    }

    #[test]
    fn a_domain_beyond_ascii_is_sent_in_its_ascii_form() {
        let message = Message::new("1", "alice@B\u{fc}cher.example", "bob@stra\u{df}e.example", "");
        let text = composed(&message);
        assert!(
            text.contains("\r\nFrom: <alice@xn--bcher-kva.example>\r\nTo: <bob@xn--strae-oqa.example>\r\n"),
            "{text}"
        );
        assert!(text.contains("@xn--bcher-kva.example>\r\n") && text.is_ascii(), "{text}");
        assert_eq!(needs_smtputf8(&message), None);
    }

    #[test]
    fn an_address_beyond_ascii_is_sent_in_utf_8_and_received_as_it_was() {
        let to = ["bob@example.org", "j\u{fc}rgen@b\u{fc}cher.example", "\u{7528}\u{6237}@example.org"];
        let message = Message::new("1", "\u{e8}ve@example.org", to, "");
        let mail = compose(&message, "TAG").unwrap();
        assert!(composed(&message).contains("\r\nFrom: <\u{e8}ve@example.org>\r\n"));
        assert_eq!(needs_smtputf8(&message), Some("\u{e8}ve@example.org"));
        let received = crate::message::parse(&mail, "TAG").unwrap().unwrap().message;
        let wire: Vec<String> = message.sent_to.iter().map(|to| on_the_wire(to).into_owned()).collect();
        assert_eq!((received.sent_by.as_str(), &received.sent_to), ("\u{e8}ve@example.org", &wire));
        // An answer to it can be sent.
        assert!(compose(&Message::new("2", &*received.sent_to[1], received.sent_by, ""), "TAG").is_ok());
    }

    #[test]
    fn an_empty_or_too_long_id_and_no_recipient_are_message_errors() {
        let without_recipient = Message::new("1", "alice@example.org", Vec::<String>::new(), "");
        for bad in [message(""), message(&"x".repeat(MAX_ID + 1)), without_recipient] {
            assert_eq!(compose(&bad, "TAG").unwrap_err().kind(), ErrorKind::Message);
        }
    }

    #[test]
    fn subject_message_id_and_from_precede_to_even_with_many_recipients() {
        let to: Vec<String> = (0..10_000).map(|n| format!("{n}@example.org")).collect();
        let text = composed(&Message::new("\u{fc}".repeat(2_000), "alice@example.org", to, ""));
        let first = &text[..16_384];
        assert!(
            first.contains("\r\nMessage-ID: <") && first.contains("\r\nFrom: <alice@example.org>\r\nTo: ")
        );
    }

    #[test]
    fn dots_at_line_starts_are_doubled() {
        assert_eq!(dot_stuffed(b".a\r\nb\r\n..c".to_vec()), b"..a\r\nb\r\n...c");
        assert_eq!(dot_stuffed(b"a.b".to_vec()), b"a.b");
    }

    #[test]
    fn no_line_is_longer_than_servers_must_accept() {
        // RFC 5321, section 4.5.3.1.6.
        let to: Vec<String> = (0..200).map(|n| format!("{}{n}@example.org", "x".repeat(200))).collect();
        let all = Message::new("\u{fc}".repeat(2_000), "alice@example.org", to, vec![b'x'; 100_000]);
        let tag = "t".repeat(64);
        let lines = compose(&all, &tag).unwrap();
        let longest = lines.split(|&b| b == b'\n').map(|line| line.len() + 1).max();
        assert!(longest.is_some_and(|longest| longest <= 1_000), "{longest:?}");
    }
}
