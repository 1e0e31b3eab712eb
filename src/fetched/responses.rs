//! Finds the responses in the octets of a connection, in every spelling that servers use: letters in any case, extra
//! blanks and blank lines, a bare LF.
//!
//! Responses are told apart by their first line (RFC 3501, sections 7 and 9):
//!
//! | the line begins with | kind | may have literals |
//! | --- | --- | --- |
//! | `*`, a number, `FETCH` | FETCH response | yes |
//! | `*`, and OK, NO, BAD, BYE or PREAUTH | line | no: its text is for people, and may end with `{3}` |
//! | `*`, and anything else | data | yes |
//! | `+`, or `[` as Exchange 2013 writes it | line | no |
//! | anything else | tagged response | no |
//!
//! The octets of a literal may look like any of these, a tagged response included. So the end of a command can't be
//! found by a search for its tag: each literal's length must be read and skipped.
//!
//! A response that is not whole stays in the buffer, and is continued behind its last whole literal when more octets
//! come.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::attributes::is_space;

/// The longest line that is accepted, in octets, as in imaplib. Literals do not count.
const MAX_LINE: usize = 1_000_000;

/// The most digits of a literal's length: RFC 3501, section 9, has numbers of 32 bits. `py/` has the same limit for the
/// literals of other responses, so that both find the same ends.
const MAX_DIGITS: usize = 10;

/// The octets charged for each response and each literal, beside their own: even an empty one takes memory and time.
///
/// Sixteen MiB, the room for responses without message data, are therefore room for 131,072 of them at most.
const COST: usize = 128;

/// Octets for which room is made at once, when so many are needed.
///
/// For fewer octets, a vector that doubles its room is as quick. For a mail of many megabytes, doubling would copy it
/// several times, and hold twice its size.
const LARGE: usize = 64 << 10;

/// The reason why the rest of the octets can't be parsed, which ends the connection.
pub(super) type Malformed = &'static str;

/// The error for responses that exceed the limit of their command: a server that announces, or sends, more than was
/// asked for. The rest is not received, so it does not matter how much it would be.
const TOO_MUCH: Malformed = "the response exceeds its size limit";

/// Octets that were received, and the place up to which they were scanned.
///
/// Always `start <= at <= octets.len()`. The octets before `start` are whole responses, and those from `start` to `at`
/// are the lines and literals of one response that are whole. `pieces[first..]` belong to that response.
pub(super) struct Unread {
    pub(super) octets: Vec<u8>,
    /// The begin of the response that is being scanned.
    pub(super) start: usize,
    /// The begin of the next line of that response.
    at: usize,
    /// The kind of that response; `None` before its first line.
    kind: Option<Kind>,
    /// The pieces of all FETCH responses in `octets`, that one included: text, a literal, text, and so on. A response
    /// has an odd number of pieces, some of them empty; the braces that announce a literal are in none.
    pub(super) pieces: Vec<Range<usize>>,
    /// The first piece of the response that is being scanned.
    first: usize,
    /// The octets that responses may still have. Grows only by [`go_back`](Self::go_back), which gives back the cost of
    /// a response that is scanned again.
    limit: usize,
}

/// The kind of a response, by its first line.
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

/// A place between two responses, never within one.
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
    /// An incomplete one, of which at least so many octets are still to come. Nothing was skipped: `next` goes on
    /// there.
    Incomplete(usize),
}

impl Unread {
    pub(super) fn new(limit: usize) -> Self {
        Self { octets: Vec::new(), start: 0, at: 0, kind: None, pieces: Vec::new(), first: 0, limit }
    }

    /// Finds the next response, and moves behind it.
    ///
    /// Blank lines between responses belong to none. Within a FETCH response they are skipped, too: some servers write
    /// one behind a literal, where the list has to go on.
    ///
    /// # Errors
    ///
    /// The limit is exceeded, a line is too long, a literal's length or a sequence number is out of range. The place is
    /// undefined afterwards.
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
    ///
    /// Used for a FETCH response behind others, which have to be processed before it is parsed. Such a response is
    /// scanned twice, and never more often: the next call finds it first.
    pub(super) fn go_back(&mut self, mark: &Mark) {
        (self.start, self.at, self.limit) = (mark.start, mark.start, mark.limit);
        self.drop_pieces(mark);
    }

    /// Drops the pieces of the response that `next` has found since the mark was made: only FETCH responses are parsed
    /// here.
    pub(super) fn drop_pieces(&mut self, mark: &Mark) {
        self.pieces.truncate(mark.pieces);
        self.first = mark.pieces;
    }

    /// Removes the octets before the response that is being scanned, and the pieces before this one; returns both.
    /// Makes room for the octets that are still needed.
    ///
    /// Returns `None` if there are none.
    ///
    /// The rest is copied to a new buffer. While parts of a large mail come, nothing is scanned, and so nothing is
    /// copied: the mail stays where it is until it is whole.
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

    /// Returns that more octets are needed.
    ///
    /// # Errors
    ///
    /// The octets that wait exceed the limit already, or a line its length: else a server could send one for ever.
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

    /// Charges octets, and the cost of one object, to the limit.
    ///
    /// # Errors
    ///
    /// [`TOO_MUCH`], before the limit would become negative.
    fn spend(&mut self, octets: usize) -> Result<(), Malformed> {
        self.limit = self.limit.checked_sub(octets + COST).ok_or(TOO_MUCH)?;
        Ok(())
    }

    /// Returns a line without the blanks around it, which servers write before and behind responses.
    fn trimmed(&self, line: Range<usize>) -> Range<usize> {
        let octets = &self.octets[line.clone()];
        let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
        let begin = octets.iter().position(|octet| !is_blank(octet)).unwrap_or(octets.len());
        let end = octets.iter().rposition(|octet| !is_blank(octet)).map_or(begin, |last| last + 1);
        line.start + begin..line.start + end
    }
}

/// Returns the kind of a response by its first line, and where the text behind the kind begins.
///
/// Any first word without `*` passes for a tag. `py/` knows the tags in flight, and ends the connection at another one.
///
/// # Errors
///
/// A FETCH response whose sequence number is missing or has more than 32 bits: its messages could not be told apart.
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
///
/// Only at the end of a line, of data: a brace elsewhere is part of a quoted string or of a flag. `None` for anything
/// but digits between the braces, which is text then.
///
/// # Errors
///
/// A length of more than [`MAX_DIGITS`] digits. A shorter one that is too large is refused by the limit of the
/// responses.
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

/// Parses a number up to `most`; `None` for any other text. A sign is refused, which `parse` alone would accept.
pub(super) fn number_within(digits: &[u8], most: u64) -> Option<u64> {
    let add = |number: u64, octet: &u8| {
        let digit = octet.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    };
    let number = digits.iter().try_fold(0, add)?;
    (!digits.is_empty() && number <= most).then_some(number)
}

/// Returns `true` for the octets that may stand between words. RFC 3501 allows one space; servers write several, and
/// tabs.
pub(super) fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}
