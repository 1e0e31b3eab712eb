//! The public view of a handle's connection: its state, its last error and its counts.

use std::time::SystemTime;

use serde::Serialize;

use super::latency::Latency;
use crate::error::Error;

/// The state of a handle's connection.
///
/// ```text
/// Connected <--> Disconnected <--> Throttled      a call or the heartbeat reconnects
///                  |
///                  +--> AuthFailed                 the credentials are wrong
///                  +<-> SignInNeeded               no access token without the account's owner
/// any of them      ---> Closed                     by `close`, or by the drop of the last handle
/// ```
///
/// `SignInNeeded` ends by `signed_in`. `AuthFailed` and `Closed` are final: every further call returns the same error. In JSON, states are named as here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum State {
    /// Logged in. A loss shows at the next call, heartbeat or renewal of IDLE.
    Connected,
    /// Lost; the next call, or the heartbeat, makes a new connection, as far as
    /// [`max_connects_per_minute`](crate::ImapConfig::max_connects_per_minute) allows.
    Disconnected,
    /// Lost, and no connection is made for a while: the server asked to wait, or refused the login without saying that
    /// the credentials are wrong. The next call returns the wait in [`retry_after`](crate::Error::retry_after).
    Throttled,
    /// Ended: the server said that the credentials are wrong. Make a new handle with the right ones.
    AuthFailed,
    /// The app's provider of access tokens can get none before the account's owner has signed in again
    /// ([`Error::grant_gone`]). No connection is made until [`Imap::signed_in`](crate::Imap::signed_in) or
    /// [`Smtp::signed_in`](crate::Smtp::signed_in) is called; until then every call returns the same error.
    SignInNeeded,
    /// Closed by `close`.
    Closed,
}

/// The way in which new mail is noticed while a caller waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Push {
    /// The server announces it in IDLE (RFC 2177): most at once, some after up to a minute.
    Idle,
    /// The server has no IDLE, or IDLE does not work there: it is asked at each
    /// [`heartbeat`](crate::ImapConfig::heartbeat).
    Polling,
    /// The server has IDLE, and did not announce mail that was found later: the inbox is searched at each
    /// [`heartbeat`](crate::ImapConfig::heartbeat), too. Ends when the server announces mail again.
    Distrusted,
}

/// The state of a handle's connection and its last error, from [`Imap::status`](crate::Imap::status) or
/// [`Smtp::status`](crate::Smtp::status).
///
/// ```no_run
/// # use pymail::{Imap, State};
/// # fn show(imap: &Imap) {
/// let status = imap.status();
/// if let (State::Throttled | State::Disconnected, Some(error)) = (status.state, &status.last_error) {
///     println!("offline: {error:#}");
/// }
/// # }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The state of the connection.
    pub state: State,
    /// The last failure of the connection since the handle was made; also one that no call returned, such as that of a
    /// heartbeat. Stays after the connection is replaced.
    pub last_error: Option<Error>,
    /// The way in which new mail is noticed; `None` before a caller has waited for it, and for SMTP.
    pub push: Option<Push>,
    /// `true` after the server's SEARCH has not found a message whose Subject begins with the tag: from then on the
    /// Subjects of mail that it does not find are read, too.
    pub reads_subjects: bool,
    /// The last time that the server has sent anything.
    pub last_heard: Option<SystemTime>,
}

impl Status {
    /// Returns the status of a new connection.
    pub(super) fn connected() -> Self {
        let last_heard = Some(SystemTime::now());
        Self { state: State::Connected, last_error: None, push: None, reads_subjects: false, last_heard }
    }
}

/// Counts over all connections of a handle, from [`Imap::stats`](crate::Imap::stats) or
/// [`Smtp::stats`](crate::Smtp::stats).
///
/// All counts begin with the handle and only grow, but for `depth`. An [`Smtp`](crate::Smtp) handle with several
/// connections returns their sums. From `withheld` on, [`Imap`](crate::Imap) alone counts.
///
/// With the feature `metrics`, the recorder of the app gets the same counts: `commands` as `pymail_commands_total`, and so
/// on. `docs/push.md` lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Commands sent; the data of a message counts as one.
    pub commands: u64,
    /// Connections made after the first: in place of a lost one, of one whose access token ended soon, or of an SMTP
    /// connection that was idle for long.
    pub reconnects: u64,
    /// Octets of commands and mail sent, before encryption.
    pub bytes_sent: u64,
    /// Octets of responses received, after decryption.
    pub bytes_received: u64,
    /// Refusals by the server. [`Imap`](crate::Imap): commands answered by NO or BAD, if a call, or a step of it, failed
    /// by that. [`Smtp`](crate::Smtp): messages refused for all recipients; and other commands, as for `Imap`.
    pub refused: u64,
    /// Messages that the server has accepted for at least one recipient, by [`Smtp`](crate::Smtp) alone.
    pub sent: u64,
    /// Failed attempts to fetch a single message: the server refused it, or its headers do not show the tag. Each is
    /// delivered as an error; the message stays in the inbox and is tried again.
    pub withheld: u64,
    /// Deliveries that were fetched but could not be read, or were too large. Each is delivered as an error.
    pub unreadable: u64,
    /// Messages moved to the dead letters.
    pub dead_letters: u64,
    /// Failed attempts to read the archive. Until one succeeds, duplicates of earlier messages are not recognised.
    pub archive_unread: u64,
    /// Deliveries that the app got, errors in place of messages and repeated deliveries included. A
    /// [`Consumer`](crate::Consumer) counts each when it hands it out, [`Imap::fetch`](crate::Imap::fetch) when it
    /// returns.
    pub received: u64,
    /// Those of `received` with a [`delivery_count`](crate::Delivery::delivery_count) above 1.
    pub redelivered: u64,
    /// Messages that were acknowledged and have left the inbox. Each once, however often its acknowledgement is repeated.
    pub acknowledged: u64,
    /// Deliveries returned by [`Imap::nack`](crate::Imap::nack) and [`Imap::reject`](crate::Imap::reject).
    pub returned: u64,
    /// Copies that were not delivered: of a message in the same batch, counted with each of its deliveries; of an
    /// acknowledged message, once.
    pub duplicates: u64,
    /// The tagged messages in the inbox: those of the last SEARCH, less those that have left since. Includes those in
    /// flight, withheld, or claimed by other consumers. `None` before the first SEARCH.
    pub depth: Option<u64>,
    /// The times from announcements by the server to the first delivery that a [`Consumer`](crate::Consumer) hands out
    /// after each. Fetching, and connecting anew if need be, are included; the way from the sender to the inbox is not.
    pub push_latency: Latency,
}

impl Stats {
    /// Returns the sums of two connections' counts.
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
            refused: self.refused + other.refused,
            sent: self.sent + other.sent,
            received: self.received + other.received,
            redelivered: self.redelivered + other.redelivered,
            acknowledged: self.acknowledged + other.acknowledged,
            returned: self.returned + other.returned,
            duplicates: self.duplicates + other.duplicates,
            depth: self.depth.or(other.depth),
            push_latency: self.push_latency.and(other.push_latency),
        }
    }
}
