//! Commands about many mails, in portions that the server takes: short enough lines, few enough messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::imap::ImapSession;
use crate::codes;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::uid::{MAX_SET_LEN, UidSet};

/// The lengths of sets on a command line, in octets: as RFC 7162 tells servers to take them; for servers that cut at 1,000
/// octets, with room for a mailbox name; and hardly any.
const LINES: [usize; 3] = [MAX_SET_LEN, 700, 100];

/// A connection that ends at a shorter set than this has not ended for the set's length.
const LONG: usize = 900;

/// What a handle has learnt of its server, for all of its connections.
#[derive(Debug)]
pub(crate) struct Learnt {
    line: AtomicUsize,
    messages: AtomicUsize,
    /// Whether MOVE is announced and not understood.
    pub(super) moves_not: AtomicBool,
    /// The way in which the login has worked.
    pub(super) way: Mutex<String>,
}

impl Default for Learnt {
    fn default() -> Self {
        let (line, messages) = (AtomicUsize::new(LINES[0]), AtomicUsize::new(usize::MAX));
        Self { line, messages, moves_not: AtomicBool::new(false), way: Mutex::default() }
    }
}

impl Learnt {
    /// Returns the beginning of a set that a command may have.
    pub(super) fn portion(&self, set: &UidSet) -> UidSet {
        let most = self.messages.load(Ordering::Relaxed);
        set.chunk_within(0, most, self.line.load(Ordering::Relaxed))
    }

    /// Returns the sets that commands about all of these may have, one after the other.
    pub(super) fn portions(&self, set: &UidSet) -> Vec<UidSet> {
        let mut at = 0;
        let next = || {
            let portion = self.portion(&set.skip(at));
            at += portion.len();
            (!portion.is_empty()).then_some(portion)
        };
        std::iter::from_fn(next).collect()
    }

    /// Commands are about this many messages at most from now on.
    pub(super) fn at_most(&self, messages: usize) {
        self.messages.fetch_min(messages.max(1), Ordering::Relaxed);
    }

    /// Makes portions smaller after a refusal, where that may help.
    pub(super) fn shrink(&self, portion: &UidSet, error: &Error) -> bool {
        let Some((line, messages)) = self.smaller(portion, error) else { return false };
        self.line.fetch_min(line, Ordering::Relaxed);
        self.at_most(messages);
        let error = error.clone();
        events::emit(move || tracing::info!(%error, line, messages, "asking again in smaller portions"));
        true
    }

    /// Returns the smaller limits, of octets and of messages, with which a refused command may succeed.
    pub(super) fn smaller(&self, portion: &UidSet, error: &Error) -> Option<(usize, usize)> {
        let is_refused = error.kind() == ErrorKind::Refused && error.retry_after().is_none();
        if !is_refused || !codes::is_too_long(error.code(), &error.to_string()) {
            return None;
        }
        let (line, messages) = self.sizes();
        let length = portion.to_string().len();
        let shorter = LINES.into_iter().find(|line| *line < length && error.code() != Some("MESSAGELIMIT"));
        match shorter {
            Some(shorter) => Some((line.min(shorter), messages)),
            // A short line that is not understood is not understood for another reason.
            None if portion.len() > 1 && error.code() != Some("BAD") => {
                Some((line, portion.len().div_ceil(10)))
            }
            None => None,
        }
    }

    /// Takes in that the connection ended at a command: some servers hang up at long lines.
    pub(super) fn lost(&self, portion: &UidSet) {
        if portion.to_string().len() > LONG && self.line.fetch_min(LINES[1], Ordering::Relaxed) > LINES[1] {
            events::emit(|| {
                tracing::info!("the connection ended at a long command: shorter ones from now on");
            });
        }
    }

    fn sizes(&self) -> (usize, usize) {
        (self.line.load(Ordering::Relaxed), self.messages.load(Ordering::Relaxed))
    }

    fn restore(&self, (line, messages): (usize, usize)) {
        self.line.store(line, Ordering::Relaxed);
        self.messages.store(messages, Ordering::Relaxed);
    }
}

/// Asks about a set in portions, by a session or what holds one; `ask` returns what was done of its portion, see
/// [`done`](ImapSession::done).
///
/// A portion that the server finds too large is asked for again in smaller ones, whose size is remembered when they
/// do. Nothing is asked about an empty set.
pub(crate) fn in_portions<S: AsMut<ImapSession>>(
    by: &mut S,
    set: &UidSet,
    mut ask: impl FnMut(&mut S, &UidSet) -> Result<UidSet>,
) -> Result<()> {
    by.as_mut().check(set)?;
    let learnt = Arc::clone(&by.as_mut().learnt);
    let (mut rest, mut sizes) = (set.clone(), learnt.sizes());
    while !rest.is_empty() {
        let portion = learnt.portion(&rest);
        match ask(by, &portion) {
            Ok(done) if done.is_empty() && portion.len() == 1 => return Err(nothing_done()),
            Ok(done) => {
                rest.retain(|uid| !done.contains(uid));
                sizes = learnt.sizes();
            }
            Err(error) if learnt.shrink(&portion, &error) => {}
            Err(error) => {
                if error.ends_connection() {
                    learnt.lost(&portion);
                } else {
                    learnt.restore(sizes); // It was not for the size.
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

impl AsMut<ImapSession> for ImapSession {
    fn as_mut(&mut self) -> &mut ImapSession {
        self
    }
}

impl ImapSession {
    /// Returns what the last command has done of the set that it was about: all, or down to where its limit was
    /// (MESSAGELIMIT, RFC 9738), which is remembered.
    pub(crate) fn done(&mut self, portion: &UidSet) -> Result<UidSet> {
        let mut done = portion.clone();
        let limit: Option<(u32, u32)> = self.call("limit", (), "reading the limit")?;
        if let Some((most, lowest)) = limit {
            done.retain(|uid| lowest > 0 && uid.get() >= lowest);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            self.learnt.at_most(most.min(if done.is_empty() { portion.len() / 2 } else { done.len() }));
        }
        Ok(done)
    }
}

fn nothing_done() -> Error {
    Error::new(ErrorKind::Refused, "the server says yes and does nothing (MESSAGELIMIT)")
}
