//! Tests: valid and malformed mail of other programs is parsed as mail programs display it, or is an error.

use rstest::rstest;

use super::headers::Headers;
use super::part::Part;
use super::parts::TextExtractor;
use super::{Message, parse};
use crate::ErrorKind;
use crate::error::Result;

const HEAD: &str = "From: bob@example.org\nTo: alice@example.org\nSubject: TAG 1\n";

/// Parses a mail that is written with LF in place of CRLF.
fn read(mail: &str) -> Result<Message> {
    let mail = mail.replace('\n', "\r\n");
    parse(mail.as_bytes(), "TAG").expect("it is ours").map(|parsed| parsed.message)
}

/// Returns the body of a mail with these fields, with blanks collapsed.
fn body(fields_and_body: &str) -> Result<String> {
    let message = read(&[HEAD, fields_and_body].concat())?;
    Ok(message.text_lossy().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns the text of a body of these octets in a charset.
fn text_of_octets(charset: &str, octets: &[u8]) -> Result<String> {
    let head = format!("{HEAD}Content-Type: text/plain; charset={charset}\n\n");
    let message = parse(&[head.as_bytes(), octets].concat(), "TAG").expect("it is ours")?.message;
    Ok(message.text_lossy().into_owned())
}

#[rstest]
#[case::mbox_line("From bob Mon Jan  1 00:00:00 2024\n", "")]
#[case::blank_lines("\n\n", "")]
#[case::junk("", "this is no field\n")]
#[case::mbox_line_between("", ">From bob Mon Jan  1 00:00:00 2024\n")]
#[case::a_name_with_a_blank("", "X Header: y\n")]
#[case::a_line_of_blanks("", "X-A: b\n \n")]
#[case::a_blank_before_the_colon("", "X-A : b\n")]
fn a_malformed_header_line_hides_no_field(#[case] before: &str, #[case] between: &str) {
    let mail =
        format!("{before}From : bob@example.org\n{between}Subject: TAG 1\nTo: alice@example.org\n\nhello\n");
    let message = read(&mail).unwrap();
    assert_eq!((&*message.id, &*message.sent_by, message.text()), ("1", "bob@example.org", Ok("hello\r\n")));
    assert_eq!(message.sent_to, ["alice@example.org"]);
}

#[rstest]
#[case::nothing_else("hello,\n\nthe rest: all of it\n", "hello, the rest: all of it")]
#[case::no_blank_line_at_all("hello", "hello")]
fn a_body_without_an_empty_line_before_it_is_complete(#[case] text: &str, #[case] whole: &str) {
    assert_eq!(body(text).unwrap(), whole);
}

#[rstest]
#[case("TAG\n first\n\tsecond \n   third", "first second third")]
#[case("\n TAG first", "first")]
#[case("TAG =?utf-8?B?aGVs\n bG8=?=", "hello")]
#[case("TAG =?utf-8?B?aGVs\nbG8=?=", "hello")]
#[case("TAG =?utf-8?Q?caf=C3?=\n\t=?utf-8?Q?=A9?=", "caf\u{e9}")]
fn a_subject_is_unfolded(#[case] subject: &str, #[case] id: &str) {
    assert_eq!(read(&format!("Subject: {subject}\nFrom: a@b\n\nhello\n")).unwrap().id, id);
}

#[test]
fn lines_may_end_in_cr_or_lf_or_both() {
    let mail = format!("{HEAD}Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\nyou\n--b--\n");
    for end in ["\n", "\r\n", "\r", "\r\r\n"] {
        let message = parse(mail.replace('\n', end).as_bytes(), "TAG").unwrap().unwrap().message;
        assert_eq!(message.text_lossy().split_whitespace().collect::<Vec<_>>(), ["hello", "you"], "{end:?}");
        assert_eq!((&*message.id, &*message.sent_by), ("1", "bob@example.org"), "{end:?}");
    }
}

#[rstest]
#[case("iso-8859-1", b"\x93Gr\xfc\xdfe\x94", "\u{201c}Gr\u{fc}\u{df}e\u{201d}")]
#[case("\" utf8 \"", "Gr\u{fc}".as_bytes(), "Gr\u{fc}")]
#[case("'UTF_8'", "Gr\u{fc}".as_bytes(), "Gr\u{fc}")]
#[case("us-ascii", "Gr\u{fc}".as_bytes(), "Gr\u{fc}")]
#[case("ANSI_X3.4-1968", b"Gr\xfc", "Gr\u{fc}")]
#[case("unknown-8bit", b"Gr\xfc", "Gr\u{fc}")]
#[case("x-none-such", "Gr\u{fc}".as_bytes(), "Gr\u{fc}")]
#[case("\"iso-8859-1; format=flowed\"", b"Gr\xfc", "Gr\u{fc}")]
#[case("big5", "Gr\u{fc}\u{df}e".as_bytes(), "Gr\u{fc}\u{df}e")]
#[case("gb2312", b"\xc4\xe3\x80", "\u{4f60}\u{20ac}")]
#[case("x-gbk", b"\xc4\xe3", "\u{4f60}")]
#[case("ks_c_5601-1987", b"\xb0\xa2\x8c\x63", "\u{ac01}\u{b620}")]
#[case("cp949", b"\xb0\xa2", "\u{ac01}")]
#[case("shift_jis", b"\x87\x40", "\u{2460}")]
#[case("cp932", b"\x87\x40", "\u{2460}")]
#[case("x-sjis", b"\x82\xb1", "\u{3053}")]
#[case("iso-2022-jp", b"\x1b$B$3\x1b(B\x1b$B$s\x1b(B.", "\u{3053}\u{3093}.")]
#[case(
    "iso-2022-jp-2",
    b"\x1b$B$3\x1b$A\x44\x63\x1b$(C\x30\x22\x1b$(D\x30\x21\x1b(I\x31\x1b(B",
    "\u{3053}\u{4f60}\u{ac01}\u{4e02}\u{ff71}"
)]
#[case("iso-2022-jp", b"\x1b$B$3\n$s\x1b(B.", "\u{3053}\n\u{3093}.")]
#[case("iso-2022-kr", b"\x1b$)C\x0e\x30\x22\x0f a", "\u{ac01} a")]
#[case("hz-gb-2312", b"~{Dc~} ~~", "\u{4f60} ~")]
#[case("utf-7", b"Hi Mom +Jjo-! +-1 +ZeVnLIqe-", "Hi Mom \u{263a}! +1 \u{65e5}\u{672c}\u{8a9e}")]
#[case("unicode-1-1-utf-7", b"+AOk", "\u{e9}")]
#[case("cp-850", b"\x81\x84", "\u{fc}\u{e4}")]
#[case("IBM437", b"\x81\xe1", "\u{fc}\u{df}")]
#[case("cp852", b"\xa5", "\u{105}")]
#[case("windows1251", b"\xcf", "\u{41f}")]
#[case("win-1251", b"\xcf", "\u{41f}")]
#[case("koi8r", b"\xcf", "\u{43e}")]
#[case("latin-1", b"\xfc", "\u{fc}")]
#[case("ISO8859_15", b"\xa4", "\u{20ac}")]
#[case("x-mac-turkish", b"\xdb", "\u{11f}")]
#[case("tis-620", b"\xa1", "\u{e01}")]
#[case("utf-16", b"\xff\xfea\0b\0", "ab")]
#[case("utf-16", b"plain", "plain")]
#[case("", b"\x1b$B$3\x1b(B", "\u{3053}")]
#[case("iso-8859-1", b"\xef\xbb\xbfGr\xc3\xbc", "Gr\u{fc}")]
fn a_text_is_decoded_by_its_charset_in_any_spelling(
    #[case] charset: &str,
    #[case] text: &[u8],
    #[case] decoded: &str,
) {
    assert_eq!(text_of_octets(charset, text).unwrap(), decoded);
}

#[rstest]
#[case::not_known("x-none-such", b"Gr\xfc")]
#[case::wrong("utf-8", b"Gr\xfc")]
#[case::cut("utf-8", b"Gr\xc3")]
#[case::no_such_character("big5", b"a\xff")]
#[case::no_such_escape("iso-2022-jp", b"\x1b$Zab")]
#[case::half_a_character("iso-2022-jp", b"\x1b$B$")]
#[case::not_in_the_page("cp857", b"\xd5")]
fn a_text_that_can_not_be_decoded_without_loss_is_an_error(#[case] charset: &str, #[case] text: &[u8]) {
    let error = text_of_octets(charset, text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Message);
    assert!(error.to_string().contains(charset), "{error}");
}

#[rstest]
#[case::subject("Subject: TAG =?x-none-such?Q?=FC?=\n\nhello\n", "Subject")]
#[case::recipient("Subject: TAG 1\nTo: bob@example.org, <eve@exa mple.org>\n\nhello\n", "eve@exa mple.org")]
#[case::base64("Subject: TAG 1\nContent-Transfer-Encoding: base64\n\naGVsbG8hA\n", "base64")]
fn an_error_names_the_part_that_can_not_be_decoded(#[case] mail: &str, #[case] what: &str) {
    let error = read(mail).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Message);
    assert!(error.to_string().contains(what), "{error}");
}

#[rstest]
#[case::quoted("Content-Type: multipart/mixed; boundary=\"b\"\n\n--b\n\na\n--b--\n", "a")]
#[case::with_signs("Content-Type: multipart/mixed; boundary=--=_b=\n\n----=_b=\n\na\n----=_b=--\n", "a")]
#[case::blanks_after_it("Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\na\n--b-- \n", "a")]
#[case::in_pieces("Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\n\n--bc\n\na\n--bc--\n", "a")]
#[case::folded_without_a_blank("Content-Type: multipart/mixed;\nboundary=b\n\n--b\n\na\n--b--\n", "a")]
#[case::within_a_line(
    "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee --b\nall\n--b--\n",
    "see --b all"
)]
#[case::like_another("Content-Type: multipart/mixed; boundary=b\n\n--b\n\na\n--bc\nd\n--b--\n", "a --bc d")]
#[case::not_closed("Content-Type: multipart/mixed; boundary=b\n\n--b\n\na\n", "a")]
#[case::preamble_and_epilogue("Content-Type: multipart/mixed; boundary=b\n\nno\n--b\n\na\n--b--\nno\n", "a")]
#[case::nested(
    "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=bb\n\n\
     --bb\n\na\n--bb\nContent-Type: text/html\n\n<p>no\n--bb--\n--b\n\nc\n--b--\n",
    "a c"
)]
#[case::the_inner_is_not_closed(
    "Content-Type: multipart/mixed; boundary=bb\n\n--bb\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\na\n--bb\n\nc\n--bb--\n",
    "a c"
)]
#[case::nested_with_the_same(
    "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=b\n\n\
     --b\n\na\n--b--\n--b\n\nc\n--b--\n",
    "a c"
)]
#[case::not_said("Content-Type: multipart/mixed\n\n--b\nContent-Type: text/plain\n\na\n--b--\n", "a")]
#[case::another(
    "Content-Type: multipart/mixed; boundary=x\n\n--b\nContent-Type: text/plain\n\na\n--b--\n",
    "a"
)]
#[case::none_at_all("Content-Type: multipart/mixed; boundary=x\n\nhello\n", "hello")]
#[case::only_the_closing_one("Content-Type: multipart/mixed; boundary=b\n\nhello\n--b--\n", "hello")]
#[case::for_old_programs(
    "Content-Type: multipart/mixed; boundary=b\n\nThis is for old programs.\n--b\n\na\n--b--\n",
    "a"
)]
#[case::before_the_first(
    "Content-Type: multipart/mixed; boundary=b\n\n\nContent-Type: text/html\n\n<p>a\n--b\n\nc\n--b--\n",
    "a c"
)]
#[case::part_without_a_blank_line(
    "Content-Type: multipart/mixed; boundary=b\n\n--b\nhello\n--b--\n",
    "hello"
)]
#[case::encoded_as_a_whole(
    "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\na\n--b--\n",
    "a"
)]
fn parts_are_split_at_boundaries(#[case] mail: &str, #[case] text: &str) {
    assert_eq!(body(mail).unwrap(), text);
}

const PLAIN: &str = "\n\nplain\n";
const EMPTY: &str = "\n\n \n";
const HTML: &str = "\nContent-Type: text/html\n\n<p>page\n";
const BAD: &str =
    "\nContent-Type: text/plain; charset=x-none-such\nContent-Transfer-Encoding: quoted-printable\n\n=FC\n";
const NAMED: &str = "\nContent-Type: text/plain; name=a.txt\n\nfile\n";
const FILE: &str = "\nContent-Disposition: attachment\n\nfile\n";
const DATA: &str = "\nContent-Type: application/pdf\n\n%PDF\n";
const MAIL: &str = "\nContent-Type: message/rfc822\n\nSubject: inner\n\nforwarded\n";
const ROOT: &str = "\nContent-Type: text/html\nContent-ID: <r@x>\n\n<p>root\n";
const INLINE: &str = "\nContent-Disposition: inline; filename=a.txt\n\nfile\n";
const INVISIBLE: &str = "\nContent-Type: text/plain; charset=utf-8\n\n\u{a0}\u{200b}\n";
const DIGEST: &str =
    "\nContent-Type: multipart/digest; boundary=c\n\n--c\n\nSubject: one\n\nfirst\n--c\n\n\nsecond\n--c--\n";
const ENCRYPTED: &str = "\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n";
const SIGNED_FILE: &str = "\nContent-Type: application/pkcs7-mime; name=invoice.xml.p7m\n\nx\n";
const SIGNED: &str = "\nContent-Type: application/pkcs7-mime; name=smime.p7m\nContent-Disposition: attachment\n\
    Content-Transfer-Encoding: base64\n\n\
    MIAGCSqGSIb3DQEHAqCAMIACAQExADCABgkqhkiG9w0BBwGggCSABAhTdWJqZWN0OgQJYQoKc2lnbmVkAAAAAAAAAAAAAAAA\n";
const TABLE: &str = "\nContent-Type: text/csv\n\n1,2\n";

#[rstest]
#[case::all_texts("mixed", &[PLAIN, DATA, PLAIN, HTML], "plain plain page")]
#[case::no_files("mixed", &[NAMED, FILE, PLAIN, TABLE, MAIL], "plain")]
#[case::a_file_if_there_is_no_other_text("mixed", &[DATA, NAMED, MAIL], "file")]
#[case::another_text("mixed", &[DATA, TABLE], "1,2")]
#[case::a_forwarded_mail_alone("mixed", &[MAIL], "forwarded")]
#[case::forwarded_mails_alone("mixed", &[MAIL, DATA, MAIL], "forwarded forwarded")]
#[case::files_if_there_is_no_other_text("mixed", &[NAMED, DATA, NAMED], "file file")]
#[case::ways_to_say_the_same_that_are_files("alternative", &[NAMED, NAMED], "file")]
#[case::a_file_that_is_not_attached("mixed", &[INLINE, PLAIN], "file plain")]
#[case::a_digest("digest", &["\n\nSubject: one\n\nfirst\n", "\n\n\nsecond\n"], "first second")]
#[case::a_digest_of_a_list("mixed", &[PLAIN, DIGEST, PLAIN], "plain first second plain")]
#[case::signed_in_one_piece("mixed", &[SIGNED, PLAIN], "signed plain")]
#[case::a_file_that_is_signed("mixed", &[PLAIN, SIGNED_FILE], "plain")]
#[case::an_invisible_one("alternative", &[INVISIBLE, HTML], "page")]
#[case::encrypted_and_not("alternative", &[ENCRYPTED, HTML], "page")]
#[case::nothing_but_files("mixed", &[FILE, DATA], "")]
#[case::plain_first("alternative", &[PLAIN, HTML], "plain")]
#[case::plain_last("alternative", &[HTML, PLAIN], "plain")]
#[case::an_empty_one("alternative", &[EMPTY, HTML], "page")]
#[case::one_that_can_not_be_read("alternative", &[BAD, HTML], "page")]
#[case::the_named_root("related; start=\"<r@x>\"", &[PLAIN, ROOT], "root")]
#[case::the_first_root("related", &[HTML, PLAIN], "page")]
#[case::a_root_that_is_none("related; start=\"<none@x>\"", &[DATA, PLAIN], "plain")]
#[case::a_report_without_text("report", &["\nContent-Type: message/delivery-status\n\nStatus: 5.0.0\n", MAIL], "Status: 5.0.0")]
#[case::a_report("report", &[PLAIN, "\nContent-Type: message/delivery-status\n\nStatus: 5.0.0\n", MAIL], "plain")]
#[case::signed("signed", &[PLAIN, "\nContent-Type: application/pgp-signature\n\nx\n"], "plain")]
#[case::unknown("x-none-such", &[PLAIN, PLAIN], "plain plain")]
fn the_displayed_text_of_several_parts_is_extracted(
    #[case] kind: &str,
    #[case] parts: &[&str],
    #[case] text: &str,
) {
    let parts: String = parts.iter().map(|part| ["--b", part].concat()).collect();
    assert_eq!(body(&format!("Content-Type: multipart/{kind}; boundary=b\n\n{parts}--b--\n")).unwrap(), text);
}

#[rstest]
#[case::pgp("multipart/encrypted; boundary=b", &[ENCRYPTED])]
#[case::pgp_as_exchange_passes_it_on("multipart/mixed; boundary=b", &[EMPTY, ENCRYPTED, DATA])]
#[case::with_the_footer_of_a_list("multipart/mixed; boundary=b", &["\nContent-Type: multipart/encrypted\n\nx\n", PLAIN])]
#[case::smime("application/pkcs7-mime; smime-type=enveloped-data; name=\"smime.p7m\"", &[])]
fn an_encrypted_mail_is_not_an_empty_one(#[case] kind: &str, #[case] parts: &[&str]) {
    let parts: String = parts.iter().map(|part| ["--b", part].concat()).collect();
    let error = body(&format!("Content-Type: {kind}\n\n{parts}--b--\n")).unwrap_err();
    assert!(error.to_string().contains("encrypted"), "{error}");
}

#[test]
fn a_part_that_can_not_be_decoded_is_an_error_and_not_dropped() {
    let mail = format!("Content-Type: multipart/mixed; boundary=b\n\n--b{PLAIN}--b{BAD}--b--\n");
    assert_eq!(body(&mail).unwrap_err().kind(), ErrorKind::Message);
}

#[rstest]
#[case::the_first_type("Content-Type: text/plain\nContent-Type: text/html\n\n<p>a</p>\n", "<p>a</p>")]
#[case::no_type("Content-Type: plain\n\n<p>a</p>\n", "<p>a</p>")]
#[case::no_type_at_all("Content-Type:\n\n<p>a</p>\n", "<p>a</p>")]
#[case::html("Content-Type: TEXT/HTML (a page)\n\n<p>a</p>\n", "a")]
#[case::html_in_quotes("Content-Type: \"text/html\"; charset=utf-8\n\n<p>a</p>\n", "a")]
#[case::html_declares_its_charset(
    "Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n\
    <meta charset=3D\"koi8-r\">=CF\n",
    "\u{43e}"
)]
#[case::html_declares_an_impossible_charset(
    "Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n<meta charset=3D\"unicode\">=FC\n",
    "\u{fc}"
)]
#[case::html_declares_an_unknown_charset(
    "Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n<meta charset=3D\"x-foo\">=FC\n",
    "\u{fc}"
)]
#[case::flowed("Content-Type: text/plain; format=flowed; delsp=yes\n\none \ntwo\n", "onetwo")]
#[case::another_text("Content-Type: text/markdown\n\n# a\n", "# a")]
#[case::a_mail(
    "Content-Type: message/rfc822\n\nSubject: inner\nContent-Transfer-Encoding: base64\n\naGVsbG8\n",
    "hello"
)]
#[case::an_encoded_mail(
    "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogYQoKaGk=\n",
    "hi"
)]
#[case::an_unknown_encoding("Content-Transfer-Encoding: x-none-such\n\na=3Db\n", "a=3Db")]
fn a_single_part_is_decoded_by_its_content_type(#[case] mail: &str, #[case] text: &str) {
    assert_eq!(body(mail).unwrap(), text);
}

#[rstest]
#[case::text("hello".into())]
#[case::with_a_mark("\u{feff}hello".into())]
#[case::bytes(vec![0xff, 0, 7])]
fn our_body_inside_a_mailing_lists_mail_is_exact(#[case] bytes: Vec<u8>) {
    let message = Message::new("1", "alice@example.org", "bob@example.org", bytes);
    let mail = String::from_utf8(super::compose(&message, "TAG").unwrap()).unwrap();
    let (head, body) = mail.split_once("Content-Type").unwrap();
    let listed = format!(
        "{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type{body}\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nA list's footer.\r\n--b--\r\n"
    );
    assert_eq!(parse(listed.as_bytes(), "TAG").unwrap().unwrap().message, message);
    let cut = listed.replace("inline; size=", "inline; size=1");
    assert_eq!(parse(cut.as_bytes(), "TAG").unwrap().unwrap_err().kind(), ErrorKind::Message);
}

#[test]
fn too_many_parts_and_too_many_levels_are_errors() {
    let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\na\n".repeat(1_001));
    assert!(body(&many).unwrap_err().to_string().contains("1000 parts"));
    let nested = |class: &str, levels: usize| -> String {
        let level = |n| format!("Content-Type: {class}; boundary=b{n}\n\n--b{n}\n");
        (0..levels).map(level).collect::<String>() + "\nhello\n"
    };
    assert_eq!(body(&nested("multipart/mixed", 32)).unwrap(), "hello");
    for levels in [33, 10_000] {
        assert!(body(&nested("multipart/mixed", levels)).unwrap_err().to_string().contains("32 levels"));
    }
    let mails = "Content-Type: message/rfc822\n\n".repeat(10_000);
    assert!(body(&mails).unwrap_err().to_string().contains("32 levels"));
}

#[test]
fn a_mail_is_searched_for_boundaries_at_most_twice_a_level() {
    let level = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n");
    let nested = (0..32).map(level).collect::<String>() + &"--b\n\n".repeat(900);
    let siblings = format!(
        "{}{}",
        level(0),
        "Content-Type: multipart/mixed; boundary=c\n\n--c\n\na\n--b0\n".repeat(400)
    );
    for mail in [nested, siblings] {
        let mut extractor = TextExtractor::default();
        extractor.text(Part::mail(Headers::of_mail(mail.as_bytes()))).unwrap();
        // Twice: for the declared boundary, and for a guessed one.
        assert!(extractor.searched <= mail.len() * 2 * 33, "{} for {}", extractor.searched, mail.len());
    }
}

#[rstest]
#[case::fields("a: b\n", 50_000)]
#[case::fields_that_count("Subject: x\n", 50_000)]
#[case::junk("junk\n", 50_000)]
#[case::open_words("Subject: =?utf-8?Q?\n", 50_000)]
#[case::words("Subject: =?utf-8?Q?a?=\n", 50_000)]
fn many_fields_take_linear_time(#[case] field: &str, #[case] times: usize) {
    // Quadratic time would take minutes, and the test would time out.
    let mail = format!("{HEAD}{}\nhello\n", field.repeat(times));
    assert!(read(&mail).is_ok());
}

#[rstest]
#[case::words("Subject: TAG ", "=?utf-8?Q?", "")]
#[case::word_beginnings("Subject: TAG ", "=?a?q?=?", "")]
#[case::charsets("Subject: TAG ", "=?a?", "")]
#[case::comments("Subject: TAG 1\nTo: ", "(", "")]
#[case::quotes("Subject: TAG 1\nTo: ", "\"", "")]
#[case::brackets("Subject: TAG 1\nTo: ", "<[", "")]
#[case::colons("Subject: TAG 1\nTo: a@", ":", "")]
#[case::brackets_with_colons("Subject: TAG 1\nTo: ", "[mailto:", "")]
#[case::joined_lines(
    "Subject: TAG 1\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: x=?\n",
    "a\n",
    ""
)]
#[case::ats("Subject: TAG 1\nFrom: ", "a@", "")]
#[case::parameters("Subject: TAG 1\nContent-Type: text/plain", "; a*0=b", "")]
#[case::equals("Subject: TAG 1\nContent-Type: text/plain; ", "=", "")]
#[case::tags("Subject: TAG 1\nContent-Type: text/html\n\n", "<a b=c>", "")]
#[case::attributes("Subject: TAG 1\nContent-Type: text/html\n\n<p ", "a=b ", ">")]
#[case::open_tags("Subject: TAG 1\nContent-Type: text/html\n\n", "<", "")]
#[case::entities("Subject: TAG 1\nContent-Type: text/html\n\n", "&amp", "")]
#[case::comments_in_html("Subject: TAG 1\nContent-Type: text/html\n\n", "<!---->", "")]
#[case::soft_breaks("Subject: TAG 1\nContent-Transfer-Encoding: quoted-printable\n\n", "=  ", "")]
#[case::padding("Subject: TAG 1\nContent-Transfer-Encoding: base64\n\n", "=", "")]
#[case::plus("Subject: TAG 1\nContent-Type: text/plain; charset=utf-7\n\n", "+", "")]
#[case::boundaries("Subject: TAG 1\nContent-Type: multipart/mixed; boundary=\"-\"\n\n", "---", "")]
fn repeated_octets_take_linear_time(#[case] before: &str, #[case] piece: &str, #[case] after: &str) {
    // Quadratic time would take minutes, and the test would time out.
    let mail = format!("{before}{}{after}", piece.repeat(50_000));
    let _ = parse(mail.as_bytes(), "TAG").expect("it is ours");
}
