//! The identities of acknowledged messages, by which duplicates are recognized.
//!
//! The archive is the memory that outlives the process; this is the part of it that is compared, `dedup_window`
//! messages at most, of 32 octets each and the room of a hash table.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

mod archived_ids;

pub(crate) use self::archived_ids::load_archived_ids;
use crate::backoff::retry_delay;
use crate::message::{Identity, IdentityHasher};
use crate::python::{ImapSession, Since};

/// The messages acknowledged last, by this handle, by an earlier one, or by another consumer.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// The number of identities to keep; 0 keeps none. `ImapConfig::dedup_window`, 10,000 by default.
    capacity: usize,
    /// `true` if other consumers archive, too.
    is_shared: bool,
    /// The position up to which the archive was read; `None` before the first read.
    read_until: Option<Since>,
    /// Failed reads of the archive in a row.
    failures: u32,
    /// The earliest time of the next read after a failed one.
    retry_at: Option<Instant>,
    /// Has the same elements as `order`.
    identities: HashSet<Identity, IdentityHasher>,
    /// The same identities, oldest first.
    order: VecDeque<Identity>,
    /// Messages to deliver again, though the archive has them.
    forgotten: HashSet<Identity, IdentityHasher>,
}

impl Acknowledged {
    /// Creates an empty set that keeps the newest `capacity` identities.
    pub(crate) fn new(capacity: usize, is_shared: bool) -> Self {
        Self { capacity, is_shared, ..Self::default() }
    }

    /// Returns how many messages of the archive to read, and from where; `None` if no read is due.
    ///
    /// One read is enough, unless other consumers archive, too. After a failed read, none is due until its backoff is
    /// over.
    fn next_read(&self) -> Option<(usize, Option<Since>)> {
        let is_backing_off = self.retry_at.is_some_and(|moment| Instant::now() < moment);
        let is_wanted = self.capacity > 0 && (self.is_shared || self.read_until.is_none()) && !is_backing_off;
        is_wanted.then_some((self.capacity, self.read_until))
    }

    /// Returns `true` if the archive has to be read: not if all is known, if it is empty, or while the wait after a failure
    /// is not over.
    pub(crate) fn is_read_due(&mut self, session: &ImapSession) -> bool {
        if self.next_read().is_none() {
            return false;
        }
        let is_empty = session.archive_is_empty() && !self.is_shared;
        if is_empty {
            self.load(Default::default(), []);
        }
        !is_empty
    }

    /// Postpones the next read of the archive, after one that failed and took this long.
    fn postpone_read(&mut self, took: Duration, backoff: (Duration, Duration)) {
        self.retry_at = Some(Instant::now() + retry_delay(self.failures, took, backoff));
        self.failures += 1;
    }

    /// Adds identities read from the archive, oldest first.
    ///
    /// Messages that this handle acknowledged before the first read are newer than those.
    fn load(&mut self, read_until: Since, archived: impl IntoIterator<Item = Identity>) {
        let newer = if self.read_until.is_none() { std::mem::take(&mut self.order) } else { VecDeque::new() };
        self.read_until = Some(read_until);
        (self.failures, self.retry_at) = (0, None);
        for identity in &newer {
            self.identities.remove(identity);
        }
        let forgotten = std::mem::take(&mut self.forgotten);
        let archived = archived.into_iter().filter(|identity| !forgotten.contains(identity));
        archived.chain(newer).for_each(|identity| self.add(identity));
        self.forgotten = forgotten;
    }

    /// Adds a message acknowledged now; drops the oldest one over the capacity.
    ///
    /// An identity that is known keeps its place: it is forgotten as early as its first copy.
    pub(crate) fn add(&mut self, identity: Identity) {
        self.forgotten.remove(&identity);
        if self.capacity == 0 || !self.identities.insert(identity) {
            return;
        }
        self.order.push_back(identity);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.identities.remove(&oldest);
        }
    }

    /// Forgets messages that are to be delivered again, until they are acknowledged again. What the archive has of them
    /// does not count: it may be read later.
    pub(crate) fn forget(&mut self, identities: impl IntoIterator<Item = Identity>) {
        let gone: HashSet<_, IdentityHasher> = identities.into_iter().collect();
        self.identities.retain(|identity| !gone.contains(identity));
        self.order.retain(|identity| !gone.contains(identity));
        self.forgotten.extend(gone);
    }

    /// Returns `true` if a message with this identity was acknowledged.
    pub(crate) fn contains(&self, identity: Identity) -> bool {
        self.identities.contains(&identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(n: u32) -> Identity {
        Identity::read(format!("Message-ID: <{n}@example.org>\r\nSubject: TAG {n}\r\n\r\n").as_bytes())
            .unwrap()
    }

    #[test]
    fn the_newest_identities_are_kept_and_the_archive_is_older() {
        let mut acknowledged = Acknowledged::new(3, false);
        acknowledged.add(identity(9));
        acknowledged.load((1, 3), [1, 2, 3].map(identity));
        let contained =
            |acknowledged: &Acknowledged| [1, 2, 3, 4, 9].map(|n| acknowledged.contains(identity(n)));
        assert_eq!(contained(&acknowledged), [false, true, true, false, true]);
        acknowledged.add(identity(4));
        assert_eq!(contained(&acknowledged), [false, false, true, true, true]);
        assert_eq!(acknowledged.next_read(), None);
        let mut shared = Acknowledged::new(3, true);
        assert_eq!(shared.next_read(), Some((3, None)));
        shared.load((1, 3), [identity(1)]);
        assert_eq!(shared.next_read(), Some((3, Some((1, 3)))));
    }

    #[test]
    fn with_a_capacity_of_0_nothing_is_kept_or_read() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.add(identity(1));
        assert!(!acknowledged.contains(identity(1)) && acknowledged.next_read().is_none());
    }

    #[test]
    fn a_forgotten_message_stays_so_when_the_archive_is_read_later_and_until_it_is_acknowledged_again() {
        let mut acknowledged = Acknowledged::new(3, false);
        acknowledged.forget([identity(2)]);
        acknowledged.load((1, 3), [1, 2].map(identity));
        assert_eq!([1, 2].map(|n| acknowledged.contains(identity(n))), [true, false]);
        acknowledged.add(identity(2));
        assert!(acknowledged.contains(identity(2)));
        acknowledged.load((1, 4), [2].map(identity));
        assert!(acknowledged.contains(identity(2)));
    }
}
