//! Fuzzes the mail parser: any octets are a message or an error, and a message survives composing and parsing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pymail::fuzz::{compose, is_ours, parse};
use pymail::{DEFAULT_TAG, Message};

// A panic within the parser is caught and becomes an error, which is no finding; any other panic is one.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |octets: &[u8]| {
    read(octets);
    read(&[b"Subject: ", DEFAULT_TAG.as_bytes(), b" 1\r\n", octets].concat());
});

fn read(octets: &[u8]) {
    let ours = is_ours(octets, DEFAULT_TAG);
    match parse(octets, DEFAULT_TAG) {
        None => assert!(!ours, "tagged, but not parsed"),
        Some(Ok(message)) => {
            assert!(ours, "parsed, but not tagged");
            send_on(message);
        }
        Some(Err(_)) => assert!(ours),
    }
}

/// Checks that a message can be sent again with its Message-ID, if `compose` accepts its addresses.
fn send_on(message: Message) {
    let Ok(mail) = compose(&message, DEFAULT_TAG) else { return };
    assert!(mail.is_ascii());
    let again = parse(&mail, DEFAULT_TAG).expect("ours").expect("readable");
    assert_eq!(again, message);
}
