//! Another client, which reads the server directly: without proxy, pymail and TLS.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::dovecot::PASSWORD;
use crate::support::other_client::Seen;

/// A logged-in connection.
pub struct Witness(BufReader<TcpStream>);

impl Witness {
    /// Logs in on Dovecot's plaintext port.
    pub fn login(port: u16, user: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut witness = Self(BufReader::new(stream));
        witness.line()?;
        let quoted = PASSWORD.replace('\\', "\\\\").replace('"', "\\\"");
        witness.ask(&format!("LOGIN {user} \"{quoted}\""))?;
        Ok(witness)
    }

    /// Adds a mail unchanged.
    pub fn append(&mut self, mailbox: &str, flags: &str, raw: &[u8]) -> io::Result<()> {
        write!(self.0.get_mut(), "a APPEND {mailbox} ({flags}) {{{}+}}\r\n", raw.len())?;
        self.0.get_mut().write_all(&[raw, b"\r\n"].concat())?;
        self.answer().map(drop)
    }

    /// Returns all mail of a mailbox, without `\Recent`; `None` when there is no such mailbox.
    pub fn list(&mut self, mailbox: &str) -> io::Result<Vec<Seen>> {
        if self.ask(&format!("EXAMINE {mailbox}")).is_err() {
            return Ok(Vec::new());
        }
        let answer = self.ask("UID FETCH 1:* (UID FLAGS BODY.PEEK[])")?;
        let mut mail: Vec<Seen> = answer.into_iter().filter_map(seen).collect();
        mail.sort_by_key(|seen| seen.uid);
        Ok(mail)
    }

    fn ask(&mut self, command: &str) -> io::Result<Vec<Response>> {
        write!(self.0.get_mut(), "a {command}\r\n")?;
        self.answer()
    }

    /// Returns every untagged response up to the tagged one, which must be OK.
    fn answer(&mut self) -> io::Result<Vec<Response>> {
        let mut responses = Vec::new();
        loop {
            let response = self.response()?;
            match response.text.as_str() {
                text if text.starts_with("a OK") => return Ok(responses),
                text if text.starts_with("a ") => return Err(io::Error::other(text.to_owned())),
                _ => responses.push(response),
            }
        }
    }

    /// Reads one response, with its literal if it has one.
    fn response(&mut self) -> io::Result<Response> {
        let mut text = self.line()?;
        let length = text.trim_end().strip_suffix('}').and_then(|text| text.rsplit_once('{')?.1.parse().ok());
        let mut literal = vec![0; length.unwrap_or(0)];
        if length.is_some() {
            self.0.read_exact(&mut literal)?;
            text += &self.line()?;
        }
        Ok(Response { text, literal })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        if self.0.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

struct Response {
    text: String,
    literal: Vec<u8>,
}

/// Parses `* n FETCH (UID 3 FLAGS (\Seen) BODY[] {..}`, in any order.
fn seen(response: Response) -> Option<Seen> {
    let Response { text, literal: raw } = response;
    let uid = text.split_once("UID ")?.1.split([' ', ')']).next()?.trim().parse().ok()?;
    let flags = text.split_once("FLAGS (")?.1.split_once(')')?.0;
    let flags = flags.split_whitespace().filter(|flag| *flag != "\\Recent").map(str::to_owned).collect();
    Some(Seen { uid, flags, raw })
}
