//! Receives tagged mail of other programs from a real server.

use pymail::{Credentials, Delivery, ErrorKind, Imap, ImapConfig, Message, Server};
use rstest::{fixture, rstest};

use crate::support::dovecot::{Dovecot, HOST, PASSWORD};

const USER: &str = "alice@example.test";
const HEAD: &str = "From: bob@example.test\r\nTo: alice@example.test\r\n";
const SUBJECT: &str = "Subject: __PYMAIL__ 42\r\n";
const MIME: &str = "MIME-Version: 1.0\r\n";

#[fixture]
fn dovecot() -> Dovecot {
    Dovecot::start()
}

/// Delivers a mail with From, To and these headers, and receives it.
fn received(dovecot: &Dovecot, headers: &str, body: &[u8]) -> Message {
    delivered(dovecot, &[HEAD.as_bytes(), headers.as_bytes(), b"\r\n", body].concat())
}

fn receive(dovecot: &Dovecot) -> Vec<Delivery> {
    let server = Server::tls(HOST).port(dovecot.imaps_port()).add_root_certificate_pem(dovecot.ca_pem());
    let imap =
        Imap::connect(ImapConfig::new(server, Credentials::new(USER, PASSWORD))).expect("a connection");
    imap.fetch_and_ack().expect("a batch")
}

fn delivered(dovecot: &Dovecot, mail: &[u8]) -> Message {
    dovecot.deliver(USER, mail);
    let mut deliveries = receive(dovecot);
    assert_eq!(deliveries.len(), 1);
    deliveries.remove(0).into_message().expect("a message that can be read")
}

#[rstest]
#[case::quoted_printable(
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n",
    b"Gr=C3=BC=C3=9Fe, a line that goes on=\r\n behind a soft break, =3D and a blank=20\r\n.\r\n",
    "Gr\u{fc}\u{df}e, a line that goes on behind a soft break, = and a blank \r\n.\r\n"
)]
#[case::eight_bit_utf_8(
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
    "Grüße, 你好, 😀\r\n".as_bytes(),
    "Grüße, 你好, 😀\r\n"
)]
#[case::eight_bit_without_a_label("", "Grüße\r\n".as_bytes(), "Grüße\r\n")]
#[case::base64(
    "Content-Type: text/plain; charset=\"UTF-8\"\r\nContent-Transfer-Encoding: BASE64\r\n",
    b"R3LDvMOf\r\nZSwK\r\n8J+YgA==\r\n",
    "Grüße,\n😀"
)]
#[case::latin_1_quoted_printable(
    "Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n",
    b"Gr=FC=DFe\r\n",
    "Grüße\r\n"
)]
#[case::latin_1_eight_bit(
    "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n",
    b"Gr\xfc\xdfe\r\n",
    "Grüße\r\n"
)]
#[case::iso_2022_jp(
    "Content-Type: text/plain; charset=ISO-2022-JP\r\nContent-Transfer-Encoding: 7bit\r\n",
    b"\x1b$B$3$s$K$A$O\x1b(B pymail\r\n",
    "こんにちは pymail\r\n"
)]
#[case::windows_1252(
    "Content-Type: text/plain; charset=\"windows-1252\"\r\nContent-Transfer-Encoding: 8bit\r\n",
    b"\x93quoted\x94 \x96 5 \x80\r\n",
    "\u{201c}quoted\u{201d} \u{2013} 5 €\r\n"
)]
#[case::utf_8_that_says_it_is_ascii(
    "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 8bit\r\n",
    "Grüße\r\n".as_bytes(),
    "Grüße\r\n"
)]
#[case::windows_1251(
    "Content-Type: text/plain; charset=windows-1251\r\nContent-Transfer-Encoding: 8bit\r\n",
    b"\xcf\xf0\xe8\xe2\xe5\xf2\r\n",
    "Привет\r\n"
)]
#[case::html_only(
    "Content-Type: text/html; charset=utf-8\r\n",
    b"<html><head><title>No</title></head><body><p>5 &lt; 7 &amp; <b>bold</b></p></body></html>\r\n",
    "5 < 7 & bold\n"
)]
fn a_text_is_decoded(dovecot: Dovecot, #[case] headers: &str, #[case] body: &[u8], #[case] text: &str) {
    let message = received(&dovecot, &[SUBJECT, MIME, headers].concat(), body);
    assert_eq!(message.text(), Ok(text));
    assert_eq!((&*message.id, &*message.sent_by), ("42", "bob@example.test"));
}

const PLAIN: &str = "Content-Type: text/plain; charset=utf-8\r\n\r\nthe text\r\n";
const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>the <b>page</b></p>\r\n";
const FILE: &str = "Content-Type: text/plain; name=notes.txt\r\n\
    Content-Disposition: attachment; filename=notes.txt\r\n\r\nthe file\r\n";
const IMAGE: &str = "Content-Type: image/png\r\nContent-ID: <1>\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    iVBORw0KGgo=\r\n";

#[rstest]
#[case::alternative("alternative", &[PLAIN, HTML], "the text\r\n")]
#[case::alternative_the_other_way_round("alternative", &[HTML, PLAIN], "the text\r\n")]
#[case::attachment_after("mixed", &[PLAIN, FILE], "the text\r\n")]
#[case::attachment_before("mixed", &[FILE, PLAIN], "the text\r\n")]
#[case::image_before("mixed", &[IMAGE, PLAIN], "the text\r\n")]
#[case::html_with_an_image("related", &[HTML, IMAGE], "the page\n")]
#[case::several_texts("mixed", &[PLAIN, IMAGE, PLAIN], "the text\r\nthe text\r\n")]
#[case::nothing_but_an_attachment("mixed", &[FILE], "")]
fn the_displayed_text_of_several_parts_is_extracted(
    dovecot: Dovecot,
    #[case] kind: &str,
    #[case] parts: &[&str],
    #[case] text: &str,
) {
    let parts: String = parts.iter().map(|part| ["--=_b\r\n", part, "\r\n"].concat()).collect();
    let body = format!("For programs without MIME.\r\n{parts}--=_b--\r\nAn epilogue.\r\n");
    let kind = format!("Content-Type: multipart/{kind};\r\n\tboundary=\"=_b\"\r\n");
    let message = received(&dovecot, &[SUBJECT, MIME, &kind].concat(), body.as_bytes());
    assert_eq!(message.text(), Ok(text));
    assert_eq!((&*message.id, &*message.sent_by), ("42", "bob@example.test"));
}

#[rstest]
fn the_text_of_a_mail_without_its_closing_boundary_is_extracted(dovecot: Dovecot) {
    let headers = [SUBJECT, MIME, "Content-Type: multipart/mixed; boundary=b\r\n"].concat();
    let message = received(&dovecot, &headers, format!("--b\r\n{PLAIN}").as_bytes());
    assert_eq!(message.text(), Ok("the text\r\n"));
}

#[rstest]
#[case::one_encoded_word("Subject: =?utf-8?B?X19QWU1BSUxfXyBCZXN0ZWxsdW5nIMO8?=\r\n", "Bestellung ü")]
#[case::encoded_in_q("Subject: =?ISO-8859-1?Q?=5F=5FPYMAIL=5F=5F_Gr=FC=DFe?=\r\n", "Grüße")]
#[case::plain_tag_encoded_id("Subject: __PYMAIL__ =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n", "Grüße")]
#[case::iso_2022_jp("Subject: __PYMAIL__ =?ISO-2022-JP?B?GyRCJDMkcyRLJEEkTxsoQg==?=\r\n", "こんにちは")]
#[case::raw_utf_8("Subject: __PYMAIL__ Grüße\r\n", "Grüße")]
#[case::folded("Subject: __PYMAIL__ first\r\n second\r\n", "first second")]
#[case::folded_after_the_tag("Subject: __PYMAIL__\r\n 42\r\n", "42")]
#[case::folded_before_the_tag("Subject:\r\n __PYMAIL__ 42\r\n", "42")]
#[case::in_capitals("SUBJECT: __PYMAIL__ 42\r\n", "42")]
#[case::cut_within_a_character("Subject: __PYMAIL__ =?utf-8?Q?caf=C3?=\r\n =?utf-8?Q?=A9?=\r\n", "café")]
#[case::the_first_of_two("Subject: __PYMAIL__ 42\r\nSubject: another\r\n", "42")]
fn a_subject_is_decoded(dovecot: Dovecot, #[case] subject: &str, #[case] id: &str) {
    let message = received(&dovecot, subject, b"hello\r\n");
    assert_eq!((&*message.id, &*message.sent_by), (id, "bob@example.test"));
    assert_eq!(message.text(), Ok("hello\r\n"));
}

#[rstest]
fn a_mail_that_can_not_be_decoded_is_an_error_in_its_place(dovecot: Dovecot) {
    let mail = |headers: &str, body: &[u8]| [HEAD.as_bytes(), headers.as_bytes(), b"\r\n", body].concat();
    let utf_8 = [SUBJECT, MIME, "Content-Type: text/plain; charset=utf-8\r\n"].concat();
    for mail in [
        mail(SUBJECT, b"hello\r\n"),
        mail(&utf_8, b"Gr\xfc\xdfe\r\n"),
        mail("Subject: __PYMAIL__ =?x-none-such?Q?=FC?=\r\n", b"hello\r\n"),
        mail(&[SUBJECT, "Content-Transfer-Encoding: base64\r\n"].concat(), b"aGVsbG8hA\r\n"),
        mail(&[SUBJECT, "To: <eve@exa mple.test>\r\n"].concat(), b"hello\r\n"),
        mail(SUBJECT, b"hello\r\n"),
    ] {
        dovecot.deliver(USER, &mail);
    }
    let deliveries = receive(&dovecot);
    let kinds: Vec<_> = deliveries.iter().map(|it| it.message().err().map(|error| error.kind())).collect();
    let bad = Some(ErrorKind::Message);
    assert_eq!(kinds, [None, bad, bad, bad, bad, None]);
}

#[rstest]
#[case::name("From: Bob Example <bob@example.test>\r\n", "bob@example.test")]
#[case::quoted_name("From: \"Example, Bob\" <bob@example.test>\r\n", "bob@example.test")]
#[case::encoded_name("From: =?utf-8?B?QsO2Yg==?= <bob@example.test>\r\n", "bob@example.test")]
#[case::comment("From: bob@example.test (Bob (the one) Example)\r\n", "bob@example.test")]
#[case::folded("From: =?iso-8859-1?q?B=F6b?=\r\n\t<bob@example.test>\r\n", "bob@example.test")]
#[case::several(
    "From: bob@example.test, carol@example.test\r\nSender: carol@example.test\r\n",
    "bob@example.test"
)]
#[case::quoted_local_part("From: \"bob.\"@example.test\r\n", "\"bob.\"@example.test")]
#[case::an_address_as_a_name("From: eve@example.test <bob@example.test>\r\n", "bob@example.test")]
#[case::sender_only("Sender: Carol <carol@example.test>\r\n", "carol@example.test")]
#[case::empty_from("From:\r\nSender: carol@example.test\r\n", "carol@example.test")]
#[case::no_sender("", "")]
fn the_sender_is_the_bare_address(dovecot: Dovecot, #[case] from: &str, #[case] sent_by: &str) {
    let message = delivered(&dovecot, format!("{from}{SUBJECT}\r\nhello\r\n").as_bytes());
    assert_eq!((&*message.id, &*message.sent_by), ("42", sent_by));
    assert_eq!(message.text(), Ok("hello\r\n"));
}
