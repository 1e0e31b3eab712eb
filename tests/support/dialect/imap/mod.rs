//! The receiving server's side: one command at a time, in front of Dovecot.

mod credentials;
mod forwarding;
mod searching;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::Shared;
use super::link::{Link, Next};
use super::table::{Dialect, Security};

/// The tag of the proxy's own commands.
const OWN: &str = "dialect";

/// Commands and arguments, and the extensions that they need: one of them.
const NEEDS: [(&str, &[&str]); 13] = [
    ("MOVE ", &["MOVE"]),
    ("UID MOVE ", &["MOVE"]),
    ("UID EXPUNGE ", &["UIDPLUS"]),
    ("IDLE", &["IDLE"]),
    ("NAMESPACE", &["NAMESPACE"]),
    ("ID ", &["ID"]),
    ("ENABLE ", &["ENABLE"]),
    ("UNSELECT", &["UNSELECT"]),
    ("COMPRESS ", &["COMPRESS=DEFLATE"]),
    ("UID SEARCH RETURN (SAVE", &["SEARCHRES", "IMAP4rev2"]),
    ("UID FETCH $", &["SEARCHRES", "IMAP4rev2"]),
    ("UID SEARCH RETURN (", &["ESEARCH", "IMAP4rev2"]),
    ("SEARCH RETURN (", &["ESEARCH", "IMAP4rev2"]),
];

/// Arguments that need CONDSTORE.
const CONDSTORE: [&str; 4] = ["(CONDSTORE", "UNCHANGEDSINCE", "CHANGEDSINCE", "MODSEQ"];

/// Speaks with one client, until either end ends.
pub(super) fn talk(shared: &Arc<Shared>, link: Link) {
    let dialect = &shared.dialect;
    let mut talk = Talk {
        shared,
        dialect,
        link,
        is_logged_in: false,
        has_sent_id: false,
        ends_at: None,
        awaits: None,
        news: Vec::new(),
    };
    // The client sees a closed connection.
    let _ = talk.run();
    if talk.is_logged_in {
        shared.state().logged_in -= 1;
    }
}

struct Talk<'a> {
    shared: &'a Arc<Shared>,
    dialect: &'a Dialect,
    link: Link,
    is_logged_in: bool,
    has_sent_id: bool,
    /// The end of the session.
    ends_at: Option<Instant>,
    /// The length of the literal that the last line has announced.
    awaits: Option<usize>,
    /// Responses about new and removed messages that came while the proxy asked the server.
    news: Vec<u8>,
}

/// A command's first line.
struct Command {
    line: Vec<u8>,
    tag: String,
    /// All but the tag.
    text: String,
    /// In upper case, with the word after UID.
    name: String,
}

impl Command {
    fn of(line: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let (tag, text) = text.split_once(' ').unwrap_or((&text, ""));
        let mut words = text.split(' ');
        let first = words.next().unwrap_or_default().to_uppercase();
        let name = match words.next() {
            Some(second) if first == "UID" => format!("UID {}", second.to_uppercase()),
            _ => first,
        };
        Self { tag: tag.to_owned(), text: text.to_owned(), name, line }
    }

    fn arguments(&self) -> &str {
        self.text.get(self.name.len()..).unwrap_or_default().trim_start()
    }

    /// Returns the text that tests may see: no secret.
    fn shown(&self) -> &str {
        if matches!(&*self.name, "LOGIN" | "AUTHENTICATE") { &self.name } else { &self.text }
    }
}

impl Talk<'_> {
    fn run(&mut self) -> io::Result<()> {
        self.link.response()?;
        self.link.to_client(format!("* {}\r\n", self.dialect.imap.greeting))?;
        loop {
            match self.link.next(self.ends_at)? {
                Next::Client(line) => self.obey(&Command::of(line))?,
                Next::Server(response) => self.pass(&response)?,
                Next::Time => return self.end_session(),
            }
        }
    }

    /// Sends the goodbye of a session that has lasted too long.
    fn end_session(&mut self) -> io::Result<()> {
        let goodbye = self.dialect.imap.session.map_or("BYE", |(_, goodbye)| goodbye);
        self.link.to_client(format!("* {goodbye}\r\n"))?;
        Err(io::ErrorKind::TimedOut.into())
    }

    fn obey(&mut self, command: &Command) -> io::Result<()> {
        let imap = &self.dialect.imap;
        if let Some(refusal) = self.shared.note(command.shown()) {
            return self.refuse(command, refusal);
        }
        match &*command.name {
            "STARTTLS" if imap.security == Security::StartTls => {
                let ok = format!("{} OK Begin TLS negotiation now\r\n", command.tag);
                self.link.client.write_then_secure(ok.as_bytes(), self.shared.tls.accept())
            }
            "CAPABILITY" => {
                let all = if self.is_logged_in { imap.after_login } else { imap.before_login };
                self.link.to_client(format!("* CAPABILITY {all}\r\n"))?;
                self.complete(command)
            }
            "LOGIN" => self.login(command),
            "AUTHENTICATE" => self.authenticate(command),
            "SELECT" | "EXAMINE" if imap.needs_id.is_some() && !self.has_sent_id => {
                self.say(command, imap.needs_id.unwrap_or_default())
            }
            "CREATE" if !command.arguments().trim_matches('"').starts_with(imap.creates_within) => {
                self.say(command, "NO operation not allowed")
            }
            _ if self.is_unknown(command) => self.say(command, imap.unknown),
            "UID SEARCH" => self.search(command),
            "UID FETCH" | "UID STORE" | "UID COPY" | "UID MOVE" if imap.message_limit.is_some() => {
                self.run_limited(command)
            }
            "UID EXPUNGE" | "EXPUNGE" => {
                self.keep_in_all_mail(command)?;
                self.forward(command)
            }
            _ => {
                self.has_sent_id |= command.name == "ID";
                self.forward(command)
            }
        }
    }

    /// Sends a refusal that a test has planned, and ends the connection behind a BYE.
    fn refuse(&mut self, command: &Command, refusal: &str) -> io::Result<()> {
        self.link.to_client(with(refusal, command, ""))?;
        if refusal.contains("* BYE") { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Sends a tagged response of the table.
    fn say(&mut self, command: &Command, response: &str) -> io::Result<()> {
        self.tell_news()?;
        self.link.to_client(format!("{} {}\r\n", command.tag, with(response, command, "")))
    }

    fn complete(&mut self, command: &Command) -> io::Result<()> {
        self.say(command, &format!("OK {}", self.dialect.imap.completed))
    }

    /// Returns `true` for a command of an extension that the dialect does not have.
    fn is_unknown(&self, command: &Command) -> bool {
        let text = command.text.to_uppercase();
        let lacks = |names: &[&str]| !names.iter().any(|name| self.has(name));
        NEEDS.iter().any(|(start, names)| (text.clone() + " ").starts_with(start) && lacks(names))
            || (CONDSTORE.iter().any(|words| text.contains(words)) && lacks(&["CONDSTORE"]))
            || (text.ends_with("+}") && lacks(&["LITERAL+", "LITERAL-"]))
            || (text.contains("+FLAGS") && text.contains('$') && !self.dialect.imap.has_keywords)
    }

    fn has(&self, capability: &str) -> bool {
        let before = self.dialect.imap.before_login.split(' ');
        self.dialect.imap.has(capability) || before.clone().any(|it| it.eq_ignore_ascii_case(capability))
    }

    /// Sends a command of the proxy's own; returns its responses but those about new and removed messages, which the
    /// client gets by [`tell_news`](Self::tell_news): behind a result that was found before.
    fn ask(&mut self, command: &str) -> io::Result<Vec<Vec<u8>>> {
        self.link.to_server(format!("{OWN} {command}\r\n"))?;
        let mut responses = Vec::new();
        loop {
            let response = self.link.response()?;
            let text = String::from_utf8_lossy(&response).into_owned();
            if text.starts_with(OWN) {
                return Ok(responses);
            }
            let is_news = [" EXISTS\r\n", " RECENT\r\n", " EXPUNGE\r\n"].iter().any(|it| text.ends_with(it));
            if is_news {
                self.news.extend(response);
            } else if text.starts_with("* BYE") {
                self.link.to_client(&response)?;
            } else {
                responses.push(response);
            }
        }
    }

    /// Passes on what the server has said about messages while the proxy asked it.
    fn tell_news(&mut self) -> io::Result<()> {
        let news = std::mem::take(&mut self.news);
        if news.is_empty() { Ok(()) } else { self.link.to_client(news) }
    }

    /// Returns the UIDs that the server finds.
    fn find(&mut self, criteria: &str) -> io::Result<Vec<u32>> {
        let responses = self.ask(&format!("UID SEARCH {criteria}"))?;
        let texts = responses.iter().map(|it| String::from_utf8_lossy(it).into_owned());
        let lines: Vec<String> = texts.filter(|text| text.starts_with("* SEARCH")).collect();
        let mut uids: Vec<u32> = lines
            .iter()
            .flat_map(|line| line.split_ascii_whitespace())
            .filter_map(|it| it.parse().ok())
            .collect();
        uids.sort_unstable();
        Ok(uids)
    }
}

/// Fills the names of a response in.
fn with(response: &str, command: &Command, user: &str) -> String {
    response.replace("TAG", &command.tag).replace("NAME", &command.name).replace("USER", user)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
