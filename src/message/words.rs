//! Texts in headers: encoded words (RFC 2047) as mail programs read them, wherever they stand.

use memchr::memmem;

use super::charset::{self, Decoded};
use super::transfer::{base64, escaped};

/// A charset's name and a language are no longer.
const LONGEST_NAME: usize = 100;

/// An encoded word: `=?charset?encoding?text?=`.
#[derive(Clone, Copy)]
struct Word<'a> {
    charset: &'a [u8],
    is_base64: bool,
    text: &'a [u8],
}

/// Decodes an unfolded value.
///
/// Octets of adjacent words in one charset are decoded together: programs cut them within characters. Others than ASCII outside
/// of words are UTF-8, or else windows-1252.
pub(super) fn decode(value: &[u8]) -> Decoded {
    let mut decoded = Decoded::whole("");
    let mut run: Vec<Word<'_>> = Vec::new();
    let mut rest = value;
    while let Some((before, word, behind)) = next_word(rest) {
        let is_same = run.last().is_some_and(|last| last.charset.eq_ignore_ascii_case(word.charset));
        if run.is_empty() || !before.trim_ascii().is_empty() {
            end(&mut run, &mut decoded);
            add(&mut decoded, charset::unsaid(before));
        } else if !is_same {
            end(&mut run, &mut decoded);
        }
        run.push(word);
        rest = behind;
    }
    end(&mut run, &mut decoded);
    add(&mut decoded, charset::unsaid(rest));
    decoded
}

fn add(decoded: &mut Decoded, more: Decoded) {
    decoded.text.push_str(&more.text);
    decoded.lost = decoded.lost.take().or(more.lost);
}

/// Adds what adjacent words in one charset say.
fn end(run: &mut Vec<Word<'_>>, decoded: &mut Decoded) {
    let Some(Word { charset, .. }) = run.first() else { return };
    let charset = String::from_utf8_lossy(charset);
    let separate = with_octets(&charset, octets(run));
    let is_one = || separate.lost.is_some() && run.len() > 1 && run.iter().all(|word| word.is_base64);
    // Programs cut the base64 itself, too.
    let joined = is_one().then(|| {
        with_octets(&charset, base64(&run.iter().map(|word| word.text).collect::<Vec<_>>().concat()))
    });
    add(decoded, joined.filter(|joined| joined.lost.is_none()).unwrap_or(separate));
    run.clear();
}

fn with_octets(charset: &str, (octets, lost): (Vec<u8>, Option<&'static str>)) -> Decoded {
    let decoded = charset::decode(charset, &octets);
    let lost = lost.map(|what| format!("an encoded word can't be decoded: {what}"));
    Decoded { lost: decoded.lost.or(lost), ..decoded }
}

/// The octets of each of these words, and what is lost of one.
fn octets(run: &[Word<'_>]) -> (Vec<u8>, Option<&'static str>) {
    let (mut octets, mut lost) = (Vec::new(), None);
    for word in run {
        if word.is_base64 {
            let (more, what) = base64(word.text);
            octets.extend(more);
            lost = lost.or(what);
        } else {
            octets.extend(q_decoded(word.text));
        }
    }
    (octets, lost)
}

fn q_decoded(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        let octet = escaped(behind).filter(|_| first == b'=');
        rest = if octet.is_some() { &behind[2..] } else { behind };
        octets.push(octet.unwrap_or(if first == b'_' { b' ' } else { first }));
    }
    octets
}

/// What stands before the next encoded word, the word, and what stands behind it.
fn next_word(value: &[u8]) -> Option<(&[u8], Word<'_>, &[u8])> {
    let mut from = 0;
    while let Some(at) = memmem::find(&value[from..], b"=?").map(|at| from + at) {
        let inner = &value[at + 2..];
        if let Some((charset, is_base64, text)) = begin(inner) {
            let length = memmem::find(text, b"?=")?; // if not here, nor further on
            let (text, behind) = (&text[..length], &text[length + 2..]);
            return Some((&value[..at], Word { charset, is_base64, text }, behind));
        }
        from = at + 2;
    }
    None
}

/// The charset and the encoding that a word begins with, and its text with all that follows.
fn begin(inner: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let end = inner.iter().take(LONGEST_NAME).position(|&octet| octet == b'?')?;
    let (name, rest) = (&inner[..end], &inner[end + 1..]);
    let is_base64 = match rest.first()? {
        b'B' | b'b' => true,
        b'Q' | b'q' => false,
        _ => return None,
    };
    let text = rest[1..].strip_prefix(b"?")?;
    // RFC 2231, section 5: a language may follow.
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
    fn a_text_is_read_as_mail_programs_show_it(#[case] value: &str, #[case] text: &str) {
        let decoded = decode(value.as_bytes());
        if !text.contains('\u{fffd}') {
            assert_eq!(decoded, Decoded::whole(text));
        }
        assert_eq!(decoded.lost.is_some(), text.contains('\u{fffd}'));
    }

    #[rstest]
    #[case::unknown_charset("TAG =?x-none-such?Q?=FC?=")]
    #[case::wrong_charset("=?utf-8?Q?TAG_=FC?=")]
    #[case::cut_base64("=?utf-8?B?VEFHIMO8x?=")]
    fn what_can_not_be_decoded_is_said_and_the_rest_is_read(#[case] value: &str) {
        let decoded = decode(value.as_bytes());
        assert!(decoded.text.starts_with("TAG "), "{decoded:?}");
        assert!(decoded.lost.is_some(), "{decoded:?}");
    }

    #[test]
    fn raw_octets_are_utf_8_or_windows_1252() {
        assert_eq!(decode("Gr\u{fc}\u{df}e".as_bytes()).text, "Gr\u{fc}\u{df}e");
        assert_eq!(decode(b"Gr\xfc\xdfe \x80").text, "Gr\u{fc}\u{df}e \u{20ac}");
    }
}
