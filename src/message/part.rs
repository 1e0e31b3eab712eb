//! One MIME part: its content type, its decoded octets, its text.
//!
//! A part without Content-Type, or with an invalid one, is `text/plain`. Text is decoded in this order: transfer
//! encoding, charset, then HTML or `format=flowed`.

use std::borrow::Cow;

use super::charset;
use super::content::Content;
use super::headers::{Headers, Name};
use super::{flowed, html, transfer};
use crate::error::{Error, Result};

/// A MIME part, or a whole mail.
pub(super) struct Part<'a> {
    pub(super) headers: Headers<'a>,
    pub(super) content: Content,
    pub(super) disposition: Content,
    /// The number of parts that enclose it; 0 for a mail.
    pub(super) level: usize,
}

impl<'a> Part<'a> {
    /// Returns a mail as the outermost part, which is `text/plain` by default (RFC 2045, section 5.2).
    pub(super) fn mail(headers: Headers<'a>) -> Self {
        Self::new(headers, 0, "text/plain")
    }

    /// Parses a part's headers; `default_kind` is the content type of a part without Content-Type: `message/rfc822`
    /// within a digest (RFC 2046, section 5.1.5), else `text/plain`.
    pub(super) fn new(headers: Headers<'a>, level: usize, default_kind: &str) -> Self {
        let content = |name| headers.first(name).map(|value| Content::parse(&value)).unwrap_or_default();
        let (mut content, disposition) = (content(Name::ContentType), content(Name::ContentDisposition));
        if !content.kind.contains('/') {
            let is_invalid = headers.first(Name::ContentType).is_some();
            content.kind = String::from(if is_invalid { "text/plain" } else { default_kind }); // RFC 2045, section 5.2
        }
        Self { headers, content, disposition, level }
    }

    /// Decodes the body by its Content-Transfer-Encoding.
    pub(super) fn octets(&self) -> Result<Cow<'a, [u8]>> {
        transfer::decode(self.headers.first(Name::ContentTransferEncoding).as_deref(), self.headers.body())
    }

    /// Returns `true` for a text, a multipart, a mail, and for any of these encrypted or signed.
    pub(super) fn has_text(&self) -> bool {
        let has_text = |top_level: &&str| self.content.is_of_type(top_level);
        self.is_opaque() || ["text", "multipart", "message"].iter().any(has_text)
    }

    fn declared_size(&self) -> Option<usize> {
        declared_size(&self.disposition)
    }

    /// Returns `true` for a part that is encrypted or opaque-signed: signed in one piece with its content (RFC 8551,
    /// section 3.2). In S/MIME both are `application/pkcs7-mime`, and the content tells them apart: `smime-type` is
    /// optional.
    pub(super) fn is_opaque(&self) -> bool {
        match &*self.content.kind {
            "multipart/encrypted" | "application/pgp-encrypted" => true,
            // A signed file has this type, too, and a file name of its own.
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => {
                self.level == 0 || self.file_name().is_none_or(|name| name.eq_ignore_ascii_case("smime.p7m"))
            }
            _ => false,
        }
    }

    pub(super) fn is_html(&self) -> bool {
        self.content.kind == "text/html"
    }

    /// Returns `true` for an enclosed mail.
    pub(super) fn is_message(&self) -> bool {
        matches!(&*self.content.kind, "message/rfc822" | "message/global" | "message/news")
    }

    /// Returns the file name: Content-Type's `name`, which is the older one, else Content-Disposition's `filename` (RFC
    /// 2183).
    fn file_name(&self) -> Option<String> {
        self.content.parameter("name").or_else(|| self.disposition.parameter("filename"))
    }

    pub(super) fn has_file_name(&self) -> bool {
        self.file_name().is_some()
    }

    /// Decodes the text of a text part; HTML is converted to text.
    ///
    /// A byte order mark of UTF-8 goes before any label. In HTML, the page's own charset counts only where the label is
    /// missing or says ASCII, and the octets are no UTF-8.
    ///
    /// # Errors
    /// `Message` when the text can't be decoded without loss.
    pub(super) fn text(&self) -> Result<String> {
        let octets = self.octets()?;
        let mut label = self.content.parameter("charset").unwrap_or_default();
        if self.is_html() && charset::is_unlabelled(&label) && std::str::from_utf8(&octets).is_err() {
            let declared = html::declared_charset(&octets);
            label = declared.filter(|label| charset::can_be_declared_in_html(label)).unwrap_or_default();
        }
        let (octets, label) = match octets.strip_prefix(b"\xef\xbb\xbf") {
            // The mark is dropped, except from pymail's own bodies, which arrive unchanged.
            Some(rest) if std::str::from_utf8(rest).is_ok() => {
                (if self.declared_size().is_some() { &octets } else { rest }, "utf-8")
            }
            _ => (&*octets, &*label),
        };
        let decoded = charset::decode(label, octets);
        if let Some(lost) = decoded.lost {
            return Err(Error::message(format!("the body can't be decoded: {lost}")));
        }
        let has_parameter = |name: &str, value: &str| {
            self.content.parameter(name).is_some_and(|given| given.eq_ignore_ascii_case(value))
        };
        if self.is_html() {
            return html::to_text(&decoded.text);
        }
        if has_parameter("format", "flowed") {
            return Ok(flowed::unwrap_paragraphs(&decoded.text, has_parameter("delsp", "yes")));
        }
        Ok(decoded.text)
    }

    /// Returns the body of a pymail message that another program, such as a mailing list, made a part of its own mail.
    /// It is known by its declared size, its content type, one of the two that pymail sends, and the lack of a file
    /// name.
    ///
    /// # Errors
    /// `Message` when the body can't be decoded, or has another size than declared.
    pub(super) fn own_body(&self) -> Result<Option<Vec<u8>>> {
        let has_own_kind =
            matches!(&*self.content.kind, "text/plain" | "application/octet-stream") && !self.has_file_name();
        let Some(size) = self.declared_size().filter(|_| has_own_kind) else { return Ok(None) };
        let is_text = self.content.is_of_type("text");
        let body = if is_text { self.text()?.into_bytes() } else { self.octets()?.into_owned() };
        check_size(size, &body).map(|()| Some(body))
    }
}

/// Returns the size of the body that pymail declares in Content-Disposition (RFC 2183, section 2.7).
pub(super) fn declared_size(disposition: &Content) -> Option<usize> {
    disposition.parameter("size").filter(|_| disposition.kind == "inline")?.parse().ok()
}

/// Checks a body against its declared size: base64 that was cut at a line end decodes without an error.
///
/// # Errors
/// `Message` when they differ.
pub(super) fn check_size(size: usize, body: &[u8]) -> Result<()> {
    let text =
        || format!("the body has {} bytes, not the declared {size}: it was changed on the way", body.len());
    (size == body.len()).then_some(()).ok_or_else(|| Error::message(text()))
}
