//! Parses the FETCH responses of a connection, and merges their attributes by message. Does no I/O.
//!
//! A malformed response ends the connection: what follows it can't be trusted. Messages before it are returned.

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
pub(crate) use self::attributes::{Attributes, Octets};
#[cfg(fuzzing)]
pub(crate) use self::pieces::Outcome;
#[cfg(fuzzing)]
pub(crate) use self::pieces::in_pieces;
use self::responses::{Found, Malformed, Unread};
use crate::uid::Uid;

/// The attributes after which a message is complete.
pub(crate) type IsComplete = fn(&Attributes) -> bool;

/// The responses to one FETCH command.
pub(crate) struct Fetched {
    unread: Unread,
    is_complete: IsComplete,
    /// The messages of which attributes are still to come, in the order of their first responses.
    incomplete: BTreeMap<u64, Attributes>,
    by_place: HashMap<Place, u64>,
    by_uid: HashMap<Uid, u64>,
    /// The number of messages in `incomplete` so far.
    count: u64,
}

/// The result of parsing octets.
#[derive(Default)]
pub(crate) struct Progress {
    /// The messages that are complete.
    pub(crate) complete: Vec<Attributes>,
    /// Other responses, in the order in which they came.
    pub(crate) others: Vec<u8>,
    /// `true` if the last of them is tagged.
    pub(crate) is_tagged: bool,
    /// The octets behind a tagged response.
    pub(crate) rest: Vec<u8>,
    /// The octets that are still to come, at least; 0 if there are others to parse.
    pub(crate) needed: usize,
    /// The reason why no more can be parsed.
    pub(crate) error: Option<Malformed>,
}

impl Fetched {
    /// Begins with no responses, which may have `limit` octets.
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

    /// Parses the FETCH responses in these octets and in those before, up to the next other response.
    ///
    /// `expunged` is the number of EXPUNGE responses so far. The other responses are to be processed before the next call.
    pub(crate) fn add(&mut self, octets: &[u8], expunged: u64) -> Progress {
        self.unread.octets.extend_from_slice(octets);
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

    /// Returns the messages that have not become complete.
    pub(crate) fn into_incomplete(self) -> impl Iterator<Item = Attributes> {
        self.incomplete.into_values()
    }
}
