//! The handle that sends: a short method a verb.

use std::sync::Arc;

use crate::config::SmtpConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Link, Session as _, Stats, Status};
use crate::message::{Message, MessageId, compose};
use crate::python::{Outgoing, Sent, SmtpSession};

/// `send_all` composes and sends this much at a time, to hold neither all of it nor the connection for long.
const WINDOW_MESSAGES: usize = 100;
const WINDOW_BYTES: usize = 8 << 20;

/// After this many messages in a row that each cost two connections, it is not the messages.
const HOPELESS: usize = 3;

/// Sends tagged messages, over a connection that stays up.
///
/// Clones share the connection; it is closed by [`stop`](Smtp::stop), or when the last clone is dropped. Every
/// verb blocks until the server has answered, and can be called from any thread.
///
/// ```no_run
/// use pymail::{Credentials, Message, Server, Smtp, SmtpConfig};
///
/// let account = Credentials::new("alice@example.org", "correct horse");
/// let smtp = Smtp::connect(SmtpConfig::new(Server::starttls("smtp.example.org"), account).tag("__APP__"))?;
/// let receipt = smtp.send(&Message::new("42", "alice@example.org", "bob@example.org", "hello"))?;
/// assert!(receipt.all_accepted());
/// smtp.stop()?;
/// # Ok::<(), pymail::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Smtp {
    link: Link<SmtpSession>,
    config: Arc<SmtpConfig>,
}

impl Smtp {
    /// Connects and logs in.
    ///
    /// The first call in a process also starts the interpreter.
    ///
    /// # Errors
    /// `Config` for settings that can't work, `Runtime` without a usable Python, `Connect`, `Tls`, `Timeout`
    /// and `Auth` for what their names say.
    pub fn connect(config: SmtpConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let connect = {
            let config = Arc::clone(&config);
            move |deadline| SmtpSession::connect(&config, deadline)
        };
        let link = Link::open("pymail-smtp", config.common.upkeep, connect)?;
        Ok(Self { link, config })
    }

    /// Sends one message, and returns when the server has taken it.
    ///
    /// A connection that turns out lost before the message's end is replaced, and the message sent again, once.
    ///
    /// # Errors
    /// `Message` when it can't be composed (an empty id, a bad address, no recipient), `TooLarge` when it is
    /// over the server's SIZE (RFC 1870), `Refused` when the server said no, to the message or to every
    /// recipient, `Disconnected`, `Connect` and `Timeout` when it was not sent, `OutcomeUnknown` when the
    /// connection was lost between its last byte and the server's answer.
    pub fn send(&self, message: &Message) -> Result<Receipt> {
        let result = self.send_all(std::slice::from_ref(message)).pop();
        result.unwrap_or_else(|| Err(not_sent()))
    }

    /// Sends messages in order, about one round trip each where the server has PIPELINING (RFC 2920).
    ///
    /// Returns one result a message, in the same order; one that fails does not keep the others from being
    /// sent, and each error is one that [`send`](Smtp::send) would have returned. Up to 100 messages or 8 MiB go
    /// out under one [`deadline`](SmtpConfig::deadline).
    #[must_use = "each message has its own result"]
    pub fn send_all(&self, messages: &[Message]) -> Vec<Result<Receipt>> {
        let mut results = Vec::with_capacity(messages.len());
        for window in windows(messages) {
            if let Some(hopeless) = self.send_window(window, &mut results) {
                // The rest would only knock at the same closed door, window after window.
                results.resize_with(messages.len(), || Err(hopeless.clone()));
                break;
            }
        }
        results
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// `Disconnected`, `Connect`, `Timeout`.
    pub fn noop(&self) -> Result<()> {
        self.link.repeat(self.link.deadline(), SmtpSession::noop)
    }

    /// How the connection is doing; never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        self.link.status()
    }

    /// What the handle has done so far; never blocks.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.link.stats()
    }

    /// Says QUIT and closes the connection, for every clone of this handle.
    ///
    /// # Errors
    /// When the goodbye failed; the connection is closed all the same, and every message that was reported as
    /// sent is sent.
    pub fn stop(&self) -> Result<()> {
        self.link.stop()
    }

    /// Adds a result for each message; returns why there is no use in going on, if there is none.
    fn send_window(&self, messages: &[Message], results: &mut Vec<Result<Receipt>>) -> Option<Error> {
        let composed: Vec<Result<Outgoing>> = messages.iter().map(|message| self.outgoing(message)).collect();
        let ready: Vec<&Outgoing> = composed.iter().flatten().collect();
        let (outcomes, hopeless) = self.deliver(&ready);
        let mut outcomes = outcomes.into_iter();
        let outcome = |(message, composed): (&Message, &Result<Outgoing>)| {
            composed.as_ref().map_err(Error::clone)?;
            outcomes.next().unwrap_or_else(|| Err(not_sent())).map(|sent| Receipt::new(message, sent))
        };
        results.extend(messages.iter().zip(&composed).map(outcome));
        hopeless
    }

    fn outgoing(&self, message: &Message) -> Result<Outgoing> {
        let data = compose(message, &self.config.common.tag)?;
        Ok(Outgoing { sender: message.sent_by.clone(), recipients: message.sent_to.clone(), data })
    }

    /// What a lost connection left unsent goes out on a new one; what may have arrived does not.
    ///
    /// A message that is first in line for two losses in a row may be their cause: it keeps its error, and the
    /// next one gets its turn, [`HOPELESS`] times without a message settled in between. Then, or when there is no
    /// connection to be had, the error says why there is no use in going on.
    fn deliver(&self, messages: &[&Outgoing]) -> (Vec<Result<Sent>>, Option<Error>) {
        let mut outcomes: Vec<Result<Sent>> = messages.iter().map(|_| Err(not_sent())).collect();
        let mut unsent: Vec<usize> = (0..messages.len()).collect();
        let mut fruitless = 0;
        let deadline = self.link.deadline();
        while !unsent.is_empty() {
            let before = unsent.len();
            if let Err(error) = self.attempt(messages, &unsent, &mut outcomes, deadline) {
                for &at in &unsent {
                    outcomes[at] = Err(error.clone());
                }
                return (outcomes, Some(error));
            }
            unsent.retain(|&at| is_unsent(&outcomes[at]));
            fruitless = if unsent.len() < before { 0 } else { fruitless + 1 };
            if fruitless == 2 * HOPELESS {
                let hopeless = unsent.first().and_then(|&at| outcomes[at].as_ref().err().cloned());
                return (outcomes, hopeless);
            }
            if fruitless > 0 && fruitless % 2 == 0 {
                unsent.remove(0);
            }
        }
        (outcomes, None)
    }

    /// Sends what is unsent, once; an error is one of connecting, before anything was sent.
    fn attempt(
        &self,
        messages: &[&Outgoing],
        unsent: &[usize],
        outcomes: &mut [Result<Sent>],
        deadline: Deadline,
    ) -> Result<()> {
        let mut asked = false;
        let answer = self.link.once(deadline, |session| {
            asked = true;
            let these: Vec<&Outgoing> = unsent.iter().map(|&at| messages[at]).collect();
            for (&at, outcome) in unsent.iter().zip(session.send(&these)) {
                outcomes[at] = outcome;
            }
            unsent.iter().find_map(|&at| loss(&outcomes[at])).map_or(Ok(()), Err)
        });
        if asked { Ok(()) } else { answer }
    }
}

fn not_sent() -> Error {
    Error::new(ErrorKind::Disconnected, "not sent")
}

fn is_unsent(outcome: &Result<Sent>) -> bool {
    matches!(outcome, Err(error) if error.kind() == ErrorKind::Disconnected)
}

/// Why the connection is gone, if this outcome says that it is.
fn loss(outcome: &Result<Sent>) -> Option<Error> {
    outcome.as_ref().err().filter(|error| error.ends_connection()).cloned()
}

/// Cuts where a window is full, by number or by bytes.
fn windows(mut messages: &[Message]) -> impl Iterator<Item = &[Message]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = messages.iter().take(WINDOW_MESSAGES).take_while(|message| {
            bytes += message.body.len();
            bytes <= WINDOW_BYTES
        });
        let (window, rest) = messages.split_at(fits.count().max(1).min(messages.len()));
        messages = rest;
        (!window.is_empty()).then_some(window)
    })
}

/// That the server took a message, and from whom it did not take it.
#[derive(Clone, Debug, serde::Serialize)]
#[must_use = "some recipients may have been refused"]
#[non_exhaustive]
pub struct Receipt {
    /// The Message-ID that it was sent with.
    pub message_id: String,
    /// The server's reply to the message, such as 250.
    pub code: u16,
    /// The text of that reply; it often names the server's queue entry.
    pub text: String,
    /// One answer for each recipient, in the order of `sent_to`. At least one was accepted.
    pub answers: Vec<Answer>,
}

impl Receipt {
    fn new(message: &Message, sent: Sent) -> Self {
        let answer =
            |(recipient, (code, text)): (&String, _)| Answer { recipient: recipient.clone(), code, text };
        Self {
            message_id: MessageId::to_string(message.message_id()),
            code: sent.reply.0,
            text: sent.reply.1,
            answers: message.sent_to.iter().zip(sent.answers).map(answer).collect(),
        }
    }

    /// Whether the server took the message for every recipient.
    #[must_use]
    pub fn all_accepted(&self) -> bool {
        self.refused().next().is_none()
    }

    /// The recipients that the server refused.
    pub fn refused(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| !answer.is_accepted())
    }
}

/// What the server answered for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The address.
    pub recipient: String,
    /// The reply code, such as 250 or 550.
    pub code: u16,
    /// The reply's text.
    pub text: String,
}

impl Answer {
    /// Whether the server took the message for this recipient.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.code < 300
    }

    /// The refusal as an error.
    ///
    /// # Errors
    /// `Refused` with the reply's code.
    pub fn result(&self) -> Result<()> {
        if self.is_accepted() {
            return Ok(());
        }
        let text = format!("{} was refused: {} {}", self.recipient, self.code, self.text);
        Err(Error::new(ErrorKind::Refused, text).with_code(Some(self.code.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        Message::new("1", "a@example.org", "b@example.org", vec![0; bytes])
    }

    #[test]
    fn windows_hold_every_message_once_and_are_bounded() {
        let large = WINDOW_BYTES / 2 + 1;
        let messages: Vec<Message> = [1, large, large, 2 * WINDOW_BYTES, 1].map(message).into();
        let sizes: Vec<usize> = windows(&messages).map(<[Message]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        assert_eq!(windows(&vec![message(1); 250]).map(<[Message]>::len).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(windows(&[]).count(), 0);
    }
}
