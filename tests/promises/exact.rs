//! The promise "exact": body, id and properties arrive unchanged.

use std::collections::BTreeMap;

use pymail::Message;
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::every_site;
use crate::mail_site::{ALICE, Site, contains, mail, message};

/// Returns bodies that mail systems are known to change.
fn bodies() -> Vec<Vec<u8>> {
    let text = [
        "",
        "hello",
        "Grüße, 你好, \u{1F600}\u{200D}, \u{feff}bom",
        "\u{feff}a byte order mark first",
        "nul \0 in the middle\0",
        "bare cr \r bare lf \n both \r\n reversed \n\r",
        "\r\n\r\nblank lines around\r\n\r\n",
        "trailing blanks   \t  ",
        "trailing blanks  \r\nin lines\t\r\n",
        ".",
        ".\r\n",
        "..\r\n.\r\nleading dots\r\n.x",
        "From here on\nFrom there\n>From quoted",
        "--boundary\r\nContent-Type: text/html\r\n\r\n<b>not html</b>",
        "=3D =20 = soft=\r\n",
        "+AGE- &AGE- =?utf-8?q?x?=",
        "\x1a\x1b[0m\x7f control",
    ];
    let mut bodies: Vec<Vec<u8>> = text.map(|text| text.as_bytes().to_vec()).into();
    bodies.push((0..=255).collect());
    bodies.push(b"\xff\xfe not utf-8 \xc3".to_vec());
    bodies.push(vec![b'x'; 1 << 20]);
    bodies.push([b"a line of 1 MB ", vec![b' '; 1 << 20].as_slice()].concat());
    bodies
}

fn ids() -> Vec<String> {
    let long = "id with\r\nline breaks ".repeat(50);
    assert!(long.len() >= 1_000);
    let mut ids: Vec<String> =
        ["42", "two words", "naïve", " leading", "trailing ", "two  blanks", "tab\there", "\0", "\u{1F600}"]
            .map(String::from)
            .into();
    ids.extend(
        ["=?utf-8?q?x?=", "\"quoted\"", "back\\slash", "(comment)", "<a@b>", "a:b;c,d", "_=_"]
            .map(String::from),
    );
    ids.extend(["\r\nBcc: eve@example.test".into(), "x".repeat(64), "y".repeat(65), "ü".repeat(500), long]);
    ids
}

fn receive(site: &Site) -> Vec<Message> {
    let imap = site.imap();
    let mut messages = Vec::new();
    loop {
        let received = imap.fetch_and_ack().unwrap();
        if received.is_empty() {
            return messages;
        }
        messages.extend(received.into_iter().map(|delivery| delivery.into_message().unwrap()));
    }
}

#[apply(every_site)]
fn a_body_arrives_byte_for_byte(#[case] site: Site) {
    let sent: BTreeMap<String, Vec<u8>> =
        bodies().into_iter().enumerate().map(|(n, body)| (n.to_string(), body)).collect();
    site.deliver(&sent.iter().map(|(id, body)| message(id, body.clone())).collect::<Vec<_>>());
    let received: BTreeMap<String, Vec<u8>> =
        receive(&site).into_iter().map(|message| (message.id, message.body)).collect();
    for (id, body) in &sent {
        assert_eq!(
            received.get(id).map(|body| &body[..body.len().min(100)]),
            Some(&body[..body.len().min(100)])
        );
        assert!(received.get(id) == Some(body), "body {id} differs");
    }
    assert_eq!(received.len(), sent.len());
}

#[apply(every_site)]
fn an_id_arrives_character_for_character(#[case] site: Site) {
    site.deliver(&ids().iter().map(|id| message(id, id.as_str())).collect::<Vec<_>>());
    let received = receive(&site);
    for message in &received {
        assert_eq!(message.id, message.text().unwrap());
        assert_eq!(
            (message.sent_by.as_str(), message.sent_to.as_slice()),
            (ALICE, [ALICE.to_owned()].as_slice())
        );
    }
    let mut got: Vec<&String> = received.iter().map(|message| &message.id).collect();
    let sent = ids();
    let mut sent: Vec<&String> = sent.iter().collect();
    got.sort();
    sent.sort();
    assert_eq!(got, sent);
}

#[apply(every_site)]
fn on_the_wire_a_plain_id_is_readable_and_the_body_is_base64(#[case] site: Site) {
    site.deliver(&[message("order 42", "hello")]);
    let raw = mail(&site.other_client(), "INBOX").remove(0).raw;
    assert!(contains(&raw, b"Subject: __TEST__ order 42\r\n"));
    assert!(contains(&raw, b"\r\n\r\naGVsbG8=\r\n"));
}

#[apply(every_site)]
fn a_message_id_is_kept_from_the_first_attempt_to_the_receiver(#[case] site: Site) {
    let sent = message("1", "hello");
    site.deliver(std::slice::from_ref(&sent));
    assert_eq!(receive(&site)[0].message_id(), sent.message_id());
}

#[apply(every_site)]
fn properties_arrive_character_for_character(#[case] site: Site) {
    let texts =
        ids().into_iter().chain([String::new(), "\r\n\r\n".into(), "?=\t=?".into(), "%41 ".repeat(400)]);
    let sent: BTreeMap<String, Message> = texts
        .enumerate()
        .map(|(n, text)| {
            let name = if text.is_empty() { "empty" } else { &text };
            let names = ["Correlation-ID", "correlation-id", name];
            let sent = names
                .into_iter()
                .fold(message(&n.to_string(), "x"), |it, name| it.with_property(name, &*text));
            (n.to_string(), sent)
        })
        .collect();
    site.deliver(&sent.values().cloned().collect::<Vec<_>>());
    let received: BTreeMap<String, Message> =
        receive(&site).into_iter().map(|message| (message.id.clone(), message)).collect();
    assert_eq!(received, sent);
}

#[apply(every_site)]
fn on_the_wire_properties_are_plain_headers(#[case] site: Site) {
    site.deliver(&[message("1", "x").with_property("Content-Type", "application/json")]);
    let raw = mail(&site.other_client(), "INBOX").remove(0).raw;
    assert!(contains(&raw, b"\r\nX-Pymail-Property: Content-Type=application/json\r\n"));
    let received = receive(&site).remove(0);
    assert_eq!(received.property("Content-Type"), Some("application/json"));
}
