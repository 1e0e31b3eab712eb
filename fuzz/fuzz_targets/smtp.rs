//! Fuzzes the replies of an SMTP server: a message reported as sent was sent, and none is sent twice.
#![no_main]

mod server;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pymail::{Credentials, Error, ErrorKind, Message, Receipt, Result, Server, Smtp, SmtpConfig};

const SECRET: &str = "S3CRET";

/// The end of each message on the wire: its body in base64, and the final dot.
const ENDS: [&[u8]; 3] = [b"b25l\r\n.\r\n", b"dHdv\r\n.\r\n", b"dGhy\r\n.\r\n"];

fuzz_target!(init: server::follow_python(), |octets: &[u8]| {
    let mut outcomes = Vec::new();
    let heard = server::serve(octets, usual, || outcomes = converse());
    for (outcome, end) in outcomes.iter().zip(ENDS) {
        let times = heard.windows(end.len()).filter(|window| window == &end).count();
        assert!(times <= 1, "sent {times} times: {outcome:?}");
        check(outcome, times);
    }
});

fn converse() -> Vec<Result<Receipt>> {
    let server = Server::unencrypted("127.0.0.1").port(server::port());
    let config = SmtpConfig::new(server, Credentials::new("alice", SECRET))
        .heartbeat(Duration::from_secs(3_600))
        .timeout(Duration::from_secs(2))
        .reply_timeout(Duration::from_secs(2));
    let message =
        |body: &str| Message::new(body, "alice@example.org", ["bob@example.org", "eve@example.org"], body);
    match Smtp::connect(config) {
        Ok(smtp) => {
            let outcomes = smtp.send_all(&["one", "two", "thr"].map(message));
            let _ = smtp.close().inspect_err(check_error);
            outcomes
        }
        Err(error) => {
            check_error(&error);
            Vec::new()
        }
    }
}

fn check(outcome: &Result<Receipt>, times: usize) {
    match outcome {
        Ok(receipt) => {
            assert_eq!(times, 1, "{receipt:?}");
            assert!((200..300).contains(&receipt.code) && receipt.answers.len() == 2, "{receipt:?}");
            assert!(receipt.answers.iter().any(pymail::Answer::is_accepted), "{receipt:?}");
        }
        Err(error) => {
            check_error(error);
            let unsent = [ErrorKind::Disconnected, ErrorKind::Connect, ErrorKind::Timeout, ErrorKind::Auth];
            assert!(times == 0 || !unsent.contains(&error.kind()), "reported as unsent, but sent: {error:?}");
        }
    }
}

fn check_error(error: &Error) {
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET) && !text.contains("AGFsaWNlAFMzQ1JFVA"), "a secret shows: {error:?}");
    assert!(!(error.is_transient() && error.is_permanent()), "{error:?}");
}

fn usual(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line).to_ascii_uppercase();
    let said = match line.split([' ', '\r']).next().unwrap_or_default() {
        "GREETING" => "220 ready",
        "EHLO" => "250-here\r\n250-AUTH PLAIN LOGIN\r\n250 PIPELINING",
        "AUTH" => "235 welcome",
        "DATA" => "354 go ahead",
        "MAIL" | "RCPT" | "RSET" | "NOOP" | "." => "250 ok",
        "QUIT" => "221 bye",
        _ => return String::new(), // a line of a message
    };
    format!("{said}\r\n")
}
