//! A place in the inbox, in one life of it.

use crate::uid::{Uid, UidValidity};

/// How far somebody has come who walks through the inbox.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    validity: Option<UidValidity>,
    last: Option<Uid>,
    left: Vec<Uid>,
}

impl Cursor {
    /// Up to `last`, but for those that were left.
    pub(super) fn new(validity: UidValidity, last: Option<Uid>, left: Vec<Uid>) -> Self {
        Self { validity: Some(validity), last, left }
    }

    /// Comes back to these.
    pub(super) fn back_to(&mut self, uids: Vec<Uid>) {
        self.left.extend(uids);
        self.left.sort_unstable();
        self.left.dedup();
    }

    /// What was left, and the last one that was come to; nothing in another life of the mailbox.
    pub(super) fn at(&self, validity: UidValidity) -> (&[Uid], Option<Uid>) {
        if self.validity == Some(validity) { (&self.left, self.last) } else { (&[], None) }
    }
}
