//! The parts of a mail, and which of them a mail program shows as its text (RFC 2046).

use std::borrow::Cow;

use memchr::memmem;

use super::charset;
use super::content::Content;
use super::head::{Head, Name, line_at, name_of};
use super::{flowed, html, transfer};
use crate::error::{Error, Result};

/// No more parts than this are sent in earnest.
const MOST_PARTS: usize = 1_000;
/// Nor any deeper; each level is looked through once more, and takes stack.
const MOST_LEVELS: usize = 32;

/// A part, or a mail.
pub(super) struct Part<'a> {
    head: Head<'a>,
    content: Content,
    disposition: Content,
    level: usize,
}

/// What is shown of parts.
struct Shown {
    body: Vec<u8>,
    is_html: bool,
    /// It is a message of ours, in whatever a mailing list has put around it.
    is_ours: bool,
}

/// A text that is shown when there is no other: the lower its number, the sooner.
type Aside<'a> = Option<(u8, Part<'a>)>;

/// What was spent on a mail, whatever it is made of.
#[derive(Debug, Default)]
pub(super) struct Effort {
    parts: usize,
    /// So many octets were looked through for boundaries.
    pub(super) octets: usize,
}

impl<'a> Part<'a> {
    pub(super) fn mail(head: Head<'a>) -> Self {
        Self::new(head, 0, "text/plain")
    }

    fn new(head: Head<'a>, level: usize, usual: &str) -> Self {
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

    /// Whether it consists of parts, or is a text or a mail.
    pub(super) fn has_text(&self) -> bool {
        ["text", "multipart", "message"].iter().any(|class| self.content.is_of(class))
    }

    /// The size that pymail says of a body (RFC 2183, section 2.7).
    pub(super) fn size(&self) -> Option<usize> {
        let size = self.disposition.parameter("size").filter(|_| self.disposition.kind == "inline")?;
        size.parse().ok()
    }

    fn is_html(&self) -> bool {
        self.content.kind == "text/html"
    }

    fn is_message(&self) -> bool {
        matches!(&*self.content.kind, "message/rfc822" | "message/global" | "message/news")
    }

    fn has_file_name(&self) -> bool {
        self.content.parameter("name").or_else(|| self.disposition.parameter("filename")).is_some()
    }

    /// The text of a part that is one.
    fn text(&self) -> Result<String> {
        let octets = self.octets()?;
        let mut label = self.content.parameter("charset").unwrap_or_default();
        if self.is_html() && charset::is_unsaid(&label) && std::str::from_utf8(&octets).is_err() {
            label = html::charset(&octets).unwrap_or_default();
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
    fn ours(&self) -> Option<Vec<u8>> {
        let size = self.size().filter(|_| !self.has_file_name())?;
        let is_bytes = self.content.kind == "application/octet-stream";
        let body = if is_bytes { self.octets().ok()?.into_owned() } else { self.text().ok()?.into_bytes() };
        (body.len() == size).then_some(body)
    }
}

impl Effort {
    /// The text that a mail program shows; `None` when there is none, as of attachments alone.
    ///
    /// # Errors
    /// `Message`: some of it can't be decoded, or the mail has too many parts, or too deep ones.
    pub(super) fn text(&mut self, mail: Part<'_>) -> Result<Option<Vec<u8>>> {
        let mut aside = None;
        if let Some(shown) = self.shown(mail, &mut aside)? {
            return Ok(Some(shown.body));
        }
        match aside {
            Some((_, part)) if part.is_message() => self.text_within(&part),
            Some((_, part)) => part.text().map(|text| Some(text.into_bytes())),
            None => Ok(None),
        }
    }

    /// The text of a mail that is a part.
    fn text_within(&mut self, part: &Part<'_>) -> Result<Option<Vec<u8>>> {
        let octets = part.octets()?;
        self.text(Part::new(Head::of_mail(&octets), deeper(part)?, "text/plain"))
    }

    fn shown<'a>(&mut self, part: Part<'a>, aside: &mut Aside<'a>) -> Result<Option<Shown>> {
        if part.content.is_of("multipart") {
            return self.shown_of_parts(&part, aside);
        }
        if let Some(body) = Some(&part).filter(|part| part.level > 0).and_then(Part::ours) {
            return Ok(Some(Shown { body, is_html: false, is_ours: true }));
        }
        let number = match &*part.content.kind {
            "text/plain" | "text/html" if part.has_file_name() => 0,
            "text/plain" | "text/html" => {
                let (body, is_html) = (part.text()?.into_bytes(), part.is_html());
                return Ok(Some(Shown { body, is_html, is_ours: false }));
            }
            _ if part.content.is_of("text") => 1,
            _ if part.is_message() => 2,
            _ => return Ok(None),
        };
        if aside.as_ref().is_none_or(|(other, _)| number < *other) {
            *aside = Some((number, part));
        }
        Ok(None)
    }

    fn shown_of_parts<'a>(&mut self, part: &Part<'a>, aside: &mut Aside<'a>) -> Result<Option<Shown>> {
        let parts = self.parts(part)?;
        if parts.is_empty() {
            // A boundary that can't be found is not a reason to show nothing.
            let is_blank = part.head.body().trim_ascii().is_empty();
            let text =
                || part.text().map(|text| Shown { body: text.into_bytes(), is_html: false, is_ours: false });
            return (!is_blank).then(text).transpose();
        }
        let parts = parts.into_iter().filter(|part| part.disposition.kind != "attachment");
        match &*part.content.kind {
            "multipart/alternative" => self.best(parts, aside),
            "multipart/related" => self.root(part, parts.collect(), aside),
            _ => self.all(parts, aside),
        }
    }

    /// One of several ways to say the same: plain text, or else a page.
    fn best<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>>,
        aside: &mut Aside<'a>,
    ) -> Result<Option<Shown>> {
        let (mut best, mut failed) = (None, None);
        for part in parts {
            match self.shown(part, aside) {
                Ok(Some(shown)) if !shown.is_html && !is_blank(&shown) => return Ok(Some(shown)),
                Ok(Some(shown)) if best.as_ref().is_none_or(is_blank) => best = Some(shown),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (best, failed) {
            (Some(shown), Some(error)) if is_blank(&shown) => Err(error),
            (None, Some(error)) => Err(error),
            (best, _) => Ok(best),
        }
    }

    /// What the others belong to (RFC 2387): the part that is named, or the first one that has text.
    fn root<'a>(
        &mut self,
        part: &Part<'a>,
        mut parts: Vec<Part<'a>>,
        aside: &mut Aside<'a>,
    ) -> Result<Option<Shown>> {
        let id = |text: &[u8]| {
            String::from_utf8_lossy(text)
                .trim_matches(|c: char| c.is_whitespace() || "<>".contains(c))
                .to_owned()
        };
        let start = part.content.parameter("start").map(|start| id(start.as_bytes()));
        let is_start = |part: &Part<'_>| part.head.first(Name::ContentId).map(|it| id(&it)) == start;
        if let Some(at) = start.is_some().then(|| parts.iter().position(is_start)).flatten() {
            parts[..=at].rotate_right(1);
        }
        for part in parts {
            if let Some(shown) = self.shown(part, aside)? {
                return Ok(Some(shown));
            }
        }
        Ok(None)
    }

    /// One after the other.
    fn all<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>>,
        aside: &mut Aside<'a>,
    ) -> Result<Option<Shown>> {
        let mut all: Option<Shown> = None;
        for part in parts {
            match (self.shown(part, aside)?, &mut all) {
                (Some(shown), _) if shown.is_ours => return Ok(Some(shown)),
                (Some(shown), Some(all)) => {
                    if !all.body.is_empty() && !all.body.ends_with(b"\n") {
                        all.body.extend_from_slice(b"\r\n");
                    }
                    all.body.extend(shown.body);
                }
                (Some(shown), None) => all = Some(shown),
                (None, _) => {}
            }
        }
        Ok(all)
    }

    /// The parts between boundaries; none when none is found.
    fn parts<'a>(&mut self, part: &Part<'a>) -> Result<Vec<Part<'a>>> {
        let level = deeper(part)?;
        let body = part.head.body();
        let said = part.content.parameter("boundary").unwrap_or_default();
        let mut sections = self.sections(body, said.trim_end().as_bytes())?;
        if sections.is_empty() {
            sections = self.sections(body, likely_boundary(body).unwrap_or_default())?;
        }
        let usual = if part.content.kind == "multipart/digest" { "message/rfc822" } else { "text/plain" };
        Ok(sections.into_iter().map(|section| Part::new(Head::of_part(section), level, usual)).collect())
    }

    /// What stands between the lines that are boundaries, which end the line before (RFC 2046, section 5.1.1).
    fn sections<'a>(&mut self, body: &'a [u8], boundary: &[u8]) -> Result<Vec<&'a [u8]>> {
        self.octets += body.len();
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
                _ => continue, // another one, which begins like this one
            };
            self.count()?;
            sections.extend(section(body, open, at));
            (open, from) = (Some((next, is_closing)), next);
        }
        let is_open = open.is_some_and(|(_, is_closing)| !is_closing || sections.is_empty());
        sections.extend(open.filter(|_| is_open).map(|(start, _)| &body[start..])); // the end is missing
        Ok(sections)
    }

    fn count(&mut self) -> Result<()> {
        self.parts += 1;
        let text = || Error::message(format!("it has more than {MOST_PARTS} parts"));
        (self.parts <= MOST_PARTS).then_some(()).ok_or_else(text)
    }
}

/// What stands between the boundary before and this one. Behind one that closes there is something only by mistake.
fn section(body: &[u8], open: Option<(usize, bool)>, end: usize) -> Option<&[u8]> {
    let (start, is_closing) = open?;
    let section = &body[start..end.max(start)];
    let section = section.strip_suffix(b"\n").unwrap_or(section);
    let section = section.strip_suffix(b"\r").unwrap_or(section);
    let is_part = |section: &[u8]| line_at(section, 0).is_some_and(|(line, _)| name_of(line).is_some());
    (!is_closing || is_part(section)).then_some(section)
}

/// The line that looks most like a boundary, where the mail says another one or none.
fn likely_boundary(body: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some((line, next)) = line_at(body, at) {
        let has_fields = || {
            line_at(body, next).is_some_and(|(line, _)| {
                name_of(line)
                    .is_some_and(|name| name.len() > 8 && name[..8].eq_ignore_ascii_case(b"content-"))
            })
        };
        if let Some(boundary) =
            line.strip_prefix(b"--").filter(|boundary| !boundary.is_empty() && has_fields())
        {
            return Some(boundary.trim_ascii_end());
        }
        at = next;
    }
    None
}

fn deeper(part: &Part<'_>) -> Result<usize> {
    let text = || Error::message(format!("it has parts within parts, more than {MOST_LEVELS} deep"));
    (part.level < MOST_LEVELS).then_some(part.level + 1).ok_or_else(text)
}

fn is_blank(shown: &Shown) -> bool {
    shown.body.trim_ascii().is_empty()
}
