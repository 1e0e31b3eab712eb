//! Receives the responses to FETCH commands: Python receives octets, and Rust finds the FETCH responses in them.
//!
//! ```text
//!  request   UID FETCH 1:200 ..., UID FETCH 201:400 ...        sent at once, and not waited for
//!  receive   ┌▶ next_chunk(others, rest, needed)                Python: processes `others`, receives octets
//!            │      ▼ octets, EXPUNGE responses so far
//!            │  Fetched::add                                    detached: no GIL
//!            │      ▼ complete ─▶ `arrived`, on this thread
//!            └── others, rest, needed                           until the tagged response of the first command
//! ```
//!
//! Each chunk is copied once, from Python's `bytes`. FETCH responses are bounded by the caller's limit, all others by
//! the meter in `py/`.
//!
//! When the connection is lost in the middle, each message that was complete has been passed on. The rest of the chunk
//! is dropped with the session.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::imap::ImapSession;
use crate::error::{Error, ErrorKind, Result};
use crate::fetched::{Attributes, Fetched, IsComplete};

/// The octets that a response may have beside message data: the flags of a large mailbox, for example. In octets, as in
/// `py/_pymail_transport.py`.
pub(super) const RESPONSE_LIMIT: usize = 16 << 20;

/// Octets from Python, copied out of a `bytes` object: a reference to it would need the GIL to be freed.
struct Chunk(Vec<u8>);

impl<'a, 'py> FromPyObject<'a, 'py> for Chunk {
    type Error = PyErr;

    fn extract(octets: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(octets.cast::<PyBytes>()?.as_bytes().to_vec()))
    }
}

impl ImapSession {
    /// Sends a FETCH command; [`receive`](Self::receive) receives its responses, after those to the commands before.
    ///
    /// Several may be sent before the first response is read: no result of one depends on another (RFC 3501, section
    /// 5.5).
    ///
    /// # Errors
    ///
    /// A lost connection: the commands in flight have no responses any more.
    pub(super) fn request(&mut self, uids: &str, items: &str, action: &str) -> Result<()> {
        self.python.run("request", (uids, items), action)
    }

    /// Receives the responses to the first FETCH command in flight, and passes on the messages that are complete, or
    /// can't become so.
    ///
    /// `arrived` is called with each portion of complete messages, on this thread, and delays the reading of the socket
    /// while it runs. After a refusal, messages that came before it are passed on, complete or not. After a lost
    /// connection, those that were not complete are dropped.
    ///
    /// # Errors
    ///
    /// `Refused` for a NO or BAD, after the messages before it; a lost connection; `Disconnected` for a malformed
    /// response and for responses with more than `limit` octets.
    pub(super) fn receive(
        &mut self,
        limit: usize,
        is_complete: IsComplete,
        action: &str,
        mut arrived: impl FnMut(Vec<Attributes>),
    ) -> Result<()> {
        let mut fetched = Fetched::new(limit, is_complete);
        let (mut others, mut rest, mut needed) = (Vec::<u8>::new(), Vec::<u8>::new(), 1);
        loop {
            let args = (&*others, &*rest, needed);
            let received: Result<(Chunk, u64, bool)> = self.call("next_chunk", args, action);
            let (Chunk(octets), expunged) = match received {
                Ok((octets, expunged, false)) => (octets, expunged),
                Err(error) if error.ends_connection() => return Err(error),
                done => {
                    arrived(fetched.into_incomplete().collect());
                    return done.map(drop);
                }
            };
            let progress = fetched.add(octets, expunged);
            arrived(progress.complete);
            if let Some(reason) = progress.error {
                return Err(Error::during(ErrorKind::Disconnected, action, reason));
            }
            (others, rest, needed) = (progress.others, progress.rest, progress.needed);
        }
    }

    /// Fetches attributes of some messages with one command; returns them, and the refusal if the server refused some.
    ///
    /// `room` is the octets of message data that the responses may have. All attributes are in memory at once, so
    /// callers ask for small ones, or for few messages.
    ///
    /// # Errors
    ///
    /// All of [`receive`](Self::receive) but the refusal.
    pub(super) fn fetch_attributes(
        &mut self,
        uids: &str,
        items: &str,
        room: usize,
        action: &str,
    ) -> Result<(Vec<Attributes>, Option<Error>)> {
        self.request(uids, items, action)?;
        let mut all = Vec::new();
        // None is complete before the end: another response may add to it.
        let received =
            self.receive(RESPONSE_LIMIT.saturating_add(room), |_| false, action, |some| all.extend(some));
        match received {
            Err(error) if error.ends_connection() => Err(error),
            received => Ok((all, received.err())),
        }
    }
}
