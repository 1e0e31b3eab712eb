//! Decodes octets to text by charset label, as mails write such labels.
//!
//! Charsets of the WHATWG are decoded as by browsers: `iso-8859-1` means windows-1252, `gb2312` means GBK. Other
//! single-octet charsets are decoded by tables of their upper halves. A label that is wrong or unknown is ignored where
//! the octets are valid UTF-8; otherwise the loss is reported, and the caller makes it an error.

//!
//! | label | octets | text |
//! | --- | --- | --- |
//! | `iso-8859-1` | `Gr\xfc`, `\x93` | `Grü`, and a quotation mark, as in windows-1252 |
//! | `us-ascii`, none, or an unknown one | `Gr\xc3\xbc` | `Grü`: valid UTF-8 is hardly ever anything else |
//! | `us-ascii`, or none | `Gr\xfc` | `Grü`: else windows-1252, the charset of programs that state none |
//! | `utf-8`, `x-none-such` | `Gr\xfc` | an error: the label says that it is no windows-1252 |
//! | `utf-16` | with or without a mark of either order | by the mark, else little-endian |

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};
use memchr::memchr;

use super::charset_names::{Charset, charset};
use super::seven_bit::{hz, iso_2022, utf_7};

/// Decoded text, with U+FFFD in place of octets that could not be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) text: String,
    /// Describes what could not be decoded; `None` if nothing was lost.
    pub(super) lost: Option<String>,
}

impl Decoded {
    /// Returns text of which nothing was lost.
    pub(super) fn lossless(text: impl Into<String>) -> Self {
        Self { text: text.into(), lost: None }
    }
}

/// Decodes octets by their charset label.
///
/// Where the label is unknown, says ASCII, or does not fit, valid UTF-8 is decoded as UTF-8. Other octets without a
/// label are decoded as windows-1252. Octets with an escape are not taken for UTF-8: text in ISO 2022 is ASCII, octet
/// for octet, and would be garbled without an error.
pub(super) fn decode(label: &str, octets: &[u8]) -> Decoded {
    let decoded = match charset(label) {
        Charset::Web(encoding) => decode_web(encoding, octets),
        Charset::CodePage(upper_half) => decode_code_page(upper_half, octets),
        Charset::Iso2022 => iso_2022(octets),
        Charset::Hz => hz(octets),
        Charset::Utf7 => utf_7(octets),
        Charset::Unlabelled => return decode_unlabelled(octets),
        Charset::Unknown => None,
    };
    match (decoded, std::str::from_utf8(octets)) {
        (Some(text), _) => Decoded::lossless(text),
        (None, Ok(text)) if !text.contains('\u{1b}') => Decoded::lossless(text),
        _ => Decoded { text: String::from_utf8_lossy(octets).into_owned(), lost: Some(describe_loss(label)) },
    }
}

/// Returns `true` if a label is missing, or says ASCII or something just as vague.
pub(super) fn is_unlabelled(label: &str) -> bool {
    matches!(charset(label), Charset::Unlabelled)
}

/// Returns `true` if an HTML page can declare this charset: it is known, and encodes ASCII tags as ASCII.
pub(super) fn can_be_declared_in_html(label: &str) -> bool {
    !matches!(charset(label), Charset::Unknown)
        && !matches!(charset(label), Charset::Web(encoding) if !encoding.is_ascii_compatible())
}

/// Returns the reason why octets under this label were lost. The label is shortened: an error shows little of a mail.
fn describe_loss(label: &str) -> String {
    let shown: String = label.chars().filter(|c| !c.is_control()).take(40).collect();
    match charset(label) {
        Charset::Unknown => format!("unknown charset {shown:?}"),
        _ => format!("it is not valid {shown:?}, the charset that it declares"),
    }
}

/// Decodes by a charset of the WHATWG; a byte order mark overrides a UTF-16 label. `None` for invalid octets, where a
/// browser would show U+FFFD: a message must not lose them silently.
fn decode_web(encoding: &'static Encoding, octets: &[u8]) -> Option<String> {
    let is_utf_16 = encoding == UTF_16LE || encoding == UTF_16BE;
    let marked = Encoding::for_bom(octets).filter(|_| is_utf_16);
    if is_utf_16 && marked.is_none() && !octets.contains(&0) && std::str::from_utf8(octets).is_ok() {
        return None; // The label is wrong: UTF-16 has a NUL octet in each blank and line end.
    }
    let (encoding, octets) =
        marked.map_or((encoding, octets), |(marked, length)| (marked, &octets[length..]));
    let text = encoding.decode_without_bom_handling_and_without_replacement(octets)?;
    Some(text.into_owned())
}

/// Decodes by a single-octet charset, given the characters of its upper half, in which U+FFFD stands for an octet that
/// is not assigned; `None` for text with such an octet.
fn decode_code_page(upper_half: &str, octets: &[u8]) -> Option<String> {
    let upper: Vec<char> = upper_half.chars().collect();
    let text = octets.iter().map(|&octet| match octet.checked_sub(0x80) {
        None => Some(char::from(octet)),
        Some(index) => upper.get(usize::from(index)).copied().filter(|&c| c != char::REPLACEMENT_CHARACTER),
    });
    text.collect()
}

/// Decodes text without a charset label, such as raw header text: ISO-2022-JP if it has its escapes and is ASCII, else
/// UTF-8, else windows-1252. Never lossy: windows-1252 has a character for each octet, as browsers decode it.
pub(super) fn decode_unlabelled(octets: &[u8]) -> Decoded {
    // Japanese mail used to omit the label; no other 7-bit charset did.
    let is_escape =
        |at: usize| [&b"\x1b$B"[..], b"\x1b$@", b"\x1b(J"].iter().any(|set| octets[at..].starts_with(set));
    let is_japanese = octets.is_ascii() && memchr(0x1b, octets).is_some_and(is_escape);
    if let Some(text) = is_japanese.then(|| iso_2022(octets)).flatten() {
        return Decoded::lossless(text);
    }
    match std::str::from_utf8(octets) {
        Ok(text) => Decoded::lossless(text),
        Err(_) => Decoded::lossless(WINDOWS_1252.decode_without_bom_handling(octets).0),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use pymail_test_support::process::{python, started};

    use super::*;

    /// Lists Python's charset names, each with its codec and a sample in hexadecimal that begins and ends in ASCII.
    const NAMES: &str = r#"
import codecs, encodings, pkgutil
from encodings.aliases import aliases
names = {name: codec for name, codec in aliases.items()}
names.update((module.name, module.name) for module in pkgutil.iter_modules(encodings.__path__))
SAMPLES = "aéßñ€ЖяąłάИ你世こ日한국z"
for name, codec in sorted(names.items()):
    try:
        if not codecs.lookup(name)._is_text_encoding:
            continue
        # Variants of Big5 differ in Cyrillic and kana.
        samples = "a你世日z" if codec in ("big5", "cp950") else SAMPLES
        kept = "".join(c for c in samples if c.encode(codec, "ignore").decode(codec) == c)
        if "a".encode(codec) == b"a":
            print(name, codec, kept.encode(codec).hex(), kept.encode().hex())
    except (LookupError, UnicodeError, NotImplementedError):
        pass
"#;

    /// Python codecs that pymail does not know: no mail is known to use them, or they are Python's escapes.
    const NOT_KNOWN: &[&str] = &[
        "charmap",
        "cp720",
        "cp864",
        "euc_jis_2004",
        "euc_jisx0213",
        "hp_roman8",
        "iso2022_jp_2004",
        "iso2022_jp_3",
        "johab",
        "mac_arabic",
        "mac_farsi",
        "mbcs", // on Windows only, as `oem`: the code pages of that machine
        "oem",
        "palmos",
        "raw_unicode_escape",
        "shift_jis_2004",
        "shift_jisx0213",
        "unicode_escape",
    ];

    #[test]
    fn every_charset_name_of_python_is_decoded_as_by_python() {
        let answer =
            started(|| Command::new(python()).args(["-I", "-c", NAMES]).output()).expect("Python runs");
        let names = String::from_utf8(answer.stdout).unwrap();
        assert!(names.lines().count() > 200, "{}", String::from_utf8_lossy(&answer.stderr));
        let octets = |hex: &str| -> Vec<u8> {
            hex.as_bytes()
                .chunks(2)
                .map(|digits| super::super::transfer::hex_octet(digits).unwrap())
                .collect()
        };
        let mut wrong = Vec::new();
        for line in names.lines() {
            let [name, codec, sample, text] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let text = String::from_utf8(octets(text)).unwrap();
            if !NOT_KNOWN.contains(&codec) && decode(name, &octets(sample)) != Decoded::lossless(&*text) {
                wrong.push((name, codec, text, decode(name, &octets(sample))));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_code_page_has_all_names_of_its_registration() {
        // The registry of IANA has them; Python has them from 3.15 on.
        for name in ["IBM00858", "CCSID00858", "CP00858", "PC-Multilingual-850+euro", "csIBM00858", "cp858"] {
            assert_eq!(decode(name, b"10 \xd5"), Decoded::lossless("10 \u{20ac}"), "{name}");
        }
        assert!(decode("cp00", b"10 \xd5").lost.is_some());
    }
}
