//! Parses the FETCH responses of a connection, and merges their attributes by message. Does no I/O.
//!
//! ```text
//!  socket ─▶ py/ ─ up to 1 MiB at a time, cut anywhere ─▶ Fetched::parse
//!                                                              │
//!  responses.rs   Unread finds whole responses; a literal is skipped by its length, never scanned
//!                                 ┌────────────────────────────┴───────────┐
//!                                 ▼ FETCH: ranges of text and literals     ▼ all others, as they came
//!  attributes.rs  Attributes::parse: UID, size, flags, mail           Progress::others ─▶ back to py/, which
//!                                 │                                   counts EXPUNGE, and knows the commands
//!                                 ▼ merge: by UID, else by place      in flight
//!                 Progress::complete ─▶ Mail ─▶ `Reader`
//! ```
//!
//! # Order
//!
//! Responses are passed on in the order in which they came: `parse` stops before a FETCH response that follows another
//! one. For an EXPUNGE in between changes sequence numbers, and the server may send it at any time during a UID command
//! (RFC 3501, section 7.4.1). A sequence number is therefore used with the number of EXPUNGE responses before it.
//!
//! # Failures
//!
//! A malformed response ends the connection: the place at which the next one begins can't be trusted, and a mail's text
//! would be taken for responses. Messages before it are passed on, and nothing of the malformed response itself.
//!
//! # Memory
//!
//! The octets of a command's responses are bounded by a limit from the caller, and each response and each literal costs
//! 128 octets more, so that millions of empty ones are no way around it. Mail is not copied: messages share the buffer
//! that their octets came in, which is freed with the last of them.

mod attributes;
#[cfg(any(test, fuzzing))]
mod pieces;
mod responses;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use self::attributes::Place;
pub(crate) use self::attributes::{Attributes, Flags, Octets};
#[cfg(fuzzing)]
pub(crate) use self::pieces::Outcome;
#[cfg(fuzzing)]
pub(crate) use self::pieces::in_pieces;
use self::responses::{Found, Malformed, Unread};
use crate::uid::Uid;

/// The rule by which a message is complete, and passed on before the command ends; its UID is required in any case.
///
/// A rule that is never true collects all responses: later ones may add attributes, as FLAGS that another client has
/// set.
pub(crate) type IsComplete = fn(&Attributes) -> bool;

/// The responses to one FETCH command, from the first octets to its tagged response.
///
/// A message is in `incomplete` from its first response until its last one. In the usual case, one response with all
/// attributes, it is never put there. An entry of `by_place` or `by_uid` may outlive its message; it leads nowhere
/// then, since the numbers of `incomplete` are not used twice.
pub(crate) struct Fetched {
    unread: Unread,
    is_complete: IsComplete,
    /// The messages of which attributes are still to come, in the order of their first responses.
    incomplete: BTreeMap<u64, Attributes>,
    /// Finds responses without a UID. RFC 3501, section 6.4.8, demands a UID in each response to a UID command, but not
    /// in an unsolicited one, and some servers leave it out of further responses about the same message.
    by_place: HashMap<Place, u64>,
    /// Finds responses whose sequence number has changed since the first one.
    by_uid: HashMap<Uid, u64>,
    /// The number of messages that were put into `incomplete` so far, which is the key of the last one.
    count: u64,
}

/// The result of parsing octets: all FETCH responses up to the first other one, and the others that follow at once.
///
/// The next step, in this order:
/// - `error`: drop the connection;
/// - `is_tagged`: process `others` and keep `rest`; the FETCH is done, if the tag is its own;
/// - `needed` is 0: process `others`, and parse again without new octets, since a FETCH response follows;
/// - else: process `others`, and receive at least `needed` octets.
#[derive(Default)]
pub(crate) struct Progress {
    /// The messages that are complete.
    pub(crate) complete: Vec<Attributes>,
    /// Other responses, in the order in which they came: lines with their literals, unchanged. They are small as a
    /// rule, and are copied.
    pub(crate) others: Vec<u8>,
    /// `true` if the last of them is tagged.
    pub(crate) is_tagged: bool,
    /// The octets behind a tagged response, which belong to the next command in flight. Empty without a tagged
    /// response.
    pub(crate) rest: Vec<u8>,
    /// The octets that are still to come, at least; 0 if there are others to parse.
    ///
    /// A lower bound: the rest of a literal and one octet more, or 1 within a line.
    pub(crate) needed: usize,
    /// The reason why no more can be parsed. `complete` has the messages before it; the other fields are of no use.
    pub(crate) error: Option<Malformed>,
}

impl Progress {
    /// Returns the progress before the first octet.
    pub(crate) fn at_first() -> Self {
        Self { needed: 1, ..Self::default() }
    }
}

impl Fetched {
    /// Begins with no responses, which may have `limit` octets, the costs of each response and literal included.
    pub(crate) fn new(limit: usize, is_complete: IsComplete) -> Self {
        Self {
            unread: Unread::new(limit),
            is_complete,
            incomplete: BTreeMap::new(),
            by_place: HashMap::new(),
            by_uid: HashMap::new(),
            count: 0,
        }
    }

    /// Returns the buffer to which octets are appended as they are received. Nothing else may be changed in it.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.unread.octets
    }

    /// Parses the FETCH responses in the buffer, up to the next other response.
    ///
    /// `expunged` is a count that grows with EXPUNGE responses. The other responses are to be processed before the next
    /// call.
    ///
    /// Octets are scanned once, but for a line that is not whole, and for a FETCH response behind others, which the
    /// next call finds again. Literals are not scanned.
    pub(crate) fn parse(&mut self, expunged: u64) -> Progress {
        let mut progress = Progress::default();
        let responses = self.scan(&mut progress);
        let Some((octets, pieces)) = self.unread.take_scanned(progress.needed) else { return progress };
        let buffer = Arc::new(octets);
        for (sequence, range) in responses {
            match Attributes::parse(&buffer, &pieces[range], (expunged, sequence)) {
                Ok(new) => progress.complete.extend(self.merge(new)),
                Err(error) => {
                    progress.error = Some(error);
                    break;
                }
            }
        }
        progress
    }

    /// Finds FETCH responses, and then others, until neither follows; returns the FETCH responses' sequence numbers and
    /// pieces.
    fn scan(&mut self, progress: &mut Progress) -> Vec<(u32, Range<usize>)> {
        let (mut responses, mut others) = (Vec::new(), None::<Range<usize>>);
        loop {
            let mark = self.unread.mark();
            match self.unread.next() {
                Ok(Found::Fetch(_)) if others.is_some() => {
                    self.unread.go_back(&mark);
                    break;
                }
                Ok(Found::Fetch(sequence)) => {
                    responses.push((sequence, mark.pieces..self.unread.pieces.len()));
                }
                Ok(Found::Other(end, is_tagged)) => {
                    self.unread.drop_pieces(&mark);
                    others = Some(others.map_or(mark.start, |others| others.start)..end);
                    if is_tagged {
                        progress.is_tagged = true;
                        progress.rest = self.unread.octets.split_off(end);
                        break;
                    }
                }
                Ok(Found::Incomplete(needed)) => {
                    progress.needed = needed;
                    break;
                }
                Err(error) => {
                    progress.error = Some(error);
                    break;
                }
            }
        }
        progress.others = others.map_or(Vec::new(), |others| self.unread.octets[others].to_vec());
        responses
    }

    /// Merges a response with earlier ones about the same message; returns the message if it is complete.
    ///
    /// Two responses are about the same message if they have the same UID, or if one of them has none, and the same
    /// sequence number with no EXPUNGE in between. Two different UIDs are never merged, also not at the same place.
    fn merge(&mut self, new: Attributes) -> Option<Attributes> {
        let has_all = self.is_complete;
        let is_complete = |it: &Attributes| it.uid.is_some() && has_all(it);
        if self.incomplete.is_empty() && is_complete(&new) {
            return Some(new);
        }
        let place = new.place;
        let known = new.uid.and_then(|uid| self.by_uid.get(&uid)).or_else(|| self.by_place.get(&place));
        let is_same = |id: &&u64| {
            self.incomplete
                .get(id)
                .is_some_and(|it| it.uid.is_none() || new.uid.is_none() || it.uid == new.uid)
        };
        let known = known.filter(is_same).copied();
        let known = known.and_then(|id| Some((id, self.incomplete.remove(&id)?)));
        let (id, merged) = if let Some((id, mut known)) = known {
            known.merge(new);
            (id, known)
        } else {
            self.count += 1;
            (self.count, new)
        };
        if is_complete(&merged) {
            self.by_place.remove(&merged.place);
            merged.uid.and_then(|uid| self.by_uid.remove(&uid));
            return Some(merged);
        }
        self.by_place.insert(place, id);
        self.by_uid.extend(merged.uid.map(|uid| (uid, id)));
        self.incomplete.insert(id, merged);
        None
    }

    /// Returns the messages that have not become complete, in the order of their first responses.
    ///
    /// At the end of the command they are all that the server has to say: a mail without RFC822.SIZE, for example, is
    /// used all the same. After an error they are dropped, since a later response could have contradicted them.
    pub(crate) fn into_incomplete(self) -> impl Iterator<Item = Attributes> {
        self.incomplete.into_values()
    }
}
