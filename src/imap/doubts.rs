//! Messages that failed when they were asked for: why, and when they are tried again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::uid::{Uid, UidSet};

/// What failed is not tried again before this many times as long as it took to fail.
pub(super) const SPARING: u32 = 10;

/// Losses of the connection are counted within a minute, as connections are.
const MINUTE: Duration = Duration::from_secs(60);

/// A message that failed when it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    pub(super) error: Error,
    /// How often it failed when it was asked for alone; 0 for one that is only suspected.
    pub(super) failures: u32,
    /// When to try it again.
    again: Instant,
    /// Whether its headers show that it is ours.
    pub(super) is_ours: bool,
    /// Whether the app was told by an error in its place.
    pub(super) is_reported: bool,
}

impl Doubt {
    /// Returns whether the message may be asked for now.
    pub(super) fn is_due(&self) -> bool {
        self.again <= Instant::now()
    }
}

/// The messages of one inbox that failed, and how carefully to ask for others.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    all: BTreeMap<Uid, Doubt>,
    /// How many to ask for together; no limit by default.
    portion: Option<usize>,
    /// The message at which the connection was lost last, and whether others came just before.
    lost_at: Option<(Uid, bool)>,
    losses: VecDeque<Instant>,
}

impl Doubts {
    /// Suspects a message, which is asked for alone from now on.
    pub(super) fn suspect(&mut self, uid: Uid, error: &Error) {
        let now = Instant::now();
        let new =
            || Doubt { error: error.clone(), failures: 0, again: now, is_ours: false, is_reported: false };
        self.all.entry(uid).or_insert_with(new).error = error.clone();
    }

    /// Keeps back a message that failed alone, longer each time, and long where it took long to fail.
    pub(super) fn withhold(
        &mut self,
        uid: Uid,
        error: &Error,
        took: Duration,
        backoff: (Duration, Duration),
    ) {
        self.suspect(uid, error);
        if let Some(doubt) = self.all.get_mut(&uid) {
            let wait = backoff.0.saturating_mul(1 << doubt.failures.min(20)).min(backoff.1);
            doubt.failures += 1;
            doubt.again = Instant::now() + wait.max(took.saturating_mul(SPARING));
        }
    }

    /// Makes a withheld message due that may not be to blame, as long as that costs little.
    pub(super) fn retry_soon(&mut self, uid: Uid, error: &Error) {
        if let Some(doubt) = self.all.get_mut(&uid)
            && (doubt.failures == 1 || !error.ends_connection())
        {
            doubt.again = Instant::now();
        }
    }

    /// Clears a message that came after all. If it had been withheld, the server may be well again: all that are withheld
    /// are tried soon.
    pub(super) fn acquit(&mut self, uid: Uid) {
        if self.all.remove(&uid).is_some_and(|doubt| doubt.failures > 0) {
            let now = Instant::now();
            self.all.values_mut().for_each(|doubt| doubt.again = now);
        }
    }

    pub(super) fn get_mut(&mut self, uid: Uid) -> Option<&mut Doubt> {
        self.all.get_mut(&uid)
    }

    /// Returns why a message does not come that the app was not told of.
    pub(super) fn unreported(&self) -> Option<Error> {
        self.all.values().find(|doubt| !doubt.is_reported).map(|doubt| doubt.error.clone())
    }

    pub(super) fn get(&self, uid: Uid) -> Option<&Doubt> {
        self.all.get(&uid)
    }

    pub(super) fn contains(&self, uid: Uid) -> bool {
        self.all.contains_key(&uid)
    }

    /// Returns whether the message failed when it was asked for alone.
    pub(super) fn is_withheld(&self, uid: Uid) -> bool {
        self.get(uid).is_some_and(|doubt| doubt.failures > 0)
    }

    /// Returns how many are not to be asked for now.
    pub(super) fn put_aside(&self) -> usize {
        self.all.values().filter(|doubt| !doubt.is_due()).count()
    }

    pub(super) fn is_any_due(&self) -> bool {
        self.all.values().any(Doubt::is_due)
    }

    pub(super) fn remove(&mut self, uid: Uid) {
        self.all.remove(&uid);
    }

    /// Forgets the messages that are not among these.
    pub(super) fn keep(&mut self, present: &UidSet) {
        self.all.retain(|uid, _| present.contains(*uid));
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// Returns those of the missing messages to ask for together.
    pub(super) fn portion(&self, mut missing: UidSet) -> UidSet {
        missing.retain(|uid| !self.contains(uid));
        missing.first(self.portion.unwrap_or(usize::MAX)).0
    }

    /// Doubles the portion after one that came.
    pub(super) fn trust(&mut self) {
        self.portion = self.portion.and_then(|portion| portion.checked_mul(2));
    }

    /// Begins with single messages again, since nothing tells which of those that were asked for has failed.
    pub(super) fn distrust(&mut self) {
        self.portion = Some(1);
    }

    /// Remembers at which message the connection was lost, and whether others came just before.
    pub(super) fn lost_at(&mut self, uid: Uid, others_came: bool) {
        self.lost_at = Some((uid, others_came));
    }

    /// Returns what was remembered since the last call.
    pub(super) fn take_lost_at(&mut self) -> Option<(Uid, bool)> {
        self.lost_at.take()
    }

    /// Counts a loss of the connection at a message.
    pub(super) fn count_loss(&mut self) {
        self.losses.push_back(Instant::now());
    }

    /// Returns how many losses there were within the last minute.
    pub(super) fn losses(&mut self) -> usize {
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
    fn after_a_failure_portions_grow_from_one_and_leave_out_the_doubtful() {
        let mut doubts = Doubts::default();
        let all = UidSet::new(UidValidity::new(1, ""), (1..=9).map(uid));
        assert_eq!(doubts.portion(all.clone()).len(), 9);
        doubts.suspect(uid(1), &lost());
        assert_eq!(doubts.portion(all.clone()).to_string(), "2:9");
        doubts.distrust();
        let lengths = [1, 2, 4, 8].map(|_| {
            let length = doubts.portion(all.clone()).len();
            doubts.trust();
            length
        });
        assert_eq!(lengths, [1, 2, 4, 8]);
    }

    #[test]
    fn a_message_that_took_long_to_fail_is_left_alone_longer() {
        let mut doubts = Doubts::default();
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        doubts.withhold(uid(1), &lost(), Duration::ZERO, (Duration::ZERO, hour));
        doubts.withhold(uid(2), &lost(), Duration::ZERO, (second, hour));
        doubts.withhold(uid(3), &lost(), 60 * second, (second, hour));
        let waits = [1, 2, 3].map(|number| doubts.get(uid(number)).unwrap().again);
        assert!(waits[2] - waits[1] > 500 * second && waits[1] > waits[0]);
        let is_due = |doubts: &Doubts, number| doubts.get(uid(number)).unwrap().is_due();
        assert!(is_due(&doubts, 1) && !is_due(&doubts, 3) && doubts.is_withheld(uid(3)));
        doubts.acquit(uid(1));
        assert!(is_due(&doubts, 3), "one that was withheld has come, so may others");
    }
}
