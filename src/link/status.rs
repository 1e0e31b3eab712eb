//! What a handle tells of its connection.

use serde::Serialize;

use crate::error::ErrorKind;

/// What a handle's connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum State {
    /// Logged in, as far as anybody has noticed.
    Connected,
    /// Lost; the next verb, or the heartbeat, makes a new connection.
    Disconnected,
    /// Lost, and the server asked to be left alone for a while, or refused the login without saying that the credentials are
    /// wrong: until then no connection is made.
    Throttled,
    /// The server said that the credentials are wrong; this handle does not try them again. Make a new one.
    Refused,
    /// Stopped by `stop`.
    Stopped,
}

/// How a handle is doing: see [`Imap::status`](crate::Imap::status) and [`Smtp::status`](crate::Smtp::status).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// What the connection is doing.
    pub state: State,
    /// The last failure of the connection, since the handle was made.
    pub last_error: Option<String>,
    /// The kind of that failure.
    pub last_error_kind: Option<ErrorKind>,
}

/// What a handle has done so far, over all of its connections: see [`Imap::stats`](crate::Imap::stats) and
/// [`Smtp::stats`](crate::Smtp::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Commands that were sent; the end of a message counts as one.
    pub commands: u64,
    /// Connections that took the place of a lost one, or of one to an SMTP server that was idle for long.
    pub reconnects: u64,
    /// Octets of commands and mail that were sent, before encryption.
    pub bytes_sent: u64,
    /// Octets of answers that were received, after decryption.
    pub bytes_received: u64,
    /// Failures of single messages that the server did not give out, or that nothing showed to be ours: errors in their
    /// place, which stay in the inbox and are tried again.
    pub withheld: u64,
    /// Deliveries of messages that came and could not be read, or were too large: errors in their place.
    pub unreadable: u64,
    /// Messages that went to the dead letters.
    pub dead_letters: u64,
    /// Failures to read the archive, after which second copies of earlier messages are not known for a while.
    pub archive_unread: u64,
}

impl Stats {
    /// What two connections have done.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            reconnects: self.reconnects + other.reconnects,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            bytes_received: self.bytes_received + other.bytes_received,
            withheld: self.withheld + other.withheld,
            unreadable: self.unreadable + other.unreadable,
            dead_letters: self.dead_letters + other.dead_letters,
            archive_unread: self.archive_unread + other.archive_unread,
        }
    }
}

/// What went over one connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) commands: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// The numbers of the connections that are gone, and of the one that is there.
#[derive(Default)]
pub(super) struct Ledger {
    past: Traffic,
    now: Traffic,
    connections: u64,
    /// What is counted by itself, and nothing else.
    counts: Stats,
}

impl Ledger {
    pub(super) fn connected(&mut self, traffic: Traffic) {
        self.past = sum(self.past, self.now);
        self.now = traffic;
        self.connections += 1;
    }

    pub(super) fn update(&mut self, traffic: Traffic) {
        self.now = traffic;
    }

    pub(super) fn stats(&self) -> Stats {
        let Traffic { commands, sent, received } = sum(self.past, self.now);
        let reconnects = self.connections.saturating_sub(1);
        Stats { commands, reconnects, bytes_sent: sent, bytes_received: received, ..self.counts }
    }

    pub(super) fn counts(&mut self) -> &mut Stats {
        &mut self.counts
    }
}

fn sum(a: Traffic, b: Traffic) -> Traffic {
    Traffic { commands: a.commands + b.commands, sent: a.sent + b.sent, received: a.received + b.received }
}
