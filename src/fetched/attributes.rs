//! Parses one FETCH response, `(name value name value ...)`, into the attributes of a message.

use std::ops::{Deref, Range};
use std::sync::Arc;

use memchr::memchr;

use super::responses::{Malformed, is_blank, number_within};
use crate::uid::Uid;

/// A text that shares its buffer with others.
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

/// A message before its UID is known: the number of EXPUNGE responses so far, each of which changes sequence numbers, and
/// its sequence number.
pub(super) type Place = (u64, u32);

/// The attributes of one message, from one or more FETCH responses.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    pub(super) place: Place,
    pub(crate) uid: Option<Uid>,
    /// RFC822.SIZE.
    pub(crate) size: Option<u64>,
    pub(crate) flags: Option<Flags>,
    /// The message from its first octet on.
    pub(crate) mail: Option<Octets>,
    /// One of its sections.
    pub(crate) section: Option<Octets>,
}

/// The flags that count here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `true` with `\Deleted`.
    pub(crate) is_deleted: bool,
    /// The highest number of a keyword `$PymailDelivery`.
    pub(crate) deliveries: u32,
}

/// The keyword of a delivery, before its number.
const DELIVERY: &[u8] = b"$PymailDelivery";

impl Flags {
    fn add(&mut self, word: &[u8]) {
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
    fn parse_attribute(&mut self, name: &[u8], tokens: &mut Tokens<'_>) -> Result<(), Malformed> {
        let section = tokens.next_section();
        let value = match tokens.next()? {
            Some(Token::Atom(word)) if word.eq_ignore_ascii_case(b"NIL") => Value::Text(Octets::default()),
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
        match section {
            None if is("RFC822") => self.store_mail(value),
            Some((b"", 0)) if is("BODY") || is("BODY.PEEK") => self.store_mail(value),
            Some((section, _)) if !section.is_empty() && (is("BODY") || is("BODY.PEEK")) => {
                self.section.get_or_insert_with(|| value.into_octets());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn store_mail(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        if self.mail.is_some() {
            return Err("a FETCH response has a message twice");
        }
        self.mail = Some(value.into_octets());
        Ok(())
    }

    /// Merges the attributes of a later response about the same message.
    pub(super) fn merge(&mut self, later: Self) {
        self.uid = later.uid.or(self.uid);
        self.size = later.size.or(self.size);
        self.flags = later.flags.or(self.flags);
        self.mail = later.mail.or(self.mail.take());
        self.section = later.section.or(self.section.take());
    }
}

/// Stores a value; fails if the response had another one before.
fn store_once<T: PartialEq>(place: &mut Option<T>, value: Option<T>) -> Result<(), Malformed> {
    if place.is_some() && *place != value {
        return Err("a FETCH response contradicts itself");
    }
    *place = value;
    Ok(())
}

const MALFORMED: Malformed = "a FETCH response is malformed";

/// Returns `true` for the name of an attribute that a server may send behind the message.
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

/// The value of an attribute.
enum Value<'a> {
    Word(&'a [u8]),
    Text(Octets),
    /// The atoms of a list, and of the lists within it.
    List(Vec<&'a [u8]>),
}

impl<'a> Value<'a> {
    /// Returns `true` unless the value is a word that is no number.
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

    fn words(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let (one, many): (Option<&'a [u8]>, &[&'a [u8]]) = match self {
            Self::Word(word) => (Some(word), &[]),
            Self::Text(_) => (None, &[]),
            Self::List(words) => (None, words),
        };
        one.into_iter().chain(many.iter().copied())
    }

    fn into_octets(self) -> Octets {
        match self {
            Self::Word(word) => word.to_vec().into(),
            Self::Text(text) => text,
            Self::List(words) => words.join(&b' ').into(),
        }
    }
}

enum Token<'a> {
    Open,
    Close,
    Atom(&'a [u8]),
    /// A quoted string, or a literal.
    String(Octets),
}

/// Splits the pieces of a response into tokens.
struct Tokens<'a> {
    buffer: &'a Arc<Vec<u8>>,
    /// The pieces that are not read: first a text, then literals and texts in turn.
    pieces: &'a [Range<usize>],
    /// The place within the first of them.
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Returns the next token; `None` at the end.
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
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.pieces.first()?.end;
        let buffer: &'a [u8] = self.buffer;
        let text = &buffer[self.at..end];
        let blanks = text.iter().take_while(|octet| is_blank(**octet)).count();
        self.at += blanks;
        Some(&text[blanks..])
    }

    /// Returns the atoms of a list whose opening parenthesis has been read.
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

/// Reads a quoted string, with its length in the text.
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

/// Returns `true` for the octets that Python's `\s` matches.
pub(super) fn is_space(octet: u8) -> bool {
    octet.is_ascii_whitespace() || octet == 0x0b
}
