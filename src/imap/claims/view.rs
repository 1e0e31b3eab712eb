//! What a consumer knows of the log, and what it may say because of that.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::log::{Consumer, Entry, Word};
use super::ownership::{Ownership, obsolete};
use crate::message::Identity;
use crate::uid::{Uid, UidSet, UidValidity};

/// The log as it was read last, which may be old: it guides, and what is decided is read again.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The UIDVALIDITY that all UIDs here belong to; `None` before the first connection is used.
    pub(super) life: Option<UidValidity>,
    /// Those of other UIDVALIDITYs are among them, without UIDs.
    entries: Vec<Entry>,
    /// When each of them was read first.
    seen: HashMap<Uid, Instant>,
    /// The messages that the last SEARCH found.
    present: Option<UidSet>,
    /// Whether that was after the entries were read: then all messages that they claim were there to be found.
    is_searched: bool,
    ownership: Ownership,
    pub(super) read: Option<Instant>,
    /// The log's UIDNEXT when it was read.
    pub(super) next: u32,
    heard: HashMap<Consumer, Heard>,
    /// Just before this handle's last entry was written; `None` before the first one and after a goodbye.
    pub(super) renewed: Option<Instant>,
    /// When the lease was to be renewed last, with success or without.
    pub(super) tried: Option<Instant>,
    /// Whether the lease was over before it was renewed, and the log was not read since: another consumer may have taken
    /// what this one had.
    pub(super) is_in_doubt: bool,
    /// How often in a row all races for messages were lost.
    pub(super) lost_races: usize,
    /// What this handle has archived last: it may be acknowledged once more.
    released: BTreeSet<Uid>,
    /// The messages that the app has, as far as they can be found again in a mailbox that was made anew.
    handed: BTreeMap<Uid, Identity>,
}

/// A consumer's last entry, since when it has been the last, and the lease that the consumer announces.
#[derive(Clone, Copy, Debug)]
struct Heard {
    last: Uid,
    since: Instant,
    lease: Option<Duration>,
}

/// How many archived messages are remembered.
const MOST_RELEASED: usize = 10_000;

/// How much longer than a lease a silence must be: clocks do not run alike.
const MARGIN: Duration = Duration::from_secs(1);

impl View {
    /// Begins a UIDVALIDITY, in which this handle has these messages of those that the app has.
    pub(super) fn begin(&mut self, life: UidValidity, handed: BTreeMap<Uid, Identity>) {
        let (heard, renewed, tried) = (std::mem::take(&mut self.heard), self.renewed, self.tried);
        *self = Self { life: Some(life), heard, renewed, tried, handed, ..Self::default() };
    }

    /// Notes what the inbox has.
    pub(super) fn found(&mut self, present: &UidSet) {
        // What was archived and is back, by another client's doing, is like any other.
        self.released.retain(|uid| !present.contains(*uid));
        self.handed.retain(|uid, _| present.contains(*uid));
        self.present = Some(present.clone());
        self.is_searched = true;
    }

    /// Returns whether a message may be in the inbox: it was found, or came after the last SEARCH.
    pub(super) fn may_be_there(&self, uid: Uid) -> bool {
        self.present.as_ref().is_none_or(|present| present.contains(uid) || Some(uid) > present.last())
    }

    fn is_gone(&self, uid: Uid) -> bool {
        let is_found = || self.present.as_ref().is_none_or(|present| present.contains(uid));
        self.released.contains(&uid) || (self.is_searched && !is_found())
    }

    /// Returns the entries that decide nothing any more.
    ///
    /// An entry that was read after the search may be about a message that came after it, and was not there to be
    /// found: it stays until the next search.
    pub(super) fn obsolete(&self, lease: Duration) -> Vec<Uid> {
        let Some(life) = self.life else { return Vec::new() };
        let longest = self.heard.values().filter_map(|heard| heard.lease).fold(lease, Duration::max);
        // A consumer acts on what it read a tenth of its lease ago at most, and is done within half of it.
        let is_old = |at| self.seen.get(&at).is_some_and(|seen| seen.elapsed() > longest);
        let mut entries = obsolete(&self.entries, life.get(), |uid| self.is_gone(uid), is_old);
        let elsewhere = self.entries.iter().filter(|entry| entry.life != life.get());
        entries
            .extend(elsewhere.filter(|entry| self.unsettled(entry, lease).is_none()).map(|entry| entry.at));
        entries
    }

    /// Takes in the whole log.
    pub(super) fn take_in(&mut self, mut entries: Vec<Entry>, next: u32) {
        let now = Instant::now();
        entries.sort_by_key(|entry| entry.at);
        entries.dedup_by_key(|entry| entry.at);
        self.ownership = Ownership::of(&entries, self.life.map_or(0, UidValidity::get));
        self.ownership.forget(|uid| self.released.contains(&uid));
        let mut leases: HashMap<Consumer, Duration> = HashMap::new();
        leases.extend(entries.iter().filter_map(|entry| Some((entry.by, entry.lease?))));
        let heard = |(by, last): (Consumer, Uid)| {
            let same = self.heard.get(&by).filter(|before| before.last == last);
            let since = same.map_or(now, |before| before.since);
            (by, Heard { last, since, lease: leases.get(&by).copied() })
        };
        self.heard = self.ownership.newest().map(heard).collect();
        let seen = |at: Uid| (at, self.seen.get(&at).copied().unwrap_or(now));
        self.seen = entries.iter().map(|entry| seen(entry.at)).collect();
        self.entries = entries;
        self.is_searched = false;
        self.is_in_doubt = false;
        self.read = Some(now);
        self.next = next;
    }

    /// Notes that these have left the inbox by this handle.
    pub(super) fn release(&mut self, uids: &UidSet) {
        if self.life != Some(uids.validity()) {
            return;
        }
        self.ownership.forget(|uid| uids.contains(uid));
        self.handed.retain(|uid, _| !uids.contains(*uid));
        self.released.extend(uids.iter());
        while self.released.len() > MOST_RELEASED {
            self.released.pop_first();
        }
    }

    /// Returns whether this handle has archived a message.
    pub(super) fn was_released(&self, validity: UidValidity, uid: Uid) -> bool {
        self.life == Some(validity) && self.released.contains(&uid)
    }

    /// Notes that the app has these messages.
    pub(super) fn hand_out(
        &mut self,
        validity: UidValidity,
        messages: impl Iterator<Item = (Uid, Identity)>,
    ) {
        if self.life == Some(validity) {
            self.handed.extend(messages);
        }
    }

    /// Returns the messages that the app has and this handle still has.
    pub(super) fn in_hand(&self, me: Consumer) -> HashSet<Identity> {
        let is_mine = |uid: &Uid| self.ownership.owner(*uid) == Some(me);
        self.handed.iter().filter(|(uid, _)| is_mine(uid)).map(|(_, identity)| *identity).collect()
    }

    /// Returns whether a consumer has messages that are in the inbox, as far as this handle knows.
    pub(super) fn has_any(&self, consumer: Consumer) -> bool {
        self.ownership.of_consumer(consumer).any(|uid| self.may_be_there(uid))
    }

    pub(super) fn owner(&self, uid: Uid) -> Option<Consumer> {
        self.ownership.owner(uid)
    }

    /// Returns whether this handle's last entry is older than that.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.renewed.is_some_and(|renewed| renewed.elapsed() > age)
    }

    /// Returns the messages that a consumer has.
    pub(super) fn of(&self, consumer: Consumer, wanted: &UidSet) -> UidSet {
        self.that(wanted, |owner| owner == Some(consumer))
    }

    /// Returns messages without an owner: the oldest, or some of them when others are after them too.
    pub(super) fn some_free(&self, me: Consumer, wanted: &UidSet, room: usize) -> UidSet {
        let free = self.that(wanted, |owner| owner.is_none());
        let is_alone = self.heard.keys().all(|consumer| *consumer == me);
        let spare = free.len().saturating_sub(room);
        let random = getrandom::u32().unwrap_or(0) as usize;
        let skipped = if is_alone || room == 0 { 0 } else { random % (spare / room.max(1) + 1) * room };
        UidSet::new(free.validity(), free.iter().skip(skipped).take(room))
    }

    /// Returns how to take messages from a consumer that was silent for longer than its lease, and than this one's.
    pub(super) fn left_behind(
        &self,
        me: Consumer,
        wanted: &UidSet,
        room: usize,
        lease: Duration,
    ) -> Option<Word> {
        let is_silent = |who: Consumer| {
            let heard = self.heard.get(&who)?;
            (who != me && heard.left(lease).is_zero()).then_some((who, heard.last))
        };
        let mut owners = wanted.iter().filter_map(|uid| self.ownership.owner(uid));
        let (from, last_seen) = owners.find_map(is_silent)?;
        let (uids, _) = self.of(from, wanted).first(room);
        Some(Word::Take { from, last_seen, uids })
    }

    /// Returns how long to wait at most for consumers that had messages under another UIDVALIDITY, and have not said
    /// yet which these are now; `None` when there are none.
    pub(super) fn wait(&self, me: Consumer, lease: Duration) -> Option<Duration> {
        self.entries
            .iter()
            .filter(|entry| entry.by != me)
            .filter_map(|entry| self.unsettled(entry, lease))
            .max()
    }

    /// Returns how long the writer of an entry of another UIDVALIDITY may still come back to claim its messages anew;
    /// `None` when it has, when it has said goodbye, or was silent for too long.
    fn unsettled(&self, entry: &Entry, lease: Duration) -> Option<Duration> {
        let heard = self.heard.get(&entry.by)?;
        let last = self.entries.binary_search_by_key(&heard.last, |entry| entry.at).ok()?;
        let last = &self.entries[last];
        let is_settled = Some(last.life) == self.life.map(UidValidity::get) || last.word == Word::Bye;
        let left = heard.left(lease);
        (Some(entry.life) != self.life.map(UidValidity::get) && !is_settled && !left.is_zero())
            .then_some(left)
    }

    /// Returns the leases of other consumers that differ from this one's.
    pub(super) fn other_leases(&self, me: Consumer, lease: Duration) -> BTreeSet<Duration> {
        let others = self.heard.iter().filter(|(consumer, _)| **consumer != me);
        others.filter_map(|(_, heard)| heard.lease).filter(|other| *other != lease).collect()
    }

    fn that(&self, wanted: &UidSet, is_so: impl Fn(Option<Consumer>) -> bool) -> UidSet {
        let mut uids = wanted.clone();
        uids.retain(|uid| is_so(self.ownership.owner(uid)));
        uids
    }
}

impl Heard {
    /// Returns how much longer it may be silent, for a reader with this lease.
    fn left(&self, lease: Duration) -> Duration {
        let allowed = self.lease.unwrap_or_default().max(lease).saturating_add(MARGIN);
        allowed.saturating_sub(self.since.elapsed())
    }
}
