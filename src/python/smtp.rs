//! Typed calls into `py/smtp.py`.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::convert::{self, Asking};
use super::dialogue::{Dialogue, Service};
use super::modules;
use super::pending::{Pending, Reply, Sent, not_sent, refused, unknown};
use super::speaker::Speaker;
use crate::config::SmtpConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};

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
        let name = config.local_name.as_deref().unwrap_or_default();
        Dialogue::open(&SERVICE, &config.common, Some(name), deadline, |dialogue| {
            Self::begin(dialogue, config)
        })
    }

    fn begin(dialogue: Dialogue, config: &SmtpConfig) -> Result<Self> {
        dialogue.login(&SERVICE, &config.common)?;
        let size_limit = dialogue.call("size_limit", (), "reading SIZE")?;
        Ok(Self { dialogue, size_limit, window: config.window, junk: 0, since: Instant::now() })
    }

    /// Sends the messages that are due, in order, and sets the outcome of each. After the connection is lost, the rest is
    /// `Disconnected`: not sent.
    pub(crate) fn send(&mut self, pending: &mut [Pending<'_>]) {
        let is_too_large = |it: &Pending<'_>| self.size_limit > 0 && it.wire.len() as u64 > self.size_limit;
        for message in pending.iter_mut().filter(|it| it.is_due && is_too_large(it)) {
            message.is_due = false;
            message.outcome = Some(Err(self.too_large(message)));
        }
        let due: Vec<_> = pending.iter_mut().filter(|it| it.is_due).collect();
        let mut outcomes = self.exchange(&due).map(Vec::into_iter);
        for message in due {
            let outcome = match &mut outcomes {
                Ok(outcomes) => outcomes.next().unwrap_or_else(|| Err(not_sent())),
                Err(error) => Err(error.clone()),
            };
            // A refused message has cost a RSET; one that the server took ends the count.
            self.junk = if outcome.is_ok() { 0 } else { self.junk.saturating_add(1) };
            message.outcome = Some(outcome);
        }
    }

    fn too_large(&self, message: &Pending<'_>) -> Error {
        let (size, limit) = (message.wire.len(), self.size_limit);
        let text = format!("the message has {size} bytes on the wire; the server's SIZE is {limit}");
        Error::new(ErrorKind::TooLarge, text)
    }

    /// Hands the messages to Python's dialogue; returns an outcome for each.
    fn exchange(&self, messages: &[&mut Pending<'_>]) -> Result<Vec<Result<Sent>>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let asking = self.dialogue.asking("sending");
        let sent = self.dialogue.with(asking, |session| {
            let list = PyList::empty(session.py());
            for Pending { message, wire, .. } in messages {
                list.append((&message.sent_by, &message.sent_to, PyBytes::new(session.py(), wire)))?;
            }
            let outcomes: Vec<Outcome<'_>> = session.call_method1("send", (list, self.window))?.extract()?;
            Ok(outcomes.into_iter().map(|outcome| become_of(outcome, asking)).collect())
        });
        // An error of the call itself tells nothing of how far it came, unless it never began.
        sent.map_err(|error| if error.kind() == ErrorKind::Stopped { error } else { unknown(error) })
    }
}

/// The outcome of one message, as `Session.send` returns it: the refused command or "", the reply that decides, the recipients'
/// replies; or the error that ended the attempt, and `true` if the message may have arrived in spite of it.
type Outcome<'py> = (String, Option<Reply>, Vec<Reply>, Option<Bound<'py, PyBaseException>>, bool);

fn become_of(outcome: Outcome<'_>, asking: Asking<'_>) -> Result<Sent> {
    let (stage, reply, answers, error, may_have_arrived) = outcome;
    let hidden = |(code, text): Reply| (code, asking.hide(text));
    let answers: Vec<Reply> = answers.into_iter().map(hidden).collect();
    match (error, reply.map(hidden)) {
        (Some(error), _) if may_have_arrived => Err(unknown(convert::error(&error, asking))),
        (Some(error), _) => Err(convert::error(&error, asking)),
        (None, Some(reply)) if stage.is_empty() => Ok(Sent { reply, answers }),
        (None, Some(reply)) => Err(refused(&stage, reply, &answers)),
        (None, None) => Err(unknown(Error::new(ErrorKind::Runtime, "no outcome"))),
    }
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
