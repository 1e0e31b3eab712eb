//! The floor: a TLS socket that sends one SEARCH, one FETCH and one MOVE for all mail, and only finds the ends of the
//! responses.
//!
//! pymail sends other commands: where the server allows it, SEARCH and FETCH share one round trip.

use std::io::{BufRead as _, BufReader, Write as _};

use crate::job::{Account, Params, Result};
use crate::mails::Seen;
use crate::tls::{self, Stream};

use super::{Mailbox, boxed, uids};

const BUFFER: usize = 1 << 16;

/// A session that parses only tags and literals.
pub struct Session {
    stream: BufReader<Stream>,
    tag: String,
    line: Vec<u8>,
    commands: u32,
}

/// The parsed parts of a response.
struct Answer {
    literals: usize,
    /// The last untagged line without a literal.
    line: String,
}

/// Logs in and selects INBOX.
pub fn mailboxes(params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    let config = tls::config(&params.ca_file)?;
    let connect = |account| Session::connect(account, tls::connect(account, config.clone())?);
    accounts.iter().map(|account| connect(account).map(boxed)).collect()
}

impl Session {
    /// Logs in, make the archive and select INBOX.
    ///
    /// # Errors
    /// The server refuses.
    pub fn connect(account: &Account, stream: Stream) -> Result<Self> {
        let stream = BufReader::with_capacity(BUFFER, stream);
        let mut session = Self { stream, tag: account.tag.clone(), line: Vec::new(), commands: 0 };
        session.read_line()?;
        session.ask(&format!("LOGIN {} {}", quoted(&account.user), quoted(&account.password)))?;
        // The answer is NO if it exists.
        let _ = session.ask(&format!("CREATE {}", quoted(&account.tag)));
        session.ask("SELECT INBOX")?;
        Ok(session)
    }

    /// Searches for the tag; returns the UIDs.
    ///
    /// # Errors
    /// The server refuses.
    pub fn search(&mut self) -> Result<Vec<u32>> {
        let answer = self.ask(&format!("UID SEARCH SUBJECT {}", quoted(&self.tag)))?;
        let uids = answer.line.strip_prefix("* SEARCH").unwrap_or_default();
        Ok(uids.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?)
    }

    fn ask(&mut self, command: &str) -> Result<Answer> {
        self.commands += 1;
        let tag = format!("a{} ", self.commands);
        let line = format!("{tag}{command}\r\n");
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut answer = Answer { literals: 0, line: String::new() };
        loop {
            self.read_line()?;
            if let Some(size) = literal(&self.line) {
                self.skip(size)?;
                answer.literals += 1;
            } else if let Some(status) = self.line.strip_prefix(tag.as_bytes()) {
                let text = String::from_utf8_lossy(status);
                return if text.starts_with("OK") { Ok(answer) } else { Err(text.into()) };
            } else if self.line.starts_with(b"* SEARCH") {
                answer.line = String::from_utf8_lossy(&self.line).into_owned();
            }
        }
    }

    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        let length = self.stream.read_until(b'\n', &mut self.line)?;
        if length == 0 { Err("the server hung up".into()) } else { Ok(()) }
    }

    fn skip(&mut self, mut size: usize) -> Result<()> {
        while size > 0 {
            let there = self.stream.fill_buf()?.len().min(size);
            if there == 0 {
                return Err("the server hung up".into());
            }
            self.stream.consume(there);
            size -= there;
        }
        Ok(())
    }
}

impl Mailbox for Session {
    fn receive(&mut self, _: &mut Seen) -> Result<usize> {
        let found = self.search()?;
        if found.is_empty() {
            return Ok(0);
        }
        let set = uids::set(found);
        let mails = self.ask(&format!("UID FETCH {set} (UID BODY.PEEK[])"))?.literals;
        self.ask(&format!("UID MOVE {set} {}", quoted(&self.tag)))?;
        Ok(mails)
    }

    /// Discards the messages: only the announcement is read.
    fn push(&mut self, n: usize, _: &mut Seen, handle: &mut dyn FnMut()) -> Result<()> {
        for _ in 0..n {
            self.commands += 1;
            let line = format!("a{} IDLE\r\n", self.commands);
            self.stream.get_mut().write_all(line.as_bytes())?;
            while !self.line.ends_with(b" EXISTS\r\n") {
                self.read_line()?;
            }
            handle();
            self.stream.get_mut().write_all(b"DONE\r\n")?;
            while !self.line.starts_with(b"a") {
                self.read_line()?;
            }
        }
        Ok(())
    }

    fn noop(&mut self) -> Result<()> {
        self.ask("NOOP").map(|_| ())
    }

    fn stop(mut self: Box<Self>) -> Result<()> {
        self.ask("LOGOUT").map(|_| ())
    }
}

/// Returns the size of the literal that a line announces at its end.
fn literal(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let digits = &line[line.iter().rposition(|&byte| byte == b'{')? + 1..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_announced_at_the_end_of_a_line() {
        assert_eq!(literal(b"* 1 FETCH (UID 7 BODY[] {1234}\r\n"), Some(1234));
        assert_eq!(literal(b"* 1 FETCH (UID 7 BODY[] {1x}\r\n"), None);
        assert_eq!(literal(b")\r\n"), None);
    }

    #[test]
    fn quotes_and_backslashes_are_quoted() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
