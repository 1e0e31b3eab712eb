//! Proptest strategies for everything that a `Message` can carry, and for other programs' mail.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

/// The parts of a message: id, sender, recipients, body.
pub type Parts = (String, String, Vec<String>, Vec<u8>);

/// The longest id, in bytes.
pub const LONGEST_ID: usize = 4_096;

/// Characters with a meaning in headers, encoded words or lines, and characters that resemble blanks.
const ODD: &[char] = &[
    ' ',
    ' ',
    '\t',
    '\r',
    '\n',
    '\0',
    '=',
    '?',
    '_',
    '.',
    '"',
    '\\',
    '(',
    ')',
    '<',
    '>',
    ',',
    ';',
    ':',
    '@',
    '[',
    ']',
    '{',
    '}',
    '%',
    '*',
    '&',
    '+',
    '-',
    'a',
    'Z',
    '7',
    '\u{b}',
    '\u{c}',
    '\u{1c}',
    '\u{1e}',
    '\u{7f}',
    '\u{85}',
    '\u{a0}',
    '\u{ad}',
    '\u{e9}',
    '\u{301}',
    '\u{200b}',
    '\u{200f}',
    '\u{202e}',
    '\u{2028}',
    '\u{2029}',
    '\u{3000}',
    '\u{feff}',
    '\u{fffd}',
    '\u{ffff}',
    '\u{1f600}',
    '\u{10ffff}',
];

/// Octets that break bodies most easily.
const ODD_BYTES: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n.\r\n",
    b"\n.",
    b".",
    b" ",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\nFrom ",
    b"a",
    b"=",
    b"--",
];

/// Returns the configuration: 256 cases unless `PROPTEST_CASES` is set; a failing case is printed, not kept in a file.
pub fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Generates the parts of a message.
pub fn parts() -> impl Strategy<Value = Parts> {
    (id(), address(), vec(address(), 1..5), body())
}

/// Generates the parts of a message with common addresses (RFC 5322, `dot-atom`).
pub fn usual_parts() -> impl Strategy<Value = Parts> {
    (id(), usual_address(), vec(usual_address(), 1..5), body())
}

/// Another program's mail.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Foreign {
    pub charset: &'static str,
    pub encoding: &'static str,
    /// `true` if the text is one of several alternatives.
    pub several: bool,
    pub id: String,
    pub text: String,
}

/// Charsets, and non-ASCII characters of languages that use them.
const CHARSETS: &[(&str, &str)] = &[
    ("us-ascii", ""),
    ("utf-8", "éßñ€Жя你好こんにちは한국어😀"),
    ("iso-8859-1", "éßñÅ§"),
    ("iso-8859-15", "éßñ€ž"),
    ("windows-1252", "éß€„“–"),
    ("iso-8859-2", "ąłž"),
    ("koi8-r", "Привет"),
    ("windows-1251", "Привет№"),
    ("gb2312", "你好世界"),
    ("gbk", "你好镕"),
    ("gb18030", "你好镕é😀"),
    ("big5", "你好世界"),
    ("cp932", "こんにちは日本語ｱ①"),
    ("iso-2022-jp", "こんにちは日本語"),
    ("iso-2022-jp-2", "こんにちは你한국丂"),
    ("iso-2022-jp-3", "こんにちは"),
    ("euc-kr", "한국어"),
    ("ks_c_5601-1987", "한국어"),
    ("cp949", "한국어"),
    ("iso-2022-kr", "한국어"),
    ("hz", "你好世界"),
    ("utf-7", "é€你好+-😀"),
    ("cp437", "éßÄ░"),
    ("cp850", "éßÄ©"),
    ("cp852", "ąłž"),
    ("cp866", "Привет"),
    ("mac-roman", "éß€"),
    ("tis-620", "สวัสดี"),
];

/// Generates other programs' mails.
pub fn foreign() -> impl Strategy<Value = Foreign> {
    let words = |letters: &'static str, blank: &'static str| {
        let letter = select(letters.chars().chain("aZ7=?_.,<>&~\\\"".chars()).collect::<Vec<_>>());
        let word = vec(letter, 1..12).prop_map(|letters| letters.into_iter().collect::<String>());
        vec(word, 1..30).prop_map(move |words| words.join(blank))
    };
    let encoding = select(&["base64", "quoted-printable"][..]);
    (select(CHARSETS), encoding, any::<bool>(), any::<bool>()).prop_flat_map(
        move |((charset, letters), encoding, several, lines)| {
            let text = words(letters, if lines { "\n" } else { " " });
            (words(letters, " "), text).prop_map(move |(id, text)| Foreign {
                charset,
                encoding,
                several,
                id,
                text,
            })
        },
    )
}

/// Generates ids: any text of 1 to 4,096 bytes.
pub fn id() -> impl Strategy<Value = String> {
    let char = prop_oneof![any::<char>(), select(ODD), proptest::char::range(' ', '~')];
    let text = vec(char, 1..70);
    let long = (text.clone(), 1..200usize).prop_map(|(chars, times)| chars.repeat(times));
    // 64 bytes is the limit between plain and encoded ids.
    prop_oneof![6 => prop_oneof![3 => text, 1 => long].prop_map(|chars| shortened(&chars)), 1 => "[ -~]{60,68}"]
}

/// Generates properties within the limits: names and values of any text.
pub fn properties() -> impl Strategy<Value = BTreeMap<String, String>> {
    let char = || prop_oneof![any::<char>(), select(ODD), proptest::char::range(' ', '~')];
    let text = |length| vec(char(), length).prop_map(|chars| chars.into_iter().collect::<String>());
    let few = btree_map(text(1..20), text(0..100), 0..8);
    let long = btree_map(text(1..5), vec(char(), 0..1_000).prop_map(|chars| shortened(&chars)), 0..2);
    prop_oneof![3 => few, 1 => long]
}

/// Generates valid tags.
pub fn tag() -> impl Strategy<Value = String> {
    r"[A-Za-z0-9_\-.+#@:~!$\[\]]{1,64}"
}

/// Generates addresses that `compose` accepts.
pub fn address() -> impl Strategy<Value = String> {
    prop_oneof![usual_address(), odd_address()]
}

fn usual_address() -> impl Strategy<Value = String> {
    let atom = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]{1,12}";
    let domain = r"[a-z0-9]([a-z0-9\-]{0,10}[a-z0-9])?(\.[a-z0-9]([a-z0-9\-]{0,10}[a-z0-9])?){1,8}";
    (vec(atom, 1..5), domain)
        .prop_map(|(atoms, domain)| unlike_an_encoded_word(format!("{}@{domain}", atoms.join("."))))
}

/// Generates unusual addresses: all characters that are allowed outside quotes, parts of encoded words, long domains.
fn odd_address() -> impl Strategy<Value = String> {
    let piece = select(&["=", "utf-8?q?", "?=", "=20", "[", "]", "@", ".", "'", "a", "127.0.0.1"][..]);
    let pieces = |most: usize| vec(piece.clone(), 1..most).prop_map(|pieces| pieces.concat());
    let odd = prop_oneof![
        r"[!#$%&'*+\-./0-9=?@A-Z\[\]^_`a-z{|}~]{1,64}@[!#$%&'*+\-./0-9=?A-Z\[\]^_`a-z{|}~]{1,189}",
        (pieces(6), pieces(6)).prop_map(|(local, domain)| format!("{local}@{}", domain.replace('@', "a"))),
        "[a-z]@[a-z]{1,60}(\\.[a-z]{1,60}){1,3}",
        "[a-z]@[a-z]{63}(\\.[a-z]{61,62}){3}",
    ];
    odd.prop_map(unlike_an_encoded_word)
}

fn unlike_an_encoded_word(address: String) -> String {
    if address.contains("=?") { address.replace('?', "!") } else { address }
}

/// Generates bodies: random octets, text, and lines.
pub fn body() -> impl Strategy<Value = Vec<u8>> {
    let lines = vec(select(ODD_BYTES), 0..100).prop_map(|pieces| pieces.concat());
    let text = vec(prop_oneof![any::<char>(), select(ODD)], 0..300);
    let text = text.prop_map(|chars| chars.into_iter().collect::<String>().into_bytes());
    prop_oneof![vec(any::<u8>(), 0..600), text, lines]
}

/// Returns the characters that fit into an id.
fn shortened(chars: &[char]) -> String {
    let mut text = String::new();
    for c in chars {
        if text.len() + c.len_utf8() > LONGEST_ID {
            break;
        }
        text.push(*c);
    }
    text
}
