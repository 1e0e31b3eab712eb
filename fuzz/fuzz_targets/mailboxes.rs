//! The default IMAP server: two messages, and the claims log as the client wrote it.

use pymail::fuzz::uid_set;

use crate::server::Usual;

const MAIL: &str = "From: bob@example.org\r\nSubject: OURS 1\r\n\r\nhello";

/// The start of a log entry, before its consumer's name.
const MARK: &str = "pymail-claims-1 ";

/// The state of the mailboxes.
pub struct Mailboxes {
    inbox: Vec<u32>,
    log: Vec<String>,
    who: Vec<u8>,
}

impl Default for Mailboxes {
    fn default() -> Self {
        Self { inbox: vec![1, 2], log: Vec::new(), who: Vec::new() }
    }
}

impl Usual for Mailboxes {
    fn say(&mut self, line: &[u8]) -> String {
        let line = String::from_utf8_lossy(line);
        let command = line.split_once(' ').map_or(&*line, |(_, command)| command);
        let upper = command.to_ascii_uppercase();
        let words: Vec<&str> = upper.split([' ', '\r']).collect();
        if words[0] == "APPEND" && command.ends_with("}\r\n") {
            return "+ go on\r\n".into();
        }
        let said = match words[..] {
            ["GREETING", ..] => return "* OK ready\r\n".into(),
            ["CAPABILITY", ..] => "* CAPABILITY IMAP4rev1 MOVE UIDPLUS\r\n".into(),
            ["SELECT" | "EXAMINE", ..] => {
                "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\n* OK [PERMANENTFLAGS (\\*)] any\r\n".into()
            }
            ["UID", "SEARCH", ..] => {
                let uids: String = self.inbox.iter().map(|uid| format!(" {uid}")).collect();
                format!("* SEARCH{uids}\r\n")
            }
            ["UID", "MOVE", set, ..] => self.remove(set),
            ["UID", "FETCH", ..] => self.fetched(&upper),
            ["LIST", ..] => "* LIST (\\Noselect) \".\" \"\"\r\n".into(),
            ["LOGOUT", ..] => "* BYE\r\n".into(),
            ["APPEND", ..] => self.append(command),
            _ => String::new(),
        };
        format!("{said}TAG OK done\r\n")
    }

    fn who(&self) -> &[u8] {
        if self.who.is_empty() { b"WHO" } else { &self.who }
    }
}

impl Mailboxes {
    fn append(&mut self, command: &str) -> String {
        if let Some((_, entry)) = command.split_once(MARK) {
            self.who = entry.bytes().take_while(u8::is_ascii_hexdigit).collect();
            self.log.push(format!("{MARK}{entry}"));
        }
        String::new()
    }

    fn remove(&mut self, set: &str) -> String {
        let gone = uid_set(set, 1_000);
        self.inbox.retain(|&uid| !gone.iter().flat_map(pymail::UidSet::iter).any(|it| it.get() == uid));
        String::new()
    }

    fn fetched(&self, command: &str) -> String {
        let literal = |n: u32, name: &str, text: &str| {
            format!("* {n} FETCH (UID {n} RFC822.SIZE {0} {name} {{{0}}}\r\n{text})\r\n", text.len())
        };
        if command.contains("BODY.PEEK[TEXT]") {
            return (1..).zip(&self.log).map(|(n, text)| literal(n, "BODY[TEXT]<0>", text)).collect();
        }
        let one = |&uid: &u32| match command.contains("FLAGS") {
            true => format!("* {uid} FETCH (UID {uid} FLAGS ())\r\n"),
            false => literal(uid, "BODY[]<0>", MAIL),
        };
        self.inbox.iter().map(one).collect()
    }
}
