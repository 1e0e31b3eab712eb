//! Maps the charset labels found in mail to decoders.
//!
//! A label is normalized first: `"ISO_8859-1:1987"`, `x-latin1` and `csISOLatin1` name one charset. A test compares all
//! names that Python knows with Python's own decoders.
//!
//! | label | normalized | charset |
//! | --- | --- | --- |
//! | `ISO_8859-1:1987`, `csISOLatin1`, `x-latin1` | `iso885911987`, `isolatin1`, `latin1` | windows-1252 |
//! | `cp-850`, `IBM850`, `windows-850` | a code page number, 850 | a table of `code_pages.txt` |
//! | `ks_c_5601-1987`, `cp949`, `51949` | | EUC-KR, which means windows-949 to browsers |
//! | `"iso-8859-1; format=flowed"` | | windows-1252: parameters within the quotes are cut off |
//! | `unknown-8bit`, `user-defined`, `8bit` | | none |
//!
//! Looked up in this order: labels without information, the 7-bit charsets that browsers do not know, the labels of the
//! Encoding Standard, [`OTHER_LABELS`], numbers and prefixes, and at last `code_pages.txt`: one line for each
//! single-octet charset that Python knows and browsers do not, its name and the 128 characters from 0x80 up.

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, MACINTOSH, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE,
    WINDOWS_1252,
};

/// A charset, by the way it is decoded.
pub(super) enum Charset {
    /// A charset of the WHATWG Encoding Standard.
    Web(&'static Encoding),
    /// A single-octet charset: ASCII, and these characters from 0x80 up.
    CodePage(&'static str),
    Iso2022,
    Hz,
    Utf7,
    /// No label, ASCII, or a label such as `unknown-8bit`.
    Unlabelled,
    Unknown,
}

/// Labels of ASCII and labels without information; mail with other octets under them is UTF-8 or windows-1252.
const UNLABELLED: &[&str] = &[
    "",
    "ascii",
    "usascii",
    "csascii",
    "ansix341968",
    "ansix341986",
    "iso646us",
    "iso646irv1991",
    "isoir6",
    "us",
    "646",
    "cp367",
    "ibm367",
    "20127",
    "unknown8bit",
    "unknown",
    "userdefined",
    "default",
    "7bit",
    "8bit",
    "binary",
    "none",
];

/// Labels that the Encoding Standard does not list, normalized.
const OTHER_LABELS: &[(&str, &Encoding)] = &[
    ("utf8mb4", UTF_8),
    ("utf8mb3", UTF_8),
    ("unicode11utf8", UTF_8),
    ("unicode20utf8", UTF_8),
    ("utf8sig", UTF_8),
    ("utf", UTF_8),
    ("65001", UTF_8),
    ("utf16", UTF_16LE),
    ("utf16le", UTF_16LE),
    ("utf16be", UTF_16BE),
    ("ucs2", UTF_16LE),
    ("unicode", UTF_16LE),
    ("latin", WINDOWS_1252),
    ("iso8859", WINDOWS_1252),
    ("8859", WINDOWS_1252),
    ("eucjp", EUC_JP),
    ("ujis", EUC_JP),
    ("eucjpms", EUC_JP),
    ("macjapanese", SHIFT_JIS),
    ("mackorean", EUC_KR),
    ("macsimpchinese", GBK),
    ("mactradchinese", BIG5),
    ("eucgb2312cn", GBK),
    ("hkscs", BIG5),
    ("51932", EUC_JP),
    ("20932", EUC_JP),
    ("shiftjis", SHIFT_JIS),
    ("sjis", SHIFT_JIS),
    ("mskanji", SHIFT_JIS),
    ("31j", SHIFT_JIS),
    ("932", SHIFT_JIS),
    ("943", SHIFT_JIS),
    ("euckr", EUC_KR),
    ("ksc5601", EUC_KR),
    ("ksc56011987", EUC_KR),
    ("ksc56011989", EUC_KR),
    ("ksx1001", EUC_KR),
    ("uhc", EUC_KR),
    ("korean", EUC_KR),
    ("949", EUC_KR),
    ("51949", EUC_KR),
    ("gb2312", GBK),
    ("gb231280", GBK),
    ("gb23121980", GBK),
    ("gbk", GBK),
    ("gbk2312", GBK),
    ("euccn", GBK),
    ("cngb", GBK),
    ("936", GBK),
    ("51936", GBK),
    ("gb18030", GB18030),
    ("gb180302000", GB18030),
    ("54936", GB18030),
    ("big5", BIG5),
    ("big5hkscs", BIG5),
    ("big5eten", BIG5),
    ("big5tw", BIG5),
    ("cnbig5", BIG5),
    ("950", BIG5),
    ("macintosh", MACINTOSH),
    ("macroman", MACINTOSH),
    ("mac", MACINTOSH),
    ("10000", MACINTOSH),
];

/// Returns the charset of a label of the WHATWG, Python, IANA or Windows, in any spelling.
pub(super) fn charset(label: &str) -> Charset {
    let label = label.split(';').find(|label| !label.is_empty()).unwrap_or_default(); // parameters inside its quotes
    let label = label.trim_matches(|c: char| c.is_whitespace() || c.is_control() || "\"';,".contains(c));
    let name = normalized(label);
    if UNLABELLED.contains(&&*name) {
        return Charset::Unlabelled;
    }
    let seven_bit = match &*name {
        "utf7" | "u7" | "unicode11utf7" | "unicode20utf7" | "65000" => Some(Charset::Utf7),
        "hz" | "hzgb" | "hzgb2312" | "52936" => Some(Charset::Hz),
        "jis" | "jis7" | "50220" | "50221" | "50222" | "50225" | "50227" => Some(Charset::Iso2022),
        name if name.starts_with("iso2022") => Some(Charset::Iso2022),
        _ => None,
    };
    let web = || Encoding::for_label_no_replacement(label.as_bytes()).or_else(|| web_encoding(&name));
    seven_bit
        .or_else(|| web().map(Charset::Web))
        .or_else(|| code_page(&name).map(Charset::CodePage))
        .unwrap_or(Charset::Unknown)
}

/// Returns the label in lower case, without punctuation, and without the prefixes `x-`, `cs` and `charset`. `cs` begins
/// the alias that each registered charset has for MIBs (RFC 2978, section 2.3).
fn normalized(label: &str) -> String {
    let name: String =
        label.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let is_private =
        [Some('-'), Some('_')].contains(&label.chars().nth(1)) && name.len() > 1 && name.starts_with('x');
    let name = if is_private { name[1..].to_owned() } else { name };
    match name.strip_prefix("cs").or_else(|| name.strip_prefix("charset")) {
        Some(rest) if !rest.is_empty() && name != "csascii" => rest.to_owned(),
        _ => name,
    }
}

/// Returns the charset of the Encoding Standard that a normalized label means.
fn web_encoding(name: &str) -> Option<&'static Encoding> {
    let other =
        |name: &str| OTHER_LABELS.iter().find(|(known, _)| *known == name).map(|(_, encoding)| *encoding);
    let number = code_page_number(name);
    let listed = |name: String| Encoding::for_label_no_replacement(name.as_bytes());
    let iso = |part: &str| listed(format!("iso-8859-{part}"));
    let numbered = |number: u32| match number {
        874 | 1250..=1258 => listed(format!("windows-{number}")),
        866 => listed("ibm866".into()),
        819 => Some(WINDOWS_1252),
        20866 => listed("koi8-r".into()),
        21866 => listed("koi8-u".into()),
        28591..=28606 => iso(&(number - 28590).to_string()),
        _ => None,
    };
    other(name)
        .or_else(|| other(number?))
        .or_else(|| numbered(number?.parse().ok()?))
        .or_else(|| iso(without_year(name.strip_prefix("iso").unwrap_or(name).strip_prefix("8859")?)))
        .or_else(|| listed(format!("iso-ir-{}", name.strip_prefix("isoir")?)))
        .or_else(|| listed(name.to_owned()))
        .or_else(|| match name {
            "ecma118" => iso("7"),
            "l7" | "latin7" => iso("13"),
            "l8" | "latin8" | "isoceltic" | "isoir199" => iso("14"),
            "latin9" => iso("15"),
            "l10" | "latin10" | "isoir226" => iso("16"),
            "tis620" | "iso885911" => listed("windows-874".into()),
            "koi8r" | "koi8u" | "koi8ru" => listed(format!("koi8-{}", &name[4..5])),
            "maccyrillic" => listed("x-mac-cyrillic".into()),
            _ => None,
        })
}

/// Returns `1` for `11987`, the end of `ISO_8859-1:1987` without punctuation; a part of up to four digits has no year.
fn without_year(part: &str) -> &str {
    part.len().checked_sub(4).filter(|length| *length > 0).map_or(part, |length| &part[..length])
}

/// Returns `850` for `cp850`, `ibm850`, `IBM00850` and the like.
fn code_page_number(name: &str) -> Option<&str> {
    let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let kind = &name[..name.len() - digits.len()];
    let kinds =
        ["", "cp", "ibm", "ccsid", "dos", "oem", "windows", "win", "ms", "mswin", "windowscp", "codepage"];
    let number = digits.trim_start_matches('0');
    kinds.contains(&kind).then_some(number).filter(|number| !number.is_empty())
}

/// Returns the upper half of a single-octet charset that Python knows and browsers do not.
fn code_page(name: &str) -> Option<&'static str> {
    const CODE_PAGES: &str = include_str!("code_pages.txt");
    let of =
        |name: &str| CODE_PAGES.lines().filter_map(|line| line.split_once(' ')).find(|page| page.0 == name);
    let numbered = || of(&format!("cp{}", code_page_number(name)?));
    let renamed = || match name {
        "maccentraleurope" | "maccenteuro" | "macce" => of("maclatin2"),
        "pt154" | "cp154" | "cyrillicasian" => of("ptcp154"),
        "rk1048" | "strk10482002" => of("kz1048"),
        "ruscii" | "cp866u" => of("cp1125"),
        "cpgr" => of("cp869"),
        "cpis" => of("cp861"),
        "pc8codepage437" => of("cp437"),
        "pc775baltic" => of("cp775"),
        "pc850multilingual" => of("cp850"),
        "pcmultilingual850euro" => of("cp858"),
        "pcp852" => of("cp852"),
        "pc862latinhebrew" => of("cp862"),
        _ => None,
    };
    of(name).or_else(numbered).or_else(renamed).map(|page| page.1)
}
