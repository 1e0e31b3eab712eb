//! From the bytes of a mail to a message, without the interpreter.

use std::borrow::Cow;
use std::panic::{UnwindSafe, catch_unwind};

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::html::html_to_text;
use mail_parser::{
    Address, ContentType, Encoding, HeaderName, Message as Parsed, MessageParser, MessagePart, MimeHeaders,
    PartType,
};

use super::{Identity, Message, MessageId};
use crate::error::{Error, Result};

/// More parts than this, nobody sends in earnest.
const MOST_PARTS: usize = 1_000;

/// A message, and what tells it from others, where something does.
pub(crate) type Known = (Message, Option<Identity>);

/// Reads a mail; `None` when it is not one of ours.
///
/// Ours is what has the tag as the first word of its decoded Subject: a SEARCH finds more than that.
pub(crate) fn parse(octets: &[u8], tag: &str) -> Option<Result<Known>> {
    is_ours(octets, tag).then(|| {
        if has_too_many_parts(octets) {
            return Err(Error::message(format!("it has more than {MOST_PARTS} parts")));
        }
        guarded(|| read(octets, tag)).unwrap_or_else(|| Err(Error::message("it can't be parsed")))
    })
}

/// Whether a mail is one of ours, by its headers alone; its body need not be whole.
pub(crate) fn is_ours(octets: &[u8], tag: &str) -> bool {
    let ours = || {
        let parsed = MessageParser::default().parse_headers(octets)?;
        Some(id_behind(tag, subject(&parsed)?).is_some())
    };
    guarded(ours).unwrap_or(false)
}

fn read(octets: &[u8], tag: &str) -> Option<Result<Known>> {
    let parsed = MessageParser::default().parse(octets)?;
    let id = id_behind(tag, subject(&parsed)?)?.to_owned();
    Some(message(&parsed, id).map(|message| (message, Identity::of(&parsed))))
}

/// Mail comes from anybody; what no parser has foreseen is one bad message, not the end of a thread.
pub(super) fn guarded<T>(read: impl FnOnce() -> Option<T> + UnwindSafe) -> Option<T> {
    catch_unwind(read).ok().flatten()
}

/// Each mail within a mail takes stack to drop, and an overflow can't be caught. Each needs a header.
fn has_too_many_parts(octets: &[u8]) -> bool {
    let headers = octets.windows(b"content-type".len());
    let headers = headers.filter(|text| text[7] == b'-' && text.eq_ignore_ascii_case(b"content-type"));
    headers.take(MOST_PARTS + 1).count() > MOST_PARTS
}

/// The first Subject, where there are several, as mail programs show it; `Parsed::subject` is the last.
pub(super) fn subject<'a>(parsed: &'a Parsed<'_>) -> Option<&'a str> {
    parsed.header_values(HeaderName::Subject).next()?.as_text()
}

/// What follows the tag and one blank.
fn id_behind<'a>(tag: &str, subject: &'a str) -> Option<&'a str> {
    let rest = subject.strip_prefix(tag)?;
    rest.strip_prefix([' ', '\t']).or_else(|| rest.is_empty().then_some(rest))
}

fn message(parsed: &Parsed<'_>, id: String) -> Result<Message> {
    // Mail of other programs may name nobody: its text is worth having all the same.
    let sent_by = sender(parsed).unwrap_or_default();
    let sent_to =
        parsed.all_to().flat_map(|to| to.clone().into_list()).filter_map(|to| Some(to.address?.into_owned()));
    let message_id = parsed.message_id().and_then(MessageId::received);
    let message_id = message_id.unwrap_or_else(|| MessageId::random(&sent_by));
    let body = body(parsed);
    check_size(parsed, &body)?;
    Ok(Message { id, sent_to: sent_to.collect(), body, message_id, sent_by })
}

/// The first address of the first From that has one, or else of a Sender.
pub(super) fn sender(parsed: &Parsed<'_>) -> Option<String> {
    let from = parsed.header_values(HeaderName::From);
    from.chain(parsed.header_values(HeaderName::Sender)).find_map(|value| first_address(value.as_address()?))
}

fn first_address(addresses: &Address<'_>) -> Option<String> {
    addresses.iter().find_map(|address| address.address.as_deref()).map(str::to_owned)
}

/// The text part, decoded; the bytes themselves when a mail is nothing but bytes.
fn body(parsed: &Parsed<'_>) -> Vec<u8> {
    match &parsed.root_part().body {
        PartType::Text(text) => text.as_bytes().into(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes.to_vec(),
        _ => text(parsed).map(|text| text.into_owned().into_bytes()).unwrap_or_default(),
    }
}

/// The first text of several parts. One whose end is missing has lost its place among the bodies, not its text.
fn text<'a>(parsed: &'a Parsed<'_>) -> Option<Cow<'a, str>> {
    let attached =
        |part: &MessagePart<'_>| part.content_disposition().is_some_and(ContentType::is_attachment);
    let cut = parsed.parts.iter().filter(|part| part.is_encoding_problem && !attached(part));
    parsed.text_bodies().chain(parsed.html_bodies()).chain(cut).find_map(|part| match &part.body {
        PartType::Text(html) if part.is_content_type("text", "html") => Some(html_to_text(html).into()),
        PartType::Html(html) => Some(html_to_text(html).into()),
        PartType::Text(text) => Some(text.as_ref().into()),
        _ => None,
    })
}

/// What pymail composed says its body's size (RFC 2183, section 2.7); a body of another size is not it.
fn check_size(parsed: &Parsed<'_>, body: &[u8]) -> Result<()> {
    let disposition = parsed.root_part().content_disposition();
    let inline = disposition.filter(|disposition| disposition.c_type.eq_ignore_ascii_case("inline"));
    let size = inline.and_then(|disposition| disposition.attribute("size"));
    match size.and_then(|size| size.parse::<usize>().ok()) {
        Some(size) if size != body.len() => {
            let text = format!("the body says that it has {size} bytes, and has {}", body.len());
            Err(Error::message(text))
        }
        Some(_) if ends_within_a_character(parsed, body) => {
            Err(Error::message("the body ends within a character: it was cut"))
        }
        _ => Ok(()),
    }
}

/// What is left of a text's last character becomes U+FFFD, which may have as many bytes as the whole one had.
fn ends_within_a_character(parsed: &Parsed<'_>, body: &[u8]) -> bool {
    let part = parsed.root_part();
    if part.encoding != Encoding::Base64 || !body.ends_with("\u{fffd}".as_bytes()) {
        return false;
    }
    let raw = parsed.raw_message.get(part.offset_body as usize..part.offset_end as usize);
    raw.and_then(base64_decode).is_none_or(|octets| octets != body)
}
