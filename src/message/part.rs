//! One part of a mail: its kind, its octets, its text.

use std::borrow::Cow;

use super::charset;
use super::content::Content;
use super::head::{Head, Name};
use super::{flowed, html, transfer};
use crate::error::{Error, Result};

/// A part, or a mail.
pub(super) struct Part<'a> {
    pub(super) head: Head<'a>,
    pub(super) content: Content,
    pub(super) disposition: Content,
    /// So many parts it is within.
    pub(super) level: usize,
}

impl<'a> Part<'a> {
    pub(super) fn mail(head: Head<'a>) -> Self {
        Self::new(head, 0, "text/plain")
    }

    pub(super) fn new(head: Head<'a>, level: usize, usual: &str) -> Self {
        let content = |name| head.first(name).map(|value| Content::of(&value)).unwrap_or_default();
        let (mut content, disposition) = (content(Name::ContentType), content(Name::ContentDisposition));
        if !content.kind.contains('/') {
            let is_said = head.first(Name::ContentType).is_some();
            content.kind = String::from(if is_said { "text/plain" } else { usual }); // RFC 2045, section 5.2
        }
        Self { head, content, disposition, level }
    }

    /// The body as octets.
    pub(super) fn octets(&self) -> Result<Cow<'a, [u8]>> {
        transfer::decode(self.head.first(Name::ContentTransferEncoding).as_deref(), self.head.body())
    }

    /// Whether it consists of parts, or is a text or a mail, perhaps a sealed one.
    pub(super) fn has_text(&self) -> bool {
        self.is_sealed() || ["text", "multipart", "message"].iter().any(|class| self.content.is_of(class))
    }

    fn size(&self) -> Option<usize> {
        size_of(&self.disposition)
    }

    /// Returns whether a text is within that is encrypted, or signed in one piece with its signature (RFC 8551, section 3.2).
    pub(super) fn is_sealed(&self) -> bool {
        match &*self.content.kind {
            "multipart/encrypted" | "application/pgp-encrypted" => true,
            // Files are signed like this, too, and have names of their own.
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => {
                self.level == 0 || self.file_name().is_none_or(|name| name.eq_ignore_ascii_case("smime.p7m"))
            }
            _ => false,
        }
    }

    pub(super) fn is_html(&self) -> bool {
        self.content.kind == "text/html"
    }

    pub(super) fn is_message(&self) -> bool {
        matches!(&*self.content.kind, "message/rfc822" | "message/global" | "message/news")
    }

    fn file_name(&self) -> Option<String> {
        self.content.parameter("name").or_else(|| self.disposition.parameter("filename"))
    }

    pub(super) fn has_file_name(&self) -> bool {
        self.file_name().is_some()
    }

    /// The text of a part that is one.
    pub(super) fn text(&self) -> Result<String> {
        let octets = self.octets()?;
        let mut label = self.content.parameter("charset").unwrap_or_default();
        if self.is_html() && charset::is_unsaid(&label) && std::str::from_utf8(&octets).is_err() {
            label = html::charset(&octets).filter(|label| charset::is_of_pages(label)).unwrap_or_default();
        }
        let (octets, label) = match octets.strip_prefix(b"\xef\xbb\xbf") {
            // It marks UTF-8, and is no text; pymail's own is kept as it was.
            Some(rest) if std::str::from_utf8(rest).is_ok() => {
                (if self.size().is_some() { &octets } else { rest }, "utf-8")
            }
            _ => (&*octets, &*label),
        };
        let decoded = charset::decode(label, octets);
        if let Some(lost) = decoded.lost {
            return Err(Error::message(format!("the body can't be decoded whole: {lost}")));
        }
        let says = |name: &str, value: &str| {
            self.content.parameter(name).is_some_and(|it| it.eq_ignore_ascii_case(value))
        };
        match () {
            () if self.is_html() => html::text(&decoded.text),
            () if says("format", "flowed") => Ok(flowed::unwrapped(&decoded.text, says("delsp", "yes"))),
            () => Ok(decoded.text),
        }
    }

    /// The body of pymail's own message, if that is what this part of another mail is.
    pub(super) fn ours(&self) -> Result<Option<Vec<u8>>> {
        let is_it =
            matches!(&*self.content.kind, "text/plain" | "application/octet-stream") && !self.has_file_name();
        let Some(size) = self.size().filter(|_| is_it) else { return Ok(None) };
        let is_text = self.content.is_of("text");
        let body = if is_text { self.text()?.into_bytes() } else { self.octets()?.into_owned() };
        check_size(size, &body).map(|()| Some(body))
    }
}

/// The size that pymail says of a body (RFC 2183, section 2.7).
pub(super) fn size_of(disposition: &Content) -> Option<usize> {
    disposition.parameter("size").filter(|_| disposition.kind == "inline")?.parse().ok()
}

/// Compares a body with the size that is said of it.
///
/// # Errors
/// `Message`: the body has another size than it says.
pub(super) fn check_size(size: usize, body: &[u8]) -> Result<()> {
    let text = || format!("the body says that it has {size} bytes, and has {}", body.len());
    (size == body.len()).then_some(()).ok_or_else(|| Error::message(text()))
}
