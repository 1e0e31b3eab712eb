//! Decodes the stateful 7-bit charsets: ISO 2022, HZ and UTF-7.
//!
//! Browsers dropped most of these, so that `encoding_rs` has only ISO-2022-JP. Mail still uses them, and their octets
//! are ASCII: read as another charset, the text would be garbled without an error.
//!
//! | label | document | example |
//! | --- | --- | --- |
//! | `iso-2022-jp`, `iso-2022-jp-2` | RFC 1468, RFC 1554 | `ESC $B` `$3` `ESC (B` is こ |
//! | `iso-2022-kr` | RFC 1557 | `ESC $)C` once, then characters between SO and SI |
//! | `iso-2022-cn` | RFC 1922, the part of GB 2312 | as `iso-2022-kr`, with `ESC $)A` |
//! | `hz-gb-2312` | RFC 1843 | `~{Dc~}` is 你, `~~` a tilde |
//! | `utf-7` | RFC 2152 | `Hi +Jjo-!` is Hi ☺! |
//!
//! Text may end in any state, and a line end ends what SO and `~{` have begun. Each function returns `None` for octets
//! that it can't decode; the caller makes that an error.

use encoding_rs::{EUC_JP, EUC_KR, Encoding, GBK};

/// A character set of ISO 2022, with one or two octets a character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Ascii,
    /// JIS X 0201: ASCII with a yen sign and an overline.
    Roman,
    /// JIS X 0201, half-width katakana.
    Kana,
    /// JIS X 0208.
    Japanese,
    /// JIS X 0212, rarer characters.
    JapaneseMore,
    /// GB 2312.
    Chinese,
    /// KS X 1001.
    Korean,
}

/// The effect of an escape sequence.
enum Switch {
    /// Selects the set for octets after SI, which is the initial state.
    ShiftIn(Set),
    /// Selects the set for octets after SO.
    ShiftOut(Set),
    Nothing,
}

/// Escape sequences, without the ESC, and their effects. Old programs write `(H` for `(J`; `&@` announces a revision
/// of JIS X 0208 and selects nothing.
const ESCAPES: &[(&[u8], Switch)] = &[
    (b"(B", Switch::ShiftIn(Set::Ascii)),
    (b"(J", Switch::ShiftIn(Set::Roman)),
    (b"(H", Switch::ShiftIn(Set::Roman)),
    (b"(I", Switch::ShiftIn(Set::Kana)),
    (b"$@", Switch::ShiftIn(Set::Japanese)),
    (b"$B", Switch::ShiftIn(Set::Japanese)),
    (b"$(@", Switch::ShiftIn(Set::Japanese)),
    (b"$(B", Switch::ShiftIn(Set::Japanese)),
    (b"$(D", Switch::ShiftIn(Set::JapaneseMore)),
    (b"$A", Switch::ShiftIn(Set::Chinese)),
    (b"$(A", Switch::ShiftIn(Set::Chinese)),
    (b"$(C", Switch::ShiftIn(Set::Korean)),
    (b"$)C", Switch::ShiftOut(Set::Korean)),
    (b"$)A", Switch::ShiftOut(Set::Chinese)),
    (b"&@", Switch::Nothing),
];

/// Decodes ISO-2022-JP with its extensions, ISO-2022-KR, and the GB 2312 part of ISO-2022-CN; `None` for invalid
/// octets.
pub(super) fn iso_2022(mut octets: &[u8]) -> Option<String> {
    let (mut shift_in, mut shift_out, mut is_shifted_out) = (Set::Ascii, None, false);
    let mut text = String::with_capacity(octets.len());
    while let Some((&first, rest)) = octets.split_first() {
        octets = rest;
        match first {
            0x1b => {
                let (escape, switch) = ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape))?;
                octets = &rest[escape.len()..];
                match switch {
                    Switch::ShiftIn(set) => shift_in = *set,
                    Switch::ShiftOut(set) => shift_out = Some(*set),
                    Switch::Nothing => {}
                }
            }
            0x0e => is_shifted_out = true,
            0x0f => is_shifted_out = false,
            b'\r' | b'\n' => {
                is_shifted_out = false; // the set for SI stays selected, as in browsers and Python
                text.push(char::from(first));
            }
            0x21..=0x7e => {
                let set = if is_shifted_out { shift_out? } else { shift_in };
                octets = &rest[push_character(set, first, rest, &mut text)?..];
            }
            0x80.. => return None,
            _ => text.push(char::from(first)),
        }
    }
    Some(text)
}

/// Appends a character; returns the number of its octets after the first.
fn push_character(set: Set, first: u8, rest: &[u8], text: &mut String) -> Option<usize> {
    match (set, first) {
        (Set::Roman, b'\\') => text.push('\u{a5}'),
        (Set::Roman, b'~') => text.push('\u{203e}'),
        (Set::Ascii | Set::Roman, _) => text.push(char::from(first)),
        (Set::Kana, _) => push_from_eight_bit(EUC_JP, &[0x8e, first | 0x80], text)?,
        _ => {
            let second = *rest.first().filter(|octet| (0x21..=0x7e).contains(*octet))?;
            let pair = [first | 0x80, second | 0x80];
            match set {
                Set::JapaneseMore => push_from_eight_bit(EUC_JP, &[0x8f, pair[0], pair[1]], text)?,
                Set::Chinese => push_from_eight_bit(GBK, &pair, text)?,
                Set::Korean => push_from_eight_bit(EUC_KR, &pair, text)?,
                _ => push_from_eight_bit(EUC_JP, &pair, text)?,
            }
            return Some(1);
        }
    }
    Some(0)
}

/// Appends a character from its octets in the equivalent 8-bit charset, where their highest bits are set: the EUC
/// charsets have the same sets in the same order, so that no tables are needed here.
fn push_from_eight_bit(encoding: &'static Encoding, octets: &[u8], text: &mut String) -> Option<()> {
    text.push_str(&encoding.decode_without_bom_handling_and_without_replacement(octets)?);
    Some(())
}

/// Decodes HZ (RFC 1843): GB 2312 between `~{` and `~}`. A `~` before a line end joins two lines; a line end alone
/// returns to ASCII, although `~}` should precede it. Outside of GB 2312, any other `~` is itself.
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
                octets = &rest[push_character(Set::Chinese, first, rest, &mut text)?..];
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

/// Decodes UTF-7 (RFC 2152): UTF-16 in base64 from `+` to the first other octet; a `-` there is dropped.
pub(super) fn utf_7(octets: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'+' {
            text.push(Some(first).filter(u8::is_ascii).map(char::from)?);
            continue;
        }
        let length =
            rest.iter().position(|&octet| super::transfer::sextet(octet).is_none()).unwrap_or(rest.len());
        let (code, after) = rest.split_at(length);
        rest = after.strip_prefix(b"-").unwrap_or(after);
        if code.is_empty() {
            text.push('+');
        } else {
            text.push_str(&decode_utf_16(code)?);
        }
    }
    Some(text)
}

/// Decodes UTF-16 in unpadded base64. The bits after the last unit must be zero and fewer than six (RFC 2152, rule 2):
/// more would be a unit that was cut.
fn decode_utf_16(code: &[u8]) -> Option<String> {
    let (mut bits, mut count, mut units) = (0_u32, 0, Vec::new());
    for sextet in code.iter().map(|&octet| super::transfer::sextet(octet)) {
        (bits, count) = (bits << 6 | u32::from(sextet?), count + 6);
        if count >= 16 {
            count -= 16;
            units.push(u16::try_from(bits >> count & 0xffff).ok()?);
        }
        bits &= (1 << count) - 1;
    }
    // The remaining bits pad the last unit.
    (bits == 0 && count < 6).then(|| String::from_utf16(&units).ok())?
}
