//! The records of the crate `log`, by which the HTTP client tells of itself.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};
use pymail::oauth::RefreshToken;
use rstest::rstest;

use crate::support::token_server::TokenServer;
use crate::{USER, ask, assert_hidden, client};

/// The records of all tests of this process.
static RECORDS: Records = Records(Mutex::new(String::new()));

struct Records(Mutex<String>);

impl Log for Records {
    /// As the documentation of `pymail::oauth` asks for.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.target().starts_with("ureq_proto")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(text, "{}", record.args());
        }
    }

    fn flush(&self) {}
}

#[rstest]
fn no_record_has_a_secret_in_it() {
    log::set_logger(&RECORDS).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let server = TokenServer::start();
    for client in [client(&server), client(&server).secret_in_header()] {
        let kept = RefreshToken::new(server.sign_in(USER));
        ask(&client.refresh_token(kept, |_| Ok(()))).unwrap();
        client.sign_in_by_device().unwrap();
    }
    let text = RECORDS.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(text.contains("/token"), "{text}");
    assert_hidden(&text);
    // The client's id and secret in base64.
    assert!(!text.contains("YXBwOmNsaWVudC"), "{text}");
}
