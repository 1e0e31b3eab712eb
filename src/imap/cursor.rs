//! A position in the inbox, valid for one UIDVALIDITY.
//!
//! A fetch begins with a new cursor, so that it returns the same messages again. A walk keeps one cursor, and returns
//! each message once.

use crate::config::ImapConfig;
use crate::uid::{Uid, UidValidity};

/// The most messages that a consumer fetches at a time with `dead_letters`: each fetch counts a delivery of all of them,
/// also of those that the app does not get, if it ends.
const MAX_COUNTED: usize = 10;

/// The progress of one fetch, or of a walk through the whole inbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    /// Under another UIDVALIDITY the walk begins anew: messages may come a second time, and none is left out.
    validity: Option<UidValidity>,
    /// The highest UID that was read, or chosen; `None` at the beginning.
    last: Option<Uid>,
    /// UIDs up to `last` that are still to fetch, ascending.
    ///
    /// Messages without room in the batch, for example. Searched by halves, so that they must stay in order.
    skipped: Vec<Uid>,
    purpose: Purpose,
}

/// The messages that a cursor leaves out.
#[derive(Clone, Copy, Debug, Default)]
enum Purpose {
    /// Those that are delayed, and withheld ones that are not due.
    #[default]
    Fetch,
    /// None.
    Walk,
    /// Those in flight, too; and no more than so many.
    Consume(usize),
}

impl Cursor {
    /// Begins a walk, which returns every message once, withheld ones as errors.
    pub(super) fn walk() -> Self {
        Self { purpose: Purpose::Walk, ..Self::default() }
    }

    /// Moves to `last`, except for the UIDs that were skipped.
    ///
    /// `skipped` must be ascending, with no UID above `last`.
    pub(super) fn advance(&mut self, validity: UidValidity, last: Option<Uid>, skipped: Vec<Uid>) {
        *self = Self { validity: Some(validity), last, skipped, purpose: self.purpose };
    }

    /// Returns `true` for the cursor of a walk.
    pub(super) fn is_walk(&self) -> bool {
        matches!(self.purpose, Purpose::Walk)
    }

    /// Begins the fetch of a consumer, when there may be `room` more messages in flight.
    pub(crate) fn consumer(room: usize, config: &ImapConfig) -> Self {
        let most = if config.dead_letters.is_some() { MAX_COUNTED } else { usize::MAX };
        Self { purpose: Purpose::Consume(room.min(most)), ..Self::default() }
    }

    /// Returns `true` for a cursor that leaves out the messages in flight.
    pub(super) fn is_consumer(&self) -> bool {
        matches!(self.purpose, Purpose::Consume(_))
    }

    /// Returns the most messages of one fetch, given those of a batch.
    pub(super) fn most(&self, batch: usize) -> usize {
        match self.purpose {
            Purpose::Consume(room) => room.min(batch),
            Purpose::Fetch | Purpose::Walk => batch,
        }
    }

    /// Returns the skipped UIDs and the last UID passed; neither under another UIDVALIDITY.
    pub(super) fn position(&self, validity: UidValidity) -> (&[Uid], Option<Uid>) {
        if self.validity == Some(validity) { (&self.skipped, self.last) } else { (&[], None) }
    }
}
