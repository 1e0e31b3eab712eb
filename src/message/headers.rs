//! Parses the header block of a mail or a part, with leniency for malformed lines.
//!
//! Lines may end in CRLF, LF or, after [`with_line_feeds`], CR. Accepted and skipped: an mbox line before the mail or
//! between fields, blank lines before the mail, and malformed lines among fields. A continuation without its blank is
//! joined if the field before is incomplete. A header block without an empty line at its end stops at the first line
//! that is no field, if no common field follows: the body is complete then, and no field is taken from it.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2, memmem};

/// The header fields that are read. All others are skipped, so that their number costs no memory. Cc is none of them:
/// `sent_to` is To, as in pymail's own messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Subject,
    From,
    Sender,
    To,
    MessageId,
    ContentType,
    ContentTransferEncoding,
    ContentDisposition,
    ContentId,
    /// A [property](super::property_headers).
    Property,
    /// The next two are read in [notes](super::note) alone.
    InReplyTo,
    Date,
}

/// The names in lower case.
const NAMES: [(&str, Name); 12] = [
    ("subject", Name::Subject),
    ("from", Name::From),
    ("sender", Name::Sender),
    ("to", Name::To),
    ("message-id", Name::MessageId),
    ("content-type", Name::ContentType),
    ("content-transfer-encoding", Name::ContentTransferEncoding),
    ("content-disposition", Name::ContentDisposition),
    ("content-id", Name::ContentId),
    ("x-pymail-property", Name::Property),
    ("in-reply-to", Name::InReplyTo),
    ("date", Name::Date),
];

/// The most lines of a header block that are joined to the line before without a blank: looking for an open word before
/// each of millions would take half a minute.
const MAX_JOINED: usize = 1_000;

/// Common field names, or their prefixes where they end in `-`, that seldom begin a line of text.
///
/// One of them after a malformed line shows that the header block goes on. Any `word:` would not do: a body without an
/// empty line before it may well have `the rest: all of it`.
const COMMON_FIELDS: [&str; 30] = [
    "x-",
    "content-",
    "list-",
    "resent-",
    "arc-",
    "thread-",
    "received",
    "date",
    "return-path",
    "mime-version",
    "dkim-signature",
    "reply-to",
    "cc",
    "bcc",
    "in-reply-to",
    "references",
    "authentication-results",
    "delivered-to",
    "envelope-to",
    "importance",
    "precedence",
    "user-agent",
    "auto-submitted",
    "errors-to",
    "message-id",
    "subject",
    "from",
    "to",
    "sender",
    "status",
];

/// A header block: the fields that are read, in order, and the body after them.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    octets: &'a [u8],
    fields: Vec<Field>,
    body_start: usize,
}

/// A field: its name and the range of its folded value.
#[derive(Debug)]
struct Field {
    name: Name,
    value: Range<usize>,
}

impl<'a> Headers<'a> {
    /// Parses the header block of a mail, which an mbox line or blank lines may precede. `From ` with a blank begins an
    /// mbox line, `From : bob@example.org` a field.
    pub(super) fn of_mail(octets: &'a [u8]) -> Self {
        let mut at = 0;
        while let Some((line, next)) = line_at(octets, at) {
            let is_mbox_line = || line.starts_with(b"From ") || line.starts_with(b">From ");
            if !line.is_empty() && (!is_mbox_line() || name_of(line).is_some()) {
                break;
            }
            at = next;
        }
        Self::parse(octets, at)
    }

    /// Parses the header block of a part, which may be empty.
    pub(super) fn of_part(octets: &'a [u8]) -> Self {
        Self::parse(octets, 0)
    }

    /// Parses the header block that starts at an offset, up to an empty line or the first line of an unseparated body.
    ///
    /// A line that is no field, and no continuation by its first blank (RFC 5322, section 2.2.3), is
    /// 1. a continuation without its blank, if the field before is [open](Self::is_open);
    /// 2. else skipped, if a common field follows before the next empty line;
    /// 3. else the beginning of the body.
    ///
    /// The last common field is searched for once, so that many malformed lines take linear time.
    fn parse(octets: &'a [u8], mut at: usize) -> Self {
        let mut headers = Self { octets, fields: Vec::new(), body_start: octets.len() };
        let mut is_in_field = false;
        let (mut last_common, mut joined) = (None, 0);
        while let Some((line, next)) = line_at(octets, at) {
            let end = at + line.len();
            if line.is_empty() {
                return Self { body_start: next, ..headers };
            } else if line.starts_with(b" ") || line.starts_with(b"\t") {
                headers.extend(is_in_field, end);
            } else if let Some(name) = name_of(line) {
                is_in_field = headers.begin(name, at, end);
            } else if is_in_field && joined < MAX_JOINED && headers.is_open() {
                joined += 1;
                headers.extend(true, end); // a fold without its blank
            } else if *last_common.get_or_insert_with(|| last_common_field(octets, at)) > at {
                is_in_field = false; // a malformed line, with fields after it
            } else {
                return Self { body_start: at, ..headers }; // the empty line is missing
            }
            at = next;
        }
        headers
    }

    /// Begins a field; returns `false` for one that is skipped, whose continuation lines are skipped with it.
    fn begin(&mut self, name: &[u8], at: usize, end: usize) -> bool {
        let known =
            NAMES.iter().find(|(known, _)| name.trim_ascii_end().eq_ignore_ascii_case(known.as_bytes()));
        let value = at + name.len() + 1..end;
        self.fields.extend(known.map(|&(_, name)| Field { name, value }));
        known.is_some()
    }

    /// Extends the last field by a continuation line, unless that line belongs to a skipped field.
    fn extend(&mut self, is_in_field: bool, end: usize) {
        if let Some(field) = self.fields.last_mut().filter(|_| is_in_field) {
            field.value.end = end;
        }
    }

    /// Returns `true` if the last field is incomplete: within an encoded word, or before a parameter or an address.
    /// Programs that fold without a blank do so there.
    fn is_open(&self) -> bool {
        let Some(&Range { start, end }) = self.fields.last().map(|field| &field.value) else { return false };
        // An encoded word is short, while the value may be long.
        let value = self.octets[start.max(end.saturating_sub(1_000))..end].trim_ascii_end();
        value.ends_with(b";")
            || value.ends_with(b",")
            || memmem::rfind(value, b"=?").is_some_and(|at| memmem::rfind(value, b"?=") < Some(at))
    }

    /// Returns the octets after the header block.
    pub(super) fn body(&self) -> &'a [u8] {
        &self.octets[self.body_start..]
    }

    /// Returns the unfolded values of all fields of a name, in order.
    pub(super) fn all(&self, name: Name) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let octets = self.octets;
        self.fields
            .iter()
            .filter(move |field| field.name == name)
            .map(move |field| unfolded(&octets[field.value.clone()]))
    }

    /// Returns the unfolded value of the first field of a name, the one that mail programs display.
    pub(super) fn first(&self, name: Name) -> Option<Cow<'a, [u8]>> {
        self.all(name).next()
    }
}

/// Returns the line at an offset, without its line end, and the offset of the next line; `None` at the end. All CRs
/// before the LF belong to the line end: some gateways write CR CR LF.
pub(super) fn line_at(octets: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = octets.get(at..).filter(|rest| !rest.is_empty())?;
    let (line, next) = memchr(b'\n', rest).map_or((rest, octets.len()), |end| (&rest[..end], at + end + 1));
    let end = line.iter().rposition(|&octet| octet != b'\r').map_or(0, |last| last + 1);
    Some((&line[..end], next))
}

/// Returns the line's field name, with obsolete blanks before the colon (RFC 5322, section 4.5.8); `None` without one.
pub(super) fn name_of(line: &[u8]) -> Option<&[u8]> {
    let name = &line[..memchr(b':', line)?];
    let is_name = |octets: &[u8]| !octets.is_empty() && octets.iter().all(u8::is_ascii_graphic);
    is_name(name.trim_ascii_end()).then_some(name)
}

/// Returns the offset of the last field with a common name before the next empty line; 0 if there is none.
fn last_common_field(octets: &[u8], mut at: usize) -> usize {
    let mut last = 0;
    while let Some((line, next)) = line_at(octets, at).filter(|(line, _)| !line.is_empty()) {
        if name_of(line).is_some_and(is_common) {
            last = at;
        }
        at = next;
    }
    last
}

/// Returns `true` if a field name is in [`COMMON_FIELDS`].
fn is_common(name: &[u8]) -> bool {
    let name = name.trim_ascii_end().to_ascii_lowercase();
    let matches = |common: &&str| {
        if common.ends_with('-') { name.starts_with(common.as_bytes()) } else { name == common.as_bytes() }
    };
    COMMON_FIELDS.iter().any(matches)
}

/// Returns the value on one line, with one blank for each fold. RFC 5322, section 2.2.3, keeps the blanks of the fold;
/// how many these are was the folding server's choice. A continuation without a blank is joined without one.
fn unfolded(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr2(b'\r', b'\n', value).is_none() {
        return value.into();
    }
    let mut unfolded = Vec::with_capacity(value.len());
    for line in value.split(|&octet| octet == b'\n') {
        let text = line.trim_ascii();
        if !unfolded.is_empty() && line.starts_with(b" ") | line.starts_with(b"\t") {
            unfolded.push(b' ');
        }
        unfolded.extend(text.iter().map(|&octet| if octet == b'\r' { b' ' } else { octet }));
    }
    unfolded.into()
}

/// Replaces CR by LF in a mail whose lines end in bare CR, which has no LF at all. In any other mail a bare CR is data.
pub(super) fn with_line_feeds(octets: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\n', octets).is_some() || memchr(b'\r', octets).is_none() {
        return octets.into();
    }
    octets.iter().map(|&octet| if octet == b'\r' { b'\n' } else { octet }).collect::<Vec<u8>>().into()
}
