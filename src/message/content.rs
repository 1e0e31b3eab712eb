//! Parses Content-Type and Content-Disposition: a kind and parameters (RFC 2045, section 5.1, and RFC 2231).
//!
//! Lenient with missing semicolons and quotes, stray `=` and comments. A value split into sections is joined:
//! `charset*0=ut; charset*1=f-8` is `utf-8`. The first of several parameters with one name counts.
//!
//! | value | charset |
//! | --- | --- |
//! | `text/plain; charset=utf-8`, `Text/Plain;CHARSET = "utf-8" (a comment)` | utf-8 |
//! | `text/plain charset=utf-8` (no semicolon), `text/plain; charset="utf-8` (no quote at the end) | utf-8 |
//! | `text/plain; charset*=us-ascii'en'utf-8`, `text/plain; charset*0*=''ut; charset*1*=f%2D8` | utf-8 |
//! | `text/plain; (charset=no) charset=utf-8; charset=other` | utf-8 |

use memchr::memchr;

use super::transfer::hex_octet;

/// The parameters that are read; further ones are ignored. Each look-up goes through them, so that more would cost
/// quadratic time.
const MAX_PARAMETERS: usize = 100;

/// A parsed value: a kind in lower case, such as `text/plain` or `attachment`, and its parameters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) kind: String,
    parameters: Vec<(String, String)>,
}

impl Content {
    /// Parses an unfolded header value.
    pub(super) fn parse(value: &[u8]) -> Self {
        let end = value.iter().position(|octet| b"; \t(,".contains(octet)).unwrap_or(value.len());
        let mut content =
            Self { kind: to_lower(&value[..end]).trim_matches('"').to_owned(), parameters: Vec::new() };
        let mut rest = &value[end..];
        while let Some((name, value, after)) =
            next_parameter(rest).filter(|_| content.parameters.len() < MAX_PARAMETERS)
        {
            content.parameters.push((to_lower(name), value));
            rest = after;
        }
        content
    }

    /// Returns `true` if the top-level type is this one, such as `text` or `multipart`.
    pub(super) fn is_of_type(&self, top_level: &str) -> bool {
        self.kind.strip_prefix(top_level).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Returns a parameter's value, joined from its sections and decoded (RFC 2231, sections 3 and 4).
    ///
    /// A plain `name=` goes before `name*=`, and this before the sections `name*0=`, `name*0*=`: programs that write
    /// several forms write the plain one for readers without RFC 2231. Sections may be in any order; they end at the
    /// first number that is missing.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let of = |name: &str| {
            self.parameters.iter().find(|parameter| parameter.0 == name).map(|parameter| &parameter.1)
        };
        if !self.parameters.iter().any(|(name, _)| name.contains('*')) {
            return of(name).cloned(); // as nearly always: the rest takes as long as the other headers together
        }
        let section = |name: String| {
            of(&name).cloned().or_else(|| of(&format!("{name}*")).map(|value| percent_decoded(value)))
        };
        let first = section(name.to_owned()).or_else(|| section(format!("{name}*0")))?;
        let is_extended =
            of(name).is_none() && (of(&format!("{name}*")).is_some() || of(&format!("{name}*0*")).is_some());
        // The first section begins with charset and language: charset'language'value.
        let first = if is_extended { first.splitn(3, '\'').last()?.to_owned() } else { first };
        let has_sections = of(name).is_none() && of(&format!("{name}*")).is_none();
        let others = (1..MAX_PARAMETERS)
            .map_while(|number| section(format!("{name}*{number}")).filter(|_| has_sections));
        Some(others.fold(first, |value, section| value + &section))
    }
}

/// Returns the octets as trimmed text in lower case.
fn to_lower(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets.trim_ascii()).to_ascii_lowercase()
}

/// Returns the next parameter's name and value, and the rest. The semicolon before it may be missing.
fn next_parameter(mut rest: &[u8]) -> Option<(&[u8], String, &[u8])> {
    loop {
        rest = &rest[rest.iter().position(|octet| !b"; \t,".contains(octet))?..];
        if rest[0] == b'(' {
            rest = &rest[memchr(b')', rest)? + 1..]; // a comment
            continue;
        }
        let end = rest.iter().position(|octet| b"=; \t".contains(octet))?;
        let after = rest[end..].trim_ascii_start();
        match after.strip_prefix(b"=") {
            Some(value) if end > 0 => {
                let (value, after) = parameter_value(value.trim_ascii_start());
                return Some((&rest[..end], value, after));
            }
            Some(value) => rest = value,
            None => rest = &rest[end..],
        }
    }
}

/// Returns the value at the start of the text, quoted or not, and the rest. A quoted value without its closing quote
/// goes to the end. An unquoted one may have any signs but `;` and blanks: boundaries such as `--=_x=` are seldom
/// quoted.
fn parameter_value(text: &[u8]) -> (String, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|octet| b"; \t".contains(octet)).unwrap_or(text.len());
        return (String::from_utf8_lossy(&text[..end]).into_owned(), &text[end..]);
    };
    let mut value = Vec::new();
    let mut octets = quoted.iter().enumerate();
    while let Some((at, &octet)) = octets.next() {
        match octet {
            b'"' => return (String::from_utf8_lossy(&value).into_owned(), &quoted[at + 1..]),
            b'\\' => value.extend(octets.next().map(|(_, &octet)| octet)),
            octet => value.push(octet),
        }
    }
    (String::from_utf8_lossy(&value).into_owned(), &[])
}

/// Decodes `%XX` as UTF-8: the parameters that are used here are ASCII, so that their charset does not matter.
fn percent_decoded(value: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octet = hex_octet(after).filter(|_| first == b'%');
        rest = if octet.is_some() { &after[2..] } else { after };
        octets.push(octet.unwrap_or(first));
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("text/plain; charset=utf-8", "utf-8")]
    #[case("Text/Plain;charset = \"utf-8\" (a comment)", "utf-8")]
    #[case("text/plain charset=utf-8", "utf-8")]
    #[case("text/plain;; ; format=flowed; charset=\"utf-8", "utf-8")]
    #[case("text/plain; CHARSET*=us-ascii'en'utf-8", "utf-8")]
    #[case("text/plain; charset*0=ut; charset*1=\"f-8\"", "utf-8")]
    #[case("text/plain; charset*0*=''ut; charset*1*=f%2D8", "utf-8")]
    #[case("text/plain; (charset=no) charset=utf-8; charset=other", "utf-8")]
    #[case("text/plain; x; =y; charset=utf-8", "utf-8")]
    #[case("text/plain; charset=\"ut\\f-8\"", "utf-8")]
    #[case("text/plain; charset=----=_Next=Part", "----=_Next=Part")]
    fn a_parameter_is_parsed_in_every_form(#[case] value: &str, #[case] charset: &str) {
        let content = Content::parse(value.as_bytes());
        assert_eq!((&*content.kind, content.parameter("charset").as_deref()), ("text/plain", Some(charset)));
        assert_eq!(content.parameter("boundary"), None);
    }
}
