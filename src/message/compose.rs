//! From a message to the bytes on the wire, without the interpreter.

use std::borrow::Cow;
use std::fmt::Write as _;

use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::message_id::MessageId as MessageIdHeader;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use super::Message;
use crate::error::{Error, Result};

/// An id of this length or less stays readable in the Subject.
const PLAIN_ID: usize = 64;
const LONGEST_ID: usize = 4_096;
/// RFC 2047, section 2: an encoded word has at most 75 characters, of which ours spends 12 on its frame.
const WORD_ROOM: usize = 63;

/// The message as SMTP's DATA takes it: CRLF line ends, dots stuffed, without the final dot.
pub(crate) fn compose(message: &Message, tag: &str) -> Result<Vec<u8>> {
    check(message)?;
    let to: Vec<Address<'_>> =
        message.sent_to.iter().map(|to| Address::new_address(None::<&str>, to)).collect();
    // First what a receiver must see in the first octets of a mail, however many recipients it has.
    let builder = MessageBuilder::new()
        .header("Subject", Raw::new(format!("{tag} {}", id_in_subject(&message.id))))
        .message_id(MessageIdHeader::new(message.message_id.as_str()))
        .from(Address::new_address(None::<&str>, &message.sent_by))
        .to(Address::new_list(to))
        .body(body_part(&message.body));
    let mut data = Vec::new();
    builder.serialize(&mut data);
    Ok(ended(stuffed(data)))
}

/// A body is always base64, and says its size, so that whoever cuts or changes it on the way is found out.
fn body_part(body: &[u8]) -> MimePart<'_> {
    let text = std::str::from_utf8(body).is_ok();
    let content_type = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let disposition = format!("inline; size={}", body.len());
    // As raw headers, because mail-builder would choose another encoding for what it knows to be text.
    let headers: Vec<(Cow<'_, str>, HeaderType<'_>)> = vec![
        ("Content-Type".into(), Raw::new(content_type).into()),
        ("Content-Disposition".into(), Raw::new(disposition).into()),
    ];
    MimePart { headers, contents: BodyPart::Binary(body.into()) }
}

fn check(message: &Message) -> Result<()> {
    if message.id.is_empty() || message.id.len() > LONGEST_ID {
        return Err(Error::message(format!("an id has 1 to {LONGEST_ID} bytes, not {}", message.id.len())));
    }
    if message.sent_to.is_empty() {
        return Err(Error::message("a message has at least one recipient"));
    }
    std::iter::once(&message.sent_by).chain(&message.sent_to).try_for_each(|address| check_address(address))
}

/// A mailbox of RFC 5321, section 4.1.2, in ASCII and without quoted parts.
///
/// And without what looks like an encoded word, which a reader would decode (RFC 2047, section 5, forbids it).
fn check_address(address: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_graphic() && !"<>(),;:\\\"".contains(c);
    let parts = address.rsplit_once('@');
    let whole = parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if whole && address.len() <= 254 && address.chars().all(allowed) && !address.contains("=?") {
        return Ok(());
    }
    Err(Error::message(format!("{address:?} is not an address such as alice@example.org")))
}

/// Plain where every mail program shows it as it is, else encoded words, which keep every character.
fn id_in_subject(id: &str) -> String {
    let printable = id.bytes().all(|b| (b' '..=b'~').contains(&b));
    let blanks = id.starts_with(' ') || id.ends_with(' ') || id.contains("  ");
    if id.len() <= PLAIN_ID && printable && !blanks && !id.contains("=?") {
        return id.into();
    }
    encoded_words(id)
}

/// RFC 2047, section 4.2 ("Q"): a word never ends inside a character.
fn encoded_words(text: &str) -> String {
    let mut words = String::new();
    let mut room = 0;
    for c in text.chars() {
        let code = q_encoded(c);
        if code.len() > room {
            words.push_str(if words.is_empty() { "=?utf-8?q?" } else { "?= =?utf-8?q?" });
            room = WORD_ROOM;
        }
        room -= code.len();
        words.push_str(&code);
    }
    words + "?="
}

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

/// RFC 5321, section 4.5.2. What is composed above has no line that begins with a dot; this is for the day
/// when it has.
fn stuffed(data: Vec<u8>) -> Vec<u8> {
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

fn ended(mut data: Vec<u8>) -> Vec<u8> {
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
    fn any_other_id_is_encoded_behind_the_plain_tag() {
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
    fn the_body_is_base64_and_says_its_size() {
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
    #[case::non_ascii("ève@example.org")]
    #[case::encoded_word("=?utf-8?q?eve?=@example.org")]
    fn an_address_that_is_none_is_a_message_error(#[case] address: &str) {
        let to = Message::new("1", "alice@example.org", address, "");
        let by = Message::new("1", address, "bob@example.org", "");
        assert_eq!(compose(&to, "TAG").unwrap_err().kind(), ErrorKind::Message);
        assert_eq!(compose(&by, "TAG").unwrap_err().kind(), ErrorKind::Message);
    }

    #[test]
    fn an_empty_id_an_endless_one_and_no_recipient_are_message_errors() {
        let nobody = Message::new("1", "alice@example.org", Vec::<String>::new(), "");
        for bad in [message(""), message(&"x".repeat(LONGEST_ID + 1)), nobody] {
            assert_eq!(compose(&bad, "TAG").unwrap_err().kind(), ErrorKind::Message);
        }
    }

    #[test]
    fn what_tells_a_message_from_others_comes_first_however_many_recipients_it_has() {
        let to: Vec<String> = (0..10_000).map(|n| format!("{n}@example.org")).collect();
        let text = composed(&Message::new("\u{fc}".repeat(2_000), "alice@example.org", to, ""));
        let first = &text[..16_384];
        assert!(
            first.contains("\r\nMessage-ID: <") && first.contains("\r\nFrom: <alice@example.org>\r\nTo: ")
        );
    }

    #[test]
    fn dots_at_line_starts_are_doubled() {
        assert_eq!(stuffed(b".a\r\nb\r\n..c".to_vec()), b"..a\r\nb\r\n...c");
        assert_eq!(stuffed(b"a.b".to_vec()), b"a.b");
    }

    #[test]
    fn no_line_is_longer_than_a_server_has_to_pass_on() {
        // RFC 5321, section 4.5.3.1.6.
        let to: Vec<String> = (0..200).map(|n| format!("{}{n}@example.org", "x".repeat(200))).collect();
        let all = Message::new("\u{fc}".repeat(2_000), "alice@example.org", to, vec![b'x'; 100_000]);
        let tag = "t".repeat(64);
        let lines = compose(&all, &tag).unwrap();
        let longest = lines.split(|&b| b == b'\n').map(|line| line.len() + 1).max();
        assert!(longest.is_some_and(|longest| longest <= 1_000), "{longest:?}");
    }
}
