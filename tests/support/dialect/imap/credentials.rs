//! Logins: LOGIN and AUTHENTICATE, which the proxy answers itself.

use std::io;
use std::time::Instant;

use super::super::super::dovecot::PASSWORD;
use super::super::super::fault_proxy::pieces::literal_after;
use super::super::login::{Presented, decoded};
use super::super::table::Announcement;
use super::{Command, Talk, quoted, with};

impl Talk<'_> {
    pub(super) fn login(&mut self, command: &Command) -> io::Result<()> {
        if self.dialect.imap.before_login.contains("LOGINDISABLED") {
            return self.say(command, self.dialect.imap.wrong_password);
        }
        let mut text = command.arguments().to_owned();
        let mut line = command.line.clone();
        while let Some(length) = literal_after(&line) {
            self.link.to_client("+ go on\r\n")?;
            let literal = self.link.client_octets(length)?;
            line = self.link.client_line()?;
            let before = text.rfind('{').map_or("", |at| &text[..at]).to_owned();
            let quoted = quoted(&String::from_utf8_lossy(&literal));
            text = before + &quoted + String::from_utf8_lossy(&line).trim_end();
        }
        let mut words = unquoted(&text).into_iter();
        let (user, password) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.log_in(command, Some(Presented::password(user, password)))
    }

    pub(super) fn authenticate(&mut self, command: &Command) -> io::Result<()> {
        let (mechanism, initial) = command.arguments().split_once(' ').unwrap_or((command.arguments(), ""));
        let mechanism = mechanism.to_uppercase();
        if !self.dialect.imap.before_login.contains(&format!("AUTH={mechanism}")) {
            return self.say(command, self.dialect.imap.wrong_password);
        }
        let presented = if mechanism == "LOGIN" {
            let (user, password) = (self.ask_client("VXNlcm5hbWU6")?, self.ask_client("UGFzc3dvcmQ6")?);
            Some(Presented::password(decoded(&user), decoded(&password)))
        } else {
            let response = if initial.is_empty() { self.ask_client("")? } else { initial.to_owned() };
            Presented::of_response(&mechanism, &response)
        };
        self.log_in(command, presented)
    }

    /// Sends a challenge and returns the client's line.
    fn ask_client(&mut self, challenge: &str) -> io::Result<String> {
        self.link.to_client(format!("+ {challenge}\r\n"))?;
        Ok(String::from_utf8_lossy(&self.link.client_line()?).trim_end().to_owned())
    }

    /// Checks what was presented, and logs in to the server.
    fn log_in(&mut self, command: &Command, presented: Option<Presented>) -> io::Result<()> {
        let imap = &self.dialect.imap;
        let Some(presented) = presented.filter(|it| it.is_token() || it.is_accepted(self.dialect.login))
        else {
            return self.say(command, imap.wrong_password);
        };
        if !presented.is_accepted(self.dialect.login) {
            return self.refuse_token(command);
        }
        if let Some((most, refusal)) = imap.connections
            && self.shared.state().logged_in >= most
        {
            return self.say(command, refusal);
        }
        let (user, password) = (quoted(&presented.user), quoted(PASSWORD));
        self.ask(&format!("LOGIN {user} {password}"))?;
        self.shared.state().logged_in += 1;
        self.is_logged_in = true;
        self.ends_at = imap.session.map(|(long, _)| Instant::now() + long);
        if imap.announcement == Announcement::Untagged {
            self.link.to_client(format!("* CAPABILITY {}\r\n", imap.after_login))?;
        }
        let ok = with(imap.logged_in, command, &presented.user);
        let ok = match ok.strip_prefix("OK ") {
            Some(text) if imap.announcement == Announcement::InCode => {
                format!("OK [CAPABILITY {}] {text}", imap.after_login)
            }
            _ => ok,
        };
        self.say(command, &ok)
    }

    /// Sends the reason of a refused token as a challenge, where the table has one, and the refusal.
    fn refuse_token(&mut self, command: &Command) -> io::Result<()> {
        let refusal = self.dialect.imap.wrong_token;
        let refusal = match refusal.strip_prefix("+ ").and_then(|it| it.split_once("\r\n")) {
            Some((challenge, refusal)) => {
                self.ask_client(challenge)?;
                refusal
            }
            None => refusal,
        };
        self.say(command, refusal)
    }
}

/// Returns the strings of a command's arguments: quoted ones, and atoms.
fn unquoted(text: &str) -> Vec<String> {
    let (mut words, mut characters) = (Vec::new(), text.chars().peekable());
    while let Some(first) = characters.next() {
        let mut word = String::new();
        if first == '"' {
            while let Some(next) = characters.next().filter(|next| *next != '"') {
                word.push(if next == '\\' { characters.next().unwrap_or_default() } else { next });
            }
        } else if first != ' ' {
            word.push(first);
            while let Some(next) = characters.next_if(|next| *next != ' ') {
                word.push(next);
            }
        } else {
            continue;
        }
        words.push(word);
    }
    words
}
