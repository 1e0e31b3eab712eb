//! Windows: the portions in which a batch is fetched, bounded in octets.
//!
//! Windows are large, because some servers scan the whole mailbox for each command (Dovecot with maildir).
//!
//! | window | messages | octets of each | octets at most |
//! | --- | --- | --- | --- |
//! | previews, sizes unknown | 128, two windows | 128 KiB | 16 MiB each |
//! | previews | up to 2,048 | 8 times the average: 16 to 128 KiB | 32 MiB |
//! | whole messages, or the rests of messages | by their sizes | `max_message` and one | 8 MiB, or one message |
//!
//! A window of previews has `batch_bytes` at most, too; up to four windows are in flight. Most messages are whole in
//! their previews, so that one round trip fetches them. Of a large one the preview shows the Subject: foreign mail is
//! not fetched whole.

use std::collections::BTreeMap;

use super::inbox::Sizes;
use super::reader::ByteBudget;
use crate::config::ImapConfig;
use crate::python::{Mail, Part, Window, Windows};
use crate::uid::{Uid, UidSet, UidValidity};

/// The most octets of a preview.
const PREVIEW_MAX: usize = 128 << 10;

/// The fewest octets of a preview.
pub(super) const PREVIEW_MIN: usize = 16 << 10;

/// A preview has this many times the average size, so that most messages arrive whole.
const PREVIEW_FACTOR: usize = 8;

/// The most octets of a window of previews.
pub(super) const PREVIEW_WINDOW: usize = 32 << 20;

/// The windows that share `PREVIEW_WINDOW` while the average size is unknown. With two, the server is busy with the
/// second one when the first arrives.
const UNSIZED_WINDOWS: usize = 2;

/// The most octets of a window of whole messages, unless one message has more.
const WHOLE_WINDOW: u64 = 8 << 20;

/// Returns the octets to request of each message, when `wanted` octets would do.
pub(super) fn preview_size(wanted: usize, config: &ImapConfig) -> usize {
    wanted.clamp(PREVIEW_MIN, PREVIEW_MAX).min(config.max_message)
}

/// Returns how many mails, given with their sizes, fit into so many octets: at least one, if there is any.
pub(crate) fn count_fitting(mails: &[(Uid, u64)], octets: u64) -> usize {
    let mut room = octets;
    let fits = mails.iter().take_while(|(_, size)| {
        let before = room;
        room = room.saturating_sub(*size);
        *size <= before
    });
    fits.count().max(1).min(mails.len())
}

/// The windows of previews: the first octets of messages, which most messages fit in.
pub(super) struct Previews<'a> {
    uids: &'a UidSet,
    /// The number of messages requested.
    requested: usize,
    /// The number of windows requested before any size was known.
    unsized_windows: usize,
    /// The sizes known before this fetch.
    before: Sizes,
    /// The octets of all messages of this fetch that arrived.
    arrived_octets: u64,
    /// The number of messages of this fetch that arrived.
    arrived: u64,
    byte_budget: ByteBudget,
    config: &'a ImapConfig,
}

impl<'a> Previews<'a> {
    /// Plans the previews of these messages.
    pub(super) fn new(
        uids: &'a UidSet,
        before: Sizes,
        byte_budget: ByteBudget,
        config: &'a ImapConfig,
    ) -> Self {
        Self {
            uids,
            requested: 0,
            unsized_windows: 0,
            before,
            arrived_octets: 0,
            arrived: 0,
            byte_budget,
            config,
        }
    }

    /// Returns the messages that were not requested.
    pub(super) fn unrequested(&self) -> UidSet {
        self.uids.skip(self.requested)
    }

    /// Returns the sizes known by now; the average is of this fetch, once anything has arrived.
    pub(super) fn sizes(&self) -> Sizes {
        let average = self.arrived_octets.checked_div(self.arrived);
        let average = average.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        Sizes { average: average.or(self.before.average), ..self.before }
    }
}

impl Windows for Previews<'_> {
    fn next(&mut self) -> Option<Window> {
        let Sizes { average, ignores_partial, .. } = self.sizes();
        let is_unsized = average.is_none();
        if self.byte_budget.is_exhausted() || (is_unsized && self.unsized_windows == UNSIZED_WINDOWS) {
            return None; // Further windows wait for the sizes of the first ones.
        }
        self.unsized_windows += usize::from(is_unsized);
        let likely = average.map_or(PREVIEW_MAX, |size| size.saturating_mul(PREVIEW_FACTOR));
        let most = preview_size(likely, self.config);
        let octets = if is_unsized { PREVIEW_WINDOW / UNSIZED_WINDOWS } else { PREVIEW_WINDOW };
        let each = if ignores_partial { likely.clamp(most, PREVIEW_WINDOW) } else { most };
        let count = (octets.min(self.config.batch_bytes) / each).max(1);
        let uids = self.uids.chunk(self.requested, count);
        self.requested += uids.len();
        // Room for one whole message, from a server that ignores `<0.n>`.
        let room = (count * each).max(self.config.max_message + 1);
        (!uids.is_empty()).then_some(Window { uids, part: Part::Whole, most, room })
    }

    fn record(&mut self, mails: &[Mail], asked: usize) {
        for mail in mails {
            self.arrived_octets = self.arrived_octets.saturating_add(mail.size());
            self.arrived += 1;
            self.before.ignores_partial |= mail.exceeds_request(asked);
        }
    }
}

/// The windows of messages that are fetched whole.
pub(super) struct WholeMails<'a> {
    pub(super) validity: UidValidity,
    /// The messages that were not requested yet, with their sizes.
    pub(super) mails: &'a [(Uid, u64)],
    /// The octets that are kept of messages whose rests are requested.
    pub(super) kept: BTreeMap<Uid, usize>,
    pub(super) part: Part,
    pub(super) config: &'a ImapConfig,
}

impl Windows for WholeMails<'_> {
    fn next(&mut self) -> Option<Window> {
        let kept = |(uid, _): &(Uid, u64)| self.kept.get(uid).copied().unwrap_or_default();
        let from = kept(self.mails.first()?);
        let alike = self.mails.iter().take_while(|mail| kept(mail) == from).count();
        let (window, rest) = self.mails.split_at(count_fitting(&self.mails[..alike], WHOLE_WINDOW));
        let part = if from > 0 { Part::Rest(from) } else { self.part };
        self.mails = rest;
        let uids = UidSet::new(self.validity, window.iter().map(|(uid, _)| *uid));
        let most = self.config.max_message + 1 - from;
        let room = most.max(self.config.batch_bytes);
        Some(Window { uids, part, most, room })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_fit_while_their_sizes_sum_up_to_the_room_and_one_always_does() {
        let mails: Vec<_> = (1..=3).filter_map(|number| Some((Uid::new(number)?, 10))).collect();
        let counts = [0, 9, 10, 19, 20, 30, 99].map(|octets| count_fitting(&mails, octets));
        assert_eq!(counts, [1, 1, 1, 1, 2, 3, 3]);
        assert_eq!(count_fitting(&[], 99), 0);
    }
}
