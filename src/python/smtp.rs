//! An SMTP session: typed calls into `py/smtp.py`.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::errors::{self, CallContext};
use super::modules;
use super::protocol::Protocol;
use super::py_session::{PySession, Service};
use crate::codes::{self, Verdict};
use crate::config::SmtpConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::throttle;

/// RFC 8314: 465 with implicit TLS, 587 for submission; 25 between servers.
const SERVICE: Service = Service { module: &modules::SMTP, name: "SMTP", tls: 465, starttls: 587, plain: 25 };

/// After so many NOOPs and RSETs without an accepted message, a connection is renewed, once a minute at most.
///
/// Servers take more for an attack: Exim closes at the 10th, Sendmail answers each after the 20th more slowly,
/// Postfix counts errors from the 102nd and closes at the 121st. Firewalls block by what the servers log then.
const RENEW_AFTER: u32 = 8;
/// The shortest time between two renewals.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// After so many the connection is renewed in any case. While that fails, NOOPs are no longer sent, and only the
/// socket is checked.
const IDLE_COMMANDS_LIMIT: u32 = 80;

/// A message ready to send: CRLF line ends, dots stuffed, without the final dot.
pub(crate) struct Outgoing {
    /// The address in MAIL FROM.
    pub(crate) sender: String,
    /// The addresses in RCPT TO, at least one.
    pub(crate) recipients: Vec<String>,
    pub(crate) data: Vec<u8>,
}

/// An SMTP reply: its code and its text.
pub(crate) type Reply = (u16, String);

/// The final reply to an accepted message, and one for each recipient.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) reply: Reply,
    /// In the order of [`Outgoing::recipients`].
    pub(crate) answers: Vec<Reply>,
}

/// An SMTP connection, logged in if there are credentials.
pub(crate) struct SmtpSession {
    pub(super) python: PySession,
    /// The server's SIZE limit in octets; 0 for none.
    size_limit: u64,
    /// The most messages in one flight ([`SmtpConfig::window`]).
    window: usize,
    /// NOOPs and RSETs since the login or the last accepted message.
    idle_commands: u32,
    /// The moment of the login.
    since: Instant,
}

impl SmtpSession {
    /// Connects and logs in.
    pub(crate) fn connect(config: &SmtpConfig, deadline: Deadline) -> Result<Self> {
        // For an empty name, Python uses the host's name or the connection's address.
        let name = config.local_name.as_deref().unwrap_or_default();
        PySession::open(&SERVICE, &config.common, Some(name), deadline, |python| Self::begin(python, config))
    }

    /// Logs in and reads the SIZE limit.
    fn begin(python: PySession, config: &SmtpConfig) -> Result<Self> {
        python.login(&SERVICE, &config.common)?;
        let size_limit = python.call("size_limit", (), "reading SIZE")?;
        Ok(Self { python, size_limit, window: config.window, idle_commands: 0, since: Instant::now() })
    }

    /// Sends messages in order. Those after a lost connection are `Disconnected`: they were not sent.
    pub(crate) fn send(&mut self, messages: &[&Outgoing]) -> Vec<Result<Sent>> {
        let fitting: Vec<&Outgoing> = messages.iter().copied().filter(|message| self.fits(message)).collect();
        let outcomes = self.send_fitting(&fitting);
        self.count_resets(&outcomes);
        let mut outcomes = outcomes.into_iter();
        let outcome = |message: &&Outgoing| {
            if !self.fits(message) {
                return Err(self.too_large(message));
            }
            outcomes.next().unwrap_or_else(|| Err(Error::new(ErrorKind::Disconnected, "not sent")))
        };
        messages.iter().map(outcome).collect()
    }

    /// Counts a RSET for each refused message; an accepted one starts the count anew, as it does on servers.
    fn count_resets(&mut self, outcomes: &[Result<Sent>]) {
        for outcome in outcomes {
            self.idle_commands = if outcome.is_ok() { 0 } else { self.idle_commands.saturating_add(1) };
        }
    }

    /// Returns `true` if a message is within the server's SIZE limit.
    fn fits(&self, message: &Outgoing) -> bool {
        self.size_limit == 0 || message.data.len() as u64 <= self.size_limit
    }

    /// Makes the error for a message beyond the server's SIZE limit.
    fn too_large(&self, message: &Outgoing) -> Error {
        let (size, limit) = (message.data.len(), self.size_limit);
        let text = format!("the message has {size} bytes as sent, the server accepts {limit}");
        Error::new(ErrorKind::TooLarge, text)
    }

    /// Sends the messages that are within the limit; returns an outcome for each.
    fn send_fitting(&mut self, messages: &[&Outgoing]) -> Vec<Result<Sent>> {
        if messages.is_empty() {
            return Vec::new();
        }
        let context = self.python.context("sending");
        let sent = self.python.with(context, |session| {
            let list = PyList::empty(session.py());
            for message in messages {
                let data = PyBytes::new(session.py(), &message.data);
                list.append((&message.sender, &message.recipients, data))?;
            }
            let outcomes: Vec<Outcome<'_>> = session.call_method1("send", (list, self.window))?.extract()?;
            outcomes.into_iter().map(|outcome| outcome_from_py(outcome, context)).collect::<PyResult<_>>()
        });
        // An error of the call itself does not tell which messages were sent; `Stopped` means that it was not made.
        let failed = |error: Error| match error.kind() {
            ErrorKind::Stopped => error,
            _ => unknown(error),
        };
        sent.map_err(failed).unwrap_or_else(|error| messages.iter().map(|_| Err(error.clone())).collect())
    }
}

/// One message's outcome from `Session.send`: a word, the reply or exception that decided it, the recipients' replies.
type Outcome<'py> = (String, Bound<'py, PyAny>, Vec<Reply>);

/// Converts an outcome; secrets are hidden in all texts.
fn outcome_from_py((word, basis, answers): Outcome<'_>, context: CallContext<'_>) -> PyResult<Result<Sent>> {
    let hidden = |(code, text): Reply| (code, context.hide(text));
    let answers: Vec<Reply> = answers.into_iter().map(hidden).collect();
    match word.as_str() {
        "sent" => Ok(Ok(Sent { reply: hidden(basis.extract()?), answers })),
        "refused" => {
            let (command, code, text): (String, u16, String) = basis.extract()?;
            Ok(Err(refused(&command, &(code, context.hide(text)), &answers)))
        }
        _ => {
            let error = errors::error(&basis.cast_into::<PyBaseException>()?, context);
            Ok(Err(if word == "unknown" { unknown(error) } else { error }))
        }
    }
}

/// Makes the error for a refused message. If all recipients were refused, it has each one's reply.
fn refused(command: &str, reply: &Reply, answers: &[Reply]) -> Error {
    let (code, text) = reply;
    let is_of_recipients = command == "RCPT";
    let verdict = codes::smtp(*code, text, is_of_recipients);
    let kind = if verdict == Verdict::TooLarge { ErrorKind::TooLarge } else { ErrorKind::Refused };
    let replies = if is_of_recipients && !answers.is_empty() { answers } else { std::slice::from_ref(reply) };
    let texts: Vec<String> = replies.iter().map(|(code, text)| format!("{code} {text}")).collect();
    let text = errors::plain(&texts.join("; "));
    let wait = throttle::wait_asked(&text);
    let error = Error::new(kind, format!("{command} was refused: {text}"));
    error.with_code(Some(code.to_string())).with_retry_after(wait).passing(verdict == Verdict::Transient)
}

/// Makes the error for a message that may have been sent.
fn unknown(error: Error) -> Error {
    let text = format!("delivery unknown: connection lost before the final reply: {error}");
    Error::new(ErrorKind::OutcomeUnknown, text).with_source(error)
}

impl Protocol for SmtpSession {
    const LOGOUT: &'static str = "QUIT";

    fn python(&self) -> &PySession {
        &self.python
    }

    fn send_noop(&mut self) -> Result<()> {
        if self.idle_commands >= IDLE_COMMANDS_LIMIT {
            return self.python.run("check_unsolicited", (), "NOOP");
        }
        self.idle_commands += 1;
        self.python.run("noop", (), "NOOP")
    }

    fn needs_renewal(&self) -> bool {
        let is_due = self.idle_commands >= RENEW_AFTER && self.since.elapsed() >= RENEWAL_INTERVAL;
        is_due || self.idle_commands >= IDLE_COMMANDS_LIMIT
    }
}
