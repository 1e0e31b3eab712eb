//! Counts of commands and octets, over all connections of a handle.

use super::Stats;

/// Commands and octets of one session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) commands: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Traffic {
    /// Adds two sessions' traffic.
    fn plus(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            sent: self.sent + other.sent,
            received: self.received + other.received,
        }
    }
}

/// Adds up the traffic of earlier sessions and of the current one.
///
/// A session counts for itself, and its counts are taken over after each call. So those of a call that fails are
/// complete, and those of an attempt that does not connect are missing: it has no session.
pub(super) struct TrafficCounter {
    earlier: Traffic,
    current: Traffic,
    reconnects: u64,
    /// The counts that no session keeps; its other fields stay 0.
    counts: Stats,
    #[cfg(feature = "metrics")]
    pub(super) published: super::metrics::Published,
}

impl TrafficCounter {
    /// Begins with the first session.
    pub(super) fn new(current: Traffic) -> Self {
        Self {
            earlier: Traffic::default(),
            current,
            reconnects: 0,
            counts: Stats::default(),
            #[cfg(feature = "metrics")]
            published: super::metrics::Published::default(),
        }
    }

    /// Begins to count a new session.
    pub(super) fn connected(&mut self, traffic: Traffic) {
        self.earlier = self.earlier.plus(self.current);
        self.current = traffic;
        self.reconnects += 1;
    }

    /// Takes in the counts of the current session. Returns `true` if octets were received.
    pub(super) fn update(&mut self, traffic: Traffic) -> bool {
        let has_received = traffic.received != self.current.received;
        self.current = traffic;
        has_received
    }

    /// Returns the counts over all sessions.
    pub(super) fn stats(&self) -> Stats {
        let Traffic { commands, sent, received } = self.earlier.plus(self.current);
        let reconnects = self.reconnects;
        Stats { commands, reconnects, bytes_sent: sent, bytes_received: received, ..self.counts }
    }

    /// Returns the counts that no session keeps, to be changed.
    pub(super) fn counts(&mut self) -> &mut Stats {
        &mut self.counts
    }
}
