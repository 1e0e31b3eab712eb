//! The iterator over all waiting messages, which fetches a batch at a time.

use std::fmt;

use super::cursor::Cursor;
use super::{Delivery, Imap, receive};
use crate::error::Result;
use crate::spans::verb_span;

/// An iterator over all tagged messages in the inbox, oldest first; returned by [`Imap::deliveries`].
///
/// Fetches when the batch before is used up, and holds one batch in memory. After an error it returns `None`; a new
/// iterator begins with the messages that are not acknowledged.
#[must_use = "nothing is fetched before `next`"]
pub struct Deliveries {
    imap: Imap,
    /// The place of the walk: a message that is not acknowledged is not returned twice.
    cursor: Cursor,
    batch: std::vec::IntoIter<Delivery>,
    /// `true` after an error, and after an empty batch.
    has_ended: bool,
}

impl Deliveries {
    pub(super) fn new(imap: Imap) -> Self {
        Self { imap, cursor: Cursor::walk(), batch: Vec::new().into_iter(), has_ended: false }
    }

    /// Returns the next message of the batch. Never blocks.
    #[cfg(feature = "async")]
    pub(crate) fn next_fetched(&mut self) -> Option<Delivery> {
        let mut delivery = self.batch.next()?;
        self.imap.hand_out(std::slice::from_mut(&mut delivery));
        Some(delivery)
    }

    /// Fetches the next batch and returns its first message.
    fn fetch(&mut self) -> Option<Result<Delivery>> {
        if self.has_ended {
            return None;
        }
        let cursor = &mut self.cursor;
        let imap = &self.imap;
        match imap.with_inbox(&verb_span!("imap.fetch"), |inbox, deadline| {
            receive::receive(imap, inbox, cursor, deadline)
        }) {
            Ok(deliveries) => {
                self.has_ended = deliveries.is_empty();
                self.batch = deliveries.into_iter();
                self.batch.next().map(Ok)
            }
            Err(error) => {
                self.has_ended = true;
                Some(Err(error))
            }
        }
    }
}

/// Shows the handle, and the number of messages that are fetched and not yet returned.
impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("imap", &self.imap)
            .field("fetched", &self.batch.len())
            .finish_non_exhaustive()
    }
}

/// Each item is a [`Delivery`], or the error of a fetch, which is the last item.
impl Iterator for Deliveries {
    type Item = Result<Delivery>;

    fn next(&mut self) -> Option<Result<Delivery>> {
        let mut item = self.batch.next().map(Ok).or_else(|| self.fetch());
        item.iter_mut().flatten().for_each(|delivery| self.imap.hand_out(std::slice::from_mut(delivery)));
        item
    }
}

impl std::iter::FusedIterator for Deliveries {}
