//! What mails call charsets.

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, MACINTOSH, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE,
    WINDOWS_1252,
};

/// A charset, by how it is decoded.
pub(super) enum Charset {
    /// One of the WHATWG's Encoding Standard.
    Web(&'static Encoding),
    /// ASCII in its upper half's characters.
    Page(&'static str),
    Iso2022,
    Hz,
    Utf7,
    /// ASCII, or nothing that says anything.
    Unsaid,
    Unknown,
}

/// Names that say nothing, or ASCII: mail that has more than that is UTF-8 or windows-1252.
const UNSAID: &[&str] = &[
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

/// Other names of charsets than those that the Encoding Standard lists, without signs.
const OTHERS: &[(&str, &Encoding)] = &[
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

/// The charset of a name, as the WHATWG, Python, IANA, or Windows call it, in whatever spelling.
pub(super) fn charset(label: &str) -> Charset {
    let label = label.split(';').find(|label| !label.is_empty()).unwrap_or_default(); // parameters within its quotes
    let label = label.trim_matches(|c: char| c.is_whitespace() || c.is_control() || "\"';,".contains(c));
    let name = plain(label);
    if UNSAID.contains(&&*name) {
        return Charset::Unsaid;
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
        .or_else(|| page(&name).map(Charset::Page))
        .unwrap_or(Charset::Unknown)
}

/// The name without signs, in small letters, and without what some programs put before it.
fn plain(label: &str) -> String {
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

fn web_encoding(name: &str) -> Option<&'static Encoding> {
    let other = |name: &str| OTHERS.iter().find(|(known, _)| *known == name).map(|(_, encoding)| *encoding);
    let number = number_of_page(name);
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

/// `1` of `11987`, as in `ISO_8859-1:1987`.
fn without_year(part: &str) -> &str {
    part.len().checked_sub(4).filter(|length| *length > 0).map_or(part, |length| &part[..length])
}

/// `850` of `cp850`, `ibm850` and the like.
fn number_of_page(name: &str) -> Option<&str> {
    let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let kinds = ["", "cp", "ibm", "dos", "oem", "windows", "win", "ms", "mswin", "windowscp", "codepage"];
    kinds.contains(&&name[..name.len() - digits.len()]).then_some(digits).filter(|digits| !digits.is_empty())
}

/// The upper half of a charset of one octet a character that browsers do not know, and Python does.
fn page(name: &str) -> Option<&'static str> {
    const PAGES: &str = include_str!("pages.txt");
    let of = |name: &str| PAGES.lines().filter_map(|line| line.split_once(' ')).find(|page| page.0 == name);
    let numbered = || of(&format!("cp{}", number_of_page(name)?));
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
        "pcp852" => of("cp852"),
        "pc862latinhebrew" => of("cp862"),
        _ => None,
    };
    of(name).or_else(numbered).or_else(renamed).map(|page| page.1)
}
