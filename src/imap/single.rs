//! Fetches each suspect by itself, and delivers an error in place of one that fails again.
//!
//! A suspect is fetched after all others have arrived: by the same requests, for one message. If that fails, it is
//! withheld, and its origin decides:
//!
//! | its headers | it is |
//! | --- | --- |
//! | foreign | settled, and left alone |
//! | ours | an error in its place; with `dead_letters`, a dead letter if the failure is its own |
//! | can't be had | an error in its place; never moved, since it may be foreign |
//!
//! Each step costs a suspect a connection at most, and a share of the call's time.

use std::time::{Duration, Instant};

use super::fetch::{Fetch, PreviewRequest};
use super::inbox::{Inbox, Settled};
use super::reader::too_large;
use crate::deadline::Deadline;
use crate::delivery::Fate;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::message::{Origin, origin};
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};
use crate::withheld::{
    FailureBudget, Request as _, Suspect, empty_response, fetch_headers_of_one, is_server_wide,
    withheld_error,
};

/// The share of the call's time for a message that has timed out before: an eighth, and twice as much after each
/// failure.
const SHARES: u32 = 8;

impl Fetch<'_> {
    /// Fetches each suspect that is due by itself, on a new connection after each loss.
    ///
    /// Stops with the budget, at the deadline, or when the batch is full: the rest are candidates of the next call.
    pub(super) fn fetch_suspects(
        &mut self,
        inbox: &mut Inbox,
        budget: &mut FailureBudget,
        deadline: Deadline,
    ) {
        for uid in self.due_suspects(inbox) {
            if self.reader.has_read(uid) {
                inbox.suspects().mark_fetched(uid);
            } else if budget.stopped.is_none() && !self.reader.is_full() && !deadline.left().is_zero() {
                self.fetch_suspect(uid, inbox, budget, deadline);
            }
        }
    }

    fn due_suspects(&self, inbox: &mut Inbox) -> Vec<Uid> {
        let suspects = inbox.suspects();
        let is_due = |uid: &Uid| suspects.get(*uid).is_some_and(Suspect::is_due);
        self.chosen.iter().copied().filter(is_due).collect()
    }

    /// Fetches one suspect; withholds it if that fails.
    ///
    /// Nothing is withheld if no connection could be made: that is not the message's fault.
    fn fetch_suspect(&mut self, uid: Uid, inbox: &mut Inbox, budget: &mut FailureBudget, deadline: Deadline) {
        let imap = self.imap;
        let suspect = inbox.suspects().get(uid).cloned();
        if let Some(suspect) = &suspect
            && suspect.failures > 0
            && budget.exceeds_connection_share(inbox.suspects())
        {
            return budget.stop(suspect.error.clone());
        }
        let slow = suspect.filter(|suspect| suspect.error.is_timeout());
        let limit =
            slow.map_or(deadline, |suspect| deadline.share((SHARES >> suspect.failures.min(3)).max(1)));
        let (began, mut is_requested) = (Instant::now(), false);
        let result = imap.connection.once(limit, |session| {
            is_requested = true;
            self.request_single(session, inbox, uid)
        });
        let error = match result {
            Ok(Single::Arrived) => {
                budget.message_arrived();
                return inbox.suspects().mark_fetched(uid);
            }
            Ok(Single::Gone) => {
                self.absent.insert(uid);
                return;
            }
            Ok(Single::Failed(error)) => {
                budget.count_refusal(inbox.suspects(), &error, false);
                error
            }
            Err(error) if is_requested && may_be_caused_by_message(&error) => {
                budget.count_loss(inbox.suspects(), &error, false);
                error
            }
            Err(error) => return budget.stop(error),
        };
        let backoff = imap.config.common.options.backoff;
        inbox.suspects().withhold(uid, &error, began.elapsed(), backoff);
        self.withheld.push((uid, error));
    }

    /// Requests one message: its preview, and then the whole message if that is needed.
    ///
    /// SEARCH tells an expunged message from one that the server sends nothing of.
    fn request_single(&mut self, session: &mut ImapSession, inbox: &mut Inbox, uid: Uid) -> Result<Single> {
        if session.validity() != self.validity {
            return Ok(Single::Gone);
        }
        let one = UidSet::new(self.validity, [uid]);
        let mut failure = PreviewRequest { fetch: self, inbox }.send(session, &one)?.failure;
        if failure.is_none()
            && let Some((uid, size)) = self.reader.take_large(uid)
        {
            failure = self.fetch_whole(session, inbox, &[(uid, size)])?.failure;
        }
        Ok(match failure {
            Some(failure) if failure.error.ends_connection() => return Err(failure.error),
            Some(failure) => Single::Failed(failure.error),
            None if self.reader.has_read(uid) => Single::Arrived,
            None if session.search(&format!("UID {uid}"))?.contains(uid) => Single::Failed(empty_response()),
            None => Single::Gone,
        })
    }

    /// Delivers errors in place of the messages that could not be fetched, unless their headers show that they are
    /// foreign.
    ///
    /// If several messages failed and nothing at all arrived, the server is at fault: the call stops without errors in
    /// their places. A walk delivers them all the same, so as not to end there.
    ///
    /// A single message that failed is reported, also if nothing else has arrived.
    pub(super) fn report_failures(
        &mut self,
        inbox: &mut Inbox,
        is_walk: bool,
        budget: &mut FailureBudget,
        deadline: Deadline,
    ) {
        let mut failed = Vec::new();
        let (mut has_arrived, has_stopped) = (self.reader.arrived() > 0, budget.stopped.is_some());
        for (uid, error) in std::mem::take(&mut self.withheld) {
            let origin = self.fetch_origin(uid, inbox, budget, deadline);
            has_arrived |= origin.is_some();
            failed.push((uid, origin, error));
        }
        if !has_arrived && (failed.len() > 1 || has_stopped) && !is_walk {
            for (uid, _, error) in failed {
                inbox.suspects().retry_soon(uid, &error);
                budget.stop(error);
            }
            return;
        }
        let others_arrived = self.reader.arrived() > 0;
        for (uid, origin, error) in failed {
            let origin = origin.unwrap_or(Origin::Undecided);
            let error = if origin == Origin::Ours {
                self.check_size(uid, error, inbox, budget, deadline)
            } else {
                error
            };
            self.report_withheld(inbox, uid, origin, error, others_arrived);
        }
        for (uid, error) in self.reader.take_oversized() {
            let origin = self.fetch_origin(uid, inbox, budget, deadline).unwrap_or(Origin::Undecided);
            self.report_oversized(inbox, uid, origin, error);
        }
    }

    /// Returns the origin of a message by its headers; `None` if these can't be fetched.
    fn fetch_origin(
        &self,
        uid: Uid,
        inbox: &mut Inbox,
        budget: &mut FailureBudget,
        deadline: Deadline,
    ) -> Option<Origin> {
        let suspect = inbox.suspects().get(uid).cloned();
        if suspect.is_some_and(|suspect| suspect.is_ours) {
            return Some(Origin::Ours);
        }
        let headers = self.query(inbox, budget, deadline, |session| fetch_headers_of_one(session, uid))??;
        Some(origin(&headers.octets, headers.is_truncated, &self.imap.config.common.tag))
    }

    /// Runs a query about a failed message, within a share of the time left; `None` if it fails.
    ///
    /// For questions whose answer is not necessary. `None` also if UIDVALIDITY has changed.
    fn query<T: Send>(
        &self,
        inbox: &mut Inbox,
        budget: &mut FailureBudget,
        deadline: Deadline,
        query: impl FnOnce(&mut ImapSession) -> Result<T> + Send,
    ) -> Option<T> {
        if budget.stopped.is_some() || deadline.left().is_zero() {
            return None;
        }
        let mut is_requested = false;
        let result = self.imap.connection.once(deadline.share(SHARES), |session| {
            session.check(&UidSet::empty(self.validity))?;
            is_requested = true;
            query(session)
        });
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        if is_requested && may_be_caused_by_message(&error) {
            budget.count_loss(inbox.suspects(), &error, false);
        }
        None
    }

    /// Returns `TooLarge` in place of a lost connection, if RFC822.SIZE is over the limit.
    ///
    /// A server that ignores `<0.n>` sends the whole message, which ends the connection.
    ///
    /// Without this, such a message would be withheld for ever, and not be known as too large.
    fn check_size(
        &self,
        uid: Uid,
        error: Error,
        inbox: &mut Inbox,
        budget: &mut FailureBudget,
        deadline: Deadline,
    ) -> Error {
        if error.kind() != ErrorKind::Disconnected {
            return error;
        }
        let limit = self.imap.config.max_message;
        let one = UidSet::new(self.validity, [uid]);
        let sizes = self.query(inbox, budget, deadline, |session| session.sizes(&one));
        let size = sizes.iter().flatten().find(|(_, size)| *size > limit as u64);
        size.map_or(error, |(_, size)| too_large(uid, *size, limit))
    }

    /// Reports a message whose FETCH failed.
    fn report_withheld(
        &mut self,
        inbox: &mut Inbox,
        uid: Uid,
        origin: Origin,
        error: Error,
        others_arrived: bool,
    ) {
        match origin {
            Origin::Foreign => inbox.settle(self.validity, uid, Settled::Foreign),
            Origin::Ours => {
                inbox.suspects().get_mut(uid).into_iter().for_each(|it| it.is_ours = true);
                let fate = if self.is_dead(inbox, uid, &error, others_arrived) {
                    Fate::DeadLetter
                } else {
                    Fate::Stay
                };
                self.deliver_withheld(inbox, uid, error, fate);
            }
            Origin::Undecided => self.deliver_withheld(inbox, uid, error, Fate::Stay),
        }
    }

    /// Reports a message over the size limit. It is withheld only if its headers do not show the tag.
    fn report_oversized(&mut self, inbox: &mut Inbox, uid: Uid, origin: Origin, error: Error) {
        match origin {
            Origin::Foreign => inbox.settle(self.validity, uid, Settled::Foreign),
            Origin::Ours => self.reader.deliver_error(uid, error, Fate::Archive),
            Origin::Undecided => {
                let backoff = self.imap.config.common.options.backoff;
                inbox.suspects().withhold(uid, &error, Duration::ZERO, backoff);
                self.deliver_withheld(inbox, uid, error, Fate::Stay);
            }
        }
    }

    /// Returns `true` if a message goes to the dead letters: other messages arrived and its failure is not transient,
    /// or it has failed as often as `dead_letters` allows.
    fn is_dead(&self, inbox: &mut Inbox, uid: Uid, error: &Error, others_arrived: bool) -> bool {
        let failures = inbox.suspects().get(uid).map_or(0, |suspect| suspect.failures);
        let is_transient =
            error.is_timeout() || (error.kind() == ErrorKind::Refused && is_server_wide(error));
        let most = self.imap.config.dead_letters;
        most.is_some_and(|most| failures >= most || (others_arrived && !is_transient))
    }

    /// Delivers the error of a withheld message, and counts it.
    fn deliver_withheld(&mut self, inbox: &mut Inbox, uid: Uid, error: Error, fate: Fate) {
        let error = withheld_error(uid, error);
        inbox.suspects().get_mut(uid).into_iter().for_each(|it| it.is_reported = true);
        let reason = error.clone();
        events::emit(move || tracing::warn!(%uid, error = %reason, "a message is withheld"));
        self.imap.connection.count(|counts| counts.withheld += 1);
        self.reader.deliver_error(uid, error, fate);
    }
}

/// The outcome of a request for one message.
enum Single {
    Arrived,
    /// The message has left the inbox.
    Gone,
    Failed(Error),
}

/// Returns `true` if the message that was requested may have caused the error.
fn may_be_caused_by_message(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout)
}
