//! The sending server's side: one command at a time, in front of Postfix.

use std::io;
use std::sync::Arc;

use super::Shared;
use super::link::Link;
use super::login::{Presented, behind, decoded};
use super::table::Dialect;

/// Speaks with one client, until either end ends.
pub(super) fn talk(shared: &Arc<Shared>, link: Link) {
    let mut talk = Talk { shared, dialect: &shared.dialect, link, is_secure: false };
    // The client sees a closed connection.
    let _ = talk.run();
}

struct Talk<'a> {
    shared: &'a Arc<Shared>,
    dialect: &'a Dialect,
    link: Link,
    is_secure: bool,
}

impl Talk<'_> {
    fn run(&mut self) -> io::Result<()> {
        self.reply()?;
        self.ask("EHLO dialect.example.test")?;
        self.link.to_client(format!("220 {}\r\n", self.dialect.smtp.greeting))?;
        loop {
            let line = self.link.client_line()?;
            self.obey(line)?;
        }
    }

    fn obey(&mut self, line: Vec<u8>) -> io::Result<()> {
        let smtp = &self.dialect.smtp;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let name = text.split(' ').next().unwrap_or_default().to_uppercase();
        if let Some(refusal) = self.shared.note(if name == "AUTH" { "AUTH" } else { &text }) {
            return self.refuse(&text, refusal);
        }
        match &*name {
            "EHLO" => self.hello(),
            "STARTTLS" => {
                self.is_secure = true;
                let ready = b"220 2.0.0 Ready to start TLS\r\n";
                self.link.client.write_then_secure(ready, self.shared.tls.accept())
            }
            "AUTH" => self.authenticate(&text),
            "BDAT" if !smtp.has("CHUNKING") => self.link.to_client("502 5.5.1 Unrecognized command\r\n"),
            "BDAT" => {
                self.pass_chunk(&text, line)?;
                let is_last = text.to_uppercase().ends_with(" LAST");
                self.pass_reply(is_last)
            }
            "DATA" => self.pass_data(line),
            _ => {
                self.link.to_server(line)?;
                self.pass_reply(false)
            }
        }
    }

    /// Sends a refusal that a test has planned, and ends the connection behind a 421.
    fn refuse(&mut self, command: &str, refusal: &str) -> io::Result<()> {
        if command.to_uppercase().starts_with("BDAT") {
            self.pass_nothing(command)?;
        }
        self.link.to_client(format!("{refusal}\r\n"))?;
        if refusal.starts_with("421") { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    fn hello(&mut self) -> io::Result<()> {
        let smtp = &self.dialect.smtp;
        let host = smtp.greeting.split(' ').next().unwrap_or_default();
        let of_tls = |name: &&&str| self.is_secure || !name.starts_with("AUTH");
        let mut lines = vec![format!("{host} at your service")];
        lines.extend((!self.is_secure).then(|| "STARTTLS".to_owned()));
        lines.extend(smtp.extensions.iter().filter(of_tls).map(|it| (*it).to_owned()));
        let last = lines.len() - 1;
        let marked = lines.iter().enumerate().map(|(at, line)| {
            let mark = if at == last { " " } else { "-" };
            ["250", mark, line, "\r\n"].concat()
        });
        self.link.to_client(marked.collect::<String>())
    }

    fn authenticate(&mut self, command: &str) -> io::Result<()> {
        let smtp = &self.dialect.smtp;
        let mut words = command.split(' ').skip(1);
        let mechanism = words.next().unwrap_or_default().to_uppercase();
        let initial = words.next().map(str::to_owned);
        let offered = smtp.extensions.iter().find_map(|it| it.strip_prefix("AUTH ")).unwrap_or_default();
        if !offered.split(' ').any(|it| it == mechanism) {
            return self.link.to_client("504 5.7.4 Unrecognized authentication type\r\n");
        }
        let presented = if mechanism == "LOGIN" {
            let user = initial.map_or_else(|| self.ask_client("VXNlcm5hbWU6"), Ok)?;
            let password = self.ask_client("UGFzc3dvcmQ6")?;
            Some(Presented::password(decoded(&user), decoded(&password)))
        } else {
            let response = initial.map_or_else(|| self.ask_client(""), Ok)?;
            Presented::of_response(&mechanism, &response)
        };
        let is_token = presented.as_ref().is_some_and(Presented::is_token);
        match presented.filter(|it| it.is_accepted(self.dialect.login)) {
            Some(presented) => {
                self.ask(&format!("AUTH PLAIN {}", behind(&presented.user)))?;
                self.link.to_client(format!("235 {}\r\n", smtp.logged_in))
            }
            None if is_token => self.refuse_token(),
            None => self.link.to_client(format!("{}\r\n", smtp.wrong_password)),
        }
    }

    /// Sends the reason of a refused token as a challenge, where the table has one, and the refusal.
    fn refuse_token(&mut self) -> io::Result<()> {
        let refusal = self.dialect.smtp.wrong_token;
        let refusal = match refusal.strip_prefix("334 ").and_then(|it| it.split_once("\r\n")) {
            Some((challenge, refusal)) => {
                self.ask_client(challenge)?;
                refusal
            }
            None => refusal,
        };
        self.link.to_client(format!("{refusal}\r\n"))
    }

    fn ask_client(&mut self, challenge: &str) -> io::Result<String> {
        self.link.to_client(format!("334 {challenge}\r\n"))?;
        Ok(String::from_utf8_lossy(&self.link.client_line()?).trim_end().to_owned())
    }

    /// Sends a command of the proxy's own.
    fn ask(&mut self, command: &str) -> io::Result<()> {
        self.link.to_server(format!("{command}\r\n"))?;
        let reply = self.reply()?;
        let is_positive = reply.starts_with(b"2");
        if is_positive { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&reply).into_owned())) }
    }

    /// Returns the server's next reply, with all lines.
    fn reply(&mut self) -> io::Result<Vec<u8>> {
        let mut reply = Vec::new();
        loop {
            let line = self.link.response()?;
            reply.extend_from_slice(&line);
            if line.get(3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }

    /// Passes the reply on; that to a whole message with the dialect's text.
    fn pass_reply(&mut self, of_message: bool) -> io::Result<()> {
        let reply = self.reply()?;
        if of_message && reply.starts_with(b"250") {
            return self.link.to_client(format!("250 {}\r\n", self.dialect.smtp.accepted));
        }
        self.link.to_client(reply)
    }

    fn pass_data(&mut self, line: Vec<u8>) -> io::Result<()> {
        // The end of a message that the server waits for can't be taken back: it does not hear of this one.
        let refusal = self.shared.note(".");
        if refusal.is_some() {
            self.link.to_client("354 Go ahead\r\n")?;
        } else {
            self.link.to_server(line)?;
            let reply = self.reply()?;
            self.link.to_client(&reply)?;
            if !reply.starts_with(b"354") {
                return Ok(());
            }
        }
        let mut data = Vec::new();
        while !(data.ends_with(b"\r\n.\r\n") || data == b".\r\n") {
            data.extend(self.link.client_line()?);
        }
        match refusal {
            None => {
                self.link.to_server(&data)?;
                self.pass_reply(true)
            }
            Some(refusal) => {
                self.ask("RSET")?;
                self.refuse(".", refusal)
            }
        }
    }

    fn pass_chunk(&mut self, command: &str, line: Vec<u8>) -> io::Result<()> {
        let chunk = self.link.client_octets(length(command))?;
        self.link.to_server(line)?;
        self.link.to_server(chunk)
    }

    fn pass_nothing(&mut self, command: &str) -> io::Result<()> {
        self.link.client_octets(length(command)).map(drop)
    }
}

/// Returns the length that BDAT announces.
fn length(command: &str) -> usize {
    command.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0)
}
