//! The body of a mail: its text, decoded and whole.

use base64_simd::STANDARD;

use super::content::Content;
use super::head::{Head, Name};
use super::part::{Part, check_size, size_of};
use super::parts::Effort;
use crate::error::Result;

/// The body of a mail that is as ours are: one part of base64, in lines of one length.
///
/// It is decoded in a third of the time that the leniency of [`of`] takes.
pub(super) fn simple(head: &Head<'_>) -> Option<Vec<u8>> {
    let once = |name| head.first(name).filter(|_| head.all(name).count() == 1);
    let content = Content::of(&once(Name::ContentType)?);
    once(Name::ContentTransferEncoding).filter(|name| name.eq_ignore_ascii_case(b"base64"))?;
    if content.kind == "application/octet-stream" {
        return decoded(head.body());
    }
    let charset = content.parameter("charset")?;
    let is_text = content.kind == "text/plain"
        && charset.eq_ignore_ascii_case("utf-8")
        && content.parameter("format").is_none();
    let body = is_text.then(|| decoded(head.body()))??;
    // What is not UTF-8, or is marked as that, takes a closer look.
    (std::str::from_utf8(&body).is_ok() && !body.starts_with(b"\xef\xbb\xbf")).then_some(body)
}

/// Decodes base64 in lines as long as the first one, of which the last may be shorter.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let line = text.iter().position(|&octet| octet == b'\n').map_or(text.len(), |end| end + 1).max(1);
    let mut body = Vec::with_capacity(text.len());
    text.chunks(line).for_each(|line| body.extend_from_slice(line.trim_ascii_end()));
    let length = STANDARD.decode_inplace(&mut body).ok()?.len();
    body.truncate(length);
    body.shrink_to_fit();
    Some(body)
}

/// The text that a mail program shows; the bytes themselves when a mail is nothing but bytes.
///
/// # Errors
/// `Message`: some of it can't be decoded.
pub(super) fn of(octets: &[u8]) -> Result<Vec<u8>> {
    let mail = Part::mail(Head::of_mail(octets));
    if !mail.has_text() {
        return mail.octets().map(std::borrow::Cow::into_owned);
    }
    Effort::default().text(mail).map(Option::unwrap_or_default)
}

/// What pymail composed says its body's size; a body of another size is not it.
pub(super) fn check(head: &Head<'_>, body: &[u8]) -> Result<()> {
    size_of(&head.first(Name::ContentDisposition).map(|value| Content::of(&value)).unwrap_or_default())
        .map_or(Ok(()), |size| check_size(size, body))
}
