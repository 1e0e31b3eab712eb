//! Deliveries at the moment when the app gets them: counted, each with a span.

use std::time::Instant;

use tracing::Span;
use tracing::field::{Empty, display};

use super::{Delivery, Imap};
use crate::spans;

impl Imap {
    /// Counts deliveries, and begins their spans, at the moment when the app gets them.
    pub(crate) fn hand_out(&self, deliveries: &mut [Delivery]) {
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
        for delivery in deliveries {
            delivery.span = span(delivery);
        }
    }

    /// Hands one delivery out, and counts the time since its announcement.
    pub(crate) fn hand_out_announced(&self, delivery: &mut Delivery, announced: Option<Instant>) {
        self.hand_out(std::slice::from_mut(delivery));
        if let Some(latency) = announced.map(|at| at.elapsed()) {
            self.connection.count_latency(latency);
            delivery.span.record("latency_ms", latency.as_secs_f64() * 1e3);
        }
    }
}

/// Makes the span of a delivery, at the level `DEBUG`: it ends when the app drops the delivery.
///
/// Without the message's id, which is the app's own text and may name people. UID and UIDVALIDITY name the mail on the
/// server; the hash of its Message-ID names it in the logs of several processes.
fn span(delivery: &Delivery) -> Span {
    let (uid, uid_validity, count) = (delivery.uid.get(), delivery.validity.get(), delivery.count);
    let span = tracing::debug_span!(
        "imap.delivery",
        uid,
        uid_validity,
        count,
        size = Empty,
        message_hash = Empty,
        latency_ms = Empty,
        error = Empty
    );
    match &delivery.message {
        _ if span.is_disabled() => {}
        Ok(message) => {
            span.record("size", message.body.len());
            let hash = spans::hash(&message.message_id().to_string());
            span.record("message_hash", display(format_args!("{hash:016x}")));
        }
        Err(error) => {
            span.record("error", tracing::field::debug(error.kind()));
        }
    }
    span
}
