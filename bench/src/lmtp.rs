//! Fills a mailbox quickly: LMTP to Dovecot, every message on one connection.

use std::io::{BufRead as _, BufReader, Read, Write};

use crate::job::Result;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Deliver `n` messages with the ids `0..n`, which all carry `body`, to one user.
///
/// # Errors
/// When the server refuses one.
pub fn fill(stream: impl Read + Write, user: &str, tag: &str, body: &str, n: usize) -> Result<()> {
    let mut lmtp = Lmtp(BufReader::new(stream));
    lmtp.expect("220")?;
    lmtp.ask("LHLO bench\r\n", &["250"])?;
    let body = base64(body.as_bytes());
    let envelope = format!("MAIL FROM:<bench@example.test>\r\nRCPT TO:<{user}>\r\nDATA\r\n");
    for id in 0..n {
        lmtp.ask(&envelope, &["250", "250", "354"])?;
        lmtp.ask(&format!("{}{body}.\r\n", header(user, tag, id)), &["250"])?;
    }
    lmtp.ask("QUIT\r\n", &["221"])
}

fn header(user: &str, tag: &str, id: usize) -> String {
    format!(
        "From: bench@example.test\r\nTo: {user}\r\nSubject: {tag} {id}\r\nMessage-ID: <{id}.{user}@bench.test>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
}

struct Lmtp<S>(BufReader<S>);

impl<S: Read + Write> Lmtp<S> {
    fn ask(&mut self, command: &str, codes: &[&str]) -> Result<()> {
        self.0.get_mut().write_all(command.as_bytes())?;
        codes.iter().try_for_each(|code| self.expect(code))
    }

    fn expect(&mut self, code: &str) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            if !line.starts_with(code) {
                return Err(format!("LMTP: {line:?} instead of {code}").into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// Base64 in lines of 76, as mail has it.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() / 57 * 78 + 80);
    for line in bytes.chunks(57) {
        for group in line.chunks(3) {
            let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
            let digit = |at: usize| char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]);
            text.extend((0..4).map(|at| if at <= group.len() { digit(at) } else { '=' }));
        }
        text.push_str("\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let encoded = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==\r\n", "Zm8=\r\n", "Zm9v\r\n", "Zm9vYg==\r\n"]);
    }
}
