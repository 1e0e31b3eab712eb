//! The result of a fetch: a batch of deliveries.

use std::fmt;

use super::{Delivery, Imap};
use crate::error::Result;

/// Messages of one [`fetch`](Imap::fetch), oldest first. They stay in the inbox until [`ack`](Batch::ack).
///
/// The messages of a batch that is dropped without an acknowledgement are delivered again. Iterate over `&batch` for
/// `&Delivery`, over `batch` for `Delivery`.
///
/// ```no_run
/// # fn handle(_: &pymail::Message) {}
/// # fn receive(imap: &pymail::Imap) -> pymail::Result<()> {
/// let batch = imap.fetch()?;
/// for delivery in &batch {
///     if let Ok(message) = delivery.message() {
///         handle(message);
///     }
/// }
/// batch.ack()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is archived before `ack`"]
pub struct Batch {
    imap: Imap,
    deliveries: Vec<Delivery>,
}

impl Batch {
    pub(super) fn new(imap: Imap, deliveries: Vec<Delivery>) -> Self {
        Self { imap, deliveries }
    }

    /// Archives every message of the batch, unreadable ones too, and removes them from the inbox.
    ///
    /// Messages that the server withholds stay there, see [`Delivery::message`]. To acknowledge a part of the batch,
    /// use [`Imap::ack`]. The `ack` of an empty batch is of use, too: it archives duplicates, which are not delivered.
    ///
    /// # Errors
    /// As [`Imap::ack`]. A retry archives no message twice.
    pub fn ack(&self) -> Result<()> {
        self.imap.ack(self)
    }

    /// Returns the number of deliveries, at most [`batch`](crate::ImapConfig::batch).
    #[must_use]
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Returns `true` if no message was waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Returns an iterator over the deliveries, oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Delivery> {
        self.deliveries.iter()
    }

    /// Returns the deliveries, oldest first, without the handle that [`ack`](Batch::ack) uses.
    #[must_use]
    pub fn into_deliveries(self) -> Vec<Delivery> {
        self.deliveries
    }
}

/// Shows the numbers of messages and of unreadable ones, and no mail text.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unreadable = self.iter().filter(|delivery| delivery.message.is_err()).count();
        f.debug_struct("Batch")
            .field("messages", &self.len())
            .field("unreadable", &unreadable)
            .finish_non_exhaustive()
    }
}

impl IntoIterator for Batch {
    type Item = Delivery;
    type IntoIter = std::vec::IntoIter<Delivery>;

    fn into_iter(self) -> Self::IntoIter {
        self.deliveries.into_iter()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Delivery;
    type IntoIter = std::slice::Iter<'a, Delivery>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
