//! Decodes Content-Transfer-Encodings (RFC 2045, section 6), as leniently as is possible without losing octets.
//!
//! Base64 may lack padding, have it in the middle, use the URL-safe alphabet, or contain stray characters. It is an
//! error if it ends within an octet, or if text follows it, such as the footer of a mailing list: such a body was
//! changed on the way.
//!
//! | encoded | decoded |
//! | --- | --- |
//! | `aGVsbG8` (no padding), `aGV sbG\t8!` (blanks and a stray sign) | `hello` |
//! | `aGVsbG8=d29ybGQ=` (two pieces, each with padding) | `helloworld` |
//! | `aGVsb=`, `aGVsbG8hA` (cut within an octet) | an error |
//! | `aGVsbG8=`, then `A list's footer.` | an error: the footer is not the sender's, and the size no longer fits |
//! | `a=b`, `=c3=bC`, `b= ` at a line end (quoted-printable) | `a=b`, `ü`, `b` joined with the next line |
//! | `begin 644 a.txt`, lines, `end` (uuencode) | the octets; an error without the `end` |
//!
//! Quoted-printable loses nothing whatever it contains: what is no escape stands for itself (RFC 2045, section 6.7,
//! advises the same). Its text can be cut, which no reader can see.

use std::borrow::Cow;

use memchr::memchr;

use super::headers::line_at;
use crate::error::{Error, Result};

/// Decodes a body by its Content-Transfer-Encoding; an unknown encoding leaves it as it is, like `7bit`, `8bit` and
/// `binary`.
///
/// RFC 2045, section 6.4, would have a body of unknown encoding shown as data; programs that misspell the name mostly
/// mean no encoding.
///
/// # Errors
/// `Message` when the body is not valid in that encoding, or truncated.
pub(super) fn decode<'a>(encoding: Option<&[u8]>, body: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    let invalid = |reason| Error::message(format!("the body can't be decoded: {reason}"));
    match encoding_name(encoding.unwrap_or_default()).as_str() {
        "base64" | "b" | "x-base64" => match base64(body) {
            (octets, None) => Ok(octets.into()),
            (_, Some(reason)) => Err(invalid(reason)),
        },
        "quoted-printable" | "quotedprintable" | "qp" | "x-quoted-printable" => {
            Ok(quoted_printable(body).into())
        }
        "uuencode" | "x-uuencode" | "uue" | "x-uue" => uuencoded(body).map(Cow::Owned).map_err(invalid),
        _ => Ok(body.into()),
    }
}

/// Returns the name of the encoding without quotes, comments and other text after it.
fn encoding_name(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value).to_ascii_lowercase();
    let value = value.trim_start_matches(|c: char| c.is_whitespace() || "\"'".contains(c));
    value
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
        .collect::<String>()
        .replace('_', "-")
}

/// Returns the six bits that an octet of base64 encodes.
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

/// A buffer that assembles octets from groups of six bits, for base64 and uuencode.
#[derive(Default)]
struct SextetBuffer {
    octets: Vec<u8>,
    bits: u32,
    count: u8,
}

impl SextetBuffer {
    /// Adds six bits.
    fn push(&mut self, sextet: u8) {
        (self.bits, self.count) = (self.bits << 6 | u32::from(sextet), self.count + 1);
        if self.count == 4 {
            self.octets.extend_from_slice(&self.bits.to_be_bytes()[1..]);
            (self.bits, self.count) = (0, 0);
        }
    }

    /// Ends a base64 block after 0, 2 or 3 characters of an incomplete group; returns `None` after 1, which is invalid.
    fn end_block(&mut self) -> Option<()> {
        match self.count {
            0 => {}
            1 => return None,
            2 => self.octets.push((self.bits >> 4).to_be_bytes()[3]),
            _ => self.octets.extend_from_slice(&(self.bits >> 2).to_be_bytes()[2..]),
        }
        (self.bits, self.count) = (0, 0);
        Some(())
    }

    /// Returns `true` if the base64 was cut within an octet: its padding bits are not zero, which an encoder must set
    /// (RFC 4648, section 3.5). A cut between octets can't be told from a missing padding; the declared size tells it.
    fn is_cut_within_octet(&self) -> bool {
        matches!((self.count, self.bits & 0xf), (1, _) | (2, 1..)) || self.count == 3 && self.bits & 3 != 0
    }
}

/// Decodes base64, with or without padding, which may also be in the middle; skips invalid characters (RFC 2045,
/// section 6.8).
///
/// The second value is the reason why octets were lost: the base64 ends within an octet, or lines of text follow it.
pub(super) fn base64(code: &[u8]) -> (Vec<u8>, Option<&'static str>) {
    let mut buffer =
        SextetBuffer { octets: Vec::with_capacity(code.len() / 4 * 3 + 3), ..SextetBuffer::default() };
    let lost = decode_lines(code, &mut buffer).err();
    (buffer.octets, lost)
}

/// Decodes lines of base64 into the buffer, up to a line that is text.
fn decode_lines(code: &[u8], buffer: &mut SextetBuffer) -> Result<(), &'static str> {
    const CUT: &str = "its base64 ends within an octet";
    let (mut is_ended, mut at) = (false, 0);
    while let Some((line, next)) = line_at(code, at) {
        if is_ended && is_trailing_text(line) {
            return Err("text follows the end of its base64");
        }
        if is_text_line(line, at == 0) {
            return Err("a line of its base64 is text");
        }
        at = next;
        for &octet in line {
            if octet == b'=' {
                is_ended = true;
                buffer.end_block().ok_or(CUT)?;
            } else if let Some(sextet) = sextet(to_standard_alphabet(octet)) {
                buffer.push(sextet);
            }
        }
    }
    if buffer.is_cut_within_octet() {
        return Err(CUT);
    }
    buffer.end_block().ok_or(CUT)
}

/// Maps an octet of the URL-safe alphabet (RFC 4648, section 5) to the standard one.
fn to_standard_alphabet(octet: u8) -> u8 {
    match octet {
        b'-' => b'+',
        b'_' => b'/',
        _ => octet,
    }
}

/// Returns `true` if a line after the padding is text: more base64 would have no blanks inside.
fn is_trailing_text(line: &[u8]) -> bool {
    !line.trim_ascii().iter().all(|&octet| sextet(octet).is_some() || octet == b'=')
}

/// Returns `true` if a line is text, such as a list's footer, rather than base64 with a stray character or blanks.
///
/// A line of text has two signs that base64 has not, or one and blanks between its words. One stray sign passes:
/// sendmail breaks long lines with a `!` at the end and a blank on the next line.
fn is_text_line(line: &[u8], is_first: bool) -> bool {
    let line = line.trim_ascii();
    let is_invalid = |octet: u8| {
        octet != b'=' && !octet.is_ascii_whitespace() && sextet(to_standard_alphabet(octet)).is_none()
    };
    let invalid = line.iter().filter(|octet| is_invalid(**octet)).count();
    let has_letters = || line.iter().any(u8::is_ascii_alphanumeric);
    let has_blanks = || line.iter().any(u8::is_ascii_whitespace);
    invalid > 0 && has_letters() && (invalid > 1 || !is_first && has_blanks())
}

/// Decodes quoted-printable (RFC 2045, section 6.7); a `=` that begins no escape is kept.
pub(super) fn quoted_printable(code: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = memchr(b'=', rest) {
        octets.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(octet) = hex_octet(rest) {
            octets.push(octet);
            rest = &rest[2..];
        } else if let Some(length) = soft_break_length(rest) {
            rest = &rest[length..];
        } else {
            octets.push(b'=');
        }
    }
    octets.extend_from_slice(rest);
    octets
}

/// Returns the octet of two hexadecimal digits, in upper or lower case.
pub(super) fn hex_octet(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| digits.get(at).and_then(|&digit| char::from(digit).to_digit(16));
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// Returns the length of a soft line break after its `=`, with blanks before the line end; `None` if this is none.
fn soft_break_length(rest: &[u8]) -> Option<usize> {
    let blanks = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t' | b'\r')).count();
    match rest.get(blanks) {
        Some(b'\n') => Some(blanks + 1),
        Some(_) => None,
        None => Some(blanks),
    }
}

/// Decodes the lines between `begin` and `end` (POSIX, `uuencode`); returns the text as it is without a `begin`. The
/// file name and its mode are dropped.
///
/// # Errors
/// A reason, when a line has invalid characters or the `end` is missing.
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
            uuencoded_line(line, &mut octets).ok_or("a line of its uuencode is invalid")?;
        }
    }
    if has_begun { Err("its uuencode has no end") } else { Ok(code.to_vec()) }
}

/// Decodes a line, which begins with its number of octets; blanks at its end, which encode zeros, may have been
/// stripped by a server.
fn uuencoded_line(line: &[u8], octets: &mut Vec<u8>) -> Option<()> {
    let sextet = |octet: &u8| (b' '..=b'`').contains(octet).then(|| (octet - b' ') & 63);
    let Some((length, code)) = line.split_first() else { return Some(()) };
    let length = usize::from(sextet(length)?);
    let mut buffer = SextetBuffer::default();
    let padded = code.iter().chain(std::iter::repeat(&b' '));
    for octet in padded.take(length.div_ceil(3) * 4) {
        buffer.push(sextet(octet)?);
    }
    octets.extend_from_slice(&buffer.octets[..length]);
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
    fn base64_is_decoded_leniently_where_no_octet_is_lost(#[case] code: &str, #[case] text: &str) {
        assert_eq!(base64(code.as_bytes()), (text.as_bytes().to_vec(), None));
    }

    #[rstest]
    #[case::one_more("aGVsbG8hA")]
    #[case::bits_left_over("aGVsbG9")]
    #[case::one_before_the_padding("aGVsb=")]
    #[case::text_after_the_end("aGVsbG8=\r\n_______\r\nA list's footer.\r\n")]
    #[case::words_after_the_end("aGVsbG8=\r\nUnsubscribe here now\r\n")]
    #[case::text_after_whole_octets("aGVsbG8h\r\n______\r\nlist@example.org to all\r\n")]
    #[case::no_base64_at_all("Hello Bob, here is text.")]
    fn base64_that_loses_octets_is_an_error(#[case] code: &str) {
        assert!(base64(code.as_bytes()).1.is_some());
    }

    #[rstest]
    #[case::no_escape("a=b,b width=1 mode=a\r\nx=\u{fc}", "a=b,b width=1 mode=a\r\nx=\u{fc}")]
    #[case::small_letters("=c3=bC", "\u{fc}")]
    #[case::soft_breaks("a=\r\nb= \t\r\nc=\nd", "abcd")]
    #[case::at_the_end("a=", "a")]
    #[case::twice("a==3D=\r\nb", "a==b")]
    fn only_escapes_of_quoted_printable_are_decoded(#[case] code: &str, #[case] text: &str) {
        assert_eq!(String::from_utf8(quoted_printable(code.as_bytes())).unwrap(), text);
    }

    #[test]
    fn uuencode_is_decoded_up_to_its_end_line() {
        let code = b"begin 644 a.txt\n%:&5L;&\\\n`\nend\n";
        assert_eq!(decode(Some(b"x-uuencode"), code).unwrap(), &b"hello"[..]);
        assert!(decode(Some(b"uuencode"), &code[..code.len() - 4]).is_err());
        assert_eq!(decode(Some(b"uuencode"), b"plain").unwrap(), &b"plain"[..]);
    }

    #[rstest]
    #[case("base64")]
    #[case(" BASE64 (a comment)")]
    #[case("\"base64\";")]
    fn an_encoding_is_recognised_in_every_spelling(#[case] name: &str) {
        assert_eq!(decode(Some(name.as_bytes()), b"aGk=").unwrap(), &b"hi"[..]);
        assert_eq!(decode(Some(b"8-bit"), b"aGk=").unwrap(), &b"aGk="[..]);
    }
}
