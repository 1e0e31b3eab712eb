//! From octets to text, by the names that mails give to charsets.

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};
use memchr::memchr;

use super::charset_names::{Charset, charset};
use super::seven_bit::{hz, iso_2022, utf_7};

/// Decoded text, with U+FFFD for what could not be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) text: String,
    /// Says what of it could not be decoded.
    pub(super) lost: Option<String>,
}

impl Decoded {
    pub(super) fn whole(text: impl Into<String>) -> Self {
        Self { text: text.into(), lost: None }
    }
}

/// Decodes octets by the charset that they are labelled with.
///
/// What is valid UTF-8 is read as that where the label is unknown, says ASCII, or is wrong; other octets in a text without a
/// charset are windows-1252.
pub(super) fn decode(label: &str, octets: &[u8]) -> Decoded {
    let decoded = match charset(label) {
        Charset::Web(encoding) => web(encoding, octets),
        Charset::Page(page) => paged(page, octets),
        Charset::Iso2022 => iso_2022(octets),
        Charset::Hz => hz(octets),
        Charset::Utf7 => utf_7(octets),
        Charset::Unsaid => return unsaid(octets),
        Charset::Unknown => None,
    };
    match (decoded, std::str::from_utf8(octets)) {
        (Some(text), _) => Decoded::whole(text),
        (None, Ok(text)) if !text.contains('\u{1b}') => Decoded::whole(text),
        _ => Decoded { text: String::from_utf8_lossy(octets).into_owned(), lost: Some(reason(label)) },
    }
}

/// Whether a label says nothing but ASCII, if that.
pub(super) fn is_unsaid(label: &str) -> bool {
    matches!(charset(label), Charset::Unsaid)
}

/// Returns whether a page can say that it has this charset: it is known, and the page's tags are ASCII in it.
pub(super) fn is_of_pages(label: &str) -> bool {
    !matches!(charset(label), Charset::Unknown)
        && !matches!(charset(label), Charset::Web(encoding) if !encoding.is_ascii_compatible())
}

fn reason(label: &str) -> String {
    let shown: String = label.chars().filter(|c| !c.is_control()).take(40).collect();
    match charset(label) {
        Charset::Unknown => format!("the charset {shown:?} is not known"),
        _ => format!("it is not {shown:?}, which it says it is"),
    }
}

fn web(encoding: &'static Encoding, octets: &[u8]) -> Option<String> {
    let is_wide = encoding == UTF_16LE || encoding == UTF_16BE;
    let marked = Encoding::for_bom(octets).filter(|_| is_wide);
    if is_wide && marked.is_none() && !octets.contains(&0) && std::str::from_utf8(octets).is_ok() {
        return None; // a wrong label: text of two octets a character has a NUL for each blank and line end
    }
    let (encoding, octets) =
        marked.map_or((encoding, octets), |(marked, length)| (marked, &octets[length..]));
    let text = encoding.decode_without_bom_handling_and_without_replacement(octets)?;
    Some(text.into_owned())
}

fn paged(page: &str, octets: &[u8]) -> Option<String> {
    let upper: Vec<char> = page.chars().collect();
    let text = octets.iter().map(|&octet| match octet.checked_sub(0x80) {
        None => Some(char::from(octet)),
        Some(place) => upper.get(usize::from(place)).copied().filter(|&c| c != char::REPLACEMENT_CHARACTER),
    });
    text.collect()
}

/// Decodes text that says nothing of its charset, as headers do: UTF-8, or else windows-1252.
pub(super) fn unsaid(octets: &[u8]) -> Decoded {
    // Of what has 7 bits, only Japanese mail used to leave it out.
    let begins =
        |at: usize| [&b"\x1b$B"[..], b"\x1b$@", b"\x1b(J"].iter().any(|set| octets[at..].starts_with(set));
    let is_japanese = octets.is_ascii() && memchr(0x1b, octets).is_some_and(begins);
    if let Some(text) = is_japanese.then(|| iso_2022(octets)).flatten() {
        return Decoded::whole(text);
    }
    match std::str::from_utf8(octets) {
        Ok(text) => Decoded::whole(text),
        Err(_) => Decoded::whole(WINDOWS_1252.decode_without_bom_handling(octets).0),
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    /// Lists Python's names of charsets, each with the codec's name and a sample in hexadecimal, which ASCII begins and ends.
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
        # Where Big5 has Cyrillic and kana, it is not the same Big5 everywhere.
        samples = "a你世日z" if codec in ("big5", "cp950") else SAMPLES
        kept = "".join(c for c in samples if c.encode(codec, "ignore").decode(codec) == c)
        if "a".encode(codec) == b"a":
            print(name, codec, kept.encode(codec).hex(), kept.encode().hex())
    except (LookupError, UnicodeError, NotImplementedError):
        pass
"#;

    /// Codecs in which no mail is known to be written, and escapes of Python's: what they are used for is an error.
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
        "palmos",
        "raw_unicode_escape",
        "shift_jis_2004",
        "shift_jisx0213",
        "unicode_escape",
    ];

    #[test]
    fn what_python_has_a_name_for_is_decoded_like_there() {
        let program = env::var_os("PYO3_PYTHON").unwrap_or_else(|| "python3".into());
        let answer = Command::new(program).args(["-I", "-c", NAMES]).output().expect("python3 runs");
        let names = String::from_utf8(answer.stdout).unwrap();
        assert!(names.lines().count() > 200, "{}", String::from_utf8_lossy(&answer.stderr));
        let octets = |hex: &str| -> Vec<u8> {
            hex.as_bytes().chunks(2).map(|digits| super::super::transfer::escaped(digits).unwrap()).collect()
        };
        let mut wrong = Vec::new();
        for line in names.lines() {
            let [name, codec, sample, text] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let text = String::from_utf8(octets(text)).unwrap();
            if !NOT_KNOWN.contains(&codec) && decode(name, &octets(sample)) != Decoded::whole(&*text) {
                wrong.push((name, codec, text, decode(name, &octets(sample))));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
