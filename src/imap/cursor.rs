//! A place in the inbox, in one life of it.

use crate::uid::{Uid, UidValidity};

/// How far a walk through the inbox, or one fetch, has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    validity: Option<UidValidity>,
    last: Option<Uid>,
    /// Ascending.
    left: Vec<Uid>,
    is_a_walk: bool,
}

impl Cursor {
    /// Begins a walk, which meets each message, withheld ones too.
    pub(super) fn walk() -> Self {
        Self { is_a_walk: true, ..Self::default() }
    }

    /// Goes on to `last`, but for those that were left.
    pub(super) fn go_to(&mut self, validity: UidValidity, last: Option<Uid>, left: Vec<Uid>) {
        *self = Self { validity: Some(validity), last, left, is_a_walk: self.is_a_walk };
    }

    pub(super) fn is_a_walk(&self) -> bool {
        self.is_a_walk
    }

    /// What was left, and the last one that was come to; nothing in another life of the mailbox.
    pub(super) fn at(&self, validity: UidValidity) -> (&[Uid], Option<Uid>) {
        if self.validity == Some(validity) { (&self.left, self.last) } else { (&[], None) }
    }
}
