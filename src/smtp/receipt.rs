//! The server's replies to a sent message and to its recipients.

use crate::codes::{self, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Message, MessageId};
use crate::python::Sent;
use crate::throttle::requested_wait;

/// The server's acceptance of a message, with a reply to each recipient.
///
/// The server accepts responsibility for delivery (RFC 5321, section 2.1); a later failure is reported to the sender by
/// mail. As JSON: `{"message_id","code","text","answers"}`.
///
/// ```no_run
/// # fn example(smtp: &pymail::Smtp, message: &pymail::Message) -> pymail::Result<()> {
/// let receipt = smtp.send(message)?;
/// for answer in receipt.refused() {
///     eprintln!("{}: {} {}", answer.recipient, answer.code, answer.text);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, serde::Serialize)]
#[must_use = "some recipients may have been refused"]
#[non_exhaustive]
pub struct Receipt {
    /// The Message-ID that the message was sent with.
    pub message_id: MessageId,
    /// The code of the server's final reply, such as 250.
    pub code: u16,
    /// The text of the final reply; it often names the server's queue entry.
    pub text: String,
    /// The reply to each recipient, in the order of `sent_to`. At least one was accepted.
    pub answers: Vec<Answer>,
}

impl Receipt {
    pub(super) fn new(message: &Message, sent: Sent) -> Self {
        let answer =
            |(recipient, (code, text)): (&String, _)| Answer { recipient: recipient.clone(), code, text };
        Self {
            message_id: message.message_id().clone(),
            code: sent.reply.0,
            text: sent.reply.1,
            answers: message.sent_to.iter().zip(sent.answers).map(answer).collect(),
        }
    }

    /// Returns `true` if the server accepted the message for every recipient.
    #[must_use]
    pub fn all_accepted(&self) -> bool {
        self.refused().next().is_none()
    }

    /// Returns the replies to the recipients that the server refused.
    pub fn refused(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| !answer.is_accepted())
    }
}

/// The server's reply to one recipient. As JSON: `{"recipient","code","text"}`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The recipient's address.
    pub recipient: String,
    /// The reply code: 2xx for an accepted recipient, 4xx refused for now, 5xx refused for good.
    pub code: u16,
    /// The text of the reply.
    pub text: String,
}

impl Answer {
    /// Returns `true` if the server accepted the message for this recipient.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.code < 300
    }

    /// Returns the refusal as an error.
    ///
    /// # Errors
    /// `Refused` with the reply's code, or `TooLarge` when the message is too large for this recipient. If it
    /// [is transient](Error::is_transient), send the message to this recipient again later.
    pub fn result(&self) -> Result<()> {
        if self.is_accepted() {
            return Ok(());
        }
        let text = format!("{} was refused: {} {}", self.recipient, self.code, self.text);
        let verdict = codes::smtp(self.code, &self.text, true);
        let kind = if verdict == Verdict::TooLarge { ErrorKind::TooLarge } else { ErrorKind::Refused };
        let error = Error::new(kind, text).with_code(Some(self.code.to_string()));
        Err(error.with_retry_after(requested_wait(&self.text)).mark_transient(verdict == Verdict::Transient))
    }
}
