//! Remembers what failed attempts to move mails may have done, so that asking again makes no second copies.

use std::collections::{BTreeSet, HashMap};

use crate::events;
use crate::uid::{Uid, UidSet, UidValidity};

/// How often copies are looked for in vain, when that ends the connection each time: mail is rather archived twice than
/// never.
const MOST_LOOKS: u32 = 10;

/// Moves that are not finished, by the inbox's UIDVALIDITY and the mailbox that the mails were to go to.
#[derive(Debug, Default)]
pub(super) struct Halfway(HashMap<(UidValidity, String), Unfinished>);

#[derive(Debug, Default)]
struct Unfinished {
    /// Mails that a command was sent for whose outcome is unknown, or refused by servers that may have begun.
    doubted: BTreeSet<Uid>,
    /// Mails that are in the other mailbox, and in the inbox too.
    copied: BTreeSet<Uid>,
    looks: u32,
}

impl Halfway {
    fn of(&mut self, uids: &UidSet, mailbox: &str) -> &mut Unfinished {
        self.0.entry((uids.validity(), mailbox.to_owned())).or_default()
    }

    /// Notes that a command for these mails is about to be sent.
    pub(super) fn begin(&mut self, uids: &UidSet, mailbox: &str) {
        self.of(uids, mailbox).doubted.extend(uids.iter());
    }

    /// Notes that these have copies there.
    pub(super) fn copied(&mut self, uids: &UidSet, mailbox: &str) {
        let unfinished = self.of(uids, mailbox);
        unfinished.doubted.retain(|uid| !uids.contains(*uid));
        unfinished.copied.extend(uids.iter());
    }

    /// Forgets these: they have left the inbox, or have no copies there.
    pub(super) fn settle(&mut self, uids: &UidSet, mailbox: &str) {
        let unfinished = self.of(uids, mailbox);
        unfinished.doubted.retain(|uid| !uids.contains(*uid));
        unfinished.copied.retain(|uid| !uids.contains(*uid));
        unfinished.looks = 0;
        self.0.retain(|_, unfinished| !unfinished.doubted.is_empty() || !unfinished.copied.is_empty());
    }

    /// Returns those of these mails that may have copies there, for as long as looking for them is of use.
    pub(super) fn doubted(&mut self, uids: &UidSet, mailbox: &str) -> UidSet {
        let unfinished = self.of(uids, mailbox);
        let mut doubted = uids.clone();
        doubted.retain(|uid| unfinished.doubted.contains(&uid));
        unfinished.looks += u32::from(!doubted.is_empty());
        if unfinished.looks > MOST_LOOKS {
            let (mailbox_name, count) = (mailbox.to_owned(), doubted.len());
            events::emit(move || {
                tracing::warn!(mailbox_name, count, "copies can't be looked for: they may be made twice");
            });
            self.settle(&doubted, mailbox);
            return UidSet::empty(uids.validity());
        }
        doubted
    }

    /// Notes that the server has put off a look, which is no look in vain.
    pub(super) fn is_put_off(&mut self, uids: &UidSet, mailbox: &str) {
        let unfinished = self.of(uids, mailbox);
        unfinished.looks = unfinished.looks.saturating_sub(1);
    }

    /// Returns those of these mails that have copies there.
    pub(super) fn deletable(&mut self, uids: &UidSet, mailbox: &str) -> UidSet {
        let unfinished = self.of(uids, mailbox);
        let mut copied = uids.clone();
        copied.retain(|uid| unfinished.copied.contains(&uid));
        copied
    }

    /// Returns whether any of these mails may have copies there.
    pub(super) fn has_any(&self, uids: &UidSet, mailbox: &str) -> bool {
        let unfinished = self.0.get(&(uids.validity(), mailbox.to_owned()));
        unfinished
            .is_some_and(|it| uids.iter().any(|uid| it.doubted.contains(&uid) || it.copied.contains(&uid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(numbers: &[u32]) -> UidSet {
        UidSet::new(UidValidity::new(7, "inbox"), numbers.iter().filter_map(|&n| Uid::new(n)))
    }

    #[test]
    fn what_is_copied_or_in_doubt_is_known_by_mailbox_and_uidvalidity() {
        let mut halfway = Halfway::default();
        halfway.begin(&uids(&[1, 2, 3]), "archive");
        halfway.copied(&uids(&[2]), "archive");
        assert_eq!(halfway.doubted(&uids(&[1, 2, 9]), "archive"), uids(&[1]));
        assert_eq!(halfway.deletable(&uids(&[1, 2, 9]), "archive"), uids(&[2]));
        let other = UidSet::new(UidValidity::new(8, "inbox"), uids(&[1, 2, 3]).iter());
        assert!(halfway.has_any(&uids(&[3]), "archive"));
        assert!(!halfway.has_any(&other, "archive") && !halfway.has_any(&uids(&[3]), "dead"));
        halfway.settle(&uids(&[1, 2, 3]), "archive");
        assert!(halfway.0.is_empty());
    }

    #[test]
    fn copies_that_can_not_be_looked_for_keep_no_mail_in_the_inbox() {
        let mut halfway = Halfway::default();
        halfway.begin(&uids(&[1]), "archive");
        let looks: usize = (0..50).map(|_| halfway.doubted(&uids(&[1]), "archive").len()).sum();
        assert_eq!(looks, MOST_LOOKS as usize);
    }
}
