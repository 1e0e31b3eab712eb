//! Typed calls into `py/smtp.py`.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::convert::{self, Asking};
use super::dialogue::{Dialogue, Service};
use super::modules;
use super::speaker::Speaker;
use crate::codes::{self, Verdict};
use crate::config::SmtpConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::throttle;

/// RFC 8314: 465 with implicit TLS, 587 for submission; 25 between servers.
const SERVICE: Service = Service { module: &modules::SMTP, name: "SMTP", tls: 465, starttls: 587, plain: 25 };

/// After so many NOOPs and RSETs without a message in between, a connection is renewed, once a minute at most.
///
/// Servers take more for an attack: Exim hangs up at the 10th, Sendmail answers each after the 20th more slowly,
/// Postfix counts errors from the 102nd and hangs up at the 121st. Firewalls go by what they log then.
const JUNK: u32 = 8;
const RENEWED: Duration = Duration::from_secs(60);

/// After so many it is renewed in any case; while that can't be, there are no more, and the connection is only looked at.
const MOST_JUNK: u32 = 80;

/// A message ready for the wire: CRLF line ends, dots stuffed, without the final dot.
pub(crate) struct Outgoing {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) data: Vec<u8>,
}

/// An SMTP reply: its code and its text.
pub(crate) type Reply = (u16, String);

/// What became of a message that the server took: its reply, and one for each recipient.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) reply: Reply,
    pub(crate) answers: Vec<Reply>,
}

/// An SMTP connection, logged in if there are credentials.
pub(crate) struct SmtpSession {
    pub(super) dialogue: Dialogue,
    size_limit: u64,
    window: usize,
    /// NOOPs and RSETs since the login, or since the last message that the server took.
    junk: u32,
    since: Instant,
}

impl SmtpSession {
    /// Connects and logs in.
    pub(crate) fn connect(config: &SmtpConfig, deadline: Deadline) -> Result<Self> {
        // Without a name, Python finds one on the connection.
        let name = config.hello_name.as_deref().unwrap_or_default();
        Dialogue::open(&SERVICE, &config.common, Some(name), deadline, |dialogue| {
            Self::begin(dialogue, config)
        })
    }

    fn begin(dialogue: Dialogue, config: &SmtpConfig) -> Result<Self> {
        dialogue.login(&SERVICE, &config.common)?;
        let size_limit = dialogue.call("size_limit", (), "reading SIZE")?;
        Ok(Self { dialogue, size_limit, window: config.window, junk: 0, since: Instant::now() })
    }

    /// Sends in order. A message after the one that lost the connection is `Disconnected`: it was not sent.
    pub(crate) fn send(&mut self, messages: &[&Outgoing]) -> Vec<Result<Sent>> {
        let fitting: Vec<&Outgoing> = messages.iter().copied().filter(|message| self.fits(message)).collect();
        let outcomes = self.send_fitting(&fitting);
        self.count_junk(&outcomes);
        let mut outcomes = outcomes.into_iter();
        let outcome = |message: &&Outgoing| {
            if !self.fits(message) {
                return Err(self.too_large(message));
            }
            outcomes.next().unwrap_or_else(|| Err(Error::new(ErrorKind::Disconnected, "not sent")))
        };
        messages.iter().map(outcome).collect()
    }

    /// Each refused message has cost a RSET; one that the server took ends its count.
    fn count_junk(&mut self, outcomes: &[Result<Sent>]) {
        for outcome in outcomes {
            self.junk = if outcome.is_ok() { 0 } else { self.junk.saturating_add(1) };
        }
    }

    fn fits(&self, message: &Outgoing) -> bool {
        self.size_limit == 0 || message.data.len() as u64 <= self.size_limit
    }

    fn too_large(&self, message: &Outgoing) -> Error {
        let (size, limit) = (message.data.len(), self.size_limit);
        let text = format!("the message has {size} bytes on the wire, the server takes {limit}");
        Error::new(ErrorKind::TooLarge, text)
    }

    fn send_fitting(&mut self, messages: &[&Outgoing]) -> Vec<Result<Sent>> {
        if messages.is_empty() {
            return Vec::new();
        }
        let asking = self.dialogue.asking("sending");
        let sent = self.dialogue.with(asking, |session| {
            let list = PyList::empty(session.py());
            for message in messages {
                let data = PyBytes::new(session.py(), &message.data);
                list.append((&message.sender, &message.recipients, data))?;
            }
            let outcomes: Vec<Outcome<'_>> = session.call_method1("send", (list, self.window))?.extract()?;
            outcomes.into_iter().map(|outcome| become_of(outcome, asking)).collect::<PyResult<_>>()
        });
        // An error of the call itself says nothing of how far it came, unless it never began.
        let failed = |error: Error| match error.kind() {
            ErrorKind::Closed => error,
            _ => unknown(error),
        };
        sent.map_err(failed).unwrap_or_else(|error| messages.iter().map(|_| Err(error.clone())).collect())
    }
}

/// What `Session.send` says of one message: a word, what it rests on, the recipients' replies.
type Outcome<'py> = (String, Bound<'py, PyAny>, Vec<Reply>);

fn become_of((word, basis, answers): Outcome<'_>, asking: Asking<'_>) -> PyResult<Result<Sent>> {
    let hidden = |(code, text): Reply| (code, asking.hide(text));
    let answers: Vec<Reply> = answers.into_iter().map(hidden).collect();
    match word.as_str() {
        "sent" => Ok(Ok(Sent { reply: hidden(basis.extract()?), answers })),
        "refused" => {
            let (stage, code, text): (String, u16, String) = basis.extract()?;
            Ok(Err(refused((stage, code, asking.hide(text)), &answers)))
        }
        _ => {
            let error = convert::error(&basis.cast_into::<PyBaseException>()?, asking);
            Ok(Err(if word == "unknown" { unknown(error) } else { error }))
        }
    }
}

/// The refusal of a message; of several recipients, each has its reply in the text.
fn refused((stage, code, text): (String, u16, String), answers: &[Reply]) -> Error {
    let verdict = codes::smtp(code, &text, stage == "RCPT");
    let kind = if verdict == Verdict::TooLarge { ErrorKind::TooLarge } else { ErrorKind::Refused };
    let others = if stage == "RCPT" { answers.get(1..).unwrap_or_default() } else { &[] };
    let all: Vec<String> = others.iter().map(|(code, text)| format!("{code} {text}")).collect();
    let all = convert::plain(&[&[format!("{code} {text}")], &all[..]].concat().join("; "));
    let wait = throttle::requested_wait(&all);
    let error = Error::new(kind, format!("{stage} was refused: {all}"));
    error
        .with_code(Some(code.to_string()))
        .with_retry_after(wait)
        .mark_transient(verdict == Verdict::Transient)
}

fn unknown(error: Error) -> Error {
    let text = format!("the message was sent whole, the answer never came: {error}");
    Error::new(ErrorKind::OutcomeUnknown, text).with_source(error)
}

impl Speaker for SmtpSession {
    const GOODBYE: &'static str = "QUIT";

    fn dialogue(&self) -> &Dialogue {
        &self.dialogue
    }

    fn sign_of_life(&mut self) -> Result<()> {
        if self.junk >= MOST_JUNK {
            return self.dialogue.tell("listen", (), "NOOP"); // No new connection can be made now.
        }
        self.junk += 1;
        self.dialogue.tell("noop", (), "NOOP")
    }

    fn has_done_enough(&self) -> bool {
        self.junk >= MOST_JUNK || (self.junk >= JUNK && self.since.elapsed() >= RENEWED)
    }
}
