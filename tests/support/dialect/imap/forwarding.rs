//! Commands that Dovecot answers, in the dialect's words.

use std::io;

use super::super::super::fault_proxy::pieces::literal_after;
use super::super::link::Next;
use super::{Command, Talk};

impl Talk<'_> {
    /// Passes a command on, and its responses back.
    pub(super) fn forward(&mut self, command: &Command) -> io::Result<()> {
        self.tell_news()?;
        self.send_on(command.line.clone())?;
        let tag = format!("{} ", command.tag).into_bytes();
        loop {
            let response = self.link.response()?;
            if response.starts_with(b"+") {
                self.link.to_client(&response)?;
                self.go_on(command)?;
            } else if response.starts_with(&tag) {
                return self.finish(command, &response);
            } else {
                self.pass(&response)?;
            }
        }
    }

    /// Passes a line on, with the literals that come without a request.
    fn send_on(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        loop {
            self.link.to_server(&line)?;
            self.awaits = literal_after(&line);
            match self.awaits {
                Some(length) if line.ends_with(b"+}\r\n") => {
                    let literal = self.link.client_octets(length)?;
                    self.link.to_server(literal)?;
                    line = self.link.client_line()?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Passes what the server has asked for: a literal with the line behind it, or the end of IDLE.
    fn go_on(&mut self, command: &Command) -> io::Result<()> {
        if let Some(length) = self.awaits.take() {
            let literal = self.link.client_octets(length)?;
            self.link.to_server(literal)?;
            let line = self.link.client_line()?;
            return self.send_on(line);
        }
        debug_assert_eq!(command.name, "IDLE");
        loop {
            match self.link.next(self.ends_at)? {
                Next::Client(line) => return self.link.to_server(line),
                Next::Server(response) => self.pass(&response)?,
                Next::Time => return self.end_session(),
            }
        }
    }

    /// Passes a tagged response, with the dialect's text.
    fn finish(&mut self, command: &Command, response: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(response).trim_end().to_owned();
        let Some(ok) = text.split_once(' ').and_then(|(_, it)| it.strip_prefix("OK ")) else {
            return self.link.to_client(response);
        };
        let code = ok.strip_prefix('[').and_then(|it| it.split_once(']')).map(|(code, _)| code);
        let code = code.filter(|code| !code.starts_with("HIGHESTMODSEQ") || self.has("CONDSTORE"));
        let code = code.map_or(String::new(), |code| format!("[{code}] "));
        self.say(command, &format!("OK {code}{}", self.dialect.imap.completed))
    }

    /// Passes an untagged response, unless it tells what the dialect does not.
    pub(super) fn pass(&mut self, response: &[u8]) -> io::Result<()> {
        let imap = &self.dialect.imap;
        let line = String::from_utf8_lossy(response);
        let is_hidden = (line.starts_with("* OK [HIGHESTMODSEQ") && !self.has("CONDSTORE"))
            || (line.starts_with("* OK [UIDNEXT") && !imap.tells_uidnext)
            || line.starts_with("* CAPABILITY");
        if is_hidden {
            return Ok(());
        }
        if line.starts_with("* OK [PERMANENTFLAGS") && !imap.has_keywords {
            return self.link.to_client(line.replace(" \\*", ""));
        }
        if line.starts_with("* STATUS") && line.contains("(UIDNEXT") && !imap.tells_uidnext {
            return self
                .link
                .to_client(line.split_once("(UIDNEXT").map_or("", |(it, _)| it).to_owned() + "()\r\n");
        }
        self.link.to_client(response)
    }
}
