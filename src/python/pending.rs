//! Messages on their way to an SMTP server, and the outcome of each.
//!
//! ```text
//!  new ─▶ compose ─┬─ error ─────────────────────────────────────────────▶ outcome
//!                  └▶ is_due ─▶ SmtpSession::send ─▶ outcome ─▶ decide_resend ─┬─ sent, refused ─▶ finish
//!                       ▲                                                      │
//!                       └── not sent; unknown, with `resend_unknown` ──────────┘
//! ```
//!
//! A second attempt sends the same octets, with the same Message-ID, so that the receiver can drop a duplicate.

use std::time::Duration;

use crate::codes::{self, Verdict};
use crate::deadline::seconds;
use crate::error::{Error, ErrorKind, Result, bounded};
use crate::message::{Message, compose};
use crate::throttle::requested_wait;

/// An SMTP reply: its code and its text.
pub(crate) type Reply = (u16, String);

/// The server's acceptance of a message: its reply to the message, and one to each recipient.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The final reply.
    pub(crate) reply: Reply,
    /// The replies to RCPT, in the order of the recipients.
    pub(crate) answers: Vec<Reply>,
}

/// A message to send: its composed form while it is needed, and its outcome so far.
///
/// The message is borrowed; the mail exists from `compose` to `finish` only, for the messages of one window.
pub(crate) struct Pending<'a> {
    /// The message, with its Message-ID.
    pub(crate) message: &'a Message,
    /// The mail as DATA takes it: CRLF line ends, dots stuffed, without the final dot. Empty before and after use.
    pub(crate) wire: Vec<u8>,
    /// `true` while the message is to be sent, for the first time or again.
    ///
    /// Never `true` without a composed mail.
    pub(crate) is_due: bool,
    /// The outcome of the last attempt; `None` before the first.
    pub(crate) outcome: Option<Result<Sent>>,
    /// The error of an earlier attempt in which the message may have arrived.
    ///
    /// The first such error. A later success makes up for it; a later failure does not, since the first attempt may
    /// have arrived.
    doubt: Option<Error>,
}

impl<'a> Pending<'a> {
    /// Returns a message that is not composed yet.
    pub(crate) fn new(message: &'a Message) -> Self {
        Self { message, wire: Vec::new(), is_due: false, outcome: None, doubt: None }
    }

    /// Composes the mail; if that fails, the error is the message's outcome.
    pub(crate) fn compose(&mut self, tag: &str) {
        match compose(self.message, tag) {
            Ok(wire) => (self.wire, self.is_due) = (wire, true),
            Err(error) => self.outcome = Some(Err(error)),
        }
    }

    /// Returns the error of the last attempt.
    pub(crate) fn error(&self) -> Option<&Error> {
        self.outcome.as_ref()?.as_ref().err()
    }

    /// Decides after an attempt if the message is sent again: if it was not sent, or its outcome is unknown and
    /// `resend_unknown` is set.
    ///
    /// Refused messages are not sent again, transient refusals included: when to retry is the app's decision.
    pub(crate) fn decide_resend(&mut self, resend_unknown: bool) {
        self.is_due = match self.error() {
            None => self.outcome.is_none(),
            Some(error) if error.kind() == ErrorKind::OutcomeUnknown && resend_unknown => {
                self.doubt = self.doubt.take().or_else(|| self.error().cloned());
                true
            }
            Some(error) => error.kind() == ErrorKind::Disconnected,
        };
    }

    /// Ends the attempts and frees the composed mail. A failed message that may have arrived before stays unknown.
    pub(crate) fn finish(&mut self) {
        (self.wire, self.is_due) = (Vec::new(), false);
        if let (Some(Err(_)), Some(doubt)) = (&self.outcome, self.doubt.take()) {
            self.outcome = Some(Err(doubt));
        }
    }
}

/// Returns the error of a message of which nothing was sent.
pub(crate) fn not_sent() -> Error {
    Error::new(ErrorKind::Disconnected, "not sent: the connection was lost")
}

/// Returns the error of a message that the server may have received.
pub(super) fn unknown(error: Error) -> Error {
    let text = "delivery unknown: connection lost before the final reply";
    Error::new(ErrorKind::OutcomeUnknown, text).caused_by(error)
}

/// Returns the error of a message whose final reply has not come in time.
pub(super) fn no_final_reply(limit: Duration, error: Error) -> Error {
    let text =
        format!("delivery unknown: no final reply within {} (SmtpConfig::reply_timeout)", seconds(limit));
    Error::new(ErrorKind::OutcomeUnknown, text).caused_by(error)
}

/// Returns the error of a refused message. `stage` is the refused command; at RCPT, all recipients were refused, and
/// the text has the reply to each. The first transient one decides then: the message can still reach that recipient.
///
/// Unknown and greylisted recipients give `RCPT was refused: 550 5.1.1 unknown; 450 4.7.1 greylisted`, transient, with
/// the code 450. The kind is `TooLarge` for refusals of the size, else `Refused`.
pub(super) fn refused(stage: &str, reply: &Reply, answers: &[Reply]) -> Error {
    let is_at_rcpt = stage == "RCPT";
    let verdict = |(code, text): &Reply| codes::smtp(*code, text, is_at_rcpt);
    let all = if is_at_rcpt { answers } else { std::slice::from_ref(reply) };
    let decisive = all.iter().find(|reply| verdict(reply) == Verdict::Transient).unwrap_or(reply);
    let (code, verdict) = (decisive.0, verdict(decisive));
    let kind = if verdict == Verdict::TooLarge { ErrorKind::TooLarge } else { ErrorKind::Refused };
    let replies: Vec<String> = all.iter().map(|(code, text)| format!("{code} {text}")).collect();
    let replies = bounded(&replies.join("; "));
    let wait = requested_wait(&replies);
    let error = Error::new(kind, format!("{stage} was refused: {replies}"));
    error
        .with_code(Some(code.to_string()))
        .with_retry_after(wait)
        .mark_transient(verdict == Verdict::Transient)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message::new("1", "alice@example.org", "bob@example.org", "hello")
    }

    fn attempted(message: &Message, outcome: Result<Sent>) -> Pending<'_> {
        let mut pending = Pending::new(message);
        pending.compose("TAG");
        assert!(pending.is_due && !pending.wire.is_empty());
        pending.outcome = Some(outcome);
        pending
    }

    #[test]
    fn a_message_that_can_not_be_composed_is_not_due() {
        let message = Message::new("", "alice@example.org", "bob@example.org", "hello");
        let mut pending = Pending::new(&message);
        pending.compose("TAG");
        assert!(!pending.is_due);
        assert_eq!(pending.error().map(Error::kind), Some(ErrorKind::Message));
    }

    #[test]
    fn only_messages_that_were_not_sent_are_sent_again_unless_configured() {
        let message = message();
        let unknown = || unknown(Error::new(ErrorKind::Timeout, "late"));
        for (outcome, resend_unknown, is_due) in [
            (not_sent(), false, true),
            (unknown(), false, false),
            (unknown(), true, true),
            (refused("DATA", &(554, "no".into()), &[]), true, false),
        ] {
            let mut pending = attempted(&message, Err(outcome));
            pending.decide_resend(resend_unknown);
            assert_eq!(pending.is_due, is_due, "{:?}", pending.error());
        }
    }

    #[test]
    fn a_message_that_one_recipient_may_take_later_is_refused_transiently() {
        let (unknown, greylisted) = ((550, "5.1.1 unknown".to_owned()), (450, "4.7.1 greylisted".to_owned()));
        let error = refused("RCPT", &unknown, &[unknown.clone(), greylisted]);
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(error.code(), Some("450"));
        assert_eq!(error.to_string(), "RCPT was refused: 550 5.1.1 unknown; 450 4.7.1 greylisted");
        assert!(refused("RCPT", &unknown, std::slice::from_ref(&unknown)).is_permanent());
    }

    #[test]
    fn a_message_that_may_have_arrived_stays_unknown_after_a_later_failure() {
        let message = message();
        let mut pending = attempted(&message, Err(unknown(not_sent())));
        pending.decide_resend(true);
        pending.outcome = Some(Err(refused("MAIL", &(550, "no".into()), &[])));
        pending.decide_resend(true);
        pending.finish();
        assert_eq!(pending.error().map(Error::kind), Some(ErrorKind::OutcomeUnknown));
    }
}
