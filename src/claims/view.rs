//! The state of the log as this consumer last read it, and the entries that follow from it.
//!
//! The view is this consumer's memory of times, too: it notes when it has first read each entry. A consumer that has
//! just started therefore waits a whole lease before it takes messages from one that died long ago.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::entry::{Consumer, Entry, Op};
use super::ownership::{Ownership, obsolete};
use crate::message::Identity;
use crate::python::LogPlace;
use crate::uid::{Uid, UidSet, UidValidity};

/// The log as it was last read, and this handle's part in it.
///
/// It may be stale. So each new entry is read back: only the log decides who owns a message.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The UIDVALIDITY of all UIDs of messages here; `None` before the first call.
    ///
    /// When the session's is another one, `enter_validity` begins a new view.
    pub(super) validity: Option<UidValidity>,
    /// All entries, ascending by UID. Their messages are those that may be present; entries of other UIDVALIDITYs have
    /// none.
    entries: Vec<Entry>,
    /// The time of the first read of each entry.
    ///
    /// Has exactly the UIDs of `entries`. Starts anew with a log that was made anew, whose UIDs mean other entries.
    first_read_at: HashMap<Uid, Instant>,
    /// The results of the last SEARCH; `None` before the first one: then any message may be present.
    present: Option<UidSet>,
    /// `true` if the last SEARCH came after the last read of the log: then it would have found all claimed messages.
    is_searched: bool,
    /// By `entries`, without the messages that this handle has archived since.
    ownership: Ownership,
    /// Messages of other consumers to which the log has lost all claims, with the last entries of their owners.
    ///
    /// The messages stay with those owners until the leases have run out, or a claim is in the log again.
    unlogged: HashMap<Uid, LastEntry>,
    /// The time of the last read of the log; `None` before the first one.
    pub(super) read_at: Option<Instant>,
    /// The place up to which the log was read.
    pub(super) place: LogPlace,
    /// Of all consumers that the log names as writers, this one included.
    last_entries: HashMap<Consumer, LastEntry>,
    /// The time just before this handle's last entry was sent; `None` before the first one and after a release. Before,
    /// not after: others count from when they read it, which is later.
    pub(super) renewed_at: Option<Instant>,
    /// The time of the last attempt to renew the lease.
    pub(super) renewal_tried_at: Option<Instant>,
    /// `true` if the lease ran out before it was renewed, and the log was not read since: another consumer may have
    /// taken messages of this handle.
    pub(super) may_have_lost: bool,
    /// The number of calls in a row that lost all races for messages.
    pub(super) lost_rounds: usize,
    /// The newest messages that this handle has archived: the app may acknowledge them again. At most [`MAX_ARCHIVED`],
    /// without those that a SEARCH finds again.
    archived: BTreeSet<Uid>,
    /// The unacknowledged messages that the app has, if they can be found again after a change of UIDVALIDITY.
    handed_out: BTreeMap<Uid, Identity>,
}

/// The last entry of a consumer.
#[derive(Clone, Copy, Debug)]
struct LastEntry {
    uid: Uid,
    /// The time of the first read of the entry, by this consumer's clock: at or after the time of writing.
    since: Instant,
    /// The lease that the consumer announces; `None` for earlier versions.
    lease: Option<Duration>,
}

/// The most archived messages to remember. Those with the lowest UIDs are forgotten first.
const MAX_ARCHIVED: usize = 10_000;

/// The time added to another consumer's lease: clocks do not run at the same rate. Over a lease of a week, this is a
/// difference of 1.6 in a million; over five minutes, of 0.3 %.
const MARGIN: Duration = Duration::from_secs(1);

impl View {
    /// Starts a new UIDVALIDITY, under which the app has these messages.
    ///
    /// Leases go on: the last entries and their times are kept, since others have to claim again before their leases
    /// are over. What is known of messages is dropped. UIDNEXT is forgotten, so that the log counts as changed.
    pub(super) fn begin_validity(&mut self, validity: UidValidity, handed_out: BTreeMap<Uid, Identity>) {
        let last_entries = std::mem::take(&mut self.last_entries);
        let (renewed_at, renewal_tried_at) = (self.renewed_at, self.renewal_tried_at);
        *self = Self {
            validity: Some(validity),
            last_entries,
            renewed_at,
            renewal_tried_at,
            handed_out,
            place: LogPlace { next_uid: 0, ..self.place },
            ..Self::default()
        };
    }

    /// Sets the results of a SEARCH of the whole inbox. From now until the next read of the log, each claimed message
    /// that is not among them is known to be gone.
    pub(super) fn set_present(&mut self, present: &UidSet) {
        // A message that another client has moved back into the inbox is like a new one.
        self.archived.retain(|uid| !present.contains(*uid));
        self.handed_out.retain(|uid, _| present.contains(*uid));
        self.present = Some(present.clone());
        self.is_searched = true;
    }

    /// Returns `true` if a message may be in the inbox: the last SEARCH has found it, or it is newer. UIDs ascend, so
    /// that a higher one than all in the SEARCH may have come after it (RFC 3501, section 2.3.1.1).
    pub(super) fn may_be_present(&self, uid: Uid) -> bool {
        self.present.as_ref().is_none_or(|present| present.contains(uid) || Some(uid) > present.last())
    }

    /// Returns `true` if a message has left the inbox for certain. Not the opposite of
    /// [`may_be_present`](Self::may_be_present): after a read of the log, neither may be known of a message.
    fn is_gone(&self, uid: Uid) -> bool {
        let is_found = || self.present.as_ref().is_none_or(|present| present.contains(uid));
        self.archived.contains(&uid) || (self.is_searched && !is_found())
    }

    /// Returns the entries that can be removed from the log.
    ///
    /// An entry that was read after the last SEARCH is kept until the next one: it may claim a message that is newer
    /// than the SEARCH.
    ///
    /// An entry is old when no consumer can still act on a log without it. Entries of other UIDVALIDITYs are kept while
    /// their writers may still claim again. Takes time in proportion to the UIDs of all entries.
    pub(super) fn obsolete(&self, lease: Duration) -> Vec<Uid> {
        let Some(validity) = self.validity else { return Vec::new() };
        let longest = self.last_entries.values().filter_map(|entry| entry.lease).fold(lease, Duration::max);
        // A consumer acts on a log that it has read at most a tenth of its lease ago, and ends within half of its
        // lease.
        let is_old = |uid| self.first_read_at.get(&uid).is_some_and(|first| first.elapsed() > longest);
        let mut entries = obsolete(&self.entries, validity.get(), |uid| self.is_gone(uid), is_old);
        let others = self.entries.iter().filter(|entry| entry.validity != validity.get());
        entries.extend(
            others.filter(|entry| self.time_to_reclaim(entry, lease).is_none()).map(|entry| entry.uid),
        );
        entries
    }

    /// Replaces the entries by those of the whole log; returns the messages that `me` has to claim again.
    ///
    /// Consumers never remove the last claim to a message that is in the inbox: another client has removed it, or the
    /// log. Its owner claims the message again; until its lease has run out, the others leave the message alone.
    ///
    /// Empty if this handle's lease may have run out: another consumer may have taken the messages, and the claim to
    /// them is what was removed.
    pub(super) fn replace_entries(
        &mut self,
        entries: Vec<Entry>,
        place: LogPlace,
        me: Consumer,
        lease: Duration,
    ) -> Vec<Uid> {
        let claimed: HashSet<Uid> = entries.iter().filter_map(Entry::uids).flat_map(UidSet::iter).collect();
        let is_unlogged =
            |uid: Uid| !claimed.contains(&uid) && self.may_be_present(uid) && !self.is_gone(uid);
        let (mine, others): (Vec<_>, Vec<_>) =
            self.ownership.owners().filter(|(uid, _)| is_unlogged(*uid)).partition(|(_, owner)| *owner == me);
        let mut unlogged = self.unlogged.clone();
        unlogged.retain(|uid, _| is_unlogged(*uid));
        unlogged.extend(
            others.into_iter().filter_map(|(uid, owner)| Some((uid, *self.last_entries.get(&owner)?))),
        );
        let is_held = self.renewed_at.is_some() && !self.may_have_lost && !self.is_older_than(lease);
        self.set_entries(entries, place);
        self.unlogged = unlogged;
        mine.into_iter().filter(|_| is_held).map(|(uid, _)| uid).collect()
    }

    /// Replaces the entries by those of the whole log, and computes the owners.
    fn set_entries(&mut self, mut entries: Vec<Entry>, place: LogPlace) {
        let now = Instant::now();
        // A log that was made anew gives the UIDs of earlier entries to others.
        let is_same_log = place.validity == self.place.validity;
        entries.sort_by_key(|entry| entry.uid);
        entries.dedup_by_key(|entry| entry.uid);
        self.ownership = Ownership::replay(&entries, self.validity.map_or(0, UidValidity::get));
        self.ownership.remove(|uid| self.archived.contains(&uid));
        let mut leases: HashMap<Consumer, Duration> = HashMap::new();
        leases.extend(entries.iter().filter_map(|entry| Some((entry.by, entry.lease?))));
        let last_entry = |(by, uid): (Consumer, Uid)| {
            let same = self.last_entries.get(&by).filter(|before| is_same_log && before.uid == uid);
            let since = same.map_or(now, |before| before.since);
            (by, LastEntry { uid, since, lease: leases.get(&by).copied() })
        };
        self.last_entries = self.ownership.last_entries().map(last_entry).collect();
        let first_read = |uid: Uid| {
            let before = self.first_read_at.get(&uid).filter(|_| is_same_log);
            (uid, before.copied().unwrap_or(now))
        };
        self.first_read_at = entries.iter().map(|entry| first_read(entry.uid)).collect();
        self.entries = entries;
        self.is_searched = false;
        self.may_have_lost = false;
        self.read_at = Some(now);
        self.place = place;
    }

    /// Removes messages that this handle has archived, and remembers them.
    ///
    /// UIDs of another UIDVALIDITY are ignored: the view is of the new one.
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

    /// Returns `true` if this handle has archived the message.
    pub(super) fn was_archived(&self, validity: UidValidity, uid: Uid) -> bool {
        self.validity == Some(validity) && self.archived.contains(&uid)
    }

    /// Adds messages that are handed out to the app. Ignored under another UIDVALIDITY: those messages are not found
    /// again by their UIDs.
    pub(super) fn hand_out(
        &mut self,
        validity: UidValidity,
        messages: impl Iterator<Item = (Uid, Identity)>,
    ) {
        if self.validity == Some(validity) {
            self.handed_out.extend(messages);
        }
    }

    /// Returns the messages that are handed out and that `me` still owns.
    pub(super) fn handed_out(&self, me: Consumer) -> HashSet<Identity> {
        let is_mine = |uid: &Uid| self.ownership.owner(*uid) == Some(me);
        self.handed_out.iter().filter(|(uid, _)| is_mine(uid)).map(|(_, identity)| *identity).collect()
    }

    /// Returns `true` if a consumer owns messages that may be in the inbox. A lease is renewed only then, so that an
    /// idle consumer writes nothing.
    pub(super) fn has_any(&self, consumer: Consumer) -> bool {
        self.ownership.owned_by(consumer).any(|uid| self.may_be_present(uid))
    }

    /// Returns the owner of a message.
    pub(super) fn owner(&self, uid: Uid) -> Option<Consumer> {
        self.ownership.owner(uid)
    }

    /// Returns `true` if this handle's last entry is older than `age`. `false` if it has none that counts: it holds
    /// nothing then.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.renewed_at.is_some_and(|renewed| renewed.elapsed() > age)
    }

    /// Returns the messages of the set that a consumer owns.
    pub(super) fn owned_by(&self, consumer: Consumer, wanted: &UidSet) -> UidSet {
        self.filter_by_owner(wanted, |owner| owner == Some(consumer))
    }

    /// Returns the messages of the set that other consumers own.
    pub(super) fn owned_by_others(&self, me: Consumer, wanted: &UidSet) -> UidSet {
        self.filter_by_owner(wanted, |owner| owner.is_some_and(|owner| owner != me))
    }

    /// Chooses up to `room` messages without an owner: the oldest, or random ones when there are other consumers, so
    /// that they seldom claim the same.
    ///
    /// Each consumer takes a block of `room` messages, at a random multiple of `room`: two blocks of the same size are
    /// the same or have nothing in common. Messages in `unlogged` are not free while their owners' leases run.
    pub(super) fn choose_free(&self, me: Consumer, wanted: &UidSet, room: usize, lease: Duration) -> UidSet {
        let mut free = self.filter_by_owner(wanted, |owner| owner.is_none());
        free.retain(|uid| self.unlogged.get(&uid).is_none_or(|last| last.time_left(lease).is_zero()));
        let is_alone = self.others(me) == 0;
        let spare = free.len().saturating_sub(room);
        let random = getrandom::u32().unwrap_or(0) as usize;
        let skipped = if is_alone || room == 0 { 0 } else { random % (spare / room.max(1) + 1) * room };
        UidSet::new(free.validity(), free.iter().skip(skipped).take(room))
    }

    /// Returns the number of other consumers that have entries in the log.
    pub(super) fn others(&self, me: Consumer) -> usize {
        self.last_entries.keys().filter(|consumer| **consumer != me).count()
    }

    /// Returns the operation that takes messages from a consumer whose lease has run out.
    ///
    /// From one consumer for each entry, the one with the oldest message; up to `room` of its messages. Void in the end
    /// if that consumer writes before this entry arrives: see [`Op::Take`].
    pub(super) fn take_from_silent(
        &self,
        me: Consumer,
        wanted: &UidSet,
        room: usize,
        lease: Duration,
    ) -> Option<Op> {
        let is_silent = |owner: Consumer| {
            let last = self.last_entries.get(&owner)?;
            (owner != me && last.time_left(lease).is_zero()).then_some((owner, last.uid))
        };
        let mut owners = wanted.iter().filter_map(|uid| self.ownership.owner(uid));
        let (from, last_seen) = owners.find_map(is_silent)?;
        let (uids, _) = self.owned_by(from, wanted).first(room);
        Some(Op::Take { from, last_seen, uids })
    }

    /// Returns the longest wait for other consumers that had messages under another UIDVALIDITY and may still claim
    /// them under the new UIDs; `None` if there are none.
    ///
    /// The wait is for leases and a second at most. It protects the messages that the app of another consumer still
    /// has, and whose claims under the earlier UIDs mean nothing.
    pub(super) fn reclaim_wait(&self, me: Consumer, lease: Duration) -> Option<Duration> {
        self.entries
            .iter()
            .filter(|entry| entry.by != me)
            .filter_map(|entry| self.time_to_reclaim(entry, lease))
            .max()
    }

    /// Returns the time that the writer of an entry of another UIDVALIDITY has left to claim its messages again.
    ///
    /// `None` if it has done so, has released them, or has let its lease run out.
    fn time_to_reclaim(&self, entry: &Entry, lease: Duration) -> Option<Duration> {
        let last_entry = self.last_entries.get(&entry.by)?;
        let index = self.entries.binary_search_by_key(&last_entry.uid, |entry| entry.uid).ok()?;
        let last = &self.entries[index];
        let has_reclaimed =
            Some(last.validity) == self.validity.map(UidValidity::get) || last.op == Op::Release;
        let left = last_entry.time_left(lease);
        (Some(entry.validity) != self.validity.map(UidValidity::get) && !has_reclaimed && !left.is_zero())
            .then_some(left)
    }

    /// Returns the leases of other consumers that differ from this handle's. Used for a warning only: the longer lease
    /// counts in any case.
    pub(super) fn other_leases(&self, me: Consumer, lease: Duration) -> BTreeSet<Duration> {
        let others = self.last_entries.iter().filter(|(consumer, _)| **consumer != me);
        others.filter_map(|(_, entry)| entry.lease).filter(|other| *other != lease).collect()
    }

    /// Returns the messages of the set whose owner fits.
    fn filter_by_owner(&self, wanted: &UidSet, fits: impl Fn(Option<Consumer>) -> bool) -> UidSet {
        let mut uids = wanted.clone();
        uids.retain(|uid| fits(self.ownership.owner(uid)));
        uids
    }
}

impl LastEntry {
    /// Returns the time until the consumer's lease runs out, for a reader with this lease: the longer of the two
    /// counts.
    ///
    /// Zero once its messages may be taken.
    fn time_left(&self, lease: Duration) -> Duration {
        let allowed = self.lease.unwrap_or_default().max(lease).saturating_add(MARGIN);
        allowed.saturating_sub(self.since.elapsed())
    }
}
