//! Parses mails with Python's email package, and compares the result with pymail's.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pymail::Message;
use serde::Deserialize;

use super::Part;
use crate::support::process::{python, started};

const SCRIPT: &str = include_str!("read.py");

/// Python's result; `None` where it raises or finds nothing.
#[derive(Debug, Deserialize)]
pub(super) struct Reading {
    text: Option<String>,
    words: Option<Vec<String>>,
    sender: Option<String>,
}

impl Reading {
    /// Returns `true` if pymail's result is the same; `None` without one of Python's.
    pub(super) fn agrees(&self, part: Part, message: &Message) -> Option<bool> {
        match part {
            Part::Text => self.text_is(&message.text_lossy()),
            Part::Sender => self.sender.as_deref().map(|sender| message.sent_by == sender),
        }
    }

    /// Compares text except for line ends and trailing blanks, and text from HTML without any blanks, because its layout differs.
    fn text_is(&self, body: &str) -> Option<bool> {
        match (&self.text, &self.words) {
            (Some(text), _) => Some(normal(body) == normal(text)),
            (None, Some(words)) => Some(without_blanks(body) == words.concat()),
            (None, None) => None,
        }
    }
}

fn normal(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end().to_owned()
}

fn without_blanks(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Parses mails in a Python process.
pub(super) fn read<'a>(mails: impl Iterator<Item = &'a [u8]>) -> Vec<Reading> {
    let question: Vec<String> = mails.map(|mail| BASE64_STANDARD.encode(mail)).collect();
    let question = serde_json::to_vec(&question).expect("a list of texts is JSON");
    let mut command = Command::new(python());
    command.args(["-I", "-X", "utf8", "-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = started(|| command.spawn()).expect("python3 runs");
    // Python writes only after the end of its input, so that no pipe can block both sides.
    python.stdin.take().expect("a pipe").write_all(&question).expect("Python reads its input");
    let answer = python.wait_with_output().expect("Python ends");
    assert!(answer.status.success(), "read.py: {}", answer.status);
    serde_json::from_slice(&answer.stdout).expect("one reading a mail")
}
