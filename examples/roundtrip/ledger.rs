//! Records each message's outcome as sender, receiver and server report it.

use pymail::{Delivery, ErrorKind, Receipt};
use serde::Serialize;

use crate::mail::Plan;

/// The records of a run, one for each message.
pub(crate) struct Ledger {
    pub(crate) plan: Plan,
    entries: Vec<Entry>,
    /// The number of deliveries that can't be parsed, or have an id that was never sent.
    unexpected: usize,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    sent: Sent,
    delivered: usize,
    archived: usize,
    left: usize,
    altered: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Sent {
    #[default]
    NotYet,
    Accepted,
    Unknown,
    Failed,
}

/// The figures on the last line of output.
#[derive(Serialize)]
pub(crate) struct Figures {
    sent: usize,
    received: usize,
    lost: usize,
    duplicates: usize,
    altered: usize,
    foreign_touched: usize,
    seconds: f64,
}

impl Ledger {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { entries: vec![Entry::default(); plan.messages], plan, unexpected: 0 }
    }

    /// Records the result of sending a message.
    pub(crate) fn sent(&mut self, index: usize, outcome: &pymail::Result<Receipt>) {
        self.entries[index].sent = match outcome {
            Ok(_) => Sent::Accepted,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => Sent::Unknown,
            Err(_) => Sent::Failed,
        };
    }

    /// Records a delivery; returns `true` for the first one of its id.
    pub(crate) fn delivered(&mut self, delivery: &Delivery) -> bool {
        let message = delivery.message().ok();
        let Some((index, message)) = message.and_then(|it| Some((self.plan.index(&it.id)?, it))) else {
            self.unexpected += 1;
            return false;
        };
        let entry = &mut self.entries[index];
        entry.altered |= !self.plan.has(index, message);
        entry.delivered += 1;
        entry.delivered == 1
    }

    /// Marks all messages without a report as failed, after the sender has ended.
    pub(crate) fn no_more_is_sent(&mut self) {
        let not_yet = self.entries.iter_mut().filter(|entry| entry.sent == Sent::NotYet);
        not_yet.for_each(|entry| entry.sent = Sent::Failed);
    }

    /// Returns `true` if the sender has reported every message.
    pub(crate) fn is_sent(&self) -> bool {
        self.entries.iter().all(|entry| entry.sent != Sent::NotYet)
    }

    /// Returns `true` if every message is reported, and has been delivered unless it failed.
    pub(crate) fn is_complete(&self) -> bool {
        let is_settled = |entry: &Entry| entry.delivered > 0 || entry.sent == Sent::Failed;
        self.is_sent() && self.entries.iter().all(is_settled)
    }

    /// Records a mail in the archive.
    pub(crate) fn archived(&mut self, raw: &[u8], tag: &str) {
        match self.plan.index_in(raw, tag) {
            Some(index) => {
                self.entries[index].archived += 1;
                self.entries[index].altered |= !self.plan.has_in(index, raw);
            }
            None => self.unexpected += 1,
        }
    }

    /// Records a mail that is still in the inbox.
    pub(crate) fn left(&mut self, raw: &[u8], tag: &str) {
        if let Some(index) = self.plan.index_in(raw, tag) {
            self.entries[index].left += 1;
        }
    }

    pub(crate) fn figures(&self, foreign_touched: usize, seconds: f64) -> Figures {
        let count = |is: fn(&&Entry) -> bool| self.entries.iter().filter(is).count();
        let surplus = |entry: &Entry| entry.delivered.max(entry.archived + entry.left).saturating_sub(1);
        Figures {
            sent: count(|entry| entry.sent == Sent::Accepted),
            received: count(|entry| entry.delivered > 0),
            lost: count(|entry| entry.delivered == 0 || entry.archived == 0),
            duplicates: self.entries.iter().map(surplus).sum(),
            altered: count(|entry| entry.altered) + self.unexpected,
            foreign_touched,
            seconds: (seconds * 1_000.0).round() / 1_000.0,
        }
    }
}

impl Figures {
    /// Returns `true` if no message was lost, duplicated or altered, and no foreign mail touched.
    pub(crate) fn are_good(&self) -> bool {
        self.lost + self.duplicates + self.altered + self.foreign_touched == 0
    }
}
