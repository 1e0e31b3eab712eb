//! Extracts the text of a multipart mail: the parts that a mail program displays (RFC 2046).
//!
//! | kind | text |
//! | --- | --- |
//! | `multipart/alternative` | the first plain text, else HTML |
//! | `multipart/related` | the root part |
//! | `multipart/digest` | the texts of all mails in it |
//! | any other, such as `mixed`, `signed`, `report` | all texts that are not attached, joined |
//!
//! If nothing is displayed, texts with a file name are extracted, else other text types, else enclosed mails.
//! Opaque-signed parts are unwrapped; an encrypted part is an error. A body of pymail that a mailing list put into a
//! multipart is extracted alone.
//!
//! Boundaries may be missing, wrong, or the same on two levels: parts are split at the declared boundary, else at a
//! line that looks like one, else the body is text.

use memchr::memmem;

use super::headers::{Headers, Name, line_at, name_of};
use super::part::Part;
use super::signed;
use crate::error::{Error, Result};

/// The parts that a mail may have: each takes memory for its headers, and a megabyte has room for 100,000.
const MAX_PARTS: usize = 1_000;
/// The levels of nested parts that a mail may have; each costs another scan of its octets, and stack.
const MAX_LEVELS: usize = 32;

/// The text extracted from a part.
struct Extracted {
    body: Vec<u8>,
    is_html: bool,
    /// `true` for a pymail message inside another mail, such as a mailing list's.
    is_own: bool,
}

impl Extracted {
    /// Returns text that is not HTML.
    fn plain(body: Vec<u8>) -> Self {
        Self { body, is_html: false, is_own: false }
    }
}

/// Parts whose text is extracted only if no other part has any: those of the lowest rank.
///
/// | rank | parts |
/// | --- | --- |
/// | 0 | `text/plain` and `text/html` with a file name, unless their disposition is `inline` |
/// | 1 | other kinds of text, such as `text/csv` and `message/delivery-status` |
/// | 2 | enclosed mails |
#[derive(Default)]
struct Fallback<'a> {
    rank: u8,
    parts: Vec<Part<'a>>,
}

impl<'a> Fallback<'a> {
    /// Adds a part, unless there are parts of a lower rank; drops parts of a higher one.
    fn add(&mut self, rank: u8, part: Part<'a>) {
        if self.parts.is_empty() || rank < self.rank {
            (self.rank, self.parts) = (rank, Vec::new());
        }
        if rank == self.rank {
            self.parts.push(part);
        }
    }
}

/// Extracts the text of one mail, and counts the work to bound it.
#[derive(Debug, Default)]
pub(super) struct TextExtractor {
    parts: usize,
    /// The octets that were searched for boundaries: at most twice the mail for each level, for the declared boundary
    /// and for a guessed one. A test measures that.
    pub(super) searched: usize,
}

impl TextExtractor {
    /// Returns the text that a mail program displays; `None` for a mail without any, such as attachments alone.
    ///
    /// # Errors
    /// `Message` when a displayed part can't be decoded, or the mail has too many parts or levels.
    pub(super) fn text(&mut self, mail: Part<'_>) -> Result<Option<Vec<u8>>> {
        let mut fallback = Fallback::default();
        if let Some(text) = self.extract(mail, &mut fallback)? {
            return Ok(Some(text.body));
        }
        let mut all = None;
        for part in fallback.parts {
            let text = if part.is_message() {
                self.text_of_enclosed(&part, &part.octets()?)?
            } else {
                Some(part.text()?.into_bytes())
            };
            if let Some(text) = text {
                append_text(all.get_or_insert_default(), text);
            }
        }
        Ok(all)
    }

    /// Returns the text of a mail that is enclosed in a part.
    fn text_of_enclosed(&mut self, part: &Part<'_>, mail: &[u8]) -> Result<Option<Vec<u8>>> {
        self.text(Part::new(Headers::of_mail(mail), next_level(part)?, "text/plain"))
    }

    /// Returns the text of an opaque-signed part.
    ///
    /// # Errors
    /// `Message` for an encrypted part.
    fn text_of_opaque(&mut self, part: &Part<'_>) -> Result<Option<Extracted>> {
        let signed =
            signed::content(&part.octets()?).ok_or_else(|| Error::message("the mail is encrypted"))?;
        Ok(self.text_of_enclosed(part, &signed)?.map(Extracted::plain))
    }

    /// Returns a part's text; adds a part that is displayed only in the absence of other text to `fallback`.
    fn extract<'a>(&mut self, part: Part<'a>, fallback: &mut Fallback<'a>) -> Result<Option<Extracted>> {
        if part.is_opaque() {
            return self.text_of_opaque(&part);
        }
        if part.content.is_of_type("multipart") {
            return self.extract_multipart(&part, fallback);
        }
        let own = if part.level > 0 { part.own_body()? } else { None };
        if let Some(body) = own {
            return Ok(Some(Extracted { body, is_html: false, is_own: true }));
        }
        let rank = match &*part.content.kind {
            "text/plain" | "text/html" if part.has_file_name() && part.disposition.kind != "inline" => 0,
            "text/plain" | "text/html" => {
                let (body, is_html) = (part.text()?.into_bytes(), part.is_html());
                return Ok(Some(Extracted { body, is_html, is_own: false }));
            }
            "message/external-body" => return Ok(None), // a mere reference
            _ if part.is_message() => 2,
            _ if part.has_text() => 1,
            _ => return Ok(None),
        };
        fallback.add(rank, part);
        Ok(None)
    }

    /// Returns the text of a multipart, by its kind; other kinds than these are read as `multipart/mixed`.
    fn extract_multipart<'a>(
        &mut self,
        part: &Part<'a>,
        fallback: &mut Fallback<'a>,
    ) -> Result<Option<Extracted>> {
        let parts = self.split_parts(part)?;
        if parts.is_empty() {
            // Without any boundary, the body is displayed as text.
            let is_blank = part.headers.body().trim_ascii().is_empty();
            let text = || part.text().map(|text| Extracted::plain(text.into_bytes()));
            return (!is_blank).then(text).transpose();
        }
        let parts =
            parts.into_iter().filter(|part| part.disposition.kind != "attachment" || part.is_opaque());
        match &*part.content.kind {
            "multipart/alternative" => self.extract_alternative(parts, fallback),
            "multipart/related" => self.extract_related(part, parts.collect(), fallback),
            "multipart/digest" => self.extract_digest(parts),
            _ => self.extract_mixed(parts, fallback),
        }
    }

    /// Returns one of several alternatives: the first plain text, else the first HTML that is not blank. RFC 2046,
    /// section 5.1.4, prefers the last one that is understood; plain text is taken here because it needs no conversion.
    ///
    /// An alternative that can't be decoded is an error only if no other one has text: they say the same. If all are
    /// files, the first one is the fallback.
    fn extract_alternative<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>>,
        fallback: &mut Fallback<'a>,
    ) -> Result<Option<Extracted>> {
        let (mut best, mut failed) = (None, None);
        let mut alternatives = Fallback::default();
        for part in parts {
            match self.extract(part, &mut alternatives) {
                Ok(Some(text)) if !text.is_html && !is_blank(&text) => return Ok(Some(text)),
                Ok(Some(text)) if best.as_ref().is_none_or(is_blank) => best = Some(text),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        alternatives.parts.into_iter().take(1).for_each(|part| fallback.add(alternatives.rank, part));
        match (best, failed) {
            (Some(text), Some(error)) if is_blank(&text) => Err(error),
            (None, Some(error)) => Err(error),
            (best, _) => Ok(best),
        }
    }

    /// Returns the text of the root part (RFC 2387, section 3): the one that `start` names, else the first that has
    /// text. The other parts are what the root displays, such as its images.
    fn extract_related<'a>(
        &mut self,
        part: &Part<'a>,
        mut parts: Vec<Part<'a>>,
        fallback: &mut Fallback<'a>,
    ) -> Result<Option<Extracted>> {
        let id = |text: &[u8]| {
            String::from_utf8_lossy(text)
                .trim_matches(|c: char| c.is_whitespace() || "<>".contains(c))
                .to_owned()
        };
        let start = part.content.parameter("start").map(|start| id(start.as_bytes()));
        let is_start = |part: &Part<'_>| part.headers.first(Name::ContentId).map(|value| id(&value)) == start;
        if let Some(root) = start.is_some().then(|| parts.iter().position(is_start)).flatten() {
            parts[..=root].rotate_right(1);
        }
        for part in parts {
            if let Some(text) = self.extract(part, fallback)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// Returns the texts of all parts, joined; only the body of a pymail message, if one is among them: what a mailing
    /// list adds to it is none of the app's data.
    fn extract_mixed<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>>,
        fallback: &mut Fallback<'a>,
    ) -> Result<Option<Extracted>> {
        let mut all: Option<Extracted> = None;
        for part in parts {
            match (self.extract(part, fallback)?, &mut all) {
                (Some(text), _) if text.is_own => return Ok(Some(text)),
                (Some(text), Some(all)) => append_text(&mut all.body, text.body),
                (Some(text), None) => all = Some(text),
                (None, _) => {}
            }
        }
        Ok(all)
    }

    /// Returns the texts of a digest's mails (RFC 2046, section 5.1.5), joined, without their headers.
    fn extract_digest<'a>(&mut self, parts: impl Iterator<Item = Part<'a>>) -> Result<Option<Extracted>> {
        let mut all = None;
        for part in parts {
            let text = if part.is_message() {
                self.text_of_enclosed(&part, &part.octets()?)?
            } else {
                self.extract(part, &mut Fallback::default())?.map(|text| text.body)
            };
            if let Some(text) = text {
                append_text(all.get_or_insert_default(), text);
            }
        }
        Ok(all.map(Extracted::plain))
    }

    /// Splits a multipart's body at its boundary; returns no parts if none is found.
    ///
    /// The body is not transfer-decoded before: a multipart has no encoding of its own (RFC 2045, section 6.4), and one
    /// that claims base64 is plain in practice.
    fn split_parts<'a>(&mut self, part: &Part<'a>) -> Result<Vec<Part<'a>>> {
        let level = next_level(part)?;
        let body = part.headers.body();
        let declared = part.content.parameter("boundary").unwrap_or_default();
        let mut sections = self.split_at_boundary(body, declared.trim_end().as_bytes())?;
        if sections.is_empty() {
            sections = self.split_at_boundary(body, guess_boundary(body).unwrap_or_default())?;
        }
        let default_kind =
            if part.content.kind == "multipart/digest" { "message/rfc822" } else { "text/plain" };
        Ok(sections
            .into_iter()
            .map(|section| Part::new(Headers::of_part(section), level, default_kind))
            .collect())
    }

    /// Returns the sections between boundary lines, without the line end before each (RFC 2046, section 5.1.1).
    ///
    /// A boundary stands at the start of a line, with nothing but blanks after it: `--bc` is no boundary for `b`, nor
    /// is `see --b`. Text before the first boundary and after the closing one is for programs without MIME, and is
    /// dropped, unless it begins with header fields: then a boundary line has been lost. Without a closing boundary the
    /// last section goes to the end.
    fn split_at_boundary<'a>(&mut self, body: &'a [u8], boundary: &[u8]) -> Result<Vec<&'a [u8]>> {
        self.searched += body.len();
        if boundary.is_empty() {
            return Ok(Vec::new());
        }
        let delimiter = [b"--", boundary].concat();
        let finder = memmem::Finder::new(&delimiter);
        let (mut sections, mut open, mut from) = (Vec::new(), None, 0);
        while let Some(at) = finder.find(&body[from..]).map(|at| from + at) {
            from = at + 1;
            if at > 0 && body[at - 1] != b'\n' {
                continue;
            }
            let Some((line, next)) = line_at(body, at) else { break };
            let is_closing = match line[delimiter.len()..].trim_ascii_end() {
                b"" => false,
                b"--" => true,
                _ => continue, // a longer boundary with this prefix
            };
            self.count_part()?;
            let open_before = open.or_else(|| part_before_first_boundary(&body[..at], is_closing));
            sections.extend(section(body, open_before, at));
            (open, from) = (Some((next, is_closing)), next);
        }
        let is_open = open.is_some_and(|(_, is_closing)| !is_closing || sections.is_empty());
        sections.extend(open.filter(|_| is_open).map(|(start, _)| &body[start..])); // without a closing boundary
        Ok(sections)
    }

    /// Counts a part, over all levels of the mail.
    ///
    /// # Errors
    /// `Message` when the mail has too many.
    fn count_part(&mut self) -> Result<()> {
        self.parts += 1;
        let text = || Error::message(format!("the mail has more than {MAX_PARTS} parts"));
        (self.parts <= MAX_PARTS).then_some(()).ok_or_else(text)
    }
}

/// Returns the section between the previous boundary and this one; after a closing boundary, only if it looks like a
/// part: the boundary may be that of an inner multipart with the same name.
fn section(body: &[u8], open: Option<(usize, bool)>, end: usize) -> Option<&[u8]> {
    let (start, is_closing) = open?;
    let section = &body[start..end.max(start)];
    let section = section.strip_suffix(b"\n").unwrap_or(section);
    let section = section.strip_suffix(b"\r").unwrap_or(section);
    let is_part = |section: &[u8]| line_at(section, 0).is_some_and(|(line, _)| name_of(line).is_some());
    (!is_closing || is_part(section)).then_some(section)
}

/// Returns the start of a part before the first boundary, whose own boundary is missing.
fn part_before_first_boundary(preamble: &[u8], is_closing: bool) -> Option<(usize, bool)> {
    let start = preamble.len() - preamble.trim_ascii_start().len();
    let is_part = is_closing && start < preamble.len() || is_content_field(preamble, start);
    is_part.then_some((start, false))
}

/// Returns `true` if a `Content-` field starts at this offset.
fn is_content_field(octets: &[u8], at: usize) -> bool {
    let name = line_at(octets, at).and_then(|(line, _)| name_of(line));
    name.is_some_and(|name| name.len() > 8 && name[..8].eq_ignore_ascii_case(b"content-"))
}

/// Guesses the boundary, where the declared one is missing or wrong: the first `--` line before a `Content-` field.
fn guess_boundary(body: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some((line, next)) = line_at(body, at) {
        let has_fields = || is_content_field(body, next);
        if let Some(boundary) =
            line.strip_prefix(b"--").filter(|boundary| !boundary.is_empty() && has_fields())
        {
            return Some(boundary.trim_ascii_end());
        }
        at = next;
    }
    None
}

/// Returns the level of the parts in a part.
///
/// # Errors
/// `Message` when the mail has too many levels.
fn next_level(part: &Part<'_>) -> Result<usize> {
    let text = || Error::message(format!("the mail has more than {MAX_LEVELS} levels of nested parts"));
    (part.level < MAX_LEVELS).then_some(part.level + 1).ok_or_else(text)
}

/// Appends a text on a new line.
fn append_text(all: &mut Vec<u8>, text: Vec<u8>) {
    if !all.is_empty() && !all.ends_with(b"\n") {
        all.extend_from_slice(b"\r\n");
    }
    all.extend(text);
}

/// Returns `true` if a text has no visible character; no-break and zero-width blanks count as invisible. Some
/// newsletters have an empty plain text beside their HTML.
fn is_blank(text: &Extracted) -> bool {
    let is_invisible =
        |c: char| c.is_whitespace() || "\u{ad}\u{34f}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}".contains(c);
    std::str::from_utf8(&text.body).is_ok_and(|text| text.chars().all(is_invisible))
}
