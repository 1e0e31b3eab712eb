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
    /// The server refused the credentials; this handle does not try them again.
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
