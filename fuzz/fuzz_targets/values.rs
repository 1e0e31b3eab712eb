//! Fuzzes the values that `py/` returns and raises: each is converted, or an error.
#![no_main]

use std::ffi::CStr;
use std::net::TcpListener;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pymail::{Credentials, Error, Imap, ImapConfig, Message, Result, Server, Smtp, SmtpConfig, Uid};

/// Accepts connections, and sends nothing.
static LISTENER: LazyLock<TcpListener> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    listener
});

fuzz_target!(|octets: &[u8]| {
    let code =
        CStr::from_bytes_with_nul(concat!(include_str!("values.py"), "\0").as_bytes()).expect("no NUL");
    pymail::fuzz::python(c"pymail_fuzz_values", code, "feed", octets, 0).expect("Python runs");
    if let Err(error) = receive() {
        check(&error);
    }
    send();
    while LISTENER.accept().is_ok() {}
});

fn server() -> Server {
    Server::unencrypted("127.0.0.1").port(LISTENER.local_addr().expect("an address").port())
}

fn receive() -> Result<()> {
    let config = ImapConfig::new(server(), Credentials::new("alice", "secret")).tag("OURS").batch(3);
    let imap = Imap::connect(config.heartbeat(Duration::from_secs(3_600)))?;
    let found = imap.search("ALL")?;
    let batch = imap.fetch()?;
    let uids: Vec<Uid> = batch.iter().map(pymail::Delivery::uid).collect();
    assert!(uids.len() <= 3 && uids.is_sorted_by(|a, b| a < b), "each once, in order: {uids:?}");
    let outcomes =
        [batch.ack(), imap.copy(&found, "there"), imap.move_to(&found, "there"), imap.delete(&found)];
    outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(check);
    let fetched = imap.fetch_uids(&found)?;
    assert!(fetched.iter().all(|mail| found.contains(mail.uid)));
    imap.noop()?;
    imap.close()
}

fn send() {
    let config = SmtpConfig::new(server(), Credentials::none()).heartbeat(Duration::from_secs(3_600));
    let message =
        |id: &str| Message::new(id, "alice@example.org", ["bob@example.org", "eve@example.org"], "");
    match Smtp::connect(config) {
        Ok(smtp) => {
            let outcomes = smtp.send_all(&["1", "2"].map(message));
            assert_eq!(outcomes.len(), 2);
            outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(check);
        }
        Err(error) => check(&error),
    }
}

fn check(error: &Error) {
    assert!(!error.to_string().is_empty());
    assert!(!(error.is_transient() && error.is_permanent()), "{error:?}");
}
