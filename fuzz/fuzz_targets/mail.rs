//! Any octets as a mail: read, or an error; and what was read can be sent and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pymail::fuzz::{compose, is_ours, parse};
use pymail::{DEFAULT_TAG, Message};

// A panic within the parser is caught and becomes an error: no finding, unlike one that comes out here.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |octets: &[u8]| {
    read(octets);
    read(&[b"Subject: ", DEFAULT_TAG.as_bytes(), b" 1\r\n", octets].concat());
});

fn read(octets: &[u8]) {
    let ours = is_ours(octets, DEFAULT_TAG);
    match parse(octets, DEFAULT_TAG) {
        None => assert!(!ours, "ours, and not read"),
        Some(Ok(message)) => {
            assert!(ours, "read, and not ours");
            send_on(message);
        }
        Some(Err(_)) => assert!(ours),
    }
}

/// The Message-ID of somebody's mail goes out again as it is, wherever the rest can.
fn send_on(message: Message) {
    let Ok(mail) = compose(&message, DEFAULT_TAG) else { return };
    assert!(mail.is_ascii());
    let again = parse(&mail, DEFAULT_TAG).expect("ours").expect("readable");
    assert_eq!(again, message);
}
