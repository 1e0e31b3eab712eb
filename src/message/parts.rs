//! The parts of a mail, and which of them a mail program shows as its text (RFC 2046).

use memchr::memmem;

use super::head::{Head, Name, line_at, name_of};
use super::part::Part;
use super::signed;
use crate::error::{Error, Result};

/// No more parts than this are sent in earnest.
const MOST_PARTS: usize = 1_000;
/// Nor any deeper; each level is looked through once more, and takes stack.
const MOST_LEVELS: usize = 32;

/// What is shown of parts.
struct Shown {
    body: Vec<u8>,
    is_html: bool,
    /// It is a message of ours, in whatever a mailing list has put around it.
    is_ours: bool,
}

impl Shown {
    fn text(body: Vec<u8>) -> Self {
        Self { body, is_html: false, is_ours: false }
    }
}

/// Texts that are shown when there are no others: those of the lowest number.
#[derive(Default)]
struct Aside<'a> {
    number: u8,
    parts: Vec<Part<'a>>,
}

impl<'a> Aside<'a> {
    fn add(&mut self, number: u8, part: Part<'a>) {
        if self.parts.is_empty() || number < self.number {
            (self.number, self.parts) = (number, Vec::new());
        }
        if number == self.number {
            self.parts.push(part);
        }
    }
}

/// What was spent on a mail, whatever it is made of.
#[derive(Debug, Default)]
pub(super) struct Effort {
    parts: usize,
    /// So many octets were looked through for boundaries.
    pub(super) octets: usize,
}

impl Effort {
    /// The text that a mail program shows; `None` when there is none, as of attachments alone.
    ///
    /// # Errors
    /// `Message`: some of it can't be decoded, or the mail has too many parts, or too deep ones.
    pub(super) fn text(&mut self, mail: Part<'_>) -> Result<Option<Vec<u8>>> {
        let mut aside = Aside::default();
        if let Some(shown) = self.shown(mail, &mut aside)? {
            return Ok(Some(shown.body));
        }
        let mut all = None;
        for part in aside.parts {
            let text = if part.is_message() {
                self.text_within(&part, &part.octets()?)?
            } else {
                Some(part.text()?.into_bytes())
            };
            if let Some(text) = text {
                append(all.get_or_insert_default(), text);
            }
        }
        Ok(all)
    }

    /// Returns the text of a mail that is a part.
    fn text_within(&mut self, part: &Part<'_>, mail: &[u8]) -> Result<Option<Vec<u8>>> {
        self.text(Part::new(Head::of_mail(mail), deeper(part)?, "text/plain"))
    }

    /// Returns the text of a part that is signed or encrypted as a whole.
    fn text_of_sealed(&mut self, part: &Part<'_>) -> Result<Option<Shown>> {
        let signed = signed::content(&part.octets()?).ok_or_else(|| Error::message("it is encrypted"))?;
        Ok(self.text_within(part, &signed)?.map(Shown::text))
    }

    fn shown<'a>(&mut self, part: Part<'a>, aside: &mut Aside<'a>) -> Result<Option<Shown>> {
        if part.is_sealed() {
            return self.text_of_sealed(&part);
        }
        if part.content.is_of("multipart") {
            return self.shown_of_parts(&part, aside);
        }
        let ours = if part.level > 0 { part.ours()? } else { None };
        if let Some(body) = ours {
            return Ok(Some(Shown { body, is_html: false, is_ours: true }));
        }
        let number = match &*part.content.kind {
            "text/plain" | "text/html" if part.has_file_name() && part.disposition.kind != "inline" => 0,
            "text/plain" | "text/html" => {
                let (body, is_html) = (part.text()?.into_bytes(), part.is_html());
                return Ok(Some(Shown { body, is_html, is_ours: false }));
            }
            "message/external-body" => return Ok(None), // it is elsewhere
            _ if part.is_message() => 2,
            _ if part.has_text() => 1,
            _ => return Ok(None),
        };
        aside.add(number, part);
        Ok(None)
    }

    fn shown_of_parts<'a>(&mut self, part: &Part<'a>, aside: &mut Aside<'a>) -> Result<Option<Shown>> {
        let parts = self.parts(part)?;
        if parts.is_empty() {
            // A boundary that can't be found is not a reason to show nothing.
            let is_blank = part.head.body().trim_ascii().is_empty();
            let text = || part.text().map(|text| Shown::text(text.into_bytes()));
            return (!is_blank).then(text).transpose();
        }
        let parts =
            parts.into_iter().filter(|part| part.disposition.kind != "attachment" || part.is_sealed());
        match &*part.content.kind {
            "multipart/alternative" => self.best(parts, aside),
            "multipart/related" => self.root(part, parts.collect(), aside),
            "multipart/digest" => self.mails(parts),
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
        let mut own = Aside::default();
        for part in parts {
            match self.shown(part, &mut own) {
                Ok(Some(shown)) if !shown.is_html && !is_blank(&shown) => return Ok(Some(shown)),
                Ok(Some(shown)) if best.as_ref().is_none_or(is_blank) => best = Some(shown),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        own.parts.into_iter().take(1).for_each(|part| aside.add(own.number, part));
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
                (Some(shown), Some(all)) => append(&mut all.body, shown.body),
                (Some(shown), None) => all = Some(shown),
                (None, _) => {}
            }
        }
        Ok(all)
    }

    /// Returns the texts of mails, one after the other.
    fn mails<'a>(&mut self, parts: impl Iterator<Item = Part<'a>>) -> Result<Option<Shown>> {
        let mut all = None;
        for part in parts {
            let text = if part.is_message() {
                self.text_within(&part, &part.octets()?)?
            } else {
                self.shown(part, &mut Aside::default())?.map(|shown| shown.body)
            };
            if let Some(text) = text {
                append(all.get_or_insert_default(), text);
            }
        }
        Ok(all.map(Shown::text))
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
            let open_before = open.or_else(|| before_the_first(&body[..at], is_closing));
            sections.extend(section(body, open_before, at));
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

/// Where a part begins before the first boundary, as one does whose own boundary is missing.
fn before_the_first(preamble: &[u8], is_closing: bool) -> Option<(usize, bool)> {
    let start = preamble.len() - preamble.trim_ascii_start().len();
    let is_part = is_closing && start < preamble.len() || begins_with_content(preamble, start);
    is_part.then_some((start, false))
}

/// Returns whether a field stands here that describes a part.
fn begins_with_content(octets: &[u8], at: usize) -> bool {
    let name = line_at(octets, at).and_then(|(line, _)| name_of(line));
    name.is_some_and(|name| name.len() > 8 && name[..8].eq_ignore_ascii_case(b"content-"))
}

/// The line that looks most like a boundary, where the mail says another one or none.
fn likely_boundary(body: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some((line, next)) = line_at(body, at) {
        let has_fields = || begins_with_content(body, next);
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

/// Adds a text on a line of its own.
fn append(all: &mut Vec<u8>, text: Vec<u8>) {
    if !all.is_empty() && !all.ends_with(b"\n") {
        all.extend_from_slice(b"\r\n");
    }
    all.extend(text);
}

/// Returns whether nothing of it can be seen: blanks that do not break, and those without a width, are neither.
fn is_blank(shown: &Shown) -> bool {
    let is_unseen =
        |c: char| c.is_whitespace() || "\u{ad}\u{34f}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}".contains(c);
    std::str::from_utf8(&shown.body).is_ok_and(|text| text.chars().all(is_unseen))
}
