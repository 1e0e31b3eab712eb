//! Addresses beyond ASCII, on servers with and without SMTPUTF8 (RFC 6531).

use pymail::{ErrorKind, Message};
use rstest::rstest;

use super::smtp;
use crate::mail_site::{ALICE, message};
use crate::support::script::Script;

const JUERGEN: &str = "j\u{fc}rgen@b\u{fc}cher.example";

#[rstest]
fn an_address_beyond_ascii_is_sent_with_smtputf8(#[values("", "PIPELINING")] more: &str) {
    let server = Script::smtp(&["SMTPUTF8", "SIZE 1000000", more]).start();
    let smtp = smtp(&server);
    let beyond = Message::new("1", ALICE, [JUERGEN, "bob@example.test"], "hello");
    let receipt = smtp.send(&beyond).unwrap();
    let told: Vec<_> = receipt.answers.iter().map(|answer| &*answer.recipient).collect();
    assert_eq!(told, [JUERGEN, "bob@example.test"]);
    assert!(smtp.send(&message("2", "hello")).unwrap().all_accepted());
    let mails = server.heard("MAIL");
    assert!(mails[0].starts_with(&format!("MAIL FROM:<{ALICE}> SMTPUTF8 SIZE=")), "{mails:?}");
    assert!(mails[1].starts_with(&format!("MAIL FROM:<{ALICE}> SIZE=")), "{mails:?}");
    assert_eq!(server.heard("RCPT")[0], "RCPT TO:<j\u{fc}rgen@xn--bcher-kva.example>");
    let data = &server.data()[0].text;
    assert!(data.contains("To: <j\u{fc}rgen@xn--bcher-kva.example>,"), "{data}");
}

#[rstest]
#[case::of_the_sender(Message::new("1", JUERGEN, "bob@example.test", ""))]
#[case::of_one_recipient(Message::new("1", ALICE, ["bob@example.test", JUERGEN], ""))]
fn without_smtputf8_an_address_beyond_ascii_is_an_error_that_names_it(#[case] beyond: Message) {
    let server = Script::smtp(&["PIPELINING"]).start();
    let outcomes = smtp(&server).send_all(&[message("0", "hello"), beyond, message("2", "hello")]);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let error = outcomes[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Message, "{error:?}");
    assert!(error.to_string().contains(JUERGEN) && error.to_string().contains("SMTPUTF8"), "{error}");
    assert!(error.to_string().starts_with("nothing was sent"), "{error}");
    assert_eq!((server.heard("MAIL").len(), server.connections()), (2, 1));
}

#[rstest]
fn a_domain_beyond_ascii_needs_no_smtputf8() {
    let server = Script::smtp(&[]).start();
    let to = Message::new("1", "alice@stra\u{df}e.example", "bob@B\u{fc}cher.example", "hello");
    assert!(smtp(&server).send(&to).unwrap().all_accepted());
    assert_eq!(server.heard("MAIL"), ["MAIL FROM:<alice@xn--strae-oqa.example>"]);
    assert_eq!(server.heard("RCPT"), ["RCPT TO:<bob@xn--bcher-kva.example>"]);
}
