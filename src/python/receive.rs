//! Receives the responses to FETCH commands: Python receives octets, and Rust finds the FETCH responses in them.
//!
//! ```text
//!  request   UID FETCH 1:200 ..., UID FETCH 201:400 ...        sent at once, and not waited for
//!  receive   ┌▶ next_chunk(others, rest, needed)                Python: processes `others`, receives octets
//!            │      ▼ octets, EXPUNGE responses so far
//!            │  Fetched::parse                                  detached: no GIL
//!            │      ▼ complete ─▶ `arrived`, on this thread
//!            └── others, rest, needed                           until the tagged response of the first command
//! ```
//!
//! Octets are copied once, from Python's `bytes`. FETCH responses are bounded by the caller's limit, all others by
//! the meter in `py/`.
//!
//! When the connection is lost in the middle, each message that was complete has been passed on. The rest of the chunk
//! is dropped with the session.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::imap::{ImapSession, Uids};
use crate::error::{Error, ErrorKind, Result};
use crate::fetched::{Attributes, Fetched, IsComplete, Progress};
use crate::uid::UidSet;

/// The octets that a response may have beside message data: the flags of a large mailbox, for example. In octets, as in
/// `py/_pymail_transport.py`.
pub(super) const RESPONSE_LIMIT: usize = 16 << 20;

/// A part of the responses to a FETCH, without its octets.
pub(super) struct Chunk {
    /// A count that grows with EXPUNGE responses: by one for each run of them.
    expunged: u64,
    /// `true` if the FETCH is complete.
    is_last: bool,
    /// With the last chunk of a prefetch: the other messages that match, unless the server has refused the search.
    others: Option<Uids>,
}

impl Chunk {
    /// Converts what `next_chunk` has returned, and appends its octets, which are `bytes` in a list, to the buffer.
    ///
    /// Copied, since references to them would need the GIL to be freed.
    pub(super) fn read(chunk: &Bound<'_, PyAny>, buffer: &mut Vec<u8>) -> PyResult<Self> {
        let (pieces, expunged, is_last, others) =
            chunk.extract::<(Bound<'_, PyList>, u64, bool, Option<Uids>)>()?;
        let length = pieces.iter().map(|piece| piece.len()).sum::<PyResult<usize>>()?;
        buffer.reserve(length);
        for piece in pieces {
            buffer.extend_from_slice(piece.cast::<PyBytes>()?.as_bytes());
        }
        Ok(Self { expunged, is_last, others })
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
    /// `first` is a chunk that [`prefetch`](Self::prefetch) has received already, and its octets. Returns the other
    /// messages that match, after a prefetch.
    ///
    /// `arrived` is called with each portion of complete messages, and delays the reading of the socket while it runs.
    /// It may send further commands; its error ends the receiving. After a refusal, messages that came before it are
    /// passed on, complete or not. After a lost connection, those that were not complete are dropped.
    ///
    /// # Errors
    ///
    /// `Refused` for a NO or BAD, after the messages before it; a lost connection; `Disconnected` for a malformed
    /// response and for responses with more than `limit` octets.
    pub(super) fn receive(
        &mut self,
        first: Option<(Vec<u8>, Chunk)>,
        limit: usize,
        is_complete: IsComplete,
        action: &str,
        mut arrived: impl FnMut(&mut Self, Vec<Attributes>) -> Result<()>,
    ) -> Result<Option<UidSet>> {
        let mut fetched = Fetched::new(limit, is_complete);
        let mut received = match first {
            Some((octets, chunk)) => {
                *fetched.buffer() = octets;
                Ok(chunk)
            }
            None => self.next_chunk(&Progress::at_first(), fetched.buffer(), action),
        };
        loop {
            let chunk = match received {
                Ok(chunk) if !chunk.is_last => chunk,
                Err(error) if error.ends_connection() => return Err(error),
                last => {
                    arrived(self, fetched.into_incomplete().collect())?;
                    return Ok(last?.others.map(|Uids(uids)| UidSet::new(self.validity(), uids)));
                }
            };
            let mut progress = fetched.parse(chunk.expunged);
            arrived(self, std::mem::take(&mut progress.complete))?;
            if let Some(reason) = progress.error {
                return Err(Error::during(ErrorKind::Disconnected, action, reason));
            }
            received = self.next_chunk(&progress, fetched.buffer(), action);
        }
    }

    /// Hands back what is for Python, and receives the next chunk.
    fn next_chunk(&mut self, progress: &Progress, buffer: &mut Vec<u8>, action: &str) -> Result<Chunk> {
        let args = (&*progress.others, &*progress.rest, progress.needed);
        let context = self.python.context(action);
        let before = buffer.len();
        let chunk =
            self.python.with(context, "next_chunk", |_| Ok(args), |chunk| Chunk::read(&chunk, buffer));
        if let Some(transcript) = self.python.transcript() {
            transcript.note_handed_over(buffer.len() - before);
        }
        chunk
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
        let received = self.receive(
            None,
            RESPONSE_LIMIT.saturating_add(room),
            |_| false,
            action,
            |_, some| {
                all.extend(some);
                Ok(())
            },
        );
        match received {
            Err(error) if error.ends_connection() => Err(error),
            received => Ok((all, received.err())),
        }
    }
}
