//! The outcomes of failed moves, remembered so that a retry makes no second copy.
//!
//! In memory only. After the end of the process, a message may be in both mailboxes: the next one finds it by its
//! Message-ID, as a duplicate of an archived message, and without MOVE looks for its copy before it archives it.

use std::collections::{BTreeSet, HashMap};

use crate::events;
use crate::uid::{Uid, UidSet, UidValidity};

/// The most searches for copies that each end the connection. After them the messages are moved again, at the risk of a
/// second copy: else they would stay in the inbox for ever.
const MAX_SEARCHES: u32 = 10;

/// Unfinished moves, by the inbox's UIDVALIDITY and the target mailbox.
#[derive(Debug, Default)]
pub(crate) struct UnconfirmedCopies(HashMap<(UidValidity, String), UnfinishedMove>);

/// The messages of one UIDVALIDITY whose move to one mailbox is unfinished.
#[derive(Debug, Default)]
struct UnfinishedMove {
    /// Messages of a MOVE or COPY that got no response, or was refused by a server that may have done a part of it.
    unknown: BTreeSet<Uid>,
    /// Messages that are in both mailboxes.
    copied: BTreeSet<Uid>,
    /// The number of searches for copies since the last one that succeeded.
    searches: u32,
}

impl UnconfirmedCopies {
    /// Returns the unfinished move of these messages, a new one if there is none.
    fn entry(&mut self, uids: &UidSet, mailbox: &str) -> &mut UnfinishedMove {
        self.0.entry((uids.validity(), mailbox.to_owned())).or_default()
    }

    /// Marks messages as unknown; called before MOVE or COPY is sent.
    pub(crate) fn mark_unknown(&mut self, uids: &UidSet, mailbox: &str) {
        self.entry(uids, mailbox).unknown.extend(uids.iter());
    }

    /// Marks messages as copied.
    ///
    /// From now on, these messages are only deleted, and not copied again.
    pub(super) fn mark_copied(&mut self, uids: &UidSet, mailbox: &str) {
        let unfinished = self.entry(uids, mailbox);
        unfinished.unknown.retain(|uid| !uids.contains(*uid));
        unfinished.copied.extend(uids.iter());
    }

    /// Removes messages that have left the inbox, or have no copy in the other mailbox.
    pub(super) fn remove(&mut self, uids: &UidSet, mailbox: &str) {
        let unfinished = self.entry(uids, mailbox);
        unfinished.unknown.retain(|uid| !uids.contains(*uid));
        unfinished.copied.retain(|uid| !uids.contains(*uid));
        unfinished.searches = 0;
        self.0.retain(|_, unfinished| !unfinished.unknown.is_empty() || !unfinished.copied.is_empty());
    }

    /// Returns the messages of the set that are unknown, and counts a search for their copies.
    ///
    /// After [`MAX_SEARCHES`] they are removed, and the result is empty.
    ///
    /// Counted before the search is sent, so that one that ends the connection is counted, too.
    pub(super) fn begin_search(&mut self, uids: &UidSet, mailbox: &str) -> UidSet {
        let unfinished = self.entry(uids, mailbox);
        let mut unknown = uids.clone();
        unknown.retain(|uid| unfinished.unknown.contains(&uid));
        unfinished.searches += u32::from(!unknown.is_empty());
        if unfinished.searches > MAX_SEARCHES {
            let (mailbox_name, count) = (mailbox.to_owned(), unknown.len());
            events::emit(move || {
                tracing::warn!(
                    mailbox_name,
                    count,
                    "copies of an unfinished move can't be searched for: there may be second copies"
                );
            });
            self.remove(&unknown, mailbox);
            return UidSet::empty(uids.validity());
        }
        unknown
    }

    /// Takes the last search back, which the server refused for now.
    pub(super) fn undo_search(&mut self, uids: &UidSet, mailbox: &str) {
        let unfinished = self.entry(uids, mailbox);
        unfinished.searches = unfinished.searches.saturating_sub(1);
    }

    /// Returns the messages of the set that are copied.
    pub(super) fn copied_among(&mut self, uids: &UidSet, mailbox: &str) -> UidSet {
        let unfinished = self.entry(uids, mailbox);
        let mut copied = uids.clone();
        copied.retain(|uid| unfinished.copied.contains(&uid));
        copied
    }

    /// Returns `true` if any message of the set is unknown or copied.
    pub(crate) fn has_any(&self, uids: &UidSet, mailbox: &str) -> bool {
        let unfinished = self.0.get(&(uids.validity(), mailbox.to_owned()));
        unfinished
            .is_some_and(|it| uids.iter().any(|uid| it.unknown.contains(&uid) || it.copied.contains(&uid)))
    }

    /// Returns the messages of the set whose move to any mailbox is unfinished.
    pub(crate) fn among(&self, uids: &UidSet) -> BTreeSet<Uid> {
        let moves = self.0.iter().filter(|((validity, _), _)| *validity == uids.validity());
        let unfinished = moves.flat_map(|(_, it)| it.unknown.iter().chain(&it.copied)).copied();
        unfinished.filter(|uid| uids.contains(*uid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(numbers: &[u32]) -> UidSet {
        UidSet::new(UidValidity::new(7, "inbox"), numbers.iter().filter_map(|&n| Uid::new(n)))
    }

    #[test]
    fn unfinished_moves_are_kept_by_mailbox_and_uidvalidity() {
        let mut copies = UnconfirmedCopies::default();
        copies.mark_unknown(&uids(&[1, 2, 3]), "archive");
        copies.mark_copied(&uids(&[2]), "archive");
        assert_eq!(copies.begin_search(&uids(&[1, 2, 9]), "archive"), uids(&[1]));
        assert_eq!(copies.copied_among(&uids(&[1, 2, 9]), "archive"), uids(&[2]));
        let other = UidSet::new(UidValidity::new(8, "inbox"), uids(&[1, 2, 3]).iter());
        assert!(copies.has_any(&uids(&[3]), "archive"));
        assert!(!copies.has_any(&other, "archive") && !copies.has_any(&uids(&[3]), "dead"));
        copies.remove(&uids(&[1, 2, 3]), "archive");
        assert!(copies.0.is_empty());
    }

    #[test]
    fn after_ten_failed_searches_for_copies_the_messages_are_moved_again() {
        let mut copies = UnconfirmedCopies::default();
        copies.mark_unknown(&uids(&[1]), "archive");
        let searches: usize = (0..50).map(|_| copies.begin_search(&uids(&[1]), "archive").len()).sum();
        assert_eq!(searches, MAX_SEARCHES as usize);
    }
}
