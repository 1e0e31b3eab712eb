//! The ASCII form of domain names (RFC 5890): `bücher.example` is `xn--bcher-kva.example` in DNS, TLS and SMTP.
//!
//! Each label is lower-cased and encoded by Punycode (RFC 3492). `ß` stays `ß`, as in IDNA 2008 and in browsers. CPython's
//! codec `idna` is IDNA 2003, which makes `ss` of it: the name of another host, which would get the password.
//!
//! Characters are not composed and compatibility forms not replaced, for which Unicode's tables would be needed: such names
//! are refused, and can be written in their ASCII form. A name that DNS does not have is no risk, since a server must show a
//! certificate for it.

use std::borrow::Cow;

/// The longest label, and the longest name (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;
const TOO_LONG: &str = "has an empty label, or more than 253 characters in its ASCII form";

/// Returns the ASCII form of a domain name; an ASCII name as it is.
///
/// # Errors
/// The rule that the name breaks, which completes the sentence "it ...".
pub(crate) fn to_ascii(name: &str) -> Result<Cow<'_, str>, &'static str> {
    if name.is_ascii() {
        return Ok(name.into());
    }
    if name.chars().count() > MAX_NAME {
        return Err(TOO_LONG);
    }
    // The full stops of East Asian keyboards separate labels, too.
    let labels = name.split(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']);
    let encoded: Vec<String> = labels.map(ascii_label).collect::<Result<_, _>>()?;
    let encoded = encoded.join(".");
    let without_dot = encoded.strip_suffix('.').unwrap_or(&encoded);
    if without_dot.len() > MAX_NAME || without_dot.split('.').any(str::is_empty) {
        return Err(TOO_LONG);
    }
    Ok(encoded.into())
}

fn ascii_label(label: &str) -> Result<String, &'static str> {
    let lower: String = label.chars().flat_map(char::to_lowercase).collect();
    if !lower.chars().all(is_allowed) || lower.starts_with(is_mark) {
        return Err(
            "has characters that are no letters or digits, or are not composed: write it in its ASCII form, xn--...",
        );
    }
    let has_hyphens = lower.starts_with('-') || lower.ends_with('-') || lower.get(2..4) == Some("--");
    if has_hyphens && !lower.is_ascii() {
        return Err("has a label with hyphens at its ends, or in its third and fourth place");
    }
    let encoded = if lower.is_ascii() { lower } else { format!("xn--{}", punycode(&lower)) };
    if encoded.len() > MAX_LABEL {
        return Err("has a label of more than 63 characters in its ASCII form");
    }
    Ok(encoded)
}

/// Returns `true` for letters, digits and marks that Punycode may encode as they are.
fn is_allowed(c: char) -> bool {
    // Marks that could be composed with the letter before them; parts of Hangul syllables.
    let is_decomposed = matches!(c, '\u{300}'..='\u{36f}' | '\u{1100}'..='\u{11ff}');
    // Symbols, letterlike ones and numerals; compatibility forms; styled letters.
    let is_replaced = matches!(
        c,
        '\u{aa}' | '\u{b2}' | '\u{b3}' | '\u{b9}' | '\u{ba}' | '\u{bc}'..='\u{be}' | '\u{17f}'
        | '\u{2000}'..='\u{2bff}' | '\u{3200}'..='\u{33ff}' | '\u{f900}'..='\u{ffff}'
        | '\u{1d400}'..='\u{1d7ff}' | '\u{2f800}'..='\u{2fa1f}'
    );
    let is_word = c.is_alphanumeric() || is_mark(c) || "-_\u{b7}\u{30fb}".contains(c);
    is_word && !is_decomposed && !is_replaced
}

/// Returns `true` for vowel signs and other marks of Indic and South-East Asian scripts, not all of which are alphabetic.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{900}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
        && !c.is_alphanumeric()
}

// The parameters of Punycode (RFC 3492, section 5).
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// Encodes a label (RFC 3492, section 6.3), which is at most [`MAX_NAME`] characters long.
fn punycode(label: &str) -> String {
    let mut encoded: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
    if basic > 0 {
        encoded.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    while let Some(next) = label.chars().map(u32::from).filter(|&c| c >= n).min() {
        delta += (next - n) * (handled + 1);
        n = next;
        for c in label.chars().map(u32::from) {
            delta += u32::from(c < n);
            if c == n {
                push_number(&mut encoded, delta, bias);
                bias = adapted(delta, handled + 1, handled == basic);
                (delta, handled) = (0, handled + 1);
            }
        }
        (delta, n) = (delta + 1, n + 1);
    }
    encoded
}

/// Appends a number of variable length (RFC 3492, section 3.3).
fn push_number(encoded: &mut String, number: u32, bias: u32) {
    let mut q = number;
    for k in (BASE..).step_by(BASE as usize) {
        let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if q < t {
            break;
        }
        encoded.push(digit(t + (q - t) % (BASE - t)));
        q = (q - t) / (BASE - t);
    }
    encoded.push(digit(q));
}

/// Returns the digit for 0 to 35: `a` to `z`, then `0` to `9`.
fn digit(value: u32) -> char {
    char::from_digit((value + 10) % BASE, BASE).unwrap_or_default()
}

/// Returns the bias for the next number (RFC 3492, section 6.1).
fn adapted(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = delta / if is_first { DAMP } else { 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("mail.example.org", "mail.example.org")]
    #[case("XN--BCHER-KVA.example", "XN--BCHER-KVA.example")]
    #[case("b\u{fc}cher.example", "xn--bcher-kva.example")]
    #[case("B\u{dc}CHER.Example.", "xn--bcher-kva.example.")]
    #[case("stra\u{df}e.example", "xn--strae-oqa.example")]
    #[case("\u{65e5}\u{672c}\u{8a9e}\u{3002}jp", "xn--wgv71a119e.jp")]
    #[case("\u{3b4}\u{3bf}\u{3ba}\u{3b9}\u{3bc}\u{3ae}.gr", "xn--jxalpdlp.gr")]
    #[case("\u{438}\u{441}\u{43f}\u{44b}\u{442}\u{430}\u{43d}\u{438}\u{435}", "xn--80akhbyknj4f")]
    #[case("\u{92a}\u{930}\u{940}\u{915}\u{94d}\u{937}\u{93e}", "xn--11b5bs3a9aj6g")]
    #[case("\u{d14c}\u{c2a4}\u{d2b8}", "xn--9t4b11yi5a")]
    fn a_name_has_an_ascii_form(#[case] name: &str, #[case] ascii: &str) {
        assert_eq!(to_ascii(name).as_deref(), Ok(ascii));
    }

    #[rstest]
    #[case::decomposed("bu\u{308}cher.example")]
    #[case::fullwidth("\u{ff4d}ail.example")]
    #[case::one_dot_leader("b\u{fc}cher\u{2024}example")]
    #[case::joiner("b\u{fc}\u{200d}cher.example")]
    #[case::symbol("\u{2603}.example")]
    #[case::mathematical("\u{1d5fa}ail.example")]
    #[case::blank("b\u{fc} cher.example")]
    #[case::slash("b\u{fc}cher/example")]
    #[case::at("b\u{fc}@example")]
    #[case::empty_label("b\u{fc}cher..example")]
    #[case::hyphen("-b\u{fc}cher.example")]
    fn a_name_that_would_be_another_hosts_has_none(#[case] name: &str) {
        assert!(to_ascii(name).is_err(), "{:?}", to_ascii(name));
    }

    #[test]
    fn a_name_is_as_long_as_dns_allows_in_its_ascii_form() {
        let label = |length: usize| format!("{}\u{fc}", "a".repeat(length - 8));
        assert_eq!(to_ascii(&label(63)).map(|ascii| ascii.len()), Ok(63));
        assert!(to_ascii(&label(64)).is_err());
        assert!(to_ascii(&[label(63), label(63), label(63), label(62)].join(".")).is_err());
        assert!(to_ascii(&"\u{10ffff}".repeat(100_000)).is_err());
        assert!(to_ascii(&"\u{20000}".repeat(100_000)).is_err());
    }
}
