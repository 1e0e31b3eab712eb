//! The feature `metrics`: the counts of `stats()`, for the recorder of the app (crate `metrics`).
//!
//! A recorder is code of the app: it runs when all locks are released, and a panic of it ends here. It gets the
//! differences from the counts that it has got before, taken just before it runs. So the changes of a call that panics,
//! whose events are lost, come with the next call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Label, Unit};
use parking_lot::Mutex;

use super::Stats;
use super::session::ServerName;
use super::traffic::TrafficCounter;
use crate::events;

const DEPTH: &str = "pymail_depth";
const PUSH_LATENCY: &str = "pymail_push_latency_seconds";

const IMAP: &[&str] = &["imap"];
const SMTP: &[&str] = &["smtp"];
const BOTH: &[&str] = &["imap", "smtp"];

/// A count of [`Stats`] as a counter.
struct Counter {
    name: &'static str,
    unit: Unit,
    /// The protocols whose handles have it.
    protocols: &'static [&'static str],
    text: &'static str,
    of: fn(&Stats) -> u64,
}

/// Makes a counter with the name of its field.
macro_rules! counter {
    ($field:ident, $unit:ident, $protocols:expr, $text:literal) => {
        Counter {
            name: concat!("pymail_", stringify!($field), "_total"),
            unit: Unit::$unit,
            protocols: $protocols,
            text: $text,
            of: |stats| stats.$field,
        }
    };
}

static COUNTERS: [Counter; 15] = [
    counter!(commands, Count, BOTH, "Commands sent."),
    counter!(reconnects, Count, BOTH, "Connections made after the first of a handle."),
    counter!(bytes_sent, Bytes, BOTH, "Octets sent, before encryption."),
    counter!(bytes_received, Bytes, BOTH, "Octets received, after decryption."),
    counter!(refused, Count, BOTH, "Refusals by the server."),
    counter!(sent, Count, SMTP, "Messages accepted by the server."),
    counter!(withheld, Count, IMAP, "Failed attempts to fetch a single message."),
    counter!(unreadable, Count, IMAP, "Deliveries that could not be read, or were too large."),
    counter!(dead_letters, Count, IMAP, "Messages moved to the dead letters."),
    counter!(archive_unread, Count, IMAP, "Failed attempts to read the archive."),
    counter!(received, Count, IMAP, "Deliveries that the app got."),
    counter!(redelivered, Count, IMAP, "Deliveries that the app got, of messages delivered before."),
    counter!(acknowledged, Count, IMAP, "Messages acknowledged."),
    counter!(returned, Count, IMAP, "Deliveries returned by nack and reject."),
    counter!(duplicates, Count, IMAP, "Copies that were not delivered."),
];

/// The counts that the recorder has got, of one connection.
#[derive(Default)]
pub(super) struct Published {
    labels: Vec<Label>,
    /// `None` before the first time.
    counts: Option<Stats>,
    /// `true` for a closed connection, which has no depth.
    has_ended: bool,
}

/// Sets the labels, and has the recorder get the first counts.
pub(super) fn begin(traffic: &Arc<Mutex<TrafficCounter>>, server: &ServerName) {
    let ServerName { protocol, host, port } = server;
    let name = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    traffic.lock().published.labels = vec![Label::new("protocol", *protocol), Label::new("server", name)];
    publish(traffic);
}

/// Takes the depth back, which is the sum of all open handles.
pub(super) fn end(traffic: &Arc<Mutex<TrafficCounter>>) {
    traffic.lock().published.has_ended = true;
    publish(traffic);
}

/// Has the recorder get a duration; the counts come from [`publish`].
pub(super) fn add_latency(traffic: &Arc<Mutex<TrafficCounter>>, latency: Duration) {
    let labels = traffic.lock().published.labels.clone();
    events::emit(move || guarded(|| metrics::histogram!(PUSH_LATENCY, labels).record(latency)));
}

/// Has the recorder get the changes of the counts.
pub(super) fn publish(traffic: &Arc<Mutex<TrafficCounter>>) {
    let traffic = Arc::clone(traffic);
    events::emit(move || {
        let Some((before, now, labels)) = take_change(&mut traffic.lock()) else { return };
        if before.is_none() {
            guarded(describe);
        }
        let protocol = labels.first().map_or("", Label::value);
        for counter in COUNTERS.iter().filter(|counter| counter.protocols.contains(&protocol)) {
            let change = (counter.of)(&now).saturating_sub(before.as_ref().map_or(0, counter.of));
            if change > 0 || before.is_none() {
                guarded(|| metrics::counter!(counter.name, labels.clone()).increment(change));
            }
        }
        let before = before.unwrap_or_default();
        if now.depth != before.depth {
            let change = number(now.depth) - number(before.depth);
            guarded(|| metrics::gauge!(DEPTH, labels).increment(change));
        }
    });
}

/// Returns the counts that the recorder has got, and those that it gets now, with their labels; `None` if they are equal.
fn take_change(traffic: &mut TrafficCounter) -> Option<(Option<Stats>, Stats, Vec<Label>)> {
    let mut now = traffic.stats();
    let published = &mut traffic.published;
    if published.has_ended {
        now.depth = None;
    }
    let before = published.counts.replace(now);
    (before != Some(now)).then(|| (before, now, published.labels.clone()))
}

fn number(depth: Option<u64>) -> f64 {
    f64::from(u32::try_from(depth.unwrap_or(0)).unwrap_or(u32::MAX))
}

/// Describes all metrics, for a recorder that may be newer than the last handle.
fn describe() {
    for Counter { name, unit, text, .. } in &COUNTERS {
        metrics::describe_counter!(*name, *unit, *text);
    }
    let text = "Tagged messages in the inbox by the last SEARCH, of all open handles.";
    metrics::describe_gauge!(DEPTH, Unit::Count, text);
    let text = "The time from an announcement by the server to the first delivery after it.";
    metrics::describe_histogram!(PUSH_LATENCY, Unit::Seconds, text);
}

/// Runs the recorder. A panic of it is an event.
fn guarded(record: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(record)).is_err() {
        tracing::warn!("the recorder of metrics has panicked: it has not got a count");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Traffic;

    #[test]
    fn the_changes_of_a_call_that_panics_come_with_the_next_call() {
        let traffic = Arc::new(Mutex::new(TrafficCounter::new(Traffic::default())));
        begin(&traffic, &ServerName::default());
        let receive = || {
            traffic.lock().counts().received += 1;
            publish(&traffic);
        };
        let panicking = || {
            events::deferred(|| {
                receive();
                panic!("scripted")
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        let mut change = None;
        events::deferred(|| {
            receive();
            change = take_change(&mut traffic.lock());
        });
        let (before, now, _) = change.unwrap();
        assert_eq!((before.unwrap().received, now.received), (0, 2));
        assert!(take_change(&mut traffic.lock()).is_none());
    }
}
