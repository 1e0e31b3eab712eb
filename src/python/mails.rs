//! Mails on their way from the server: in windows, borrowed from Python.

use std::collections::VecDeque;
use std::ops::{Deref, Range};

use pyo3::pybacked::PyBackedBytes;

use super::imap::{ImapSession, Uids};
use super::runtime::attached;
use crate::error::{Error, Result};
use crate::uid::{Uid, UidSet};

/// So many windows of mails are asked for before the first of them is read.
const AHEAD: usize = 4;

/// Mails that are asked for together.
pub(crate) struct Window {
    pub(crate) uids: UidSet,
    pub(crate) part: Part,
    /// So many octets of each.
    pub(crate) most: usize,
    /// A server that answers with more octets loses the connection.
    pub(crate) room: usize,
}

/// The part of each mail that a window asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The mail without a limit; [`Window::most`] is not sent.
    Entire,
    /// The headers that tell who it is.
    Headers,
}

/// Windows of mails that a FETCH failed for. Some of these mails may have come before.
pub(crate) struct Failure {
    pub(crate) uids: UidSet,
    /// The server's NO, or the loss of the connection.
    pub(crate) error: Error,
}

/// What windows of mails are fetched for.
pub(crate) trait Fetching {
    /// What to ask for next, until there is nothing more to ask for.
    fn next(&mut self) -> Option<Window>;

    /// Mails of a window, of which so many octets were asked for.
    fn take(&mut self, mails: Mails, most: usize);
}

/// A mail, or its beginning, as the server sent it: borrowed from Python, not copied.
pub(crate) struct Mail {
    pub(crate) uid: Uid,
    size: u64,
    /// Flagged by another client.
    pub(crate) is_deleted: bool,
    /// What came with it, too.
    octets: PyBackedBytes,
    place: Range<usize>,
}

/// Mails that came together, and go together.
pub(crate) struct Mails(Vec<Mail>);

/// A mail as Python has it: its UID, its size on the server, whether it is flagged deleted, octets, and where in
/// them it begins and ends.
type Fetched = (u64, u64, bool, PyBackedBytes, usize, usize);

impl Mail {
    fn new((uid, size, is_deleted, octets, begin, end): Fetched) -> Option<Self> {
        let uid = Uid::new(u32::try_from(uid).ok()?)?;
        Some(Self { uid, size, is_deleted, octets, place: begin..end })
    }

    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(self.place.clone()).unwrap_or_default()
    }

    /// The size of the whole mail, by the server, or more when more came.
    pub(crate) fn size(&self) -> u64 {
        self.size.max(self.octets().len() as u64)
    }

    /// Returns whether nothing is missing when `asked` octets were asked for. Some servers' sizes are estimates.
    pub(crate) fn is_whole(&self, asked: usize) -> bool {
        self.octets().len() < asked || self.size == asked as u64 || self.has_come_unasked(asked)
    }

    /// Returns whether less came than was asked for, and less than there is by the server's size.
    pub(crate) fn is_short(&self, asked: usize) -> bool {
        let came = self.octets().len();
        came < asked && (came as u64) < self.size
    }

    /// Returns whether it came whole though only `asked` octets were asked for: some servers ignore `<0.n>`.
    pub(crate) fn has_come_unasked(&self, asked: usize) -> bool {
        let came = self.octets().len();
        came > asked && came as u64 >= self.size
    }
}

impl Mails {
    fn new(fetched: Vec<Fetched>) -> Self {
        Self(fetched.into_iter().filter_map(Mail::new).collect())
    }

    /// Takes out those that are not in this set.
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
    /// Bytes that are let go detached would stay until somebody attaches.
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        let attempt = attached(|_| {
            self.0.clear();
            Ok(())
        });
        if attempt.is_err() {
            // At the end of the process nobody may touch them.
            std::mem::forget(std::mem::take(&mut self.0));
        }
    }
}

impl ImapSession {
    /// What `search` finds of new mails, at most `count`; `most` octets of each are asked for, all in one flight.
    ///
    /// Fetch them then, and ask what else there is. Nothing where the server can't do that (SEARCHRES, RFC 5182).
    pub(crate) fn look_ahead(&mut self, criteria: &str, count: usize, most: usize) -> Result<Option<Window>> {
        let args = (criteria.to_owned(), count, most);
        let told: Option<Uids> = self.call("look_ahead", args, "SEARCH and FETCH")?;
        let validity = self.validity();
        let room = count.saturating_mul(most);
        let window = |uids| Window { uids: UidSet::new(validity, uids), part: Part::Whole, most, room };
        Ok(told.map(|Uids(uids)| window(uids)))
    }

    /// What was found besides these new mails, unless looking ahead has not worked.
    pub(crate) fn what_else(&mut self, room: usize, worked: bool) -> Result<Option<UidSet>> {
        let told: Option<Uids> = self.call("what_else", (room, worked), "SEARCH")?;
        Ok(told.map(|Uids(uids)| UidSet::new(self.validity(), uids)))
    }

    /// Fetches mails in windows, of which the next are on their way while one is taken. What was not asked for is
    /// dropped.
    ///
    /// The first window may be asked for already. After a failure, nothing more is asked for; what came whole before
    /// it is handed over. When the connection is lost, the failure has the window that was being answered.
    pub(crate) fn fetch(
        &mut self,
        first: Option<Window>,
        fetching: &mut impl Fetching,
    ) -> Result<Option<Failure>> {
        let (mut asked, mut taken, mut failure) = (Vec::from_iter(first), 0, None::<Failure>);
        let mut parts = VecDeque::<Window>::new(); // of windows that the server would not take whole
        let is_ahead = !asked.is_empty();
        loop {
            while asked.len() < taken + AHEAD
                && failure.is_none()
                && let Some(window) = parts.pop_front().or_else(|| fetching.next())
            {
                self.check(&window.uids)?;
                let window = self.fitting(window, &mut parts);
                let sent = self.ask_for(&window);
                asked.push(window);
                if let Err(error) = sent {
                    return Ok(Some(self.lost(&asked[taken], error)));
                }
            }
            let Some(window) = asked.get(taken) else { return Ok(failure) };
            let args = (window.room, window.part == Part::Headers);
            let told: Result<(Vec<Fetched>, bool)> = self.call("next_mails", args, "FETCH");
            match told {
                Ok((mails, is_done)) => {
                    hand_over(Mails::new(mails), &asked, taken, fetching);
                    taken += usize::from(is_done);
                }
                Err(error) if error.ends_connection() => {
                    return Ok(Some(self.lost(&asked[taken], error)));
                }
                Err(error) if !is_ahead && self.learnt.smaller(&window.uids, &error).is_some() => {
                    parts.extend(self.smaller(window, &error)?);
                    taken += 1;
                }
                Err(error) => {
                    // The others' answers are still to be taken.
                    taken += 1;
                    failure = Some(Failure::add(failure, &window.uids, error));
                }
            }
        }
    }

    fn ask_for(&mut self, window: &Window) -> Result<()> {
        let verb = match window.part {
            Part::Whole | Part::Entire => "ask_for_mails",
            Part::Headers => "ask_for_headers",
        };
        let most = if window.part == Part::Entire { 0 } else { window.most };
        self.dialogue.tell(verb, (window.uids.to_string(), most), "FETCH")
    }

    fn lost(&self, answered: &Window, error: Error) -> Failure {
        self.learnt.lost(&answered.uids);
        Failure { uids: answered.uids.clone(), error }
    }

    /// The beginning of a window, as much as the server takes in one command; the rest comes after it.
    fn fitting(&self, window: Window, parts: &mut VecDeque<Window>) -> Window {
        let uids = self.learnt.portion(&window.uids);
        if uids.len() == window.uids.len() {
            return window;
        }
        parts.push_front(Window { uids: window.uids.skip(uids.len()), ..window });
        Window { uids, ..window }
    }

    /// What a refused command has not done, to be asked for in smaller portions from now on.
    fn smaller(&mut self, window: &Window, error: &Error) -> Result<Option<Window>> {
        let done = self.done(&window.uids)?;
        let is_limited = done.len() < window.uids.len();
        if !is_limited {
            self.learnt.shrink(&window.uids, error);
        }
        let mut uids = window.uids.clone();
        uids.retain(|uid| !is_limited || !done.contains(uid));
        Ok((!uids.is_empty()).then_some(Window { uids, ..*window }))
    }
}

impl Failure {
    fn add(before: Option<Self>, uids: &UidSet, error: Error) -> Self {
        let Some(before) = before else { return Self { uids: uids.clone(), error } };
        let both = before.uids.iter().chain(uids.iter());
        Self { uids: UidSet::new(uids.validity(), both), error: before.error }
    }
}

/// Each mail with what was asked for of it. A server may send those of a later window before (RFC 3501, section 5.5).
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
