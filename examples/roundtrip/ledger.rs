//! What became of each message, by the word of sender, receiver and server.

use pymail::{Delivery, ErrorKind, Receipt};
use serde::Serialize;

use crate::mail::Plan;

/// An entry a message.
pub(crate) struct Ledger {
    pub(crate) plan: Plan,
    entries: Vec<Entry>,
    /// Deliveries that can't be read, or have an id that was never sent.
    strange: usize,
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
    Perhaps,
    NotAtAll,
}

/// The last line.
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
        Self { entries: vec![Entry::default(); plan.messages], plan, strange: 0 }
    }

    /// What came of sending a message.
    pub(crate) fn sent(&mut self, index: usize, outcome: &pymail::Result<Receipt>) {
        self.entries[index].sent = match outcome {
            Ok(_) => Sent::Accepted,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => Sent::Perhaps,
            Err(_) => Sent::NotAtAll,
        };
    }

    /// A message as it was received; whether it is the first of its id.
    pub(crate) fn delivered(&mut self, delivery: &Delivery) -> bool {
        let message = delivery.message().ok();
        let Some((index, message)) = message.and_then(|it| Some((self.plan.index(&it.id)?, it))) else {
            self.strange += 1;
            return false;
        };
        let entry = &mut self.entries[index];
        entry.altered |= !self.plan.has(index, message);
        entry.delivered += 1;
        entry.delivered == 1
    }

    /// The sender has ended: what it did not report was not sent.
    pub(crate) fn no_more_is_sent(&mut self) {
        let not_yet = self.entries.iter_mut().filter(|entry| entry.sent == Sent::NotYet);
        not_yet.for_each(|entry| entry.sent = Sent::NotAtAll);
    }

    /// Whether it is known of every message what came of sending it.
    pub(crate) fn is_sent(&self) -> bool {
        self.entries.iter().all(|entry| entry.sent != Sent::NotYet)
    }

    /// Whether, besides, every message that may come has come.
    pub(crate) fn is_complete(&self) -> bool {
        let has_come = |entry: &Entry| entry.delivered > 0 || entry.sent == Sent::NotAtAll;
        self.is_sent() && self.entries.iter().all(has_come)
    }

    /// A mail that is in the archive.
    pub(crate) fn archived(&mut self, raw: &[u8], tag: &str) {
        match self.plan.index_in(raw, tag) {
            Some(index) => {
                self.entries[index].archived += 1;
                self.entries[index].altered |= !self.plan.has_in(index, raw);
            }
            None => self.strange += 1,
        }
    }

    /// A mail that is still in the inbox.
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
            altered: count(|entry| entry.altered) + self.strange,
            foreign_touched,
            seconds: (seconds * 1_000.0).round() / 1_000.0,
        }
    }
}

impl Figures {
    /// Whether nothing went wrong.
    pub(crate) fn are_good(&self) -> bool {
        self.lost + self.duplicates + self.altered + self.foreign_touched == 0
    }
}
