//! Tests of the transcript: it has the dialogue, and neither secrets nor text of mail.

use std::sync::Arc;

use pymail::{AccessToken, Credentials, Imap, ImapConfig, Message, Smtp, SmtpConfig};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{every_site, postfix};
use crate::mail_site::{ALICE, Site, TAG, message};
use crate::support::dovecot::DovecotOptions;
use crate::support::events::Events;
use crate::support::jwt::{Claims, mint};
use crate::support::postfix::PostfixOptions;

/// Runs `dialogue`, and returns its value and the transcript.
fn traced<T>(dialogue: impl FnOnce() -> T) -> (T, String) {
    let events = Events::default();
    let value = tracing::subscriber::with_default(events.clone(), dialogue);
    (value, events.text())
}

fn assert_has(transcript: &str, lines: &[&str]) {
    for line in lines {
        assert!(transcript.contains(line), "{line:?} in {transcript}");
    }
}

fn assert_hidden(transcript: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!transcript.contains(secret), "{secret:?} in {transcript}");
    }
}

#[apply(every_site)]
fn a_transcript_has_neither_the_password_nor_text_of_mail(#[case] site: Site) {
    let sent = message("order-4711", "the whole body").with_property("colour", "ultramarine");
    let ((), transcript) = traced(|| {
        let smtp = site.smtp();
        let imap = site.imap();
        site.plant(&[], &format!("Subject: {TAG} lunch\nX-Mood: sunny\n\nat the harbour\n"));
        assert!(smtp.send(&sent).unwrap().all_accepted());
        crate::support::process::wait_until("the messages", || imap.fetch().unwrap().len() == 2);
        let batch = imap.fetch().unwrap();
        let found = imap.fetch_uids(&imap.search("SUBJECT lunch").unwrap()).unwrap();
        assert!(found.len() == 1 || !site.searches_texts(), "{}", found.len());
        batch.ack().unwrap();
        imap.close().unwrap();
        smtp.close().unwrap();
    });
    assert_has(
        &transcript,
        &["CAPABILITY ", "SELECT \"INBOX\"", "EXISTS", "UID SEARCH", "UID FETCH", "LOGOUT", "ehlo", "quit"],
    );
    assert_has(&transcript, &["MAIL FROM:<..>", "RCPT TO:<..>", "protocol=\"IMAP\"", "sent=true", "at_ms="]);
    // No text that a Message-ID, which is in hex, can contain.
    let of_mail =
        ["order-", "whole body", "ultramarine", "lunch", "sunny", "harbour", "dGhlIHdob2xl", "Subject:"];
    assert_hidden(&transcript, &of_mail);
    assert_hidden(&transcript, &[site.password(), "horse", "cor\"rect", "cor\\\"rect", "Y29yIn", "battery"]);
}

#[rstest]
fn a_transcript_has_no_access_token() {
    let dovecot =
        DovecotOptions { token_mechanisms: "oauthbearer xoauth2".into(), ..DovecotOptions::default() };
    let site = Site::real(&dovecot, &PostfixOptions::default());
    let refused: Arc<str> = mint(&Claims { scope: "calendar", ..Claims::of(ALICE) }).into();
    let token: Arc<str> = mint(&Claims::of(ALICE)).into();
    let credentials = || {
        let (refused, token) = (Arc::clone(&refused), Arc::clone(&token));
        Credentials::oauth2(ALICE, move |request| {
            Ok(AccessToken::new(&*if request.renew { Arc::clone(&token) } else { Arc::clone(&refused) }))
        })
    };
    let ((), transcript) = traced(|| {
        Imap::connect(ImapConfig::new(site.imaps_server(), credentials())).unwrap();
        Smtp::connect(SmtpConfig::new(site.smtp_server(), credentials())).unwrap();
    });
    assert_has(&transcript, &["AUTHENTICATE OAUTHBEARER", "AUTH OAUTHBEARER"]);
    // Any piece of the tokens: their header, which is the same in all of them, and their signatures.
    let pieces = [&refused, &token].map(|token| token.rsplit('.').next().unwrap());
    assert_hidden(&transcript, &[&token[..20], pieces[0], pieces[1], "Bearer", "bixhPW", "dXNlcj"]);
}

#[rstest]
fn a_connection_that_was_made_without_a_subscriber_has_no_transcript(#[from(postfix)] site: Site) {
    let (imap, smtp) = (site.imap(), site.smtp());
    let ((), transcript) = traced(|| {
        imap.noop().unwrap();
        assert!(smtp.send(&message("1", "hello")).unwrap().all_accepted());
    });
    assert_hidden(&transcript, &["NOOP", "MAIL FROM"]);
}

#[rstest]
fn large_messages_and_several_in_flight_are_counted(#[from(postfix)] site: Site) {
    let ((), transcript) = traced(|| {
        let config = SmtpConfig::new(site.smtp_server(), site.credentials()).tag(TAG).window(10);
        let smtp = Smtp::connect(config).unwrap();
        let large = Message::new("1", ALICE, ALICE, vec![b'x'; 200_000]);
        for receipt in smtp.send_all(&[message("2", "small one"), large, message("3", "small two")]) {
            assert!(receipt.unwrap().all_accepted());
        }
    });
    assert_has(&transcript, &["BDAT", "DATA", "octets)", "message=."]);
    assert_hidden(&transcript, &["c21hbGwg", "small", "Content-", "eHh4eHh4"]);
}
