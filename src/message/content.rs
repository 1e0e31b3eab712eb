//! Content-Type and Content-Disposition: a kind, and parameters (RFC 2045, section 5.1, and RFC 2231).

use memchr::memchr;

use super::transfer::escaped;

/// More parameters than this count for nothing.
const MOST_PARAMETERS: usize = 100;

/// A kind such as `text/plain` in small letters, and what is said of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) kind: String,
    parameters: Vec<(String, String)>,
}

impl Content {
    /// Reads an unfolded value.
    pub(super) fn of(value: &[u8]) -> Self {
        let end = value.iter().position(|octet| b"; \t(,".contains(octet)).unwrap_or(value.len());
        let mut content =
            Self { kind: lowered(&value[..end]).trim_matches('"').to_owned(), parameters: Vec::new() };
        let mut rest = &value[end..];
        while let Some((name, value, behind)) =
            parameter(rest).filter(|_| content.parameters.len() < MOST_PARAMETERS)
        {
            content.parameters.push((lowered(name), value));
            rest = behind;
        }
        content
    }

    /// Whether it is a kind of `text`, `multipart` and so on.
    pub(super) fn is_of(&self, class: &str) -> bool {
        self.kind.strip_prefix(class).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The parameter's value, which may be in pieces (RFC 2231, sections 3 and 4).
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let of = |name: &str| {
            self.parameters.iter().find(|parameter| parameter.0 == name).map(|parameter| &parameter.1)
        };
        let piece = |name: String| {
            of(&name).cloned().or_else(|| of(&format!("{name}*")).map(|value| unescaped(value)))
        };
        let first = piece(name.to_owned()).or_else(|| piece(format!("{name}*0")))?;
        let is_extended =
            of(name).is_none() && (of(&format!("{name}*")).is_some() || of(&format!("{name}*0*")).is_some());
        // The first piece says the charset and the language: charset'language'value.
        let first = if is_extended { first.splitn(3, '\'').last()?.to_owned() } else { first };
        let is_in_pieces = of(name).is_none() && of(&format!("{name}*")).is_none();
        let others = (1..MOST_PARAMETERS)
            .map_while(|number| piece(format!("{name}*{number}")).filter(|_| is_in_pieces));
        Some(others.fold(first, |value, piece| value + &piece))
    }
}

fn lowered(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets.trim_ascii()).to_ascii_lowercase()
}

/// The next parameter's name and value, and what stands behind it. The semicolon before it may be missing.
fn parameter(mut rest: &[u8]) -> Option<(&[u8], String, &[u8])> {
    loop {
        rest = &rest[rest.iter().position(|octet| !b"; \t,".contains(octet))?..];
        if rest[0] == b'(' {
            rest = &rest[memchr(b')', rest)? + 1..]; // a comment
            continue;
        }
        let end = rest.iter().position(|octet| b"=; \t".contains(octet))?;
        let behind = rest[end..].trim_ascii_start();
        match behind.strip_prefix(b"=") {
            Some(value) if end > 0 => {
                let (value, behind) = value_of(value.trim_ascii_start());
                return Some((&rest[..end], value, behind));
            }
            Some(value) => rest = value,
            None => rest = &rest[end..],
        }
    }
}

fn value_of(text: &[u8]) -> (String, &[u8]) {
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

/// Without `%XX`, of which only other parameters than those that matter here have any beyond ASCII.
fn unescaped(value: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let octet = escaped(behind).filter(|_| first == b'%');
        rest = if octet.is_some() { &behind[2..] } else { behind };
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
    fn a_parameter_is_read_however_it_is_written(#[case] value: &str, #[case] charset: &str) {
        let content = Content::of(value.as_bytes());
        assert_eq!((&*content.kind, content.parameter("charset").as_deref()), ("text/plain", Some(charset)));
        assert_eq!(content.parameter("boundary"), None);
    }
}
