//! The headers that tell who messages are.

use std::collections::{BTreeMap, BTreeSet};

use super::Imap;
use super::asking::{Asked, Trouble, Wanted, obtain};
use crate::error::Result;
use crate::python::{Fetching, ImapSession, Mails, Part, Window};
use crate::uid::{Uid, UidSet};

/// How many messages are asked at a time who they are, and how much each may say.
const WINDOW: usize = 1_000;
const MOST: usize = 16 << 10;

/// The same where that was not enough.
const MOST_OF_ONE: usize = 1 << 20;

/// Message-ID, Subject and From as the server sent them, and whether they may go on.
pub(super) struct Headers {
    pub(super) octets: Vec<u8>,
    pub(super) are_cut: bool,
}

/// Fetches the headers of these messages, but for the doubtful ones; those that the server does not give out are doubtful
/// then.
///
/// # Errors
/// A lost connection, and a NO that is to pass, or comes too often.
pub(super) fn headers(
    session: &mut ImapSession,
    imap: &Imap,
    uids: &UidSet,
) -> Result<BTreeMap<Uid, Headers>> {
    let mut all = BTreeMap::new();
    fetch(session, imap, &mut all, uids, (WINDOW, MOST))?;
    let cut = all.iter().filter(|(_, headers)| headers.are_cut).map(|(uid, _)| *uid);
    let cut = UidSet::new(uids.validity(), cut);
    if !cut.is_empty() {
        fetch(session, imap, &mut all, &cut, (1, MOST_OF_ONE))?;
    }
    Ok(all)
}

fn fetch(
    session: &mut ImapSession,
    imap: &Imap,
    all: &mut BTreeMap<Uid, Headers>,
    uids: &UidSet,
    sizes: (usize, usize),
) -> Result<()> {
    let mut asking = Asking { uids, absent: BTreeSet::new(), came: BTreeMap::new(), sizes };
    let mut trouble = Trouble::default();
    let outcome = obtain(session, imap, &mut trouble, &mut asking);
    all.append(&mut asking.came);
    outcome.and(trouble.stopped.map_or(Ok(()), Err))
}

/// Fetches the headers of those of these messages that the server gives out.
///
/// # Errors
/// A lost connection.
pub(super) fn headers_given_out(session: &mut ImapSession, uids: &UidSet) -> Result<BTreeMap<Uid, Headers>> {
    let mut all = BTreeMap::new();
    for part in uids.chunks() {
        let mut windows = Windows::new(&part, (WINDOW, MOST));
        let failure = session.fetch(None, &mut windows)?;
        if let Some(lost) = failure.filter(|failure| failure.error.ends_connection()) {
            return Err(lost.error);
        }
        all.append(&mut windows.came);
    }
    Ok(all)
}

/// Fetches the headers of one message, whatever is thought of it; none where the server has none.
pub(super) fn headers_of_one(session: &mut ImapSession, uid: Uid) -> Result<Option<Headers>> {
    let one = UidSet::new(session.validity(), [uid]);
    let mut windows = Windows::new(&one, (1, MOST_OF_ONE));
    match session.fetch(None, &mut windows)? {
        Some(failure) => Err(failure.error),
        None => Ok(windows.came.remove(&uid)),
    }
}

struct Asking<'a> {
    uids: &'a UidSet,
    absent: BTreeSet<Uid>,
    came: BTreeMap<Uid, Headers>,
    sizes: (usize, usize),
}

impl Wanted for Asking<'_> {
    fn missing(&self) -> UidSet {
        let mut missing = self.uids.clone();
        missing.retain(|uid| !self.came.contains_key(&uid) && !self.absent.contains(&uid));
        missing
    }

    fn ask(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Asked> {
        let mut windows = Windows::new(part, self.sizes);
        let failure = session.fetch(None, &mut windows)?;
        let unasked = part.skip(windows.asked);
        self.came.append(&mut windows.came);
        Ok(Asked { failure, unasked })
    }

    fn came(&self) -> usize {
        self.came.len()
    }

    fn are_absent(&mut self, uids: &UidSet) {
        self.absent.extend(uids.iter());
    }
}

struct Windows<'a> {
    uids: &'a UidSet,
    asked: usize,
    came: BTreeMap<Uid, Headers>,
    sizes: (usize, usize),
}

impl<'a> Windows<'a> {
    fn new(uids: &'a UidSet, sizes: (usize, usize)) -> Self {
        Self { uids, asked: 0, came: BTreeMap::new(), sizes }
    }
}

impl Fetching for Windows<'_> {
    fn next(&mut self) -> Option<Window> {
        let (count, most) = self.sizes;
        let uids = self.uids.chunk(self.asked, count);
        self.asked += uids.len();
        (!uids.is_empty()).then_some(Window { uids, part: Part::Headers, most, room: count * most })
    }

    fn take(&mut self, mails: Mails, most: usize) {
        for mail in mails.iter().filter(|mail| !mail.octets().is_empty()) {
            let headers = Headers { octets: mail.octets().into(), are_cut: mail.octets().len() == most };
            self.came.insert(mail.uid, headers);
        }
    }
}
