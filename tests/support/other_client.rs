//! Another mail client on the same account: Python's `imaplib`, in a process of its own.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::process::{python_on_path, started};

const SCRIPT: &str = include_str!("other_client.py");

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A logged-in client, which logs in again after a lost connection. Dropping it ends its process.
pub struct OtherClient {
    talk: Mutex<Talk>,
    prefix: String,
    // The process reads it again at each connection.
    _ca: Option<NamedTempFile>,
}

/// One message as another client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The UID.
    pub uid: u32,
    /// The flags, such as `\Deleted`; `\Recent` too.
    pub flags: Vec<String>,
    /// The message as the server has it.
    pub raw: Vec<u8>,
}

struct Talk {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl OtherClient {
    /// Logs in with the Python on the `PATH`.
    ///
    /// `security` is `tls`, `starttls` or `plain`; without `ca_pem` the system's roots are trusted.
    ///
    /// # Errors
    ///
    /// Python can't run, or can't connect or log in.
    pub fn connect(
        host: &str,
        port: u16,
        security: &str,
        user: &str,
        password: &str,
        ca_pem: Option<&str>,
    ) -> Result<Self> {
        Self::connect_with(python_on_path(), host, port, security, user, password, ca_pem)
    }

    /// Like [`OtherClient::connect`], with this Python interpreter, 3.9 or later.
    ///
    /// # Errors
    ///
    /// Python can't run, or can't connect or log in.
    pub fn connect_with(
        python: &Path,
        host: &str,
        port: u16,
        security: &str,
        user: &str,
        password: &str,
        ca_pem: Option<&str>,
    ) -> Result<Self> {
        let ca = ca_pem.map(written).transpose()?;
        let mut command = Command::new(python);
        command.args(["-I", "-X", "utf8", "-c", SCRIPT, host, &port.to_string(), security, user]);
        command.env("OTHER_CLIENT_PASSWORD", password).env_remove("OTHER_CLIENT_CA");
        if let Some(file) = &ca {
            command.env("OTHER_CLIENT_CA", file.path());
        }
        let client = Self { talk: Mutex::new(Talk::start(&mut command)?), prefix: String::new(), _ca: ca };
        client.ask(&json!({"do": "check"}))?;
        Ok(client)
    }

    /// Sets the prefix that the server wants before the name of each mailbox but INBOX.
    #[must_use]
    pub fn within(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// Lists all mail in a mailbox without changing it; `None` when there is no such mailbox.
    ///
    /// # Errors
    ///
    /// The client fails; the same holds for all methods below.
    pub fn list(&self, mailbox: &str) -> Result<Option<Vec<Seen>>> {
        let answer = self.ask(&json!({"do": "list", "mailbox": self.named(mailbox)}))?;
        answer["mail"].as_array().map(|mail| mail.iter().map(seen).collect()).transpose()
    }

    /// Adds a message, byte for byte.
    pub fn append(&self, mailbox: &str, flags: &[&str], raw: &[u8]) -> Result<()> {
        self.tell(
            &json!({"do": "append", "mailbox": self.named(mailbox), "flags": flags, "raw": to_hex(raw)}),
        )
    }

    /// Adds flags to a message.
    pub fn flag(&self, mailbox: &str, uid: u32, flags: &[&str]) -> Result<()> {
        self.tell(&json!({"do": "flag", "mailbox": self.named(mailbox), "uid": uid, "flags": flags}))
    }

    /// Removes flags from a message.
    pub fn unflag(&self, mailbox: &str, uid: u32, flags: &[&str]) -> Result<()> {
        self.tell(&json!({"do": "unflag", "mailbox": self.named(mailbox), "uid": uid, "flags": flags}))
    }

    /// Removes these messages (UIDPLUS), and no others that are marked as deleted.
    pub fn expunge(&self, mailbox: &str, uids: &[u32]) -> Result<()> {
        self.tell(&json!({"do": "expunge", "mailbox": self.named(mailbox), "uids": uids}))
    }

    /// Opens a mailbox for writing and closes it, without a change.
    pub fn open(&self, mailbox: &str) -> Result<()> {
        self.tell(&json!({"do": "open", "mailbox": self.named(mailbox)}))
    }

    /// Creates a mailbox.
    pub fn create_mailbox(&self, mailbox: &str) -> Result<()> {
        self.tell(&json!({"do": "create_mailbox", "mailbox": self.named(mailbox)}))
    }

    /// Removes a mailbox with its mail.
    pub fn remove_mailbox(&self, mailbox: &str) -> Result<()> {
        self.tell(&json!({"do": "remove_mailbox", "mailbox": self.named(mailbox)}))
    }

    /// Returns the names of all mailboxes, with their prefixes.
    pub fn mailboxes(&self) -> Result<Vec<String>> {
        let answer = self.ask(&json!({"do": "mailboxes"}))?;
        Ok(serde_json::from_value(answer["mailboxes"].clone())?)
    }

    /// Adds the prefix to a name; the server's own names stay unchanged.
    fn named(&self, mailbox: &str) -> String {
        let whole = mailbox == "INBOX" || mailbox.starts_with(&self.prefix);
        if whole { mailbox.to_owned() } else { format!("{}{mailbox}", self.prefix) }
    }

    fn tell(&self, request: &Value) -> Result<()> {
        self.ask(request).map(drop)
    }

    fn ask(&self, request: &Value) -> Result<Value> {
        let mut talk = self.talk.lock().map_err(|_| "the other client panicked before")?;
        let answer = talk.ask(request)?;
        if answer["ok"] == true {
            return Ok(answer);
        }
        let problem = answer["error"].as_str().unwrap_or("no reason given");
        Err(format!("the other client can't {}: {problem}", request["do"]).into())
    }
}

impl Talk {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = started(|| command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn())?;
        let answers = BufReader::new(child.stdout.take().ok_or("no answers from Python")?);
        Ok(Self { child, answers })
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        let questions = self.child.stdin.as_mut().ok_or("no questions to Python")?;
        writeln!(questions, "{request}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn written(pem: &str) -> Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    fs::write(file.path(), pem)?;
    Ok(file)
}

fn seen(mail: &Value) -> Result<Seen> {
    let uid = mail["uid"].as_u64().ok_or("a message without UID")?;
    let flags = serde_json::from_value(mail["flags"].clone())?;
    Ok(Seen { uid: uid.try_into()?, flags, raw: from_hex(mail["raw"].as_str().unwrap_or_default())? })
}

fn to_hex(raw: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    raw.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| DIGITS[usize::from(half)] as char).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|it| u8::try_from(it).ok()).ok_or("not hex");
    text.as_bytes()
        .chunks(2)
        .map(|pair| Ok(digit(pair[0])? << 4 | digit(*pair.last().unwrap_or(&0))?))
        .collect()
}
