//! The body of a mail: its text, decoded and whole.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::html::html_to_text;
use mail_parser::{
    ContentType, Encoding, HeaderName, Message as Parsed, MessagePart, MimeHeaders as _, PartType,
};

use crate::error::{Error, Result};

/// The body of a mail whose headers alone were parsed, if it is as ours are: one part of base64, in lines of one
/// length. The parser takes five times as long for it.
pub(super) fn simple(headers: &Parsed<'_>, octets: &[u8]) -> Option<Vec<u8>> {
    let fields = headers.headers();
    let is_once = |name| fields.iter().filter(|field| field.name == name).count() == 1;
    if !(is_once(HeaderName::ContentType) && is_once(HeaderName::ContentTransferEncoding)) {
        return None;
    }
    let end = fields.iter().map(|field| field.offset_end as usize).max()?;
    let text = octets.get(end..)?.strip_prefix(b"\r\n")?;
    let part = headers.root_part();
    let is_base64 = part.content_transfer_encoding().is_some_and(|name| name.eq_ignore_ascii_case("base64"));
    let content = part.content_type().filter(|_| is_base64)?;
    let is = |name: &str, sub: &str| {
        content.c_type.eq_ignore_ascii_case(name)
            && content.c_subtype.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(sub))
    };
    if is("application", "octet-stream") {
        return decoded(text);
    }
    let charset = content.attribute("charset")?;
    let body = (is("text", "plain") && charset.eq_ignore_ascii_case("utf-8")).then(|| decoded(text))??;
    // What is not UTF-8 the parser makes the best of, and it knows of byte order marks.
    (std::str::from_utf8(&body).is_ok() && !body.starts_with(b"\xef\xbb\xbf")).then_some(body)
}

/// Base64 in lines as long as the first one, of which the last may be shorter.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let line = text.iter().position(|&octet| octet == b'\n').map_or(text.len(), |end| end + 1).max(1);
    let mut body = vec![0; text.len().div_ceil(4) * 3];
    let mut length = 0;
    for line in text.chunks(line) {
        length += BASE64_STANDARD.decode_slice(line.trim_ascii_end(), &mut body[length..]).ok()?;
    }
    body.truncate(length);
    Some(body)
}

/// The text part, decoded; the bytes themselves when a mail is nothing but bytes.
pub(super) fn of(parsed: &Parsed<'_>) -> Vec<u8> {
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
pub(super) fn check(parsed: &Parsed<'_>, body: &[u8]) -> Result<()> {
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
