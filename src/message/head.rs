//! The header block of a mail or of one of its parts, as programs write it.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// The fields that a message is made of; all others are passed over, so that no number of them takes room.
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
}

const NAMES: [(&str, Name); 9] = [
    ("subject", Name::Subject),
    ("from", Name::From),
    ("sender", Name::Sender),
    ("to", Name::To),
    ("message-id", Name::MessageId),
    ("content-type", Name::ContentType),
    ("content-transfer-encoding", Name::ContentTransferEncoding),
    ("content-disposition", Name::ContentDisposition),
    ("content-id", Name::ContentId),
];

/// Begins the names of fields that stand in header blocks, and seldom at the beginning of a text's line.
const USUAL: [&str; 30] = [
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

/// A header block: the fields in their order, and where the body begins.
#[derive(Debug)]
pub(super) struct Head<'a> {
    octets: &'a [u8],
    fields: Vec<(Name, usize, usize)>,
    body: usize,
}

impl<'a> Head<'a> {
    /// Reads the header block of a mail, which an mbox line or blank lines may precede.
    pub(super) fn of_mail(octets: &'a [u8]) -> Self {
        let mut at = 0;
        while let Some((line, next)) = line_at(octets, at) {
            let is_mbox_line = || line.starts_with(b"From ") || line.starts_with(b">From ");
            if !line.is_empty() && (!is_mbox_line() || name_of(line).is_some()) {
                break;
            }
            at = next;
        }
        Self::read(octets, at)
    }

    /// Reads the header block of a part, which may be empty.
    pub(super) fn of_part(octets: &'a [u8]) -> Self {
        Self::read(octets, 0)
    }

    fn read(octets: &'a [u8], mut at: usize) -> Self {
        let mut head = Self { octets, fields: Vec::new(), body: octets.len() };
        let mut is_in_field = false;
        let mut last_usual = None;
        while let Some((line, next)) = line_at(octets, at) {
            let end = at + line.len();
            if line.is_empty() {
                return Self { body: next, ..head };
            } else if line.starts_with(b" ") || line.starts_with(b"\t") {
                head.extend(is_in_field, end);
            } else if let Some(name) = name_of(line) {
                is_in_field = head.begin(name, at, end);
            } else if is_in_field && head.is_open() {
                head.extend(true, end); // folded without the blank
            } else if *last_usual.get_or_insert_with(|| last_usual_field(octets, at)) > at {
                is_in_field = false; // a line that is none, among fields
            } else {
                return Self { body: at, ..head }; // the blank line is missing
            }
            at = next;
        }
        head
    }

    /// Begins a field; false for one that is passed over.
    fn begin(&mut self, name: &[u8], at: usize, end: usize) -> bool {
        let known =
            NAMES.iter().find(|(known, _)| name.trim_ascii_end().eq_ignore_ascii_case(known.as_bytes()));
        self.fields.extend(known.map(|&(_, known)| (known, at + name.len() + 1, end)));
        known.is_some()
    }

    fn extend(&mut self, is_in_field: bool, end: usize) {
        if let Some(field) = self.fields.last_mut().filter(|_| is_in_field) {
            field.2 = end;
        }
    }

    /// Whether the last field can't end where it does: within an encoded word, or before a parameter or an address.
    fn is_open(&self) -> bool {
        let Some(&(_, start, end)) = self.fields.last() else { return false };
        // A word is short, and the whole value may be long.
        let value = self.octets[start.max(end.saturating_sub(1_000))..end].trim_ascii_end();
        let rfind = |word: &[u8; 2]| value.windows(2).rposition(|two| two == word);
        value.ends_with(b";")
            || value.ends_with(b",")
            || rfind(b"=?").is_some_and(|at| rfind(b"?=") < Some(at))
    }

    /// Where the body begins; the end when there is none.
    pub(super) fn body(&self) -> &'a [u8] {
        &self.octets[self.body..]
    }

    /// The unfolded values of the fields of this name, in their order.
    pub(super) fn all(&self, name: Name) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let octets = self.octets;
        self.fields
            .iter()
            .filter(move |field| field.0 == name)
            .map(move |&(_, at, end)| unfolded(&octets[at..end]))
    }

    /// The unfolded value of the first field of this name, which is the one that mail programs show.
    pub(super) fn first(&self, name: Name) -> Option<Cow<'a, [u8]>> {
        self.all(name).next()
    }
}

/// The line at this place, without its end, and where the next one begins; `None` at the end.
pub(super) fn line_at(octets: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = octets.get(at..).filter(|rest| !rest.is_empty())?;
    let (line, next) = memchr(b'\n', rest).map_or((rest, octets.len()), |end| (&rest[..end], at + end + 1));
    let end = line.iter().rposition(|&octet| octet != b'\r').map_or(0, |last| last + 1);
    Some((&line[..end], next))
}

/// The field's name, perhaps with blanks behind it (RFC 5322, section 4.5.8).
pub(super) fn name_of(line: &[u8]) -> Option<&[u8]> {
    let name = &line[..memchr(b':', line)?];
    let is_name = |octets: &[u8]| !octets.is_empty() && octets.iter().all(u8::is_ascii_graphic);
    is_name(name.trim_ascii_end()).then_some(name)
}

/// Where the last field with a usual name begins, before the next blank line; 0 when there is none.
fn last_usual_field(octets: &[u8], mut at: usize) -> usize {
    let mut last = 0;
    while let Some((line, next)) = line_at(octets, at).filter(|(line, _)| !line.is_empty()) {
        if name_of(line).is_some_and(is_usual) {
            last = at;
        }
        at = next;
    }
    last
}

fn is_usual(name: &[u8]) -> bool {
    let name = name.trim_ascii_end().to_ascii_lowercase();
    let is_it = |usual: &&str| {
        if usual.ends_with('-') { name.starts_with(usual.as_bytes()) } else { name == usual.as_bytes() }
    };
    USUAL.iter().any(is_it)
}

/// The value on one line: each fold is one blank.
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

/// A mail whose lines end in nothing but CR, with line feeds in their place.
pub(super) fn with_line_feeds(octets: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\n', octets).is_some() || memchr(b'\r', octets).is_none() {
        return octets.into();
    }
    octets.iter().map(|&octet| if octet == b'\r' { b'\n' } else { octet }).collect::<Vec<u8>>().into()
}
