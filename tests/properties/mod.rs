//! Property test: Python's email package parses every message that pymail sends, unchanged.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use pymail::{Credentials, Message, Server, Smtp, SmtpConfig};
use rstest::rstest;
use serde::Deserialize;

use crate::mail_site::TAG;
use crate::support::process::{python, started};
use crate::support::script::Script;
use crate::support::strategies::{Parts, config, properties, usual_parts};

/// Python's result for a mail.
#[derive(Debug, Deserialize, PartialEq)]
struct Reading {
    subject: String,
    from: Vec<String>,
    to: Vec<String>,
    message_id: String,
    body: String,
    text: Option<String>,
    defects: Vec<String>,
}

impl Reading {
    /// Returns the expected result.
    fn of(message: &Message) -> Self {
        Self {
            subject: format!("{TAG} {}", message.id),
            from: vec![message.sent_by.clone()],
            to: message.sent_to.clone(),
            message_id: message.message_id().to_string(),
            body: BASE64_STANDARD.encode(&message.body),
            text: message.text().ok().map(str::to_owned),
            defects: Vec::new(),
        }
    }
}

/// A Python process that parses mails: `PYO3_PYTHON` if that is set, else `python3`.
struct Reader {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Reader {
    fn start() -> Self {
        let mut command = Command::new(python());
        command
            .args(["-I", "-X", "utf8", "-c", include_str!("read.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = started(|| command.spawn()).expect("python3 runs");
        let (input, output) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        Self { process, input, output: BufReader::new(output) }
    }

    fn read(&mut self, mail: &str) -> Reading {
        writeln!(self.input, "{}", BASE64_STANDARD.encode(mail)).expect("Python reads its input");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Python answers");
        serde_json::from_str(&line).expect("a reading")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[rstest]
fn python_parses_every_message_unchanged() {
    let server = Script::smtp(&["PIPELINING"]).start();
    let open = Server::unencrypted("localhost").port(server.port());
    let smtp = Smtp::connect(SmtpConfig::new(open, Credentials::none()).tag(TAG)).unwrap();
    let reader = RefCell::new(Reader::start());
    let check = |((id, sent_by, sent_to, body), properties): (Parts, BTreeMap<String, String>)| {
        let message = Message::new(id, sent_by, sent_to, body);
        let message = properties.into_iter().fold(message, |it, (name, value)| it.with_property(name, value));
        prop_assert!(smtp.send(&message)?.all_accepted());
        let mail = server.data().pop().expect("the mail arrived").text;
        prop_assert_eq!(reader.borrow_mut().read(&mail), Reading::of(&message));
        Ok(())
    };
    TestRunner::new(config())
        .run(&(usual_parts(), properties()), check)
        .unwrap_or_else(|failure| panic!("{failure}"));
}
