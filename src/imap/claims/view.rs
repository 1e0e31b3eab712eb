//! What a consumer knows of the log, and what it may say because of that.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::log::{Consumer, Entry, Word};
use super::ownership::{Ownership, obsolete};
use crate::uid::{Uid, UidSet, UidValidity};

/// The log as it was read last, which may be old: it guides, and what is decided is read again.
#[derive(Debug, Default)]
pub(super) struct View {
    entries: Vec<Entry>,
    /// What the inbox had when it was searched, if that was after these entries were read.
    pub(super) present: Option<UidSet>,
    /// Entries about an earlier life of the inbox.
    pub(super) outlived: Vec<Uid>,
    pub(super) ownership: Ownership,
    pub(super) read: Option<Instant>,
    /// Each consumer's last word, and since when it has been the last.
    heard: HashMap<Consumer, (Uid, Instant)>,
    /// Just before this handle's last word was said.
    pub(super) renewed: Option<Instant>,
    /// Whether the lease was over before that, and the log was not read since: somebody may have taken what it had.
    pub(super) is_in_doubt: bool,
    /// What this handle has archived last, in which life of the inbox: it may be acknowledged once more.
    released: (Option<UidValidity>, BTreeSet<Uid>),
}

/// So much is known of what was archived.
const MOST_RELEASED: usize = 10_000;

impl View {
    /// The entries that mean nothing any more.
    ///
    /// An entry that was read after the search may be about a message that came after it, and is not there to be
    /// found: of such ones nothing is said before the next search.
    pub(super) fn meaningless(&mut self) -> Vec<Uid> {
        let present = self.present.take();
        let mut entries = present.map(|present| obsolete(&self.entries, &present)).unwrap_or_default();
        entries.append(&mut self.outlived);
        entries
    }

    pub(super) fn take_in(&mut self, mut entries: Vec<Entry>) {
        let now = Instant::now();
        entries.sort_by_key(|entry| entry.at);
        self.ownership = Ownership::of(&entries);
        self.entries = entries;
        self.present = None;
        self.is_in_doubt = false;
        self.read = Some(now);
        let before = std::mem::take(&mut self.heard);
        self.heard = self
            .ownership
            .newest()
            .map(|(consumer, at)| {
                let same = before.get(&consumer).filter(|(last, _)| *last == at);
                (consumer, *same.unwrap_or(&(at, now)))
            })
            .collect();
    }

    /// These have left the inbox, by this handle.
    pub(super) fn release(&mut self, uids: &UidSet) {
        self.ownership.forget(uids);
        if self.released.0 != Some(uids.validity()) {
            self.released = (Some(uids.validity()), BTreeSet::new());
        }
        self.released.1.extend(uids.iter());
        while self.released.1.len() > MOST_RELEASED {
            self.released.1.pop_first();
        }
    }

    /// Whether this handle has it, or had it until it was archived.
    pub(super) fn is_had_by(&self, me: Consumer, validity: UidValidity, uid: Uid) -> bool {
        let (life, released) = &self.released;
        let was_released = *life == Some(validity) && released.contains(&uid);
        self.ownership.owner(uid).map_or(was_released, |owner| owner == me)
    }

    /// The messages that somebody has.
    pub(super) fn of(&self, consumer: Consumer, wanted: &UidSet) -> UidSet {
        self.that(wanted, |owner| owner == Some(consumer))
    }

    /// Messages that nobody has: the oldest, or some of them when others are after them too.
    pub(super) fn some_free(&self, me: Consumer, wanted: &UidSet, room: usize) -> UidSet {
        let free = self.that(wanted, |owner| owner.is_none());
        let is_alone = self.heard.keys().all(|consumer| *consumer == me);
        let spare = free.len().saturating_sub(room);
        let random = getrandom::u32().unwrap_or(0) as usize;
        let skipped = if is_alone || room == 0 { 0 } else { random % (spare / room.max(1) + 1) * room };
        UidSet::new(free.validity(), free.iter().skip(skipped).take(room))
    }

    /// How to take messages from a consumer that nobody has heard of for that long.
    pub(super) fn left_behind(
        &self,
        me: Consumer,
        wanted: &UidSet,
        room: usize,
        silence: Duration,
    ) -> Option<Word> {
        let is_silent = |who: Consumer| {
            let (last_seen, since) = *self.heard.get(&who)?;
            (who != me && since.elapsed() > silence).then_some((who, last_seen))
        };
        let mut owners = wanted.iter().filter_map(|uid| self.ownership.owner(uid));
        let (from, last_seen) = owners.find_map(is_silent)?;
        let (uids, _) = self.of(from, wanted).first(room);
        Some(Word::Take { from, last_seen, uids })
    }

    fn that(&self, wanted: &UidSet, is_so: impl Fn(Option<Consumer>) -> bool) -> UidSet {
        let mut uids = wanted.clone();
        uids.retain(|uid| is_so(self.ownership.owner(uid)));
        uids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(numbers: &[u32]) -> UidSet {
        UidSet::new(UidValidity::new(7, "inbox"), numbers.iter().filter_map(|&n| Uid::new(n)))
    }

    #[test]
    fn a_claim_to_a_message_that_came_after_the_search_is_kept() {
        let claim = |at, numbers: &[u32]| {
            let (at, word) = (Uid::new(at).unwrap(), Word::Claim(uids(numbers)));
            Entry { at, by: Consumer(at.get().into()), word }
        };
        let mut view = View::default();
        view.take_in(vec![claim(1, &[1]), claim(2, &[2])]);
        view.present = Some(uids(&[2]));
        assert_eq!(view.meaningless(), [Uid::new(1).unwrap()]);
        view.take_in(vec![claim(2, &[2]), claim(3, &[3])]);
        assert_eq!(view.meaningless(), [], "3 came after the search");
        view.present = Some(uids(&[2, 3]));
        assert_eq!(view.meaningless(), []);
    }
}
