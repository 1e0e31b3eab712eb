//! What a consumer knows of the log, and what it may say because of that.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::entry::{Consumer, Entry, Op};
use super::ownership::{Ownership, obsolete};
use crate::message::Identity;
use crate::uid::{Uid, UidSet, UidValidity};

/// The log as it was read last, which may be old: it guides, and what is decided is read again.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The UIDVALIDITY that all UIDs here belong to; `None` before the first connection is used.
    pub(super) validity: Option<UidValidity>,
    /// Those of other UIDVALIDITYs are among them, without UIDs.
    entries: Vec<Entry>,
    /// When each of them was read first.
    first_read_at: HashMap<Uid, Instant>,
    /// The messages that the last SEARCH found.
    present: Option<UidSet>,
    /// Whether that was after the entries were read: then all messages that they claim were there to be found.
    is_searched: bool,
    ownership: Ownership,
    pub(super) read_at: Option<Instant>,
    /// The log's UIDNEXT when it was read.
    pub(super) uid_next: u32,
    last_entries: HashMap<Consumer, LastEntry>,
    /// Just before this handle's last entry was written; `None` before the first one and after a goodbye.
    pub(super) renewed_at: Option<Instant>,
    /// When the lease was to be renewed last, with success or without.
    pub(super) renewal_tried_at: Option<Instant>,
    /// Whether the lease was over before it was renewed, and the log was not read since: another consumer may have taken
    /// what this one had.
    pub(super) may_have_lost: bool,
    /// How often in a row all races for messages were lost.
    pub(super) lost_rounds: usize,
    /// What this handle has archived last: it may be acknowledged once more.
    archived: BTreeSet<Uid>,
    /// The messages that the app has, as far as they can be found again in a mailbox that was made anew.
    handed_out: BTreeMap<Uid, Identity>,
}

/// A consumer's last entry, since when it has been the last, and the lease that the consumer announces.
#[derive(Clone, Copy, Debug)]
struct LastEntry {
    last: Uid,
    since: Instant,
    lease: Option<Duration>,
}

/// How many archived messages are remembered.
const MAX_ARCHIVED: usize = 10_000;

/// How much longer than a lease a silence must be: clocks do not run alike.
const MARGIN: Duration = Duration::from_secs(1);

impl View {
    /// Begins a UIDVALIDITY, in which this handle has these messages of those that the app has.
    pub(super) fn begin_validity(&mut self, validity: UidValidity, handed_out: BTreeMap<Uid, Identity>) {
        let last_entries = std::mem::take(&mut self.last_entries);
        let (renewed_at, renewal_tried_at) = (self.renewed_at, self.renewal_tried_at);
        *self = Self {
            validity: Some(validity),
            last_entries,
            renewed_at,
            renewal_tried_at,
            handed_out,
            ..Self::default()
        };
    }

    /// Notes what the inbox has.
    pub(super) fn set_present(&mut self, present: &UidSet) {
        // What was archived and is back, by another client's doing, is like any other.
        self.archived.retain(|uid| !present.contains(*uid));
        self.handed_out.retain(|uid, _| present.contains(*uid));
        self.present = Some(present.clone());
        self.is_searched = true;
    }

    /// Returns whether a message may be in the inbox: it was found, or came after the last SEARCH.
    pub(super) fn may_be_present(&self, uid: Uid) -> bool {
        self.present.as_ref().is_none_or(|present| present.contains(uid) || Some(uid) > present.last())
    }

    fn is_gone(&self, uid: Uid) -> bool {
        let is_found = || self.present.as_ref().is_none_or(|present| present.contains(uid));
        self.archived.contains(&uid) || (self.is_searched && !is_found())
    }

    /// Returns the entries that decide nothing any more.
    ///
    /// An entry that was read after the search may be about a message that came after it, and was not there to be
    /// found: it stays until the next search.
    pub(super) fn obsolete(&self, lease: Duration) -> Vec<Uid> {
        let Some(validity) = self.validity else { return Vec::new() };
        let longest = self.last_entries.values().filter_map(|heard| heard.lease).fold(lease, Duration::max);
        // A consumer acts on what it read a tenth of its lease ago at most, and is done within half of it.
        let is_old = |at| self.first_read_at.get(&at).is_some_and(|seen| seen.elapsed() > longest);
        let mut entries = obsolete(&self.entries, validity.get(), |uid| self.is_gone(uid), is_old);
        let elsewhere = self.entries.iter().filter(|entry| entry.validity != validity.get());
        entries.extend(
            elsewhere.filter(|entry| self.time_to_reclaim(entry, lease).is_none()).map(|entry| entry.uid),
        );
        entries
    }

    /// Takes in the whole log.
    pub(super) fn set_entries(&mut self, mut entries: Vec<Entry>, uid_next: u32) {
        let now = Instant::now();
        entries.sort_by_key(|entry| entry.uid);
        entries.dedup_by_key(|entry| entry.uid);
        self.ownership = Ownership::replay(&entries, self.validity.map_or(0, UidValidity::get));
        self.ownership.remove(|uid| self.archived.contains(&uid));
        let mut leases: HashMap<Consumer, Duration> = HashMap::new();
        leases.extend(entries.iter().filter_map(|entry| Some((entry.by, entry.lease?))));
        let heard = |(by, last): (Consumer, Uid)| {
            let same = self.last_entries.get(&by).filter(|before| before.last == last);
            let since = same.map_or(now, |before| before.since);
            (by, LastEntry { last, since, lease: leases.get(&by).copied() })
        };
        self.last_entries = self.ownership.last_entries().map(heard).collect();
        let seen = |at: Uid| (at, self.first_read_at.get(&at).copied().unwrap_or(now));
        self.first_read_at = entries.iter().map(|entry| seen(entry.uid)).collect();
        self.entries = entries;
        self.is_searched = false;
        self.may_have_lost = false;
        self.read_at = Some(now);
        self.uid_next = uid_next;
    }

    /// Notes that these have left the inbox by this handle.
    pub(super) fn remove_archived(&mut self, uids: &UidSet) {
        if self.validity != Some(uids.validity()) {
            return;
        }
        self.ownership.remove(|uid| uids.contains(uid));
        self.handed_out.retain(|uid, _| !uids.contains(*uid));
        self.archived.extend(uids.iter());
        while self.archived.len() > MAX_ARCHIVED {
            self.archived.pop_first();
        }
    }

    /// Returns whether this handle has archived a message.
    pub(super) fn was_archived(&self, validity: UidValidity, uid: Uid) -> bool {
        self.validity == Some(validity) && self.archived.contains(&uid)
    }

    /// Notes that the app has these messages.
    pub(super) fn hand_out(
        &mut self,
        validity: UidValidity,
        messages: impl Iterator<Item = (Uid, Identity)>,
    ) {
        if self.validity == Some(validity) {
            self.handed_out.extend(messages);
        }
    }

    /// Returns the messages that the app has and this handle still has.
    pub(super) fn handed_out(&self, me: Consumer) -> HashSet<Identity> {
        let is_mine = |uid: &Uid| self.ownership.owner(*uid) == Some(me);
        self.handed_out.iter().filter(|(uid, _)| is_mine(uid)).map(|(_, identity)| *identity).collect()
    }

    /// Returns whether a consumer has messages that are in the inbox, as far as this handle knows.
    pub(super) fn has_any(&self, consumer: Consumer) -> bool {
        self.ownership.owned_by(consumer).any(|uid| self.may_be_present(uid))
    }

    pub(super) fn owner(&self, uid: Uid) -> Option<Consumer> {
        self.ownership.owner(uid)
    }

    /// Returns whether this handle's last entry is older than that.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.renewed_at.is_some_and(|renewed| renewed.elapsed() > age)
    }

    /// Returns the messages that a consumer has.
    pub(super) fn owned_by(&self, consumer: Consumer, wanted: &UidSet) -> UidSet {
        self.filter_by_owner(wanted, |owner| owner == Some(consumer))
    }

    /// Returns messages without an owner: the oldest, or some of them when others are after them too.
    pub(super) fn choose_free(&self, me: Consumer, wanted: &UidSet, room: usize) -> UidSet {
        let free = self.filter_by_owner(wanted, |owner| owner.is_none());
        let is_alone = self.last_entries.keys().all(|consumer| *consumer == me);
        let spare = free.len().saturating_sub(room);
        let random = getrandom::u32().unwrap_or(0) as usize;
        let skipped = if is_alone || room == 0 { 0 } else { random % (spare / room.max(1) + 1) * room };
        UidSet::new(free.validity(), free.iter().skip(skipped).take(room))
    }

    /// Returns how to take messages from a consumer that was silent for longer than its lease, and than this one's.
    pub(super) fn take_from_silent(
        &self,
        me: Consumer,
        wanted: &UidSet,
        room: usize,
        lease: Duration,
    ) -> Option<Op> {
        let is_silent = |who: Consumer| {
            let heard = self.last_entries.get(&who)?;
            (who != me && heard.left(lease).is_zero()).then_some((who, heard.last))
        };
        let mut owners = wanted.iter().filter_map(|uid| self.ownership.owner(uid));
        let (from, last_seen) = owners.find_map(is_silent)?;
        let (uids, _) = self.owned_by(from, wanted).first(room);
        Some(Op::Take { from, last_seen, uids })
    }

    /// Returns how long to wait at most for consumers that had messages under another UIDVALIDITY, and have not said
    /// yet which these are now; `None` when there are none.
    pub(super) fn reclaim_wait(&self, me: Consumer, lease: Duration) -> Option<Duration> {
        self.entries
            .iter()
            .filter(|entry| entry.by != me)
            .filter_map(|entry| self.time_to_reclaim(entry, lease))
            .max()
    }

    /// Returns how long the writer of an entry of another UIDVALIDITY may still come back to claim its messages anew;
    /// `None` when it has, when it has said goodbye, or was silent for too long.
    fn time_to_reclaim(&self, entry: &Entry, lease: Duration) -> Option<Duration> {
        let heard = self.last_entries.get(&entry.by)?;
        let last = self.entries.binary_search_by_key(&heard.last, |entry| entry.uid).ok()?;
        let last = &self.entries[last];
        let has_reclaimed =
            Some(last.validity) == self.validity.map(UidValidity::get) || last.op == Op::Release;
        let left = heard.left(lease);
        (Some(entry.validity) != self.validity.map(UidValidity::get) && !has_reclaimed && !left.is_zero())
            .then_some(left)
    }

    /// Returns the leases of other consumers that differ from this one's.
    pub(super) fn other_leases(&self, me: Consumer, lease: Duration) -> BTreeSet<Duration> {
        let others = self.last_entries.iter().filter(|(consumer, _)| **consumer != me);
        others.filter_map(|(_, heard)| heard.lease).filter(|other| *other != lease).collect()
    }

    fn filter_by_owner(&self, wanted: &UidSet, is_so: impl Fn(Option<Consumer>) -> bool) -> UidSet {
        let mut uids = wanted.clone();
        uids.retain(|uid| is_so(self.ownership.owner(uid)));
        uids
    }
}

impl LastEntry {
    /// Returns how much longer it may be silent, for a reader with this lease.
    fn left(&self, lease: Duration) -> Duration {
        let allowed = self.lease.unwrap_or_default().max(lease).saturating_add(MARGIN);
        allowed.saturating_sub(self.since.elapsed())
    }
}
