//! Messages whose FETCH failed: the error, and the time of the next attempt.
//!
//! ```text
//!  failed with others ─▶ suspect, due at once ─▶ alone ─┬─ arrives ─▶ removed; all others are due
//!                                                       └─ fails ───▶ withheld, due after the backoff; and so on
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::is_server_wide;
use crate::backoff::retry_delay;
use crate::error::Error;
use crate::uid::{Uid, UidSet};

/// The period in which lost connections are counted, as connects are.
const MINUTE: Duration = Duration::from_secs(60);

/// A message whose FETCH failed, together with others or alone.
#[derive(Clone, Debug)]
pub(crate) struct Suspect {
    pub(crate) error: Error,
    /// The failures of a FETCH for this message alone; 0 before the first one. From 1 on the message is withheld.
    pub(crate) failures: u32,
    /// The earliest time of the next attempt.
    retry_at: Instant,
    /// `true` if its headers have the tag.
    pub(crate) is_ours: bool,
    /// `true` after an error was delivered in its place.
    pub(crate) is_reported: bool,
}

impl Suspect {
    /// Returns `true` if the message may be fetched now.
    pub(crate) fn is_due(&self) -> bool {
        self.retry_at <= Instant::now()
    }
}

/// The message at which the connection was lost. Noted on the session, and taken by the call, which alone knows that
/// the connection is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostAt {
    pub(crate) uid: Uid,
    /// `true` if other messages of the same command arrived before.
    pub(crate) others_arrived: bool,
}

/// The suspects of one inbox, and how many other messages to request together.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    all: BTreeMap<Uid, Suspect>,
    /// The number of messages to request together; `None` is no limit. 1, 2, 4, ... after a failure that did not show
    /// its cause.
    portion: Option<usize>,
    lost_at: Option<LostAt>,
    /// `true` if the last refusal was treated as transient.
    refused_as_transient: bool,
    /// The times of the last losses of the connection at a message.
    ///
    /// Of all calls on the handle: they share the connections of a minute.
    losses: VecDeque<Instant>,
}

impl Suspects {
    /// Adds a suspect, due at once; only replaces the error of one that exists.
    pub(crate) fn add(&mut self, uid: Uid, error: &Error) {
        let now = Instant::now();
        let new = || Suspect {
            error: error.clone(),
            failures: 0,
            retry_at: now,
            is_ours: false,
            is_reported: false,
        };
        self.all.entry(uid).or_insert_with(new).error = error.clone();
    }

    /// Withholds a message whose FETCH failed alone, until its [`retry_delay`] is over.
    pub(crate) fn withhold(
        &mut self,
        uid: Uid,
        error: &Error,
        took: Duration,
        backoff: (Duration, Duration),
    ) {
        self.add(uid, error);
        if let Some(suspect) = self.all.get_mut(&uid) {
            suspect.retry_at = Instant::now() + retry_delay(suspect.failures, took, backoff);
            suspect.failures += 1;
        }
    }

    /// Makes a withheld message due: the server may be at fault, not the message.
    ///
    /// Only its first failure, or a refusal: another lost connection costs too much.
    pub(crate) fn retry_soon(&mut self, uid: Uid, error: &Error) {
        if let Some(suspect) = self.all.get_mut(&uid)
            && (suspect.failures == 1 || !error.ends_connection())
        {
            suspect.retry_at = Instant::now();
        }
    }

    /// Removes a message that was fetched. If it was withheld, the server may have recovered: all others become due.
    pub(crate) fn mark_fetched(&mut self, uid: Uid) {
        if self.all.remove(&uid).is_some_and(|suspect| suspect.failures > 0) {
            let now = Instant::now();
            self.all.values_mut().for_each(|suspect| suspect.retry_at = now);
        }
    }

    /// Returns the error of a suspect that was not reported to the app.
    ///
    /// A call without deliveries returns it, so that a failure is never silent.
    pub(crate) fn unreported(&self) -> Option<Error> {
        self.all.values().find(|suspect| !suspect.is_reported).map(|suspect| suspect.error.clone())
    }

    pub(crate) fn get(&self, uid: Uid) -> Option<&Suspect> {
        self.all.get(&uid)
    }

    pub(crate) fn get_mut(&mut self, uid: Uid) -> Option<&mut Suspect> {
        self.all.get_mut(&uid)
    }

    pub(crate) fn contains(&self, uid: Uid) -> bool {
        self.all.contains_key(&uid)
    }

    /// Returns `true` if a FETCH for the message alone has failed.
    pub(crate) fn is_withheld(&self, uid: Uid) -> bool {
        self.get(uid).is_some_and(|suspect| suspect.failures > 0)
    }

    /// Counts the suspects that may not be fetched now.
    pub(crate) fn count_not_due(&self) -> usize {
        self.all.values().filter(|suspect| !suspect.is_due()).count()
    }

    /// Returns the time of the next attempt of a withheld message that was not due at `began`.
    pub(crate) fn next_due(&self, began: Instant) -> Option<Instant> {
        self.all.values().map(|suspect| suspect.retry_at).filter(|retry_at| *retry_at > began).min()
    }

    /// Returns `true` if any suspect may be fetched now.
    pub(crate) fn has_due(&self) -> bool {
        self.all.values().any(Suspect::is_due)
    }

    pub(crate) fn remove(&mut self, uid: Uid) {
        self.all.remove(&uid);
    }

    /// Removes the suspects that are not in this set.
    pub(crate) fn retain(&mut self, present: &UidSet) {
        self.all.retain(|uid, _| present.contains(*uid));
    }

    /// Returns `true` if a refusal is to be treated as transient, and records that.
    ///
    /// Some servers send a transient code for a single bad message, each time. So of two refusals in a row the second one
    /// is not treated as transient, unless it says when to retry: the bad message is isolated instead.
    pub(crate) fn treat_as_transient(&mut self, error: &Error) -> bool {
        let was_transient = self.refused_as_transient;
        let is_server_wide = is_server_wide(error);
        self.refused_as_transient |= is_server_wide && error.retry_after().is_none();
        is_server_wide && (error.retry_after().is_some() || !was_transient)
    }

    /// Records that the server has recovered: the next transient refusal counts as such again.
    pub(crate) fn no_refusal(&mut self) {
        self.refused_as_transient = false;
    }

    /// Removes all suspects.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    /// Returns the messages to request together: the first of the missing ones that are no suspects.
    pub(crate) fn next_portion(&self, mut missing: UidSet) -> UidSet {
        missing.retain(|uid| !self.contains(uid));
        missing.first(self.portion.unwrap_or(usize::MAX)).0
    }

    /// Doubles the portion, after one that arrived.
    pub(crate) fn double_portion(&mut self) {
        self.portion = self.portion.and_then(|portion| portion.checked_mul(2));
    }

    /// Resets the portion to one message, when a failure does not show which message caused it.
    pub(crate) fn reset_portion(&mut self) {
        self.portion = Some(1);
    }

    /// Records at which message the connection was lost.
    pub(crate) fn set_lost_at(&mut self, lost_at: LostAt) {
        self.lost_at = Some(lost_at);
    }

    /// Takes the message out at which the connection was lost since the last call.
    pub(crate) fn take_lost_at(&mut self) -> Option<LostAt> {
        self.lost_at.take()
    }

    /// Counts a loss of the connection at a message.
    pub(crate) fn count_loss(&mut self) {
        self.losses.push_back(Instant::now());
    }

    /// Returns the number of losses within the last minute.
    pub(crate) fn recent_losses(&mut self) -> usize {
        let now = Instant::now();
        self.losses.retain(|loss| now.duration_since(*loss) < MINUTE);
        self.losses.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::uid::UidValidity;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    fn lost() -> Error {
        Error::new(ErrorKind::Disconnected, "lost")
    }

    #[test]
    fn after_a_failure_portions_grow_from_one_and_leave_out_suspects() {
        let mut suspects = Suspects::default();
        let all = UidSet::new(UidValidity::new(1, ""), (1..=9).map(uid));
        assert_eq!(suspects.next_portion(all.clone()).len(), 9);
        suspects.add(uid(1), &lost());
        assert_eq!(suspects.next_portion(all.clone()).to_string(), "2:9");
        suspects.reset_portion();
        let lengths = [1, 2, 4, 8].map(|_| {
            let length = suspects.next_portion(all.clone()).len();
            suspects.double_portion();
            length
        });
        assert_eq!(lengths, [1, 2, 4, 8]);
    }

    #[test]
    fn a_message_that_took_long_to_fail_is_retried_later() {
        let mut suspects = Suspects::default();
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        suspects.withhold(uid(1), &lost(), Duration::ZERO, (Duration::ZERO, hour));
        suspects.withhold(uid(2), &lost(), Duration::ZERO, (second, hour));
        suspects.withhold(uid(3), &lost(), 60 * second, (second, hour));
        let retries = [1, 2, 3].map(|number| suspects.get(uid(number)).unwrap().retry_at);
        assert!(retries[2] - retries[1] > 500 * second && retries[1] > retries[0]);
        let is_due = |suspects: &Suspects, number| suspects.get(uid(number)).unwrap().is_due();
        assert!(is_due(&suspects, 1) && !is_due(&suspects, 3) && suspects.is_withheld(uid(3)));
        suspects.mark_fetched(uid(1));
        assert!(is_due(&suspects, 3), "after one withheld message was fetched, the others are retried");
    }
}
