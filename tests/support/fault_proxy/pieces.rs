//! A stream in pieces: lines, and the literals between them.

/// A line with its end, or a whole literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Line(Vec<u8>),
    Literal(Vec<u8>),
}

impl Piece {
    pub(crate) fn octets(&self) -> &[u8] {
        match self {
            Self::Line(octets) | Self::Literal(octets) => octets,
        }
    }
}

/// Splits a stream into pieces, and keeps an incomplete piece.
#[derive(Default)]
pub(crate) struct Cutter {
    pending: Vec<u8>,
    literal: Option<usize>,
}

impl Cutter {
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        self.pending.extend_from_slice(octets);
    }

    /// Expects a literal of this many octets next.
    pub(crate) fn expect(&mut self, literal: usize) {
        self.literal = Some(literal);
    }

    /// Expects a line next after all.
    pub(crate) fn expect_none(&mut self) {
        self.literal = None;
    }

    /// Returns the next whole piece.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        if let Some(length) = self.literal {
            return (self.pending.len() >= length).then(|| {
                self.literal = None;
                Piece::Literal(self.pending.drain(..length).collect())
            });
        }
        let end = self.pending.iter().position(|&octet| octet == b'\n')?;
        Some(Piece::Line(self.pending.drain(..=end).collect()))
    }

    /// Returns the incomplete piece at the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }
}

/// Returns the length of the literal that an IMAP line announces: `{n}` or `{n+}` at its end.
pub(crate) fn literal_after(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\r\n")?.strip_suffix(b"}")?;
    let line = line.strip_suffix(b"+").unwrap_or(line);
    let begin = line.iter().rposition(|&octet| octet == b'{')?;
    std::str::from_utf8(&line[begin + 1..]).ok()?.parse().ok()
}

/// Returns the line with another length of its literal.
pub(crate) fn announcing(line: &[u8], length: usize) -> Vec<u8> {
    let brace = line.iter().rposition(|&octet| octet == b'{').unwrap_or(0);
    let end = if line.ends_with(b"+}\r\n") { "+}\r\n" } else { "}\r\n" };
    [&line[..=brace], length.to_string().as_bytes(), end.as_bytes()].concat()
}

/// Returns the length of the chunk after a BDAT command (RFC 3030).
pub(crate) fn chunk_after(line: &[u8]) -> Option<usize> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| word.eq_ignore_ascii_case("BDAT"))?;
    words.next()?.parse().ok()
}

/// Replaces a text by another, everywhere; returns `None` without a match.
pub(crate) fn replaced(line: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let from = from.as_bytes();
    let mut out = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    (rest.len() < line.len()).then(|| [&out, rest].concat())
}
