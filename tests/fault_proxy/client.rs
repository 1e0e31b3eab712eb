//! A plaintext client that sends given lines, and returns the responses as they arrive.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::process::PATIENCE;

pub(super) struct Plain(TcpStream);

impl Plain {
    pub(super) fn to(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// The longest wait for a byte.
    pub(super) fn patience(&self, time: Duration) {
        self.0.set_read_timeout(Some(time)).unwrap();
    }

    pub(super) fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Returns the input up to a line with this prefix, the line included.
    pub(super) fn hear(&mut self, beginning: &str) -> io::Result<String> {
        let mut text = String::new();
        while !(text.ends_with('\n')
            && text.lines().next_back().is_some_and(|line| line.starts_with(beginning)))
        {
            let mut octet = [0];
            self.0.read_exact(&mut octet)?;
            text.push(octet[0].into());
        }
        Ok(text)
    }

    /// Sends a line with this IMAP tag and returns its response.
    pub(super) fn ask(&mut self, tag: &str, command: &str) -> io::Result<String> {
        self.say(&format!("{tag} {command}\r\n"));
        self.hear(tag)
    }

    /// Returns all input until the end.
    pub(super) fn rest(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.0.read_to_string(&mut text).map(|_| text)
    }
}
