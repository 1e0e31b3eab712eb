//! Deliveries at the moment when the app gets them: counted.

use std::time::Instant;

use super::{Delivery, Imap};

impl Imap {
    /// Counts deliveries, each at the moment when the app gets it.
    pub(super) fn hand_out(&self, deliveries: &[Delivery]) {
        if deliveries.is_empty() {
            return;
        }
        let copies: usize = deliveries.iter().map(|it| it.duplicates.len()).sum();
        let again = deliveries.iter().filter(|it| it.count > 1).count();
        self.connection.count(|counts| {
            counts.received += deliveries.len() as u64;
            counts.redelivered += again as u64;
            counts.duplicates += copies as u64;
        });
    }

    /// Counts the time since the announcement of a delivery that the app gets now.
    pub(super) fn hand_out_announced(&self, delivery: &Delivery, announced: Option<Instant>) {
        if let Some(announced) = announced {
            self.connection.count_latency(announced.elapsed());
        }
        self.hand_out(std::slice::from_ref(delivery));
    }
}
