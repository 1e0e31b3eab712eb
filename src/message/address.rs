//! Addresses in From, Sender and To (RFC 5322, section 3.4), and in what programs write instead.

use memchr::memchr;

use super::charset;

/// An entry of a list, as far as it was read: words outside and within angle brackets, with quotes and without comments.
#[derive(Default)]
struct Entry {
    outside: Vec<String>,
    within: Vec<String>,
    word: String,
    brackets: Brackets,
    /// An `@` was read outside of quotes; to look for it in the words at each colon takes too long.
    has_at: bool,
}

#[derive(Default, PartialEq, Eq)]
enum Brackets {
    #[default]
    None,
    Open,
    Closed,
    /// What stands within a second pair counts for nothing.
    OpenAgain,
}

/// Addresses as they stand in a header, without comments and blanks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) all: Vec<String>,
    /// The first entry that has an `@` behind something and is no address.
    pub(super) unread: Option<String>,
}

/// Reads the addresses of an unfolded value, in their order. A name is none, whatever it looks like.
pub(super) fn addresses(value: &[u8]) -> Addresses {
    if let Some(usual) = usual(value) {
        return Addresses { all: vec![usual.to_owned()], unread: None };
    }
    let text = charset::unsaid(value).text;
    let (mut addresses, mut entry) = (Addresses::default(), Entry::default());
    let (mut has_comments, mut has_quotes) = (true, true);
    let mut rest = &*text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            // One that is not closed is a sign like others, and so are all further ones.
            '(' if has_comments => match comment(rest) {
                Some(length) => rest = &rest[length..],
                None => has_comments = false,
            },
            '"' if has_quotes => match quoted(rest) {
                Some(length) => {
                    entry.word.push('"');
                    entry.word.push_str(&rest[..length]);
                    rest = &rest[length..];
                }
                None => has_quotes = false,
            },
            '(' | ')' | '"' => entry.end_word(),
            '[' if entry.word.ends_with('@') => {
                let length = literal(rest).unwrap_or(0);
                entry.word.push('[');
                entry.word.push_str(&rest[..length]);
                rest = &rest[length..];
            }
            '<' => entry.open(),
            '>' => entry.close(),
            ',' if entry.is_route() => entry.clear(),
            ',' | ';' => std::mem::take(&mut entry).end(&mut addresses),
            ':' if entry.is_prefix() && !entry.word.starts_with('[') => entry.clear(),
            c if c.is_whitespace() || is_unseen(c) => entry.end_word(),
            c => {
                entry.has_at |= c == '@';
                entry.word.push(c);
            }
        }
    }
    entry.end(&mut addresses);
    addresses
}

/// The one address of a value that is nothing else, as in what pymail composes; reading the others takes longer.
fn usual(value: &[u8]) -> Option<&str> {
    let inner = value.strip_prefix(b"<").map_or(Some(value), |rest| rest.strip_suffix(b">"))?;
    let at = memchr(b'@', inner).filter(|at| *at > 0 && at + 1 < inner.len())?;
    let stands = |(place, octet): (usize, &u8)| {
        octet.is_ascii_alphanumeric() || b".-_+".contains(octet) || place == at
    };
    inner.iter().enumerate().all(stands).then(|| std::str::from_utf8(inner).ok())?
}

impl Entry {
    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        let words = match self.brackets {
            Brackets::Open => &mut self.within,
            Brackets::OpenAgain => return,
            Brackets::None | Brackets::Closed => &mut self.outside,
        };
        words.extend(Some(word).filter(|word| !word.is_empty()));
    }

    fn open(&mut self) {
        self.end_word();
        let is_first = match self.brackets {
            Brackets::None => true,
            Brackets::Open => self.within.is_empty(), // as in `<<`
            Brackets::Closed | Brackets::OpenAgain => false,
        };
        self.brackets = if is_first { Brackets::Open } else { Brackets::OpenAgain };
    }

    fn close(&mut self) {
        self.end_word();
        self.brackets = Brackets::Closed;
    }

    /// Whether it is a list of servers on the way, before the address (RFC 5322, section 4.4).
    fn is_route(&self) -> bool {
        self.brackets == Brackets::Open && self.within.is_empty() && self.word.starts_with('@')
    }

    /// Whether what was read may be a group's name, or a route.
    fn is_prefix(&self) -> bool {
        self.is_route() || !self.has_at
    }

    fn clear(&mut self) {
        self.word.clear();
        self.outside.clear();
        self.has_at = false;
    }

    fn end(mut self, addresses: &mut Addresses) {
        self.end_word();
        self.outside.iter_mut().for_each(unwrap);
        let words = if self.within.is_empty() { &self.outside } else { &self.within };
        let whole = joined(words).filter(|word| is_address(word, !self.within.is_empty()));
        let before = addresses.all.len();
        match whole {
            Some(address) => addresses.all.push(address),
            // Programs forget the brackets behind a name, and commas.
            None if self.within.is_empty() => {
                addresses.all.extend(words.iter().filter(|word| is_address(word, false)).cloned());
            }
            None => {}
        }
        if addresses.all.len() == before && words.iter().any(|word| at(word) > Some(0)) {
            addresses.unread.get_or_insert_with(|| words.join(" "));
        }
    }
}

/// Takes off the quotes or the square brackets that Outlook puts around an address without a name. What stands in angle brackets
/// may be one of ours, which comes as it was.
fn unwrap(word: &mut String) {
    let inner = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let inner = inner.or_else(|| word.strip_prefix('[')?.strip_suffix(']'));
    if let Some(inner) = inner {
        *word = inner.strip_prefix("mailto:").unwrap_or(inner).to_owned();
    }
}

/// The words together, if there are blanks around the `@` only.
fn joined(words: &[String]) -> Option<String> {
    let is_one = |pair: &[String]| pair[0].ends_with('@') || pair[1].starts_with('@');
    words.windows(2).all(is_one).then(|| words.concat())
}

/// Where the last `@` outside of quotes is.
fn at(word: &str) -> Option<usize> {
    unquoted(word).filter(|(_, c)| *c == '@').last().map(|(at, _)| at)
}

/// The characters that are not quoted, and their places.
fn unquoted(word: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    word.char_indices().filter(move |&(_, c)| {
        let was_quoted = is_quoted;
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = was_quoted && c == '\\' && !is_escaped;
        !was_quoted && c != '"'
    })
}

/// Whether a word is an address. What looks like an encoded word is a name, and two `@` are none without brackets.
fn is_address(word: &str, is_in_brackets: bool) -> bool {
    let Some((local, domain)) = at(word).map(|at| (&word[..at], &word[at + 1..])) else { return false };
    let is_literal = domain.starts_with('[') && domain.ends_with(']');
    let stands = |c: char| {
        !c.is_whitespace() && !c.is_control() && (is_literal && c == ':' || !"<>(),;:\\".contains(c))
    };
    let is_name = word.starts_with("=?") && word.ends_with("?=");
    let is_one = is_in_brackets || at(local).is_none() && !is_name;
    is_one
        && !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('"')
        && unquoted(word).all(|(_, c)| stands(c))
}

/// Returns whether a sign only directs the text, or has no width: such come with what is copied.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// How long a comment is behind its parenthesis; comments may stand within.
fn comment(text: &str) -> Option<usize> {
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

/// How long a quoted text is behind its first quote.
fn quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let end = text.char_indices().find(|&(_, c)| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    end.map(|(at, _)| at + 1)
}

/// How long an address of numbers is behind its bracket.
fn literal(text: &str) -> Option<usize> {
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
    fn the_addresses_that_stand_there_are_read(#[case] value: &str, #[case] all: &[&str]) {
        let addresses = addresses(value.as_bytes());
        assert_eq!(addresses.all, all);
        assert_eq!(addresses.unread.is_some(), value.starts_with("=?") && all.is_empty());
    }

    #[rstest]
    #[case("a@b@c")]
    #[case("bob@")]
    #[case("<bob smith@example.org>")]
    #[case("<bob@exa mple.org>")]
    #[case("bob@example.org:25")]
    fn what_has_an_at_and_is_no_address_is_not_made_one(#[case] value: &str) {
        let addresses = addresses(format!("{value}, eve@example.org").as_bytes());
        assert_eq!(addresses.all, ["eve@example.org"]);
        assert!(addresses.unread.is_some());
    }
}
