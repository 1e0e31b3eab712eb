//! Parses one FETCH response, `(name value name value ...)`, into the attributes of a message.
//!
//! | attribute (RFC 3501, section 7.4.2) | field |
//! | --- | --- |
//! | `UID` | `uid` |
//! | `RFC822.SIZE` | `size`: some servers estimate it |
//! | `FLAGS` | `flags` |
//! | `INTERNALDATE` | `arrived_at`: `None` for a value that is no date |
//! | `BODY[]`, `BODY[]<0>`, `RFC822` | `mail` |
//! | `BODY[]<131072>` | `rest`, with the place of its first octet |
//! | `BODY[HEADER]` and other sections | `section`: one is requested at a time, so its name is not compared |
//! | any other, such as `MODSEQ` or `BODYSTRUCTURE` | none: its value is skipped |
//!
//! Names are in any case, values in any form that has the same meaning: NIL, a quoted string or a literal.
//!
//! The danger is a literal that is shorter than the mail in it: the end of the mail then reads as attributes. Behind a
//! mail only known names and harmless values are accepted, and the list must end with the response. Else the mail is
//! not passed on, and the connection ends.

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::SystemTime;

use memchr::memchr;

use super::responses::{Malformed, is_blank, number_within};
use crate::date;
use crate::uid::Uid;

/// A text that shares its buffer with others: a clone costs no copy. Keeps the whole buffer alive: all mails that
/// arrived together, about a megabyte of them, or one that is larger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Octets {
    buffer: Arc<Vec<u8>>,
    place: Range<usize>,
}

impl From<Vec<u8>> for Octets {
    fn from(octets: Vec<u8>) -> Self {
        Self { place: 0..octets.len(), buffer: Arc::new(octets) }
    }
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(self.place.clone()).unwrap_or_default()
    }
}

/// A message before its UID is known: the number of EXPUNGE responses so far, each of which changes sequence numbers,
/// and its sequence number.
pub(super) type Place = (u64, u32);

/// The attributes of one message, from one or more FETCH responses. `None` is an attribute that the server has not
/// sent, or that can't be understood.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// The place of the first response; later ones may have another, and are merged by their UIDs.
    pub(super) place: Place,
    pub(crate) uid: Option<Uid>,
    /// RFC822.SIZE, in octets. Not to be relied on: servers estimate it, or leave it out.
    pub(crate) size: Option<u64>,
    pub(crate) flags: Option<Flags>,
    /// INTERNALDATE: the time at which the server received the message.
    pub(crate) arrived_at: Option<SystemTime>,
    /// The message from its first octet on; whole, or as many octets as were requested. Empty for NIL and `""`, which
    /// is how some servers withhold a message.
    pub(crate) mail: Option<Octets>,
    /// The message from another octet on, and the place of that.
    pub(crate) rest: Option<(u64, Octets)>,
    /// One of its sections; the first, if there are several.
    pub(crate) section: Option<Octets>,
}

/// The flags that count here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `true` with `\Deleted`: another client has deleted the message and not expunged it yet.
    pub(crate) is_deleted: bool,
    /// The highest number of a keyword `$PymailDelivery`, from 1 to 999; 0 without one. Each delivery adds a keyword
    /// and removes none, so the highest one counts.
    pub(crate) deliveries: u32,
    /// `true` with `$PymailRedriven`: the message was moved back from the dead letters.
    pub(crate) is_redriven: bool,
}

/// The keyword of a delivery, before its number. Compared in any case, as all words of the protocol (RFC 3501, section
/// 9).
const DELIVERY: &[u8] = b"$PymailDelivery";

impl Flags {
    /// Adds one flag. All that count here only ever raise the value, so several lists in one response do no harm.
    fn add(&mut self, word: &[u8]) {
        self.is_redriven |= word.eq_ignore_ascii_case(b"$PymailRedriven");
        self.is_deleted |= word.eq_ignore_ascii_case(br"\Deleted");
        if let Some((name, number)) = word.split_at_checked(DELIVERY.len())
            && name.eq_ignore_ascii_case(DELIVERY)
        {
            let number = number_within(number, 999).and_then(|number| u32::try_from(number).ok());
            self.deliveries = self.deliveries.max(number.unwrap_or_default());
        }
    }
}

impl Attributes {
    /// Parses a response from its pieces.
    ///
    /// `place` is kept with the result, for responses without a UID.
    ///
    /// # Errors
    ///
    /// Not a list; more, or less, than one list; contradicting values; two mails; text that may be the end of a mail.
    pub(super) fn parse(
        buffer: &Arc<Vec<u8>>,
        pieces: &[Range<usize>],
        place: Place,
    ) -> Result<Self, Malformed> {
        let mut attributes = Self { place, ..Self::default() };
        let mut tokens = Tokens { buffer, pieces, at: pieces.first().map_or(0, |piece| piece.start) };
        let mut depth = 0;
        loop {
            match tokens.next()? {
                Some(Token::Close) if depth == 1 => break,
                Some(Token::Close) if depth > 0 => depth -= 1,
                // Some servers write one too many.
                Some(Token::Open) if attributes.mail.is_none() => depth += 1,
                Some(Token::Atom(name)) if depth > 0 => attributes.parse_attribute(name, &mut tokens)?,
                _ => return Err(MALFORMED),
            }
        }
        if tokens.next()?.is_some() { Err(MALFORMED) } else { Ok(attributes) }
    }

    /// Parses the value of the attribute whose name has been read.
    ///
    /// Any attribute may have a section in brackets behind its name; `BINARY[1]` has one, too.
    fn parse_attribute(&mut self, name: &[u8], tokens: &mut Tokens<'_>) -> Result<(), Malformed> {
        let section = tokens.next_section();
        let value = match tokens.next()? {
            Some(Token::Atom(word)) if word.eq_ignore_ascii_case(b"NIL") => Value::Text(Octets::default()),
            Some(Token::Atom(word)) if name.eq_ignore_ascii_case(b"INTERNALDATE") => {
                Value::List(tokens.next_date(word)?)
            }
            Some(Token::Atom(word)) => Value::Word(word),
            Some(Token::String(text)) => Value::Text(text),
            Some(Token::Open) => Value::List(tokens.next_list()?),
            _ => return Err(MALFORMED),
        };
        // Any other word may be the end of a message whose literal is too short.
        if self.mail.is_some() && !(value.is_plain() && may_follow_mail(name)) {
            return Err("a message continues after the end of its literal");
        }
        self.store(name, section, value)
    }

    /// Stores one attribute; ignores those that are never requested.
    ///
    /// An impossible number is like a missing attribute.
    fn store(
        &mut self,
        name: &[u8],
        section: Option<(&[u8], u64)>,
        value: Value<'_>,
    ) -> Result<(), Malformed> {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("UID") {
            let number = value.number(u64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok());
            return store_once(&mut self.uid, number.and_then(Uid::new));
        }
        if is("RFC822.SIZE") {
            return store_once(&mut self.size, value.number(u64::MAX));
        }
        if is("FLAGS") {
            let flags = self.flags.get_or_insert_default();
            value.words().for_each(|word| flags.add(word));
            return Ok(());
        }
        if is("INTERNALDATE") {
            self.arrived_at = date::parse(&value.into_octets());
            return Ok(());
        }
        match section {
            None if is("RFC822") => self.store_mail(value),
            Some((b"", 0)) if is("BODY") || is("BODY.PEEK") => self.store_mail(value),
            Some((b"", origin)) if is("BODY") || is("BODY.PEEK") => {
                self.rest = Some((origin, value.into_octets()));
                Ok(())
            }
            Some((section, _)) if !section.is_empty() && (is("BODY") || is("BODY.PEEK")) => {
                self.section.get_or_insert_with(|| value.into_octets());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Stores the message.
    ///
    /// # Errors
    ///
    /// There is one already: one of the two is another message's, or a part of its text.
    fn store_mail(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        if self.mail.is_some() {
            return Err("a FETCH response has a message twice");
        }
        self.mail = Some(value.into_octets());
        Ok(())
    }

    /// Merges the attributes of a later response about the same message: the later value counts, a missing one changes
    /// nothing.
    ///
    /// FLAGS may come again, when another client changes them; a mail that comes twice is the same mail, since mail
    /// never changes (RFC 3501, section 2.3.1.1).
    pub(super) fn merge(&mut self, later: Self) {
        self.uid = later.uid.or(self.uid);
        self.size = later.size.or(self.size);
        self.flags = later.flags.or(self.flags);
        self.arrived_at = later.arrived_at.or(self.arrived_at);
        self.mail = later.mail.or(self.mail.take());
        self.rest = later.rest.or(self.rest.take());
        self.section = later.section.or(self.section.take());
    }
}

/// Stores a value; fails if the response had another one before.
///
/// Within one response, twice the same value is accepted.
fn store_once<T: PartialEq>(place: &mut Option<T>, value: Option<T>) -> Result<(), Malformed> {
    if place.is_some() && *place != value {
        return Err("a FETCH response contradicts itself");
    }
    *place = value;
    Ok(())
}

/// The error for octets that are no list of attributes.
const MALFORMED: Malformed = "a FETCH response is malformed";

/// Returns `true` for the name of an attribute that a server may send behind the message.
///
/// Names of RFC 3501 and 9051, of MODSEQ (RFC 7162), EMAILID and THREADID (RFC 8474), SAVEDATE (RFC 8514), PREVIEW (RFC
/// 8970), BINARY (RFC 3516), ANNOTATION (RFC 5257), and all that begin with `X-`. A mail whose last octets look like
/// one of these, with its value and a closing parenthesis, still passes for whole: only RFC822.SIZE shows that octets
/// are missing.
fn may_follow_mail(name: &[u8]) -> bool {
    const NAMES: [&str; 13] = [
        "UID",
        "FLAGS",
        "RFC822",
        "INTERNALDATE",
        "MODSEQ",
        "EMAILID",
        "THREADID",
        "SAVEDATE",
        "PREVIEW",
        "ENVELOPE",
        "BODYSTRUCTURE",
        "BODY",
        "BODY.PEEK",
    ];
    const BEGINNINGS: [&str; 4] = ["RFC822.", "BINARY", "ANNOTATION", "X-"];
    let begins = |with: &str| {
        name.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with.as_bytes()))
            && name.iter().all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(octet))
    };
    NAMES.into_iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || BEGINNINGS.into_iter().any(begins)
}

/// The value of an attribute, as far as it is of use here.
enum Value<'a> {
    /// A number, mostly.
    Word(&'a [u8]),
    /// A quoted string or a literal; empty for NIL.
    Text(Octets),
    /// The atoms of a list, and of the lists within it.
    List(Vec<&'a [u8]>),
}

impl<'a> Value<'a> {
    /// Returns `true` unless the value is a word that is no number. Behind a mail, any other word is likely to be the
    /// mail's own text. A negative number is plain, too: some servers send a size below zero.
    fn is_plain(&self) -> bool {
        let is_number =
            |word: &[u8]| number_within(word.strip_prefix(b"-").unwrap_or(word), u64::MAX).is_some();
        match self {
            Self::Word(word) => is_number(word),
            Self::Text(_) | Self::List(_) => true,
        }
    }

    /// Returns a number up to `most`; `None` for any other value, as if the server had not sent the attribute.
    fn number(&self, most: u64) -> Option<u64> {
        match self {
            Self::Word(word) => number_within(word, most),
            Self::Text(text) => number_within(text, most),
            Self::List(_) => None,
        }
    }

    /// Returns the words of a list, or the single word that stands in its place; none of a string.
    fn words(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let (one, many): (Option<&'a [u8]>, &[&'a [u8]]) = match self {
            Self::Word(word) => (Some(word), &[]),
            Self::Text(_) => (None, &[]),
            Self::List(words) => (None, words),
        };
        one.into_iter().chain(many.iter().copied())
    }

    /// Returns the value as the text of a message or section: a number that stands there is text.
    fn into_octets(self) -> Octets {
        match self {
            Self::Word(word) => word.to_vec().into(),
            Self::Text(text) => text,
            Self::List(words) => words.join(&b' ').into(),
        }
    }
}

/// A token of a response's text. `{3}` is none: the literal that it announces is a [`String`](Token::String).
enum Token<'a> {
    Open,
    Close,
    Atom(&'a [u8]),
    /// A quoted string, copied without its backslashes, or a literal, which is not copied.
    String(Octets),
}

/// Splits the pieces of a response into tokens, in one pass.
struct Tokens<'a> {
    buffer: &'a Arc<Vec<u8>>,
    /// The pieces that are not read: first a text, then literals and texts in turn.
    pieces: &'a [Range<usize>],
    /// The place in `buffer` up to which the first of them is read.
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Returns the next token; `None` at the end.
    ///
    /// # Errors
    ///
    /// A quoted string without an end; within a text, a bare CR or other white space than blanks and tabs.
    fn next(&mut self) -> Result<Option<Token<'a>>, Malformed> {
        let Some(text) = self.text() else { return Ok(None) };
        let Some(&first) = text.first() else {
            let [_, literal, rest @ ..] = self.pieces else {
                self.pieces = &[];
                return Ok(None);
            };
            self.pieces = rest;
            self.at = rest.first().map_or(0, |piece| piece.start);
            return Ok(Some(Token::String(Octets {
                buffer: Arc::clone(self.buffer),
                place: literal.clone(),
            })));
        };
        let (token, length) = match first {
            b'(' => (Token::Open, 1),
            b')' => (Token::Close, 1),
            b'"' => quoted_string(text).ok_or(MALFORMED)?,
            b'[' => (Token::Atom(&text[..1]), 1), // in a keyword
            _ => {
                let is_atom = |octet: &&u8| !is_space(**octet) && !b"()\"[".contains(octet);
                let length = text.iter().take_while(is_atom).count();
                (Token::Atom(&text[..length]), length)
            }
        };
        self.at += length;
        if length == 0 { Err(MALFORMED) } else { Ok(Some(token)) }
    }

    /// Reads the section behind a name, such as `[HEADER]<0>`: the text between brackets, and the origin, else 0.
    fn next_section(&mut self) -> Option<(&'a [u8], u64)> {
        let (section, origin, length) = section(self.text()?.strip_prefix(b"[")?)?;
        self.at += length + 1;
        Some((section.trim_ascii(), origin))
    }

    /// Returns the rest of the text that is being read, from its next token on.
    ///
    /// `None` behind the last piece. An empty text before a literal is `Some`.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.pieces.first()?.end;
        let buffer: &'a [u8] = self.buffer;
        let text = &buffer[self.at..end];
        let blanks = text.iter().take_while(|octet| is_blank(**octet)).count();
        self.at += blanks;
        Some(&text[blanks..])
    }

    /// Returns the words of a date without quotes, given the first one: those that follow begin with a digit or a sign,
    /// and the name of the next attribute with a letter.
    fn next_date(&mut self, first: &'a [u8]) -> Result<Vec<&'a [u8]>, Malformed> {
        let mut words = vec![first];
        while self
            .text()
            .is_some_and(|text| text.first().is_some_and(|octet| b"+-0123456789".contains(octet)))
            && let Some(Token::Atom(word)) = self.next()?
        {
            words.push(word);
        }
        Ok(words)
    }

    /// Returns the atoms of a list whose opening parenthesis has been read.
    ///
    /// Lists within it, as of ENVELOPE and BODYSTRUCTURE, are counted and not recursed into: no depth overflows the
    /// stack.
    ///
    /// # Errors
    ///
    /// The response ends before the list.
    fn next_list(&mut self) -> Result<Vec<&'a [u8]>, Malformed> {
        let (mut words, mut depth) = (Vec::new(), 1);
        while depth > 0 {
            match self.next()?.ok_or(MALFORMED)? {
                Token::Open => depth += 1,
                Token::Close => depth -= 1,
                Token::Atom(word) => words.push(word),
                Token::String(_) => {}
            }
        }
        Ok(words)
    }
}

/// Reads a quoted string, with its length in the text; `None` if it has no end.
///
/// A backslash makes the next octet a part of the string (RFC 3501, section 9, `quoted`), also where the RFC allows
/// only a quote or a backslash behind it.
fn quoted_string<'a>(text: &[u8]) -> Option<(Token<'a>, usize)> {
    let mut string = Vec::new();
    let mut octets = text.iter().enumerate().skip(1);
    loop {
        match octets.next()? {
            (at, b'"') => return Some((Token::String(string.into()), at + 1)),
            (_, b'\\') => string.push(*octets.next()?.1),
            (_, octet) => string.push(*octet),
        }
    }
}

/// Reads the text up to a closing bracket and the origin behind it, with the length of both.
///
/// The origin is the `<0>` of a partial FETCH (RFC 3501, section 6.4.5); 0 without one. `None` without a closing
/// bracket.
fn section(text: &[u8]) -> Option<(&[u8], u64, usize)> {
    let end = memchr(b']', text)?;
    let (inner, behind) = (&text[..end], &text[end + 1..]);
    let origin = behind.trim_ascii_start().strip_prefix(b"<").and_then(|rest| {
        let close = memchr(b'>', rest)?;
        let origin = number_within(rest[..close].trim_ascii(), u64::MAX)?;
        Some((origin, behind.len() - rest.len() + close + 1))
    });
    let (origin, length) = origin.unwrap_or_default();
    Some((inner, origin, end + 1 + length))
}

/// Returns `true` for the octets that Python's `\s` matches: `py/` splits the same responses by it.
pub(super) fn is_space(octet: u8) -> bool {
    octet.is_ascii_whitespace() || octet == 0x0b
}
