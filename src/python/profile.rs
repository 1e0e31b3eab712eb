//! Facts about a server that a handle remembers for all of its connections.
//!
//! Most facts are found by an error, which a later connection is spared. None is needed for correctness: a handle
//! without them finds them again. So they are atomics, without an order between them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::codes;
use crate::error::{Error, ErrorKind};
use crate::events;
use crate::uid::{MAX_SET_LEN, UidSet};

/// The lengths of a UID set on a command line, in octets: as RFC 7162 tells servers to accept; for servers that cut
/// lines at 1,000 octets, with room for a mailbox name; and for servers that accept hardly any.
///
/// A handle begins with the first, and goes to the next one when a server refuses a command as too long: Exchange says
/// `Command Error. 10`. RFC 2683, section 3.2.1.5, advises clients to send 1,000 octets at most.
const SET_LENGTHS: [usize; 3] = [MAX_SET_LEN, 700, 100];

/// A connection that is lost at a command with a shorter set was not closed for the set's length.
const SUSPICIOUS_LENGTH: usize = 900;

/// The limits of a server's commands, its lack of MOVE, and the login method that works.
#[derive(Debug)]
pub(crate) struct ServerProfile {
    /// The most octets of a UID set in one command.
    set_length: AtomicUsize,
    /// The most messages that one command may name.
    ///
    /// `usize::MAX` for no limit. From the capability, from the response code MESSAGELIMIT, or guessed after a refusal.
    messages: AtomicUsize,
    /// `true` after MOVE was announced and then refused as unknown.
    pub(super) lacks_move: AtomicBool,
    /// `true` if the last MOVE has named all its messages by COPYUID.
    pub(super) names_moved: AtomicBool,
    /// `true` after IDLE was announced and then refused, or left unanswered.
    pub(super) lacks_idle: AtomicBool,
    /// The connections lost at the begin of IDLE since it was answered last.
    pub(super) unanswered_idles: AtomicUsize,
    /// The login method that has worked; empty before the first login.
    ///
    /// Locked for a copy only, never during a login.
    pub(super) login_method: Mutex<String>,
}

/// The most octets of a set, and the most messages, of one command.
type Limits = (usize, usize);

impl Default for ServerProfile {
    fn default() -> Self {
        Self {
            set_length: AtomicUsize::new(SET_LENGTHS[0]),
            messages: AtomicUsize::new(usize::MAX),
            lacks_move: AtomicBool::default(),
            names_moved: AtomicBool::default(),
            lacks_idle: AtomicBool::default(),
            unanswered_idles: AtomicUsize::default(),
            login_method: Mutex::default(),
        }
    }
}

impl ServerProfile {
    /// Returns the beginning of a set that fits into one command.
    ///
    /// Not empty unless the set is: a single range always fits.
    pub(super) fn portion(&self, set: &UidSet) -> UidSet {
        let (set_length, messages) = self.limits();
        set.chunk_within(0, messages, set_length)
    }

    /// Splits a set into portions that each fit into one command.
    pub(super) fn portions(&self, set: &UidSet) -> Vec<UidSet> {
        let mut at = 0;
        let next = || {
            let portion = self.portion(&set.skip(at));
            at += portion.len();
            (!portion.is_empty()).then_some(portion)
        };
        std::iter::from_fn(next).collect()
    }

    /// Limits commands to this many messages.
    pub(super) fn limit_messages(&self, messages: usize) {
        self.messages.fetch_min(messages.max(1), Ordering::Relaxed);
    }

    /// Lowers the limits after a refusal; returns `true` if a smaller portion may succeed.
    pub(super) fn shrink(&self, portion: &UidSet, error: &Error) -> bool {
        let Some((set_length, messages)) = self.smaller_limits(portion, error) else { return false };
        self.set_length.fetch_min(set_length, Ordering::Relaxed);
        self.limit_messages(messages);
        let error = error.clone();
        events::emit(move || {
            tracing::info!(%error, set_length, messages, "retrying in smaller portions");
        });
        true
    }

    /// Returns limits within which a refused command may succeed; `None` if its size was not the reason.
    ///
    /// Shorter lines are tried first. Fewer messages, a tenth each time, are tried only for refusals that are not BAD.
    pub(super) fn smaller_limits(&self, portion: &UidSet, error: &Error) -> Option<Limits> {
        let is_refused = error.kind() == ErrorKind::Refused && error.retry_after().is_none();
        if !is_refused || !codes::is_too_long(error.code(), &error.to_string()) {
            return None;
        }
        let (set_length, messages) = self.limits();
        let length = portion.to_string().len();
        let is_shorter = |shorter: &usize| *shorter < length && error.code() != Some("MESSAGELIMIT");
        match SET_LENGTHS.into_iter().find(is_shorter) {
            Some(shorter) => Some((set_length.min(shorter), messages)),
            // A short command line gets a BAD for another reason.
            None if portion.len() > 1 && error.code() != Some("BAD") => {
                Some((set_length, portion.len().div_ceil(10)))
            }
            None => None,
        }
    }

    /// Shortens the sets after the connection was lost at a long command: some servers close it for that.
    ///
    /// Once for a handle: later lines are shorter than what is suspicious.
    pub(super) fn note_lost(&self, portion: &UidSet) {
        if portion.to_string().len() > SUSPICIOUS_LENGTH
            && self.set_length.fetch_min(SET_LENGTHS[1], Ordering::Relaxed) > SET_LENGTHS[1]
        {
            events::emit(|| {
                tracing::info!("connection lost at a long command: sending shorter ones from now on");
            });
        }
    }

    /// Returns the current limits.
    pub(super) fn limits(&self) -> Limits {
        (self.set_length.load(Ordering::Relaxed), self.messages.load(Ordering::Relaxed))
    }

    /// Sets the limits back to earlier ones.
    pub(super) fn restore(&self, (set_length, messages): Limits) {
        self.set_length.store(set_length, Ordering::Relaxed);
        self.messages.store(messages, Ordering::Relaxed);
    }
}
