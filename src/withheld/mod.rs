//! Isolates the message that makes a FETCH fail, so that the others arrive.
//!
//! All messages are requested together. After a failure, the first missing message becomes a suspect and is left out of
//! further requests. If nothing arrived at all, any of them may be the cause: the next request has one message, and its
//! size doubles with each success. Suspects are fetched one by one afterwards (`single.rs`).
//!
//! Finding one bad message among n costs one refusal, since the responses before it have arrived. If nothing arrives,
//! it costs log n successes more. On a server that ends the connection at it, it costs one connection, and one more for
//! the message by itself.

mod headers;
mod suspects;

pub(crate) use self::headers::{Headers, fetch_available_headers, fetch_headers, fetch_headers_of_one};
pub(crate) use self::suspects::{LostAt, Suspect, Suspects};
use crate::config::ConnectionOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::python::{Failure, ImapSession};
use crate::uid::{Uid, UidSet};

/// The most refusals in one call.
const MAX_REFUSALS: usize = 50;

/// The most connections lost at a message in one call. Each costs a new connection, of which a minute has
/// `max_connects_per_minute`, 30 by default.
const MAX_LOSSES: usize = 8;

/// After this many refusals without a message in between, the server is at fault.
const MAX_REFUSALS_IN_A_ROW: usize = 16;

/// After this many losses without a message in between, the server is at fault.
const MAX_LOSSES_IN_A_ROW: usize = 3;

/// A request for some messages, sent in one or several commands.
pub(crate) trait Request {
    /// Returns the messages that have neither arrived nor been found absent.
    fn missing(&self) -> UidSet;

    /// Requests some of the messages, and receives those that arrive.
    fn send(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Response>;

    /// Returns the number of messages that have arrived.
    fn arrived(&self) -> usize;

    /// Records messages that the server returned nothing for, without a refusal.
    fn set_absent(&mut self, uids: &UidSet);

    /// Returns the suspects of the mailbox.
    fn suspects(&mut self) -> &mut Suspects;
}

/// The end of one [`Request::send`].
pub(crate) struct Response {
    pub(crate) failure: Option<Failure>,
    /// The messages that were not requested, for lack of room in the batch.
    pub(crate) unrequested: UidSet,
}

/// The failures of one call so far, and the error that ended its requests once there were too many.
///
/// It bounds the time and the connections that bad messages can cost the good ones: the call returns what has arrived,
/// and the next one goes on.
#[derive(Debug)]
pub(crate) struct FailureBudget {
    /// The connections of a minute that messages may cost: half of all. The rest is for other calls.
    connections: usize,
    refusals: usize,
    losses: usize,
    /// Failures since the last message that arrived.
    in_a_row: usize,
    /// `true` after the call was continued on a new connection though no message had caused the loss.
    has_reconnected: bool,
    /// The error after which the call requests nothing more.
    pub(crate) stopped: Option<Error>,
}

impl FailureBudget {
    /// Makes the budget of a call on a handle with these limits.
    pub(crate) fn new(options: ConnectionOptions) -> Self {
        Self {
            connections: options.max_connects_per_minute as usize / 2,
            refusals: 0,
            losses: 0,
            in_a_row: 0,
            has_reconnected: false,
            stopped: None,
        }
    }

    /// Ends all requests of the call; the first error counts.
    pub(crate) fn stop(&mut self, error: Error) {
        self.stopped.get_or_insert(error);
    }

    /// Counts a refusal; `has_arrived` if messages arrived before it.
    pub(crate) fn count_refusal(&mut self, suspects: &mut Suspects, error: &Error, has_arrived: bool) {
        self.refusals += 1;
        self.in_a_row = if has_arrived { 0 } else { self.in_a_row + 1 };
        if self.refusals >= MAX_REFUSALS
            || self.in_a_row >= MAX_REFUSALS_IN_A_ROW
            || suspects.treat_as_transient(error)
        {
            self.stop(error.clone());
        }
    }

    /// Counts a loss of the connection at a message; `has_arrived` if messages arrived before it.
    pub(crate) fn count_loss(&mut self, suspects: &mut Suspects, error: &Error, has_arrived: bool) {
        self.losses += 1;
        self.in_a_row = if has_arrived { 0 } else { self.in_a_row + 1 };
        suspects.count_loss();
        if self.losses >= MAX_LOSSES
            || self.in_a_row >= MAX_LOSSES_IN_A_ROW
            || self.exceeds_connection_share(suspects)
        {
            self.stop(error.clone());
        }
    }

    /// Counts the failures in a row from 0 again, since a message has arrived.
    pub(crate) fn message_arrived(&mut self) {
        self.in_a_row = 0;
    }

    /// Suspects the message at which the connection was lost, and counts the loss. Returns `false` if there is none.
    pub(crate) fn count_loss_at_message(&mut self, suspects: &mut Suspects, error: &Error) -> bool {
        let lost_at = suspects.take_lost_at();
        let Some(LostAt { uid, others_arrived }) = lost_at else { return false };
        suspects.add(uid, error);
        self.count_loss(suspects, error, others_arrived);
        true
    }

    /// Returns `true` if the call may go on, on a new connection: after a loss that a message has caused, and once
    /// otherwise.
    ///
    /// Only `Disconnected`: after a timeout the call has no time left, and another error comes again.
    pub(crate) fn admits_reconnect(&mut self, error: &Error, is_at_message: bool) -> bool {
        self.stopped.is_none()
            && error.kind() == ErrorKind::Disconnected
            && (is_at_message || !std::mem::replace(&mut self.has_reconnected, true))
    }

    /// Returns `true` if messages have cost more than their share of the connections of a minute.
    pub(crate) fn exceeds_connection_share(&self, suspects: &mut Suspects) -> bool {
        suspects.recent_losses() > self.connections
    }

    /// Returns `true` after a refusal.
    pub(crate) fn has_refusals(&self) -> bool {
        self.refusals > 0
    }
}

/// Requests messages until all but the suspects have arrived, or the batch has no room for more.
///
/// Ends, since in each round messages arrive, are found absent, or become suspects, or the failure counts.
///
/// # Errors
///
/// A lost connection; [`Suspects::take_lost_at`](Suspects::take_lost_at) has the message that caused
/// it.
pub(crate) fn fetch_all_but_suspects(
    session: &mut ImapSession,
    budget: &mut FailureBudget,
    request: &mut impl Request,
) -> Result<()> {
    while budget.stopped.is_none() {
        let missing = request.missing();
        let part = request.suspects().next_portion(missing);
        if part.is_empty() {
            break;
        }
        let before = request.arrived();
        let Response { failure, unrequested } = request.send(session, &part)?;
        let has_arrived = request.arrived() > before;
        let Some(Failure { uids, error }) = failure else {
            request.suspects().double_portion();
            if has_arrived {
                budget.message_arrived();
            }
            let mut absent = request.missing();
            absent.retain(|uid| part.contains(uid) && !unrequested.contains(uid));
            request.set_absent(&absent);
            if absent.is_empty() && unrequested.len() == part.len() {
                break; // The batch is full.
            }
            continue;
        };
        suspect_first_missing(request, &uids, &error, has_arrived);
        if error.ends_connection() {
            return Err(error);
        }
        budget.count_refusal(request.suspects(), &error, has_arrived);
    }
    Ok(())
}

/// Adds the first missing message of a failed window to the suspects: responses arrive in order, so the server stopped
/// there.
///
/// None, if all messages of the window have arrived: then the failure is not about a message.
fn suspect_first_missing(request: &mut impl Request, uids: &UidSet, error: &Error, has_arrived: bool) {
    let missing = request.missing();
    let suspects = request.suspects();
    let Some(first) = uids.iter().find(|uid| missing.contains(*uid) && !suspects.contains(*uid)) else {
        return;
    };
    suspects.add(first, error);
    if !has_arrived {
        suspects.reset_portion();
    }
    if error.ends_connection() {
        suspects.set_lost_at(LostAt { uid: first, others_arrived: has_arrived });
    }
}

/// Returns `true` if a refusal is transient, and likely to affect all messages.
///
/// SERVERBUG mostly is about one message: Dovecot sends it for a file that it can't read.
pub(crate) fn is_server_wide(error: &Error) -> bool {
    error.is_transient() && error.code() != Some("SERVERBUG")
}

/// Adds the UID to the error of a message that could not be fetched.
pub(crate) fn withheld_error(uid: Uid, error: Error) -> Error {
    if error.kind() == ErrorKind::TooLarge {
        return error;
    }
    let (kind, text) = (error.kind(), format!("message UID {uid} could not be fetched: {error}"));
    error.reworded(kind, text)
}

/// Returns the error for a message that SEARCH finds and FETCH returns nothing for.
pub(crate) fn empty_response() -> Error {
    Error::message("FETCH returned nothing, and SEARCH finds the message")
}
