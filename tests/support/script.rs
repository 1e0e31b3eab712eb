//! A mail server with scripted responses, in plaintext on the loopback.
//!
//! It accepts everything, except where a rule says otherwise. Rules match the beginning of a command. Three names stand
//! for other events: `GREETING`, `.` (the end of a message) and `> ` before each line of a message. A line that an
//! IMAP client sends after a `+` belongs to the command before it, and is answered with that command's tag.

mod output;

use std::io::{BufRead as _, BufReader, Write as _};
#[cfg(windows)]
use std::net::Shutdown;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use self::output::{drip, say_without_end, tagged};
use super::listening::connections;

/// The response to a line. `TAG` in a text stands for the client's tag.
#[derive(Clone, Debug)]
pub enum Step {
    /// Respond as a server without rules.
    Usual,
    /// Send this text.
    Say(String),
    /// Send these octets.
    Octets(Vec<u8>),
    /// Send the first text once, and the second again and again until the client hangs up.
    Endless(Vec<u8>, Vec<u8>),
    /// Send this text an octet at a time.
    Drip(Vec<u8>),
    /// Send this text and hang up.
    SayAndClose(String),
    /// Send this text and reset the connection.
    SayAndReset(String),
    /// Hang up.
    Close,
    /// Send nothing, and keep listening.
    Nothing,
}

impl Step {
    /// Sends these lines.
    pub fn say(lines: impl Into<String>) -> Self {
        Self::Say(lines.into())
    }

    /// Returns this step if `so`, else [`Step::Usual`].
    pub fn when(self, so: bool) -> Self {
        if so { self } else { Self::Usual }
    }
}

/// A line that the server has received.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The number of the connection, from 1.
    pub connection: usize,
    /// The line, without an IMAP tag and the line end.
    pub text: String,
    /// The IMAP tag.
    pub tag: String,
    /// The number of the line among those with the rule's prefix, from 1.
    pub nth: usize,
    /// The same number within its connection.
    pub here: usize,
}

/// A message's data as received, without the final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The number of the connection, from 1.
    pub connection: usize,
    /// The lines, with CRLF.
    pub text: String,
}

type Answer = Box<dyn Fn(&Heard) -> Step + Send + Sync>;

/// The rules of a server.
pub struct Script {
    smtp: bool,
    offers: Vec<String>,
    rules: Vec<(String, Answer)>,
}

impl Script {
    /// Makes an IMAP server with these capabilities besides `IMAP4rev1`.
    pub fn imap(capabilities: &[&str]) -> Self {
        Self::new(false, "IMAP4rev1", capabilities)
    }

    /// Makes an SMTP server with these extensions.
    pub fn smtp(extensions: &[&str]) -> Self {
        Self::new(true, "script", extensions)
    }

    fn new(smtp: bool, first: &str, offers: &[&str]) -> Self {
        let offers = [&[first], offers].concat().into_iter().map(str::to_owned).collect();
        Self { smtp, offers, rules: Vec::new() }
    }

    /// Adds a rule for lines with this prefix. The first rule that does not return `Usual` decides.
    #[must_use]
    pub fn on(mut self, prefix: &str, answer: impl Fn(&Heard) -> Step + Send + Sync + 'static) -> Self {
        self.rules.push((prefix.to_owned(), Box::new(answer)));
        self
    }

    /// Adds a rule before all others.
    #[must_use]
    pub fn ahead(mut self, prefix: &str, answer: impl Fn(&Heard) -> Step + Send + Sync + 'static) -> Self {
        self.rules.insert(0, (prefix.to_owned(), Box::new(answer)));
        self
    }

    /// Adds a rule that sends this text for each line with this prefix.
    #[must_use]
    pub fn says(self, prefix: &str, answer: impl Into<String>) -> Self {
        let answer = answer.into();
        self.on(prefix, move |_| Step::say(&answer))
    }

    /// Starts the server, until the process ends.
    pub fn start(self) -> Scripted {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the script");
        let port = listener.local_addr().expect("the script's port").port();
        let log = Arc::<Mutex<Log>>::default();
        let (script, shared) = (Arc::new(self), Arc::clone(&log));
        thread::spawn(move || {
            for (connection, stream) in (1..).zip(connections(&listener)) {
                locked(&shared).connections = connection;
                let talk = Talk { script: Arc::clone(&script), log: Arc::clone(&shared), connection };
                thread::spawn(move || {
                    talk.run(&stream);
                    // Programs that were started in between have the socket, too, on Windows.
                    #[cfg(windows)]
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Scripted { port, log }
    }

    fn usual(&self, command: &str) -> Step {
        let mut words = command.split(' ').map(str::to_ascii_uppercase);
        let (word, next) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Step::Say(match (self.smtp, word.as_str()) {
            (true, "GREETING") => "220 script\r\n".into(),
            (true, "EHLO") => format!("250-{}\r\n250 8BITMIME\r\n", self.offers.join("\r\n250-")),
            (true, "DATA") => "354 go ahead\r\n".into(),
            (true, "AUTH") if next == "LOGIN" => "334 UGFzc3dvcmQ6\r\n".into(),
            (true, "AUTH") => "235 welcome\r\n".into(),
            (true, "MAIL" | "RCPT" | "RSET" | "NOOP" | ".") => "250 ok\r\n".into(),
            (true, "QUIT") => return Step::SayAndClose("221 bye\r\n".into()),
            (true, ">") => return Step::Nothing,
            (true, _) => "502 no\r\n".into(),
            (false, "GREETING") => "* OK script\r\n".into(),
            (false, "CAPABILITY") => format!("* CAPABILITY {}\r\nTAG OK done\r\n", self.offers.join(" ")),
            (false, "SELECT") => {
                "* 9 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-WRITE] done\r\n".into()
            }
            (false, "UID") if next == "SEARCH" => "* SEARCH\r\nTAG OK done\r\n".into(),
            (false, "IDLE") => "+ idling\r\n".into(),
            (false, "LOGOUT") => return Step::SayAndClose("* BYE\r\nTAG OK done\r\n".into()),
            (false, _) => "TAG OK done\r\n".into(),
        })
    }
}

/// A server that follows a [`Script`], and its log.
pub struct Scripted {
    port: u16,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    connections: usize,
    commands: Vec<(usize, String)>,
    data: Vec<Data>,
}

impl Log {
    fn heard(&self, connection: usize, (tag, text): (&str, &str), prefix: &str) -> Heard {
        let alike: Vec<usize> =
            self.commands.iter().filter(|(_, text)| begins(text, prefix)).map(|(of, _)| *of).collect();
        let here = alike.iter().filter(|&&of| of == connection).count();
        Heard { connection, text: text.to_owned(), tag: tag.to_owned(), nth: alike.len(), here }
    }
}

impl Scripted {
    /// Returns its port on `localhost`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        locked(&self.log).connections
    }

    /// Returns the commands with this prefix, in order, over all connections; lines of messages are left out.
    pub fn heard(&self, prefix: &str) -> Vec<String> {
        let log = locked(&self.log);
        log.commands.iter().filter(|(_, text)| begins(text, prefix)).map(|(_, text)| text.clone()).collect()
    }

    /// Returns every message that was received up to its final dot.
    pub fn data(&self) -> Vec<Data> {
        locked(&self.log).data.clone()
    }
}

/// One connection.
struct Talk {
    script: Arc<Script>,
    log: Arc<Mutex<Log>>,
    connection: usize,
}

impl Talk {
    /// Serves until one side hangs up, which is no failure here.
    fn run(&self, stream: &TcpStream) {
        // Responses to commands that arrived together leave at once, without a wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
        let mut data: Option<String> = None;
        let mut asked_for_more: Option<String> = None; // by a `+`, with the tag of the command
        let mut next = Some(b"GREETING".to_vec());
        while let Some(octets) = next {
            let line = String::from_utf8_lossy(&octets).trim_end_matches('\r').to_owned();
            let more = asked_for_more.take();
            let (tag, command) = match &mut data {
                Some(text) if line != "." => {
                    text.extend([&line, "\r\n"]);
                    ("", format!("> {line}"))
                }
                _ if self.script.smtp || line == "GREETING" => ("", line.clone()),
                _ if more.is_some() => (more.as_deref().unwrap_or_default(), line.clone()),
                _ => line.split_once(' ').map_or(("", line.clone()), |(tag, text)| (tag, text.to_owned())),
            };
            if let Some(text) = data.take_if(|_| line == ".") {
                locked(&self.log).data.push(Data { connection: self.connection, text });
            }
            let Some(said) = self.answer(stream, &command, tag) else { return };
            let is_tagged = |line: &str| line.split(' ').next() == Some(tag);
            let asks = !tag.is_empty()
                && said.lines().any(|line| line.starts_with('+'))
                && !said.lines().any(is_tagged);
            if !self.script.smtp && asks {
                asked_for_more = Some(tag.to_owned());
            }
            if self.script.smtp && begins(&command, "DATA") && said.starts_with("354") {
                data = Some(String::new());
            }
            next = lines.next();
        }
    }

    /// Responds to a line and returns the response; `None` at the end.
    fn answer(&self, mut stream: &TcpStream, command: &str, tag: &str) -> Option<String> {
        if !command.starts_with("> ") {
            locked(&self.log).commands.push((self.connection, command.to_owned()));
        }
        let rules = self.script.rules.iter().filter(|(prefix, _)| begins(command, prefix));
        let mut steps = rules.map(|(prefix, answer)| {
            let heard = locked(&self.log).heard(self.connection, (tag, command), prefix);
            answer(&heard)
        });
        let step = steps.find(|step| !matches!(step, Step::Usual));
        let (octets, more) = match step.unwrap_or_else(|| self.script.usual(command)) {
            Step::Say(text) => (text.into_bytes(), true),
            Step::Octets(octets) => (octets, true),
            Step::SayAndClose(text) => (text.into_bytes(), false),
            Step::SayAndReset(text) => {
                // The drop is a reset then.
                SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok()?;
                (text.into_bytes(), false)
            }
            Step::Usual | Step::Nothing => (Vec::new(), true),
            Step::Close => return None,
            Step::Endless(first, again) => return say_without_end(stream, &tagged(&first, tag), &again),
            Step::Drip(octets) => return drip(stream, &tagged(&octets, tag)),
        };
        let octets = tagged(&octets, tag);
        stream.write_all(&octets).ok()?;
        more.then(|| String::from_utf8_lossy(&octets).into_owned())
    }
}

fn begins(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
