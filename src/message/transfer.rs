//! From lines of 7 bits to the octets that they stand for (RFC 2045, section 6), as leniently as nothing is lost by it.

use std::borrow::Cow;

use memchr::memchr;

use super::head::line_at;
use crate::error::{Error, Result};

/// Decodes a body by its Content-Transfer-Encoding; one that is unknown is none.
///
/// # Errors
/// `Message`: something stands there that can't be decoded, or the end is missing.
pub(super) fn decode<'a>(encoding: Option<&[u8]>, body: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    let lost = |what| Error::message(format!("the body can't be decoded: {what}"));
    match name(encoding.unwrap_or_default()).as_str() {
        "base64" | "b" | "x-base64" => match base64(body) {
            (octets, None) => Ok(octets.into()),
            (_, Some(what)) => Err(lost(what)),
        },
        "quoted-printable" | "quotedprintable" | "qp" | "x-quoted-printable" => {
            Ok(quoted_printable(body).into())
        }
        "uuencode" | "x-uuencode" | "uue" | "x-uue" => uuencoded(body).map(Cow::Owned).map_err(lost),
        _ => Ok(body.into()),
    }
}

/// The name without quotes, comments, or what else is written behind it.
fn name(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value).to_ascii_lowercase();
    let value = value.trim_start_matches(|c: char| c.is_whitespace() || "\"'".contains(c));
    value
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
        .collect::<String>()
        .replace('_', "-")
}

/// The six bits that an octet of base64 stands for.
pub(super) fn sextet(octet: u8) -> Option<u8> {
    match octet {
        b'A'..=b'Z' => Some(octet - b'A'),
        b'a'..=b'z' => Some(octet - b'a' + 26),
        b'0'..=b'9' => Some(octet - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Octets gathered from six bits each.
#[derive(Default)]
struct Gathered {
    octets: Vec<u8>,
    bits: u32,
    count: u8,
}

impl Gathered {
    fn push(&mut self, sextet: u8) {
        (self.bits, self.count) = (self.bits << 6 | u32::from(sextet), self.count + 1);
        if self.count == 4 {
            self.octets.extend_from_slice(&self.bits.to_be_bytes()[1..]);
            (self.bits, self.count) = (0, 0);
        }
    }

    /// Ends a block, which has two or three characters behind the last whole four; `None` when it has one.
    fn end(&mut self) -> Option<()> {
        match self.count {
            0 => {}
            1 => return None,
            2 => self.octets.push((self.bits >> 4).to_be_bytes()[3]),
            _ => self.octets.extend_from_slice(&(self.bits >> 2).to_be_bytes()[2..]),
        }
        (self.bits, self.count) = (0, 0);
        Some(())
    }

    /// Whether the last block goes on: what would only pad it is not zero.
    fn is_within_an_octet(&self) -> bool {
        matches!((self.count, self.bits & 0xf), (1, _) | (2, 1..)) || self.count == 3 && self.bits & 3 != 0
    }
}

/// Decodes base64 with or without padding, at its end or in its midst. What is no base64 in its lines is passed over (RFC 2045,
/// section 6.8).
///
/// Says what was lost: it ends within an octet, or lines of text follow its end.
pub(super) fn base64(code: &[u8]) -> (Vec<u8>, Option<&'static str>) {
    let mut gathered = Gathered { octets: Vec::with_capacity(code.len() / 4 * 3 + 3), ..Gathered::default() };
    let lost = gather(code, &mut gathered).err();
    (gathered.octets, lost)
}

fn gather(code: &[u8], gathered: &mut Gathered) -> Result<(), &'static str> {
    const CUT: &str = "its base64 ends within an octet";
    let (mut is_ended, mut at) = (false, 0);
    while let Some((line, next)) = line_at(code, at) {
        if is_ended && is_text_behind(line) {
            return Err("text follows the end of its base64");
        }
        if is_text(line, at == 0) {
            return Err("a line of it is text");
        }
        at = next;
        for &octet in line {
            if octet == b'=' {
                is_ended = true;
                gathered.end().ok_or(CUT)?;
            } else if let Some(sextet) = sextet(standard(octet)) {
                gathered.push(sextet);
            }
        }
    }
    if gathered.is_within_an_octet() {
        return Err(CUT);
    }
    gathered.end().ok_or(CUT)
}

/// The octet that stands in the usual alphabet for one of that for URLs (RFC 4648, section 5).
fn standard(octet: u8) -> u8 {
    match octet {
        b'-' => b'+',
        b'_' => b'/',
        _ => octet,
    }
}

/// Returns whether a line behind the end says anything; more base64 would be in one piece.
fn is_text_behind(line: &[u8]) -> bool {
    !line.trim_ascii().iter().all(|&octet| sextet(octet).is_some() || octet == b'=')
}

/// Returns whether a line is text rather than base64 with a sign or blanks in it: a list's footer, or what is not encoded at all.
fn is_text(line: &[u8], is_first: bool) -> bool {
    let line = line.trim_ascii();
    let is_sign =
        |octet: u8| octet != b'=' && !octet.is_ascii_whitespace() && sextet(standard(octet)).is_none();
    let signs = line.iter().filter(|octet| is_sign(**octet)).count();
    let has_letters = || line.iter().any(u8::is_ascii_alphanumeric);
    let has_blanks = || line.iter().any(u8::is_ascii_whitespace);
    signs > 0 && has_letters() && (signs > 1 || !is_first && has_blanks())
}

/// Decodes quoted-printable; a `=` that is no escape stays (RFC 2045, section 6.7).
pub(super) fn quoted_printable(code: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = memchr(b'=', rest) {
        octets.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(octet) = escaped(rest) {
            octets.push(octet);
            rest = &rest[2..];
        } else if let Some(length) = line_end(rest) {
            rest = &rest[length..];
        } else {
            octets.push(b'=');
        }
    }
    octets.extend_from_slice(rest);
    octets
}

/// The octet that two hexadecimal digits stand for, in capitals or not.
pub(super) fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| digits.get(at).and_then(|&digit| char::from(digit).to_digit(16));
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// How long the line's end is, with blanks before it, if it is here.
fn line_end(rest: &[u8]) -> Option<usize> {
    let blanks = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t' | b'\r')).count();
    match rest.get(blanks) {
        Some(b'\n') => Some(blanks + 1),
        Some(_) => None,
        None => Some(blanks),
    }
}

/// Decodes what stands between `begin` and `end`; all of it when nothing begins.
///
/// # Errors
/// A line has other characters, or the end is missing.
fn uuencoded(code: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut octets = Vec::new();
    let (mut has_begun, mut at) = (false, 0);
    while let Some((line, next)) = line_at(code, at) {
        at = next;
        if !has_begun {
            has_begun = line.starts_with(b"begin ");
        } else if line == b"end" {
            return Ok(octets);
        } else {
            uuencoded_line(line, &mut octets).ok_or("a line of it is no uuencode")?;
        }
    }
    if has_begun { Err("its uuencode has no end") } else { Ok(code.to_vec()) }
}

/// A line says how many octets it has; blanks at its end may have been taken away.
fn uuencoded_line(line: &[u8], octets: &mut Vec<u8>) -> Option<()> {
    let sextet = |octet: &u8| (b' '..=b'`').contains(octet).then(|| (octet - b' ') & 63);
    let Some((length, code)) = line.split_first() else { return Some(()) };
    let length = usize::from(sextet(length)?);
    let mut gathered = Gathered::default();
    let padded = code.iter().chain(std::iter::repeat(&b' '));
    for octet in padded.take(length.div_ceil(3) * 4) {
        gathered.push(sextet(octet)?);
    }
    octets.extend_from_slice(&gathered.octets[..length]);
    Some(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::padded("aGVsbG8=", "hello")]
    #[case::not_padded("aGVsbG8", "hello")]
    #[case::two_that_are_padded("aGVsbG8=d29ybGQ=", "helloworld")]
    #[case::two_in_two_lines("aGVsbG8=\r\nd29ybGQ", "helloworld")]
    #[case::blanks_and_signs(" aGV sbG\t8!\r\n", "hello")]
    #[case::too_much_padding("aGVsbG8====\r\n", "hello")]
    #[case::a_line_of_padding("aGVsbG8\r\n=\r\n", "hello")]
    #[case::for_urls("Pz8_Pj4-", "???>>>")]
    #[case::broken_by_sendmail("aGVs!\r\n bG8!\r\n", "hello")]
    #[case::nothing("\r\n", "")]
    fn base64_is_decoded_as_long_as_nothing_is_lost(#[case] code: &str, #[case] text: &str) {
        assert_eq!(base64(code.as_bytes()), (text.as_bytes().to_vec(), None));
    }

    #[rstest]
    #[case::one_more("aGVsbG8hA")]
    #[case::bits_left_over("aGVsbG9")]
    #[case::one_before_the_padding("aGVsb=")]
    #[case::text_behind_the_end("aGVsbG8=\r\n_______\r\nA list's footer.\r\n")]
    #[case::text_behind_the_end_without_signs("aGVsbG8=\r\nUnsubscribe here now\r\n")]
    #[case::text_behind_whole_octets("aGVsbG8h\r\n______\r\nlist@example.org to all\r\n")]
    #[case::no_base64_at_all("Hello Bob, here is text.")]
    fn base64_of_which_something_is_lost_is_an_error(#[case] code: &str) {
        assert!(base64(code.as_bytes()).1.is_some());
    }

    #[rstest]
    #[case::no_escape("a=b,b width=1 mode=a\r\nx=\u{fc}", "a=b,b width=1 mode=a\r\nx=\u{fc}")]
    #[case::small_letters("=c3=bC", "\u{fc}")]
    #[case::soft_breaks("a=\r\nb= \t\r\nc=\nd", "abcd")]
    #[case::at_the_end("a=", "a")]
    #[case::twice("a==3D=\r\nb", "a==b")]
    fn quoted_printable_is_decoded_and_nothing_else(#[case] code: &str, #[case] text: &str) {
        assert_eq!(String::from_utf8(quoted_printable(code.as_bytes())).unwrap(), text);
    }

    #[test]
    fn uuencode_is_decoded_to_its_end() {
        let code = b"begin 644 a.txt\n%:&5L;&\\\n`\nend\n";
        assert_eq!(decode(Some(b"x-uuencode"), code).unwrap(), &b"hello"[..]);
        assert!(decode(Some(b"uuencode"), &code[..code.len() - 4]).is_err());
        assert_eq!(decode(Some(b"uuencode"), b"plain").unwrap(), &b"plain"[..]);
    }

    #[rstest]
    #[case("base64")]
    #[case(" BASE64 (a comment)")]
    #[case("\"base64\";")]
    fn an_encoding_is_known_however_it_is_written(#[case] name: &str) {
        assert_eq!(decode(Some(name.as_bytes()), b"aGk=").unwrap(), &b"hi"[..]);
        assert_eq!(decode(Some(b"8-bit"), b"aGk=").unwrap(), &b"aGk="[..]);
    }
}
