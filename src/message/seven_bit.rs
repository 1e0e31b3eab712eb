//! Charsets that say within 7 bits which characters follow: ISO 2022, HZ and UTF-7.

use encoding_rs::{EUC_JP, EUC_KR, Encoding, GBK};

/// A set of characters that ISO 2022 switches to, of one or two octets each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Ascii,
    Roman,
    Kana,
    Japanese,
    JapaneseMore,
    Chinese,
    Korean,
}

/// What an escape sequence switches to: the main set, or the one behind SO.
enum Switch {
    Main(Set),
    Other(Set),
    Nothing,
}

const ESCAPES: &[(&[u8], Switch)] = &[
    (b"(B", Switch::Main(Set::Ascii)),
    (b"(J", Switch::Main(Set::Roman)),
    (b"(H", Switch::Main(Set::Roman)),
    (b"(I", Switch::Main(Set::Kana)),
    (b"$@", Switch::Main(Set::Japanese)),
    (b"$B", Switch::Main(Set::Japanese)),
    (b"$(@", Switch::Main(Set::Japanese)),
    (b"$(B", Switch::Main(Set::Japanese)),
    (b"$(D", Switch::Main(Set::JapaneseMore)),
    (b"$A", Switch::Main(Set::Chinese)),
    (b"$(A", Switch::Main(Set::Chinese)),
    (b"$(C", Switch::Main(Set::Korean)),
    (b"$)C", Switch::Other(Set::Korean)),
    (b"$)A", Switch::Other(Set::Chinese)),
    (b"&@", Switch::Nothing),
];

/// ISO-2022-JP with its extensions, ISO-2022-KR, and what of ISO-2022-CN is GB 2312; `None` for anything else.
pub(super) fn iso_2022(mut octets: &[u8]) -> Option<String> {
    let (mut main, mut other, mut is_other) = (Set::Ascii, None, false);
    let mut text = String::with_capacity(octets.len());
    while let Some((&first, rest)) = octets.split_first() {
        octets = rest;
        match first {
            0x1b => {
                let (escape, switch) = ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape))?;
                octets = &rest[escape.len()..];
                match switch {
                    Switch::Main(set) => main = *set,
                    Switch::Other(set) => other = Some(*set),
                    Switch::Nothing => {}
                }
            }
            0x0e => is_other = true,
            0x0f => is_other = false,
            b'\r' | b'\n' => {
                is_other = false; // but the main set goes on, as in browsers and Python
                text.push(char::from(first));
            }
            0x21..=0x7e => {
                let set = if is_other { other? } else { main };
                octets = &rest[character(set, first, rest, &mut text)?..];
            }
            0x80.. => return None,
            _ => text.push(char::from(first)),
        }
    }
    Some(text)
}

/// Adds a character, and says how many octets more than one it has.
fn character(set: Set, first: u8, rest: &[u8], text: &mut String) -> Option<usize> {
    match (set, first) {
        (Set::Roman, b'\\') => text.push('\u{a5}'),
        (Set::Roman, b'~') => text.push('\u{203e}'),
        (Set::Ascii | Set::Roman, _) => text.push(char::from(first)),
        (Set::Kana, _) => eight_bit(EUC_JP, &[0x8e, first | 0x80], text)?,
        _ => {
            let second = *rest.first().filter(|octet| (0x21..=0x7e).contains(*octet))?;
            let pair = [first | 0x80, second | 0x80];
            match set {
                Set::JapaneseMore => eight_bit(EUC_JP, &[0x8f, pair[0], pair[1]], text)?,
                Set::Chinese => eight_bit(GBK, &pair, text)?,
                Set::Korean => eight_bit(EUC_KR, &pair, text)?,
                _ => eight_bit(EUC_JP, &pair, text)?,
            }
            return Some(1);
        }
    }
    Some(0)
}

/// The same character stands with its highest bits set in the charset of 8 bits.
fn eight_bit(encoding: &'static Encoding, octets: &[u8], text: &mut String) -> Option<()> {
    text.push_str(&encoding.decode_without_bom_handling_and_without_replacement(octets)?);
    Some(())
}

/// RFC 1843: GB 2312 between `~{` and `~}`.
pub(super) fn hz(mut octets: &[u8]) -> Option<String> {
    let mut is_chinese = false;
    let mut text = String::with_capacity(octets.len());
    while let Some((&first, rest)) = octets.split_first() {
        octets = rest;
        match (first, rest.first()) {
            (b'~', Some(&next @ (b'{' | b'}' | b'~' | b'\n'))) => {
                octets = &rest[1..];
                match next {
                    b'~' if !is_chinese => text.push('~'),
                    b'{' => is_chinese = true,
                    b'}' => is_chinese = false,
                    _ => {}
                }
            }
            (0x21..=0x7e, _) if is_chinese => {
                octets = &rest[character(Set::Chinese, first, rest, &mut text)?..];
            }
            (0x80.., _) => return None,
            (b'\n', _) => {
                is_chinese = false;
                text.push('\n');
            }
            _ => text.push(char::from(first)),
        }
    }
    Some(text)
}

/// RFC 2152: UTF-16 in base64 between `+` and the first octet that is none, of which a `-` is left out.
pub(super) fn utf_7(octets: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'+' {
            text.push(Some(first).filter(u8::is_ascii).map(char::from)?);
            continue;
        }
        let length =
            rest.iter().position(|&octet| super::transfer::sextet(octet).is_none()).unwrap_or(rest.len());
        let (code, behind) = rest.split_at(length);
        rest = behind.strip_prefix(b"-").unwrap_or(behind);
        if code.is_empty() {
            text.push('+');
        } else {
            text.push_str(&utf_16(code)?);
        }
    }
    Some(text)
}

fn utf_16(code: &[u8]) -> Option<String> {
    let (mut bits, mut count, mut units) = (0_u32, 0, Vec::new());
    for sextet in code.iter().map(|&octet| super::transfer::sextet(octet)) {
        (bits, count) = (bits << 6 | u32::from(sextet?), count + 6);
        if count >= 16 {
            count -= 16;
            units.push(u16::try_from(bits >> count & 0xffff).ok()?);
        }
        bits &= (1 << count) - 1;
    }
    // What is left over pads the last unit.
    (bits == 0 && count < 6).then(|| String::from_utf16(&units).ok())?
}
