//! An SMTP session: typed calls into `py/smtp.py`.
//!
//! # A lost connection
//!
//! | lost | outcome of the message |
//! | --- | --- |
//! | before its data, or within data of more than 64 KiB | not sent: `Disconnected` |
//! | after the first octet of smaller data, which goes out in one write with its end | unknown: `OutcomeUnknown` |
//! | after its last octet, before the final reply | unknown |
//! | after the final reply | by that reply |
//!
//! The messages behind it are not sent. With a window over 1 (BDAT, RFC 3030), those in flight are unknown. A refusal
//! that is about the session, such as a limit of messages, is `Disconnected`, too: a new connection takes the message.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::errors::{self, CallContext};
use super::modules;
use super::pace::Pace;
use super::pending::{Pending, Reply, Sent, no_final_reply, not_sent, refused, unknown};
use super::protocol::Protocol;
use super::py_session::{LogIn, PySession, Service};
use crate::config::{AccessToken, SmtpConfig};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{needs_smtputf8, on_the_wire};

/// RFC 8314: 465 with implicit TLS, 587 for submission; 25 between servers.
///
/// Mail is submitted on 465 or 587 (section 3.3); 25 is for a relay that needs no login.
/// The line of a response has 12,288 octets with its end (RFC 4954, section 4); Postfix takes 12,288 without it.
pub(super) const SERVICE: Service = Service {
    module: &modules::SMTP,
    name: "SMTP",
    tls: 465,
    starttls: 587,
    plain: 25,
    longest_response: 12_286,
};

/// After so many NOOPs and RSETs without an accepted message, a connection is renewed, once a minute at most.
///
/// Servers take more for an attack: Exim closes at the 10th, Sendmail answers each after the 20th more slowly, Postfix
/// counts errors from the 102nd and closes at the 121st. Firewalls block by what the servers log then.
const RENEW_AFTER: u32 = 8;
/// The shortest time between two renewals.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// After so many the connection is renewed in any case. While that fails, NOOPs are no longer sent, and only the socket
/// is checked.
const IDLE_COMMANDS_LIMIT: u32 = 80;

/// An SMTP connection, logged in if there are credentials.
pub(crate) struct SmtpSession {
    pub(super) python: PySession,
    /// The server's SIZE limit in octets; 0 for none.
    ///
    /// From the last EHLO (SIZE, RFC 1870). Spares the upload of a message that would be refused.
    size_limit: u64,
    /// `true` if the server takes addresses beyond ASCII (SMTPUTF8, RFC 6531).
    has_smtputf8: bool,
    /// The most messages in one flight ([`SmtpConfig::window`]).
    window: usize,
    /// The timeout, and the limit of a final reply ([`SmtpConfig::reply_timeout`]).
    limits: (Duration, Duration),
    /// NOOPs and RSETs since the login or the last accepted message.
    idle_commands: u32,
    /// The moment of the login.
    since: Instant,
}

impl SmtpSession {
    /// Connects and logs in.
    pub(crate) fn connect(
        config: &SmtpConfig,
        token: Option<&AccessToken>,
        deadline: Deadline,
    ) -> Result<Self> {
        // For an empty name, Python uses the host's name or the connection's address.
        let name = config.hello_name.as_deref().unwrap_or_default();
        PySession::open(&SERVICE, &config.common, token, Some(name), deadline, |python, log_in| {
            Self::begin(python, log_in, config)
        })
    }

    /// Logs in and reads the SIZE limit.
    fn begin(python: PySession, log_in: LogIn<'_>, config: &SmtpConfig) -> Result<Self> {
        python.login(&SERVICE, &config.common, log_in)?;
        let size_limit = python.call("size_limit", (), "reading SIZE")?;
        let has_smtputf8 = python.call("has_smtputf8", (), "reading SMTPUTF8")?;
        let limits = (config.common.options.timeout, config.reply_timeout);
        let (window, since) = (config.window, Instant::now());
        Ok(Self { python, size_limit, has_smtputf8, window, limits, idle_commands: 0, since })
    }

    /// Returns the deadline of the call under way, which [`send`](Self::send) moves.
    pub(crate) fn deadline(&self) -> Deadline {
        self.python.deadline()
    }

    /// Sends the messages that are due, in order, and sets the outcome of each. After the connection is lost, the rest
    /// is `Disconnected`: not sent.
    ///
    /// Errors are in the outcomes alone: if one of them ends the connection, the caller must drop the session.
    pub(crate) fn send(&mut self, pending: &mut [Pending<'_>]) {
        for message in pending.iter_mut().filter(|it| it.is_due) {
            if let Err(error) = self.check(message) {
                (message.is_due, message.outcome) = (false, Some(Err(error)));
            }
        }
        let due: Vec<_> = pending.iter_mut().filter(|it| it.is_due).collect();
        let mut outcomes = self.exchange(&due).map(Vec::into_iter);
        for message in due {
            let outcome = match &mut outcomes {
                Ok(outcomes) => outcomes.next().unwrap_or_else(|| Err(not_sent())),
                Err(error) => Err(error.clone()),
            };
            // A refused message has cost a RSET; one that the server took ends the count.
            self.idle_commands = if outcome.is_ok() { 0 } else { self.idle_commands.saturating_add(1) };
            message.outcome = Some(outcome);
        }
    }

    /// Checks that the server takes the size and the addresses of a message.
    ///
    /// # Errors
    /// `TooLarge`; `Message` for an address beyond ASCII.
    fn check(&self, Pending { message, wire, .. }: &Pending<'_>) -> Result<()> {
        let (size, limit) = (wire.len(), self.size_limit);
        if limit > 0 && size as u64 > limit {
            let text = format!("the message has {size} bytes on the wire; the server's SIZE is {limit}");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        match needs_smtputf8(message) {
            Some(address) if !self.has_smtputf8 => {
                let needs = "needs SMTPUTF8 (RFC 6531), which the server does not offer";
                Err(Error::message(format!("nothing was sent: the address {address:?} {needs}")))
            }
            _ => Ok(()),
        }
    }

    /// Calls Python's `send`; returns an outcome for each.
    ///
    /// One call into Python for all messages: with PIPELINING, the next message's commands are sent with the end of
    /// this one's data. Mail is copied once, into Python's `bytes`.
    ///
    /// # Errors
    ///
    /// An exception of the call itself, and not of a message: each message is then unknown. `Closed`, before anything
    /// was sent.
    fn exchange(&self, messages: &[&mut Pending<'_>]) -> Result<Vec<Result<Sent>>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let context = self.python.context("sending");
        let pace = Pace::new(self.python.deadline(), self.limits, self.python.command());
        let args = |py: Python<'_>| {
            let list = PyList::empty(py);
            for Pending { message, wire, .. } in messages {
                let to: Vec<_> = message.sent_to.iter().map(|to| on_the_wire(to)).collect();
                list.append((on_the_wire(&message.sent_by), to, PyBytes::new(py, wire)))?;
            }
            Ok((list.unbind(), self.window, pace.for_python(py)?))
        };
        let sent = self.python.with(context, "send", args, |outcomes| {
            let outcomes: Vec<Outcome<'_>> = outcomes.extract()?;
            let overdue = pace.overdue();
            Ok(outcomes.into_iter().map(|outcome| outcome_from_py(outcome, context, overdue)).collect())
        });
        self.python.set_deadline(pace.deadline());
        // An error of the call itself tells nothing of how far it came, unless it never began.
        sent.map_err(|error| if error.kind() == ErrorKind::Closed { error } else { unknown(error) })
    }
}

/// The outcome of one message, as `Session.send` returns it: the refused command or "", the reply that decides, the
/// recipients' replies; or the error that ended the attempt, and `true` if the message may have arrived in spite of it.
type Outcome<'py> = (String, Option<Reply>, Vec<Reply>, Option<Bound<'py, PyBaseException>>, bool);

/// Converts one outcome. `overdue` is the limit of a final reply that the server has not kept. With neither a reply nor
/// an error, which `py/` never returns, the message is unknown.
fn outcome_from_py(
    outcome: Outcome<'_>,
    context: CallContext<'_>,
    overdue: Option<Duration>,
) -> Result<Sent> {
    let (stage, reply, answers, error, may_have_arrived) = outcome;
    let hidden = |(code, text): Reply| (code, context.hide(text));
    let answers: Vec<Reply> = answers.into_iter().map(hidden).collect();
    match (error, reply.map(hidden)) {
        (Some(error), _) if may_have_arrived => {
            let error = errors::error(&error, context);
            Err(match overdue {
                Some(limit) => no_final_reply(limit, error),
                None => unknown(error),
            })
        }
        (Some(error), _) => Err(errors::error(&error, context)),
        (None, Some(reply)) if stage.is_empty() => Ok(Sent { reply, answers }),
        (None, Some(reply)) => Err(refused(&stage, &reply, &answers)),
        (None, None) => Err(unknown(Error::new(ErrorKind::Runtime, "no outcome"))),
    }
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
