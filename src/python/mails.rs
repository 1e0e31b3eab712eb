//! Fetches messages in windows; their octets are borrowed from Python.

use std::collections::VecDeque;
use std::ops::{Deref, Range};

use pyo3::pybacked::PyBackedBytes;

use super::imap::{ImapSession, Uids};
use super::runtime::attached;
use crate::error::{Error, Result};
use crate::uid::{Uid, UidSet};

/// The most windows in flight.
const IN_FLIGHT: usize = 4;

/// The messages of one FETCH command.
pub(crate) struct Window {
    pub(crate) uids: UidSet,
    pub(crate) part: Part,
    /// The octets that are requested of each message, from its beginning.
    pub(crate) most: usize,
    /// The octets that the responses may have; more end the connection.
    pub(crate) room: usize,
}

/// The part of each message that a window requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The message up to [`Window::most`] octets.
    Whole,
    /// The message without a limit; [`Window::most`] is not sent.
    Entire,
    /// The identifying headers: Message-ID, Subject and From.
    Headers,
}

/// The messages of failed windows, some of which may have arrived before the failure.
pub(crate) struct Failure {
    pub(crate) uids: UidSet,
    /// The server's refusal, or the lost connection.
    pub(crate) error: Error,
}

/// Plans the windows of a fetch and receives their messages.
pub(crate) trait Fetching {
    /// Returns the next window; `None` once there are no more.
    fn next(&mut self) -> Option<Window>;

    /// Receives some messages of a window that has requested `most` octets of each.
    fn take(&mut self, mails: Mails, most: usize);
}

/// A message, or its beginning, as the server sent it: borrowed from Python, not copied.
pub(crate) struct Mail {
    pub(crate) uid: Uid,
    /// RFC822.SIZE; 0 when the server sent none.
    size: u64,
    /// `true` if another client has flagged it `\Deleted`.
    pub(crate) is_deleted: bool,
    /// The buffer that has the message at `place`, and others.
    octets: PyBackedBytes,
    place: Range<usize>,
}

/// Messages that arrived together.
pub(crate) struct Mails(Vec<Mail>);

/// A message as Python returns it: UID, RFC822.SIZE, `true` if flagged deleted, a buffer, and where in it the message
/// begins and ends.
type Fetched = (u64, u64, bool, PyBackedBytes, usize, usize);

impl Mail {
    /// Converts a message from Python; `None` for an invalid UID.
    fn new((uid, size, is_deleted, octets, begin, end): Fetched) -> Option<Self> {
        let uid = Uid::new(u32::try_from(uid).ok()?)?;
        Some(Self { uid, size, is_deleted, octets, place: begin..end })
    }

    /// Returns the octets that arrived.
    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(self.place.clone()).unwrap_or_default()
    }

    /// Returns the size of the whole message: RFC822.SIZE, or the octets that arrived if those are more.
    pub(crate) fn size(&self) -> u64 {
        self.size.max(self.octets().len() as u64)
    }

    /// Returns `true` if the message is complete, `asked` octets having been requested.
    ///
    /// Some servers estimate RFC822.SIZE: a message shorter than requested is complete even if RFC822.SIZE is larger.
    pub(crate) fn is_whole(&self, asked: usize) -> bool {
        self.octets().len() < asked || self.size == asked as u64 || self.exceeds_request(asked)
    }

    /// Returns `true` if less arrived than was requested, and less than RFC822.SIZE.
    pub(crate) fn is_short(&self, asked: usize) -> bool {
        let arrived = self.octets().len();
        arrived < asked && (arrived as u64) < self.size
    }

    /// Returns `true` if the whole message arrived though fewer octets were requested: some servers ignore `<0.n>`.
    pub(crate) fn exceeds_request(&self, asked: usize) -> bool {
        let arrived = self.octets().len();
        arrived > asked && arrived as u64 >= self.size
    }
}

impl Mails {
    /// Converts messages from Python; skips those with an invalid UID.
    fn new(fetched: Vec<Fetched>) -> Self {
        Self(fetched.into_iter().filter_map(Mail::new).collect())
    }

    /// Removes and returns the messages that are not in this set.
    fn split_off(&mut self, set: &UidSet) -> Self {
        Self(self.0.extract_if(.., |mail| !set.contains(mail.uid)).collect())
    }
}

impl Deref for Mails {
    type Target = [Mail];

    fn deref(&self) -> &[Mail] {
        &self.0
    }
}

impl Drop for Mails {
    /// Frees the octets at once: dropped detached, they would stay until the next thread attaches.
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        let attempt = attached(|_| {
            self.0.clear();
            Ok(())
        });
        if attempt.is_err() {
            // At the end of the process Python's objects must not be touched.
            std::mem::forget(std::mem::take(&mut self.0));
        }
    }
}

impl ImapSession {
    /// Searches for up to `count` new messages and requests `most` octets of each, in one flight (SEARCHRES, RFC
    /// 5182).
    ///
    /// Returns their window, to be passed to [`fetch`](Self::fetch) as the first one; then
    /// [`remaining_matches`](Self::remaining_matches) returns the other messages that match. Returns `None` where the
    /// server does not support that.
    pub(crate) fn prefetch(&mut self, criteria: &str, count: usize, most: usize) -> Result<Option<Window>> {
        let args = (criteria.to_owned(), count, most);
        let found: Option<Uids> = self.call("prefetch", args, "SEARCH and FETCH")?;
        let validity = self.validity();
        let room = count.saturating_mul(most);
        let window = |uids| Window { uids: UidSet::new(validity, uids), part: Part::Whole, most, room };
        Ok(found.map(|Uids(uids)| window(uids)))
    }

    /// Returns the messages that match outside of a prefetch; `None` if the prefetch failed, here or, by `worked`,
    /// before.
    pub(crate) fn remaining_matches(&mut self, room: usize, worked: bool) -> Result<Option<UidSet>> {
        let found: Option<Uids> = self.call("remaining_matches", (room, worked), "SEARCH")?;
        Ok(found.map(|Uids(uids)| UidSet::new(self.validity(), uids)))
    }

    /// Fetches messages in windows, up to four of them in flight. Drops messages that were not requested.
    ///
    /// `first` is a window that was requested already, by [`prefetch`](Self::prefetch). After a failure no further
    /// window is requested; messages that arrived whole before it are handed over. If the connection is lost, the
    /// failure names the window whose responses were being read.
    pub(crate) fn fetch(
        &mut self,
        first: Option<Window>,
        fetching: &mut impl Fetching,
    ) -> Result<Option<Failure>> {
        let (mut asked, mut taken, mut failure) = (Vec::from_iter(first), 0, None::<Failure>);
        let mut parts = VecDeque::<Window>::new(); // of windows that were too large for the server
        let is_prefetch = !asked.is_empty();
        loop {
            while asked.len() < taken + IN_FLIGHT
                && failure.is_none()
                && let Some(window) = parts.pop_front().or_else(|| fetching.next())
            {
                self.check(&window.uids)?;
                let window = self.fitting(window, &mut parts);
                let sent = self.request(&window);
                asked.push(window);
                if let Err(error) = sent {
                    return Ok(Some(self.lost(&asked[taken], error)));
                }
            }
            let Some(window) = asked.get(taken) else { return Ok(failure) };
            let args = (window.room, window.part == Part::Headers);
            let mails: Result<(Vec<Fetched>, bool)> = self.call("next_mails", args, "FETCH");
            match mails {
                Ok((mails, is_done)) => {
                    hand_over(Mails::new(mails), &asked, taken, fetching);
                    taken += usize::from(is_done);
                }
                Err(error) if error.ends_connection() => {
                    return Ok(Some(self.lost(&asked[taken], error)));
                }
                Err(error) if !is_prefetch && self.profile.smaller_limits(&window.uids, &error).is_some() => {
                    parts.extend(self.smaller(window, &error)?);
                    taken += 1;
                }
                Err(error) => {
                    // The responses to the other windows are still to be read.
                    taken += 1;
                    failure = Some(Failure::add(failure, &window.uids, error));
                }
            }
        }
    }

    /// Sends the FETCH command of a window.
    fn request(&mut self, window: &Window) -> Result<()> {
        let method = match window.part {
            Part::Whole | Part::Entire => "request_mails",
            Part::Headers => "request_headers",
        };
        let most = if window.part == Part::Entire { 0 } else { window.most };
        self.python.run(method, (window.uids.to_string(), most), "FETCH")
    }

    /// Makes the failure for a connection that was lost at a window.
    fn lost(&self, answered: &Window, error: Error) -> Failure {
        self.profile.note_lost(&answered.uids);
        Failure { uids: answered.uids.clone(), error }
    }

    /// Returns the beginning of a window that fits into one command; puts the rest in front of `parts`.
    fn fitting(&self, window: Window, parts: &mut VecDeque<Window>) -> Window {
        let uids = self.profile.portion(&window.uids);
        if uids.len() == window.uids.len() {
            return window;
        }
        parts.push_front(Window { uids: window.uids.skip(uids.len()), ..window });
        Window { uids, ..window }
    }

    /// Returns what a refused command has not fetched, and lowers the limits of later commands.
    fn smaller(&mut self, window: &Window, error: &Error) -> Result<Option<Window>> {
        let done = self.done(&window.uids)?;
        let is_limited = done.len() < window.uids.len();
        if !is_limited {
            self.profile.shrink(&window.uids, error);
        }
        let mut uids = window.uids.clone();
        uids.retain(|uid| !is_limited || !done.contains(uid));
        Ok((!uids.is_empty()).then_some(Window { uids, ..*window }))
    }
}

impl Failure {
    /// Adds a failed window to earlier ones; the first error stays.
    fn add(before: Option<Self>, uids: &UidSet, error: Error) -> Self {
        let Some(before) = before else { return Self { uids: uids.clone(), error } };
        let both = before.uids.iter().chain(uids.iter());
        Self { uids: UidSet::new(uids.validity(), both), error: before.error }
    }
}

/// Hands over each message with its window: a server may send those of a later window first (RFC 3501, section 5.5).
fn hand_over(mut mails: Mails, asked: &[Window], taken: usize, fetching: &mut impl Fetching) {
    let nearest = asked[taken..].iter().chain(&asked[..taken]);
    for window in nearest {
        let others = mails.split_off(&window.uids);
        fetching.take(mails, window.most);
        if others.is_empty() {
            return;
        }
        mails = others;
    }
}
