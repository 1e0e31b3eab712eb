//! Parses the addresses of From, Sender and To (RFC 5322, section 3.4), with leniency for malformed lists.
//!
//! | value | addresses |
//! | --- | --- |
//! | `"Eve, the" <eve@example.org>, bob@example.org (Bob)` | eve@example.org, bob@example.org |
//! | `friends: a@example.org, b@example.org;` | a@example.org, b@example.org |
//! | `Bob bob@example.org` (no brackets) | bob@example.org |
//! | `a@example.org; b@example.org` (semicolons) | a@example.org, b@example.org |
//! | `"eve@example.com" <bob@example.org>` | bob@example.org: a display name is never an address |
//! | `<bob smith@example.org>` | none; reported as invalid, because a recipient would be lost |
//!
//! One pass over the characters, without a grammar: what is no separator belongs to a word, and the words of an entry
//! are judged at its end. An encoded word is not decoded: RFC 2047, section 5, allows none within an address, and one
//! in a display name must not become an address.

use memchr::memchr;

use super::charset;

/// One entry of an address list while it is parsed: its words outside and inside angle brackets, without comments.
#[derive(Default)]
struct Entry {
    outside: Vec<String>,
    inside: Vec<String>,
    word: String,
    brackets: Brackets,
    /// `true` after an `@` outside quotes. Searching the words at each colon would take quadratic time.
    has_at: bool,
}

/// The parser's position relative to an entry's angle brackets.
#[derive(Default, PartialEq, Eq)]
enum Brackets {
    #[default]
    None,
    Open,
    Closed,
    /// In a second pair of brackets, whose words are ignored.
    OpenAgain,
}

/// The addresses of a header, without comments and blanks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) all: Vec<String>,
    /// The first entry that has a local part and an `@` but is not a valid address.
    pub(super) invalid: Option<String>,
}

/// Parses the addresses of an unfolded header value, in order. A display name is never taken for an address.
///
/// Raw octets beyond ASCII are decoded as UTF-8 (RFC 6532), else as windows-1252, so that such an address is kept as it
/// was meant. The time is linear, also for unclosed parentheses and quotes: the first one of a kind without an end
/// makes all later ones ordinary characters.
pub(super) fn addresses(value: &[u8]) -> Addresses {
    if let Some(single) = single_address(value) {
        return Addresses { all: vec![single.to_owned()], invalid: None };
    }
    let text = charset::decode_unlabelled(value).text;
    let (mut addresses, mut entry) = (Addresses::default(), Entry::default());
    let (mut has_comments, mut has_quotes) = (true, true);
    let mut rest = &*text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            // An unclosed parenthesis or quote is an ordinary character, and so are all later ones.
            '(' if has_comments => match comment_length(rest) {
                Some(length) => rest = &rest[length..],
                None => has_comments = false,
            },
            '"' if has_quotes => match quoted_length(rest) {
                Some(length) => {
                    entry.word.push('"');
                    entry.word.push_str(&rest[..length]);
                    rest = &rest[length..];
                }
                None => has_quotes = false,
            },
            '(' | ')' | '"' => entry.end_word(),
            '[' if entry.word.ends_with('@') => {
                let length = address_literal_length(rest).unwrap_or(0);
                entry.word.push('[');
                entry.word.push_str(&rest[..length]);
                rest = &rest[length..];
            }
            '<' => entry.open(),
            '>' => entry.close(),
            ',' if entry.is_source_route() => entry.clear(),
            ',' | ';' => std::mem::take(&mut entry).end(&mut addresses),
            ':' if entry.is_prefix() && !entry.word.starts_with('[') => entry.clear(),
            c if c.is_whitespace() || is_invisible(c) => entry.end_word(),
            c => {
                entry.has_at |= c == '@';
                entry.word.push(c);
            }
        }
    }
    entry.end(&mut addresses);
    addresses
}

/// Returns the address of a value that is a single plain address, as pymail composes it: a fast path.
fn single_address(value: &[u8]) -> Option<&str> {
    let inner = value.strip_prefix(b"<").map_or(Some(value), |rest| rest.strip_suffix(b">"))?;
    let at = memchr(b'@', inner).filter(|at| *at > 0 && at + 1 < inner.len())?;
    let is_plain = |(index, octet): (usize, &u8)| {
        octet.is_ascii_alphanumeric() || b".-_+".contains(octet) || index == at
    };
    inner.iter().enumerate().all(is_plain).then(|| std::str::from_utf8(inner).ok())?
}

impl Entry {
    /// Adds the current word, if any, to the words inside or outside the brackets.
    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        let words = match self.brackets {
            Brackets::Open => &mut self.inside,
            Brackets::OpenAgain => return,
            Brackets::None | Brackets::Closed => &mut self.outside,
        };
        words.extend(Some(word).filter(|word| !word.is_empty()));
    }

    /// Enters angle brackets; the words of a second pair are ignored.
    fn open(&mut self) {
        self.end_word();
        let is_first = match self.brackets {
            Brackets::None => true,
            Brackets::Open => self.inside.is_empty(), // `<<`
            Brackets::Closed | Brackets::OpenAgain => false,
        };
        self.brackets = if is_first { Brackets::Open } else { Brackets::OpenAgain };
    }

    /// Leaves angle brackets.
    fn close(&mut self) {
        self.end_word();
        self.brackets = Brackets::Closed;
    }

    /// Returns `true` within an obsolete source route, `<@one.example,@two.example:bob@example.org>`, before the
    /// address (RFC 5322, section 4.4).
    fn is_source_route(&self) -> bool {
        self.brackets == Brackets::Open && self.inside.is_empty() && self.word.starts_with('@')
    }

    /// Returns `true` if the words so far may be a group's name (RFC 5322, section 3.4), `mailto`, or a source route,
    /// which a colon ends. After an `@` a colon is part of the entry, which is invalid then.
    fn is_prefix(&self) -> bool {
        self.is_source_route() || !self.has_at
    }

    /// Drops a group's name or a source route.
    fn clear(&mut self) {
        self.word.clear();
        self.outside.clear();
        self.has_at = false;
    }

    /// Adds the entry's address, or several where commas are missing; records an entry that is not a valid address.
    fn end(mut self, addresses: &mut Addresses) {
        self.end_word();
        self.outside.iter_mut().for_each(strip_outlook_quotes);
        let words = if self.inside.is_empty() { &self.outside } else { &self.inside };
        let whole = join_around_at(words).filter(|word| is_address(word, !self.inside.is_empty()));
        let before = addresses.all.len();
        match whole {
            Some(address) => addresses.all.push(address),
            // Some programs omit the brackets after a name, or the commas.
            None if self.inside.is_empty() => {
                addresses.all.extend(words.iter().filter(|word| is_address(word, false)).cloned());
            }
            None => {}
        }
        if addresses.all.len() == before && words.iter().any(|word| last_at(word) > Some(0)) {
            addresses.invalid.get_or_insert_with(|| words.join(" "));
        }
    }
}

/// Strips the quotes or square brackets that Outlook puts around an address without a name.
///
/// Not for addresses in angle brackets: pymail's own may contain such characters.
fn strip_outlook_quotes(word: &mut String) {
    let inner = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let inner = inner.or_else(|| word.strip_prefix('[')?.strip_suffix(']'));
    if let Some(inner) = inner {
        *word = inner.strip_prefix("mailto:").unwrap_or(inner).to_owned();
    }
}

/// Joins the words if the only blanks between them are around the `@`: obsolete syntax (RFC 5322, section 4.4), also
/// made by a comment within the address.
fn join_around_at(words: &[String]) -> Option<String> {
    let touches_at = |pair: &[String]| pair[0].ends_with('@') || pair[1].starts_with('@');
    words.windows(2).all(touches_at).then(|| words.concat())
}

/// Returns the index of the last `@` outside quotes: a quoted local part may have others, `"a@b"@example.org`.
fn last_at(word: &str) -> Option<usize> {
    unquoted(word).filter(|(_, c)| *c == '@').last().map(|(at, _)| at)
}

/// Iterates over the characters outside quotes, with their indices.
fn unquoted(word: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    word.char_indices().filter(move |&(_, c)| {
        let was_quoted = is_quoted;
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = was_quoted && c == '\\' && !is_escaped;
        !was_quoted && c != '"'
    })
}

/// Returns `true` if a word is an address. Outside brackets, an encoded word or a word with two `@` is none.
///
/// Looser than the check for sending: a quoted local part, an address literal with colons (RFC 5321, section 4.1.3) and
/// characters beyond ASCII are received as they are.
fn is_address(word: &str, is_in_brackets: bool) -> bool {
    let Some((local, domain)) = last_at(word).map(|at| (&word[..at], &word[at + 1..])) else { return false };
    let is_literal = domain.starts_with('[') && domain.ends_with(']');
    let is_allowed = |c: char| {
        !c.is_whitespace() && !c.is_control() && (is_literal && c == ':' || !"<>(),;:\\".contains(c))
    };
    let is_encoded_word = word.starts_with("=?") && word.ends_with("?=");
    let is_unambiguous = is_in_brackets || last_at(local).is_none() && !is_encoded_word;
    is_unambiguous
        && !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('"')
        && unquoted(word).all(|(_, c)| is_allowed(c))
}

/// Returns `true` for zero-width and bidirectional control characters, which copied addresses may contain.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns the length of a comment after its `(`; comments nest (RFC 5322, section 3.2.2). `None` if it has no end.
fn comment_length(text: &str) -> Option<usize> {
    let (mut depth, mut is_escaped) = (1, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => {
                is_escaped = false;
                continue;
            }
            '\\' => is_escaped = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Returns the length of a quoted string after its first quote (RFC 5322, section 3.2.4); `None` if it has no end.
fn quoted_length(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let end = text.char_indices().find(|&(_, c)| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    end.map(|(at, _)| at + 1)
}

/// Returns the length of an address literal, such as `192.0.2.1]` or `IPv6:2001:db8::1]`, after its `[` (RFC 5321,
/// section 4.1.3). Its colons end no group.
fn address_literal_length(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || ".:-".contains(c)))?;
    text[end..].starts_with(']').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bob@example.org", &["bob@example.org"])]
    #[case("Bob <bob@example.org>, \"Eve, the\" <eve@example.org>", &["bob@example.org", "eve@example.org"])]
    #[case("<\"john.no.doe.\"@example.org>", &["\"john.no.doe.\"@example.org"])]
    #[case("\"john.no.doe.\"@example.org", &["\"john.no.doe.\"@example.org"])]
    #[case("\"System Administrator\"@example.org", &["\"System Administrator\"@example.org"])]
    #[case("\"a@b\\\"c\"@example.org", &["\"a@b\\\"c\"@example.org"])]
    #[case("alice(comment)@example.org", &["alice@example.org"])]
    #[case("alice @ example.org (Alice (the one) \\) here)", &["alice@example.org"])]
    #[case("eve@example.com <bob@example.org>", &["bob@example.org"])]
    #[case("\"eve@example.com\" <bob@example.org>", &["bob@example.org"])]
    #[case("=?utf-8?Q?eve@example.com?= <bob@example.org>", &["bob@example.org"])]
    #[case("=?utf-8?Q?eve@example.com?=", &[])]
    #[case("Bob <bob@example.org> <eve@example.com>", &["bob@example.org"])]
    #[case("Bob bob@example.org", &["bob@example.org"])]
    #[case("a@example.org b@example.org", &["a@example.org", "b@example.org"])]
    #[case("a@example.org; b@example.org;", &["a@example.org", "b@example.org"])]
    #[case("friends: a@example.org, B <b@example.org>;, c@example.org", &["a@example.org", "b@example.org", "c@example.org"])]
    #[case("undisclosed-recipients:;", &[])]
    #[case("<Undisclosed-Recipient:@example.org;>, bob@example.org", &["bob@example.org"])]
    #[case("follow, @bob", &[])]
    #[case("<@one.example,@two.example:bob@example.org>", &["bob@example.org"])]
    #[case("bob@[IPv6:2001:db8::1]", &["bob@[IPv6:2001:db8::1]"])]
    #[case("mailto:bob@example.org", &["bob@example.org"])]
    #[case("Bob [mailto:bob@example.org]", &["bob@example.org"])]
    #[case("[bob@example.org]", &["bob@example.org"])]
    #[case("[list] Bob <bob@example.org>", &["bob@example.org"])]
    #[case("'bob@example.org'", &["bob@example.org"])]
    #[case("<'bob@example.org'>", &["'bob@example.org'"])]
    #[case("<[bob]@example.org]>", &["[bob]@example.org]"])]
    #[case("<<bob@example.org>>", &["bob@example.org"])]
    #[case("\u{202a}bob@example.org\u{202c}", &["bob@example.org"])]
    #[case("Bob <bob@example.org", &["bob@example.org"])]
    #[case("\"Bob <bob@example.org>", &["bob@example.org"])]
    #[case("Bob (the one <bob@example.org>", &["bob@example.org"])]
    #[case("<>", &[])]
    #[case("Bob", &[])]
    #[case("b\u{f6}b@b\u{fc}cher.example", &["b\u{f6}b@b\u{fc}cher.example"])]
    fn addresses_are_parsed_from_valid_and_malformed_lists(#[case] value: &str, #[case] all: &[&str]) {
        let addresses = addresses(value.as_bytes());
        assert_eq!(addresses.all, all);
        assert_eq!(addresses.invalid.is_some(), value.starts_with("=?") && all.is_empty());
    }

    #[rstest]
    #[case("a@b@c")]
    #[case("bob@")]
    #[case("<bob smith@example.org>")]
    #[case("<bob@exa mple.org>")]
    #[case("bob@example.org:25")]
    fn a_malformed_address_is_reported_and_not_repaired(#[case] value: &str) {
        let addresses = addresses(format!("{value}, eve@example.org").as_bytes());
        assert_eq!(addresses.all, ["eve@example.org"]);
        assert!(addresses.invalid.is_some());
    }
}
