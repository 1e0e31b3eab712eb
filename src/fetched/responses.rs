//! Finds the responses in the octets of a connection, in every spelling that servers use: letters in any case, extra
//! blanks and blank lines, a bare LF.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::attributes::is_space;

/// The longest line that is accepted, as in imaplib.
const MAX_LINE: usize = 1_000_000;

/// The most digits of a literal's length.
const MAX_DIGITS: usize = 10;

/// The octets charged for each response and each literal, beside their own: even an empty one takes memory and time.
const COST: usize = 128;

/// Octets for which room is made at once, when so many are needed.
const LARGE: usize = 64 << 10;

/// The reason why the rest of the octets can't be parsed, which ends the connection.
pub(super) type Malformed = &'static str;

const TOO_MUCH: Malformed = "the response exceeds its size limit";

/// Octets that were received, and the place up to which they were scanned.
pub(super) struct Unread {
    pub(super) octets: Vec<u8>,
    /// The begin of the response that is being scanned.
    pub(super) start: usize,
    /// The begin of the next line of that response.
    at: usize,
    /// The kind of that response; `None` before its first line.
    kind: Option<Kind>,
    /// The pieces of all FETCH responses in `octets`, that one included: text, a literal, text, and so on.
    pub(super) pieces: Vec<Range<usize>>,
    /// The first piece of the response that is being scanned.
    first: usize,
    /// The octets that responses may still have.
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A FETCH response, with its sequence number.
    Fetch(u32),
    /// Any other untagged response with data, which may have literals.
    Data,
    /// A line without literals: a status response, whose text may end as if one followed, or a continuation request.
    Line,
    /// A line that begins with a tag.
    Tagged,
}

/// A place between two responses.
pub(super) struct Mark {
    pub(super) start: usize,
    pub(super) pieces: usize,
    limit: usize,
}

/// The next response.
pub(super) enum Found {
    /// A FETCH response with this sequence number, whose pieces are complete.
    Fetch(u32),
    /// Another response, up to this place; `true` if it is tagged.
    Other(usize, bool),
    /// An incomplete one, of which at least so many octets are still to come.
    Incomplete(usize),
}

impl Unread {
    pub(super) fn new(limit: usize) -> Self {
        Self { octets: Vec::new(), start: 0, at: 0, kind: None, pieces: Vec::new(), first: 0, limit }
    }

    /// Finds the next response, and moves behind it.
    pub(super) fn next(&mut self) -> Result<Found, Malformed> {
        loop {
            let Some(length) = memchr(b'\n', &self.octets[self.at..]) else { return self.incomplete(1) };
            if length > MAX_LINE {
                return Err("a response line exceeds 1000000 bytes");
            }
            let next = self.at + length + 1;
            let mut text = self.trimmed(self.at..next);
            let kind = match self.kind {
                // A list ends with its parenthesis, not with a blank line.
                None | Some(Kind::Fetch(_)) if text.is_empty() => {
                    self.spend(0)?;
                    self.at = next;
                    self.start = if self.kind.is_none() { next } else { self.start };
                    continue;
                }
                Some(kind) => kind,
                None => {
                    let (kind, begin) = classify(&self.octets[text.clone()])?;
                    text.start += begin;
                    kind
                }
            };
            let has_literals = matches!(kind, Kind::Fetch(_) | Kind::Data);
            if has_literals && let Some((end, length)) = announced_literal(&self.octets[text.clone()])? {
                if length > self.limit {
                    return Err(TOO_MUCH);
                }
                if self.octets.len() < next + length {
                    return self.incomplete(next + length + 1 - self.octets.len());
                }
                self.pieces.extend([text.start..text.start + end, next..next + length]);
                self.spend(0)?;
                (self.kind, self.at) = (Some(kind), next + length);
                continue;
            }
            self.pieces.push(text);
            self.spend(next - self.start)?;
            (self.kind, self.at, self.start, self.first) = (None, next, next, self.pieces.len());
            return Ok(match kind {
                Kind::Fetch(sequence) => Found::Fetch(sequence),
                kind => Found::Other(next, kind == Kind::Tagged),
            });
        }
    }

    /// Makes a mark, to which `go_back` returns.
    pub(super) fn mark(&self) -> Mark {
        Mark { start: self.start, pieces: self.first, limit: self.limit }
    }

    /// Goes back to the begin of the response that `next` has found since the mark was made.
    pub(super) fn go_back(&mut self, mark: &Mark) {
        (self.start, self.at, self.limit) = (mark.start, mark.start, mark.limit);
        self.drop_pieces(mark);
    }

    /// Drops the pieces of the response that `next` has found since the mark was made.
    pub(super) fn drop_pieces(&mut self, mark: &Mark) {
        self.pieces.truncate(mark.pieces);
        self.first = mark.pieces;
    }

    /// Removes the octets before the response that is being scanned, and the pieces before this one; returns both. Makes
    /// room for the octets that are still needed.
    ///
    /// Returns `None` if there are none.
    pub(super) fn take_scanned(&mut self, needed: usize) -> Option<(Vec<u8>, Vec<Range<usize>>)> {
        let scanned = (self.start > 0).then(|| {
            let rest = self.octets.split_off(self.start);
            let octets = std::mem::replace(&mut self.octets, rest);
            let moved = self.pieces.split_off(self.first).into_iter();
            let moved = moved.map(|piece| piece.start - self.start..piece.end - self.start).collect();
            let pieces = std::mem::replace(&mut self.pieces, moved);
            (self.at, self.start, self.first) = (self.at - self.start, 0, 0);
            (octets, pieces)
        });
        if needed > LARGE {
            self.octets.reserve_exact(needed); // at most `limit`, and untouched until they come
        }
        scanned
    }

    fn incomplete(&self, needed: usize) -> Result<Found, Malformed> {
        let (waiting, in_line) = (self.octets.len() - self.start, self.octets.len() - self.at);
        if waiting > self.limit {
            return Err(TOO_MUCH);
        }
        if needed == 1 && in_line > MAX_LINE {
            return Err("a response line exceeds 1000000 bytes"); // the rest of the line would pass for a response
        }
        Ok(Found::Incomplete(needed))
    }

    fn spend(&mut self, octets: usize) -> Result<(), Malformed> {
        self.limit = self.limit.checked_sub(octets + COST).ok_or(TOO_MUCH)?;
        Ok(())
    }

    /// Returns a line without the blanks around it.
    fn trimmed(&self, line: Range<usize>) -> Range<usize> {
        let octets = &self.octets[line.clone()];
        let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
        let begin = octets.iter().position(|octet| !is_blank(octet)).unwrap_or(octets.len());
        let end = octets.iter().rposition(|octet| !is_blank(octet)).map_or(begin, |last| last + 1);
        line.start + begin..line.start + end
    }
}

/// Returns the kind of a response by its first line, and where the text behind the kind begins.
fn classify(line: &[u8]) -> Result<(Kind, usize), Malformed> {
    match line.first() {
        Some(b'*') => {}
        // Exchange 2013 leaves out "* OK" before a response code.
        Some(b'+' | b'[') => return Ok((Kind::Line, 0)),
        _ => return Ok((Kind::Tagged, 0)),
    }
    let skip_blanks = |at: usize| at + line[at..].iter().take_while(|octet| is_blank(**octet)).count();
    let number = skip_blanks(1);
    let digits = line[number..].iter().take_while(|octet| octet.is_ascii_digit()).count();
    let word = skip_blanks(number + digits);
    let is_atom = |octet: &&u8| !is_space(**octet) && !b"[](){}\"".contains(octet);
    let end = word + line[word..].iter().take_while(is_atom).count();
    let is = |name: &str| line[word..end].eq_ignore_ascii_case(name.as_bytes());
    if is("FETCH") {
        let sequence = number_within(&line[number..number + digits], u64::from(u32::MAX));
        let sequence = sequence.and_then(|number| u32::try_from(number).ok());
        let sequence = sequence.ok_or("a FETCH response has an invalid sequence number")?;
        return Ok((Kind::Fetch(sequence), skip_blanks(end)));
    }
    let is_status = ["OK", "NO", "BAD", "BYE", "PREAUTH"].into_iter().any(is);
    Ok((if is_status { Kind::Line } else { Kind::Data }, 0))
}

/// Returns where a text announces a literal, as `{3}`, `{3+}` or `~{3}` (RFC 7888, RFC 3516), and the literal's length.
fn announced_literal(text: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let Some(inner) = text.strip_suffix(b"}") else { return Ok(None) };
    let Some(brace) = memrchr(b'{', inner) else { return Ok(None) };
    // As in py/, which reads the literals of other responses again.
    let is_around = |octet: &u8| b" \t+".contains(octet);
    let begin = brace + 1 + inner[brace + 1..].iter().take_while(|octet| is_around(octet)).count();
    let end = inner.iter().rposition(|octet| !is_around(octet)).map_or(begin, |last| last + 1);
    let digits = inner.get(begin..end).unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    if digits.len() > MAX_DIGITS {
        return Err("a literal's announced length is out of range");
    }
    let length = number_within(digits, u64::MAX).and_then(|length| usize::try_from(length).ok());
    let end = if text[..brace].ends_with(b"~") { brace - 1 } else { brace };
    Ok(Some((end, length.ok_or("a literal's announced length is out of range")?)))
}

/// Parses a number up to `most`; `None` for any other text.
pub(super) fn number_within(digits: &[u8], most: u64) -> Option<u64> {
    let add = |number: u64, octet: &u8| {
        let digit = octet.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    };
    let number = digits.iter().try_fold(0, add)?;
    (!digits.is_empty() && number <= most).then_some(number)
}

pub(super) fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}
