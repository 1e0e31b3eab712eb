//! Decodes encoded words in header values (RFC 2047), also where they are not allowed, as mail programs do.
//!
//! `=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9?=` is one text although each word ends within a character: many programs cut text
//! by octets. Blanks between encoded words are dropped, blanks between other words are kept. Blanks within a word, a
//! missing padding of base64 and a language after the charset are accepted.

use memchr::memmem;

use super::charset::{self, Decoded};
use super::transfer::{base64, hex_octet};

/// The octets of a charset and a language that are read: a whole word has at most 75 (RFC 2047, section 2). Without a
/// bound, many `=?` without a further `?` would take quadratic time.
const MAX_NAME: usize = 100;

/// An encoded word: `=?charset?encoding?text?=`.
#[derive(Clone, Copy)]
struct EncodedWord<'a> {
    charset: &'a [u8],
    is_base64: bool,
    text: &'a [u8],
}

/// Decodes an unfolded header value.
///
/// Adjacent words in one charset are decoded together, because some programs cut them within characters. Raw octets
/// beyond ASCII are UTF-8, else windows-1252.
///
/// | value | text |
/// | --- | --- |
/// | `=?utf-8?Q?caf=C3?= =?utf-8?B?qSA0Mg==?=` | `café 42`: one run, in two encodings |
/// | `=?iso-8859-1?Q?=FC?= =?utf-8?Q?=C3=BC?=` | `üü`: the blank between encoded words is none of the text |
/// | `a=?utf-8?Q?b?=c` | `abc`: not allowed without blanks, and displayed like that |
/// | `=?iso-8859-1*de?Q?=FC?=` | `ü`: a language (RFC 2231, section 5) |
/// | `=?utf-8?X?a?=`, `=?utf-8?Q?` | as they are: no encoded words |
/// | `=?x-none-such?Q?=FC?=` | U+FFFD, and the loss is reported |
pub(super) fn decode(value: &[u8]) -> Decoded {
    let mut decoded = Decoded::lossless("");
    let mut run: Vec<EncodedWord<'_>> = Vec::new();
    let mut rest = value;
    while let Some((before, word, after)) = split_at_word(rest) {
        let is_same = run.last().is_some_and(|last| last.charset.eq_ignore_ascii_case(word.charset));
        if run.is_empty() || !before.trim_ascii().is_empty() {
            flush(&mut run, &mut decoded);
            append(&mut decoded, charset::decode_unlabelled(before));
        } else if !is_same {
            flush(&mut run, &mut decoded);
        }
        run.push(word);
        rest = after;
    }
    flush(&mut run, &mut decoded);
    append(&mut decoded, charset::decode_unlabelled(rest));
    decoded
}

/// Appends text; the first loss is the one that is reported.
fn append(decoded: &mut Decoded, more: Decoded) {
    decoded.text.push_str(&more.text);
    decoded.lost = decoded.lost.take().or(more.lost);
}

/// Appends the text of adjacent words in one charset, and clears the run.
///
/// Each word is decoded to octets by itself, and the octets of all to text. If that loses any, the base64 of all is
/// tried as one: then the first words end within an octet.
fn flush(run: &mut Vec<EncodedWord<'_>>, decoded: &mut Decoded) {
    let Some(EncodedWord { charset, .. }) = run.first() else { return };
    let charset = String::from_utf8_lossy(charset);
    let separate = decode_octets(&charset, octets(run));
    let may_be_cut = || separate.lost.is_some() && run.len() > 1 && run.iter().all(|word| word.is_base64);
    // Some programs cut the base64 itself.
    let joined = may_be_cut().then(|| {
        decode_octets(&charset, base64(&run.iter().map(|word| word.text).collect::<Vec<_>>().concat()))
    });
    append(decoded, joined.filter(|joined| joined.lost.is_none()).unwrap_or(separate));
    run.clear();
}

/// Decodes the octets of words; keeps the reason if some were lost before.
fn decode_octets(charset: &str, (octets, lost): (Vec<u8>, Option<&'static str>)) -> Decoded {
    let decoded = charset::decode(charset, &octets);
    let lost = lost.map(|reason| format!("an encoded word can't be decoded: {reason}"));
    Decoded { lost: decoded.lost.or(lost), ..decoded }
}

/// Returns the octets of all words, and the reason if some were lost.
fn octets(run: &[EncodedWord<'_>]) -> (Vec<u8>, Option<&'static str>) {
    let (mut octets, mut lost) = (Vec::new(), None);
    for word in run {
        if word.is_base64 {
            let (more, reason) = base64(word.text);
            octets.extend(more);
            lost = lost.or(reason);
        } else {
            octets.extend(decode_q(word.text));
        }
    }
    (octets, lost)
}

/// Decodes the "Q" encoding: quoted-printable with `_` for a blank (RFC 2047, section 4.2).
fn decode_q(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octet = hex_octet(after).filter(|_| first == b'=');
        rest = if octet.is_some() { &after[2..] } else { after };
        octets.push(octet.unwrap_or(if first == b'_' { b' ' } else { first }));
    }
    octets
}

/// Returns the octets before the next encoded word, the word, and the octets after it.
fn split_at_word(value: &[u8]) -> Option<(&[u8], EncodedWord<'_>, &[u8])> {
    let mut from = 0;
    while let Some(at) = memmem::find(&value[from..], b"=?").map(|at| from + at) {
        let inner = &value[at + 2..];
        if let Some((charset, is_base64, text)) = word_start(inner) {
            let length = memmem::find(text, b"?=")?; // no later word can have an end either
            let (text, after) = (&text[..length], &text[length + 2..]);
            return Some((&value[..at], EncodedWord { charset, is_base64, text }, after));
        }
        from = at + 2;
    }
    None
}

/// Parses the charset and the encoding after `=?`; returns them and the rest, which begins with the word's text. A
/// charset name is a token (RFC 2047, section 2): with the signs of addresses in it, `=?` stands for itself.
fn word_start(inner: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let end = inner.iter().take(MAX_NAME).position(|&octet| octet == b'?')?;
    let (name, rest) = (&inner[..end], &inner[end + 1..]);
    let is_base64 = match rest.first()? {
        b'B' | b'b' => true,
        b'Q' | b'q' => false,
        _ => return None,
    };
    let text = rest[1..].strip_prefix(b"?")?;
    // A language may follow (RFC 2231, section 5).
    let charset = name.split(|&octet| octet == b'*').next()?;
    let is_name = !charset.is_empty()
        && !charset.iter().any(|octet| octet.is_ascii_control() || b"()<>@,;\"/[]=".contains(octet));
    is_name.then_some((charset, is_base64, text))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_word("caf\u{e9} = ? =? ?= =?utf-8?Q?", "caf\u{e9} = ? =? ?= =?utf-8?Q?")]
    #[case::character_cut_in_q("=?UTF-8?Q?caf=C3?= =?utf-8?q?=A9_42?=", "caf\u{e9} 42")]
    #[case::character_cut_in_both("=?utf-8?Q?caf=C3?= =?utf-8?B?qSA0Mg==?=", "caf\u{e9} 42")]
    #[case::character_cut_in_gb2312(
        "=?gb2312?B?xOO6w8o=?= =?gb2312?B?wL3n?=",
        "\u{4f60}\u{597d}\u{4e16}\u{754c}"
    )]
    #[case::base64_that_was_cut("=?utf-8?B?aGVsbG8gd29?= =?utf-8?B?ybGQh?=", "hello world!")]
    #[case::base64_without_padding("=?utf-8?B?aGVsbG8?= =?utf-8?B?IHdvcmxk?=", "hello world")]
    #[case::base64_with_blanks("=?utf-8?B?aGVs bG8 =?=", "hello")]
    #[case::blanks_in_q("=?utf-8?Q?a b_c?=", "a b c")]
    #[case::octets_in_q("=?utf-8?Q?\u{fc}=FC?=", "\u{fffd}")]
    #[case::no_escape_in_q("=?utf-8?Q?a=b=?=", "a=b=")]
    #[case::question_marks("=?utf-8?Q?what?_?=", "what? ")]
    #[case::nothing("=?utf-8?Q??= x", " x")]
    #[case::without_blanks("a=?utf-8?Q?b?=c=?utf-8?Q?d?==?utf-8?Q?e?=", "abcde")]
    #[case::a_language("=?iso-8859-1*de?Q?=FC?=", "\u{fc}")]
    #[case::two_charsets("=?iso-8859-1?Q?=FC?= =?utf-8?Q?=C3=BC?=", "\u{fc}\u{fc}")]
    #[case::in_quotes("\"=?utf-8?Q?=C3=BC?=\"", "\"\u{fc}\"")]
    #[case::an_unknown_encoding("=?utf-8?X?a?=", "=?utf-8?X?a?=")]
    #[case::an_unknown_charset_of_ascii("=?x-none-such?Q?a?=", "a")]
    #[case::escapes_of_iso_2022(
        "=?iso-2022-jp?B?GyRCJDMbKEI=?= =?ISO-2022-JP?B?GyRCJHMbKEI=?=",
        "\u{3053}\u{3093}"
    )]
    #[case::raw_iso_2022("\u{1b}$B$3\u{1b}(B", "\u{3053}")]
    fn a_value_is_decoded_as_mail_programs_display_it(#[case] value: &str, #[case] text: &str) {
        let decoded = decode(value.as_bytes());
        if !text.contains('\u{fffd}') {
            assert_eq!(decoded, Decoded::lossless(text));
        }
        assert_eq!(decoded.lost.is_some(), text.contains('\u{fffd}'));
    }

    #[rstest]
    #[case::unknown_charset("TAG =?x-none-such?Q?=FC?=")]
    #[case::wrong_charset("=?utf-8?Q?TAG_=FC?=")]
    #[case::cut_base64("=?utf-8?B?VEFHIMO8x?=")]
    fn a_loss_is_reported_and_the_rest_decoded(#[case] value: &str) {
        let decoded = decode(value.as_bytes());
        assert!(decoded.text.starts_with("TAG "), "{decoded:?}");
        assert!(decoded.lost.is_some(), "{decoded:?}");
    }

    #[test]
    fn raw_octets_are_utf_8_else_windows_1252() {
        assert_eq!(decode("Gr\u{fc}\u{df}e".as_bytes()).text, "Gr\u{fc}\u{df}e");
        assert_eq!(decode(b"Gr\xfc\xdfe \x80").text, "Gr\u{fc}\u{df}e \u{20ac}");
    }
}
