//! In which portions the mails of a batch are asked for: bounded in octets, and large enough to be few.
//!
//! Some servers look through a whole mailbox after each command (Dovecot, with maildir): many small windows cost more
//! than they hide.

use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::known::Sizes;
use super::reader::Room;
use crate::config::ImapConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::python::{Failure, Fetching, ImapSession, Mails, Part, Window};
use crate::uid::{Uid, UidSet, UidValidity};

/// The first look takes so much of each mail at most, and at least, by how large the mails before were.
const MOST: usize = 128 << 10;
pub(super) const LEAST: usize = 16 << 10;

/// A mail is unlikely to be so many times as large as those before it.
const SPREAD: usize = 8;

/// What the first looks of a window may be together.
pub(super) const OCTETS: usize = 32 << 20;

/// So many windows share that while nobody knows how large mails are. With one alone, the server would be done before
/// the next is asked for.
const BLIND: usize = 2;

/// The same for large mails, whose sizes are known.
const LARGE_OCTETS: u64 = 8 << 20;

/// So many mails that are asked for already come together, and need no thread.
const FEW: usize = 200;

/// So many portions of mails may wait to be read.
const PORTIONS: usize = 2;

/// How much of each mail to look at, when so much would do.
pub(super) fn look(wanted: usize, config: &ImapConfig) -> usize {
    wanted.clamp(LEAST, MOST).min(config.max_message)
}

/// In which windows some mails are asked for.
pub(super) trait Windows {
    /// What to ask for next, until there is nothing more to ask for.
    fn next(&mut self) -> Option<Window>;

    /// Notes what has come, when `most` octets of each were asked for.
    fn note(&mut self, _mails: &Mails, _most: usize) {}
}

/// Fetches mails, and reads some while the next ones come; the first window may be asked for already.
///
/// Whoever stops to read makes the server wait, whose way to us holds few mails.
pub(super) fn read_while_they_come(
    session: &mut ImapSession,
    asked: Option<Window>,
    windows: &mut (impl Windows + Send),
    mut read: impl FnMut(&Mails, usize) + Send,
) -> Result<Option<Failure>> {
    if asked.as_ref().is_some_and(|window| window.uids.len() <= FEW) {
        let take = |mails: Mails, most| read(&mails, most);
        return session.fetch(asked, &mut Coming { first: None, windows, take });
    }
    let first = if asked.is_some() { None } else { windows.next() };
    if asked.is_none() && first.is_none() {
        return Ok(None);
    }
    thread::scope(|scope| {
        let (came, taken) = sync_channel::<(Mails, usize)>(PORTIONS);
        let reading = move || taken.iter().for_each(|(mails, most)| read(&mails, most));
        let reading = move || events::collected(reading).1;
        let thread = thread::Builder::new().name("pymail-reader".into()).spawn_scoped(scope, reading);
        let thread = thread
            .map_err(|error| Error::new(ErrorKind::Runtime, format!("can't start a thread: {error}")))?;
        let take = move |mails, most| {
            // Whoever reads them is gone only with a panic, which is passed on.
            let _ = came.send((mails, most));
        };
        let fetched = session.fetch(asked, &mut Coming { first, windows, take });
        // This thread holds the connection: its events wait for the end of that.
        thread.join().unwrap_or_else(|panic| resume_unwind(panic)).into_iter().for_each(events::emit);
        fetched
    })
}

/// Mails on their way to whoever reads them.
struct Coming<'a, W, T> {
    first: Option<Window>,
    windows: &'a mut W,
    take: T,
}

impl<W: Windows, T: FnMut(Mails, usize)> Fetching for Coming<'_, W, T> {
    fn next(&mut self) -> Option<Window> {
        self.first.take().or_else(|| self.windows.next())
    }

    fn take(&mut self, mails: Mails, most: usize) {
        self.windows.note(&mails, most);
        (self.take)(mails, most);
    }
}

/// Looks at mails of which nothing is known.
pub(super) struct FirstLooks<'a> {
    uids: &'a UidSet,
    asked: usize,
    /// So many windows were asked for before anybody knew how large mails are.
    blind: usize,
    /// How large mails were before, how large all mails are that came now, and how many these are.
    before: Sizes,
    sizes: (u64, u64),
    room: Room,
    config: &'a ImapConfig,
}

impl<'a> FirstLooks<'a> {
    pub(super) fn new(uids: &'a UidSet, before: Sizes, room: Room, config: &'a ImapConfig) -> Self {
        Self { uids, asked: 0, blind: 0, before, sizes: (0, 0), room, config }
    }

    /// What was not asked for.
    pub(super) fn unasked(&self) -> UidSet {
        self.uids.skip(self.asked)
    }

    /// Returns how large mails are here, as far as is known.
    pub(super) fn sizes(&self) -> Sizes {
        let average = self.sizes.0.checked_div(self.sizes.1);
        let average = average.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        Sizes { typical: average.or(self.before.typical), ..self.before }
    }
}

impl Windows for FirstLooks<'_> {
    fn next(&mut self) -> Option<Window> {
        let Sizes { typical, are_sent_whole, .. } = self.sizes();
        let is_blind = typical.is_none();
        if self.room.is_full() || (is_blind && self.blind == BLIND) {
            return None; // The first ones tell how large the others are.
        }
        self.blind += usize::from(is_blind);
        let likely = typical.map_or(MOST, |size| size.saturating_mul(SPREAD));
        let most = look(likely, self.config);
        let octets = if is_blind { OCTETS / BLIND } else { OCTETS };
        let each = if are_sent_whole { likely.clamp(most, OCTETS) } else { most };
        let count = (octets.min(self.config.batch_bytes) / each).max(1);
        let uids = self.uids.chunk(self.asked, count);
        self.asked += uids.len();
        // One of them may come whole, where the server ignores how much is asked for.
        let room = (count * each).max(self.config.max_message + 1);
        (!uids.is_empty()).then_some(Window { uids, part: Part::Whole, most, room })
    }

    fn note(&mut self, mails: &Mails, most: usize) {
        for mail in mails.iter() {
            self.sizes = (self.sizes.0.saturating_add(mail.size()), self.sizes.1 + 1);
            self.before.are_sent_whole |= mail.exceeds_request(most);
        }
    }
}

/// Fetches large mails, which there is room for.
pub(super) struct WholeMails<'a> {
    pub(super) validity: UidValidity,
    /// Those that are still to be asked for.
    pub(super) mails: &'a [(Uid, u64)],
    pub(super) part: Part,
    pub(super) config: &'a ImapConfig,
}

impl Windows for WholeMails<'_> {
    fn next(&mut self) -> Option<Window> {
        let mut room = LARGE_OCTETS;
        let fits = self.mails.iter().take_while(|(_, size)| {
            let before = room;
            room = room.saturating_sub(*size);
            *size <= before
        });
        let count = fits.count().max(1).min(self.mails.len());
        let (window, rest) = self.mails.split_at(count);
        self.mails = rest;
        let uids = UidSet::new(self.validity, window.iter().map(|(uid, _)| *uid));
        let most = self.config.max_message + 1;
        let room = most.max(self.config.batch_bytes);
        (!uids.is_empty()).then_some(Window { uids, part: self.part, most, room })
    }
}
