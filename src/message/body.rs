//! Decodes the body of a mail to its text, or to its bytes.
//!
//! A fast path decodes pymail's own format; the lenient decoder handles every other mail. Both agree on every mail that
//! the fast path accepts, which a property test checks.

use base64_simd::STANDARD;
use memchr::memchr;

use super::compose::{BINARY, TEXT};
use super::content::Content;
use super::headers::{Headers, Name};
use super::part::{Part, check_size, declared_size};
use super::parts::TextExtractor;
use crate::error::Result;

/// [`TEXT`] as Python's `email` writes it.
const QUOTED_TEXT: &str = "text/plain; charset=\"utf-8\"";

/// The lines that are decoded together: a multiple of 4, so that whatever their length, they are whole base64 by
/// themselves.
const GROUP: usize = 64;

/// Decodes the body of a mail in the form that pymail composes: one base64 part with lines of equal length.
///
/// Takes a third of the time of the lenient [`decode`]; returns `None` for any other mail.
pub(super) fn decode_own_format(headers: &Headers<'_>) -> Option<Vec<u8>> {
    let only = |field| headers.first(field).filter(|_| headers.all(field).count() == 1);
    let content_type = only(Name::ContentType)?;
    let is_text = [TEXT, QUOTED_TEXT].iter().any(|text| *content_type == *text.as_bytes());
    only(Name::ContentTransferEncoding)
        .filter(|encoding| **encoding == *b"base64" && (is_text || *content_type == *BINARY.as_bytes()))?;
    let body = decode_equal_lines(headers.body())?;
    // Invalid UTF-8 and a byte order mark need the lenient decoder.
    let is_plain = !is_text || (std::str::from_utf8(&body).is_ok() && !body.starts_with(b"\xef\xbb\xbf"));
    is_plain.then_some(body)
}

/// Decodes base64 whose lines are as long as the first; the last may be shorter. A blank line within, or a footer that
/// a mailing list has added, is no base64 at these places, and makes it `None`.
fn decode_equal_lines(text: &[u8]) -> Option<Vec<u8>> {
    let line = memchr(b'\n', text).map_or(text.len(), |end| end + 1).max(1);
    let line_end = line - text[..line.min(text.len())].trim_ascii_end().len();
    // Exactly the room that the body needs, but for padding: an app may keep many bodies.
    let mut body = Vec::with_capacity((text.len() - text.len() / line * line_end).div_ceil(4) * 3);
    let mut code = Vec::with_capacity((line * GROUP).min(text.len()));
    let mut is_padded = false;
    for lines in text.chunks(line * GROUP) {
        code.clear();
        lines.chunks(line).for_each(|line| code.extend_from_slice(line.trim_ascii_end()));
        // Padding ends the base64.
        if is_padded && !code.is_empty() {
            return None;
        }
        STANDARD.decode_append(&code, &mut body).ok()?;
        is_padded = code.ends_with(b"=");
    }
    Some(body)
}

/// Returns the text that a mail program displays, or the bytes of a mail that consists of one binary part: no text, no
/// multipart, no enclosed mail. A mail without any text is empty.
///
/// # Errors
/// `Message` when a part that is displayed can't be decoded.
pub(super) fn decode(octets: &[u8]) -> Result<Vec<u8>> {
    let mail = Part::mail(Headers::of_mail(octets));
    if !mail.has_text() {
        return mail.octets().map(std::borrow::Cow::into_owned);
    }
    TextExtractor::default().text(mail).map(Option::unwrap_or_default)
}

/// Checks the body against the size that pymail declares in Content-Disposition, if it does.
///
/// # Errors
/// `Message` when the sizes differ: the body was cut or changed on the way.
pub(super) fn check_declared_size(disposition: &Content, body: &[u8]) -> Result<()> {
    declared_size(disposition).map_or(Ok(()), |size| check_size(size, body))
}
