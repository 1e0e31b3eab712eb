//! Fetches the messages chosen for a batch: previews first, then whole messages where a preview is not enough.
//!
//! ```text
//!  chosen ─┬─ size unknown ─▶ preview, most messages are whole ─┬─ whole: parsed ─▶ ours, duplicate, foreign
//!          │                                                    ├─ not whole, foreign by its Subject ─▶ settled
//!          │                                                    └─ not whole ─┐
//!          ├─ size known from an earlier call ────────────────────────────────┴▶ fetched whole, or only the rest of it,
//!          │                                                                     within the byte budget
//!          └─ suspect, not due ─▶ its last error
//! ```
//!
//! A fetch outlives connections: what has arrived is in the reader, and on a new connection only the missing messages
//! are requested. Each chosen message ends as read, absent, withheld, or unfetched; unfetched ones stay candidates.

use std::collections::{BTreeMap, BTreeSet};

use super::cursor::Cursor;
use super::inbox::{Candidate, Inbox};
use super::reader::Reader;
use super::windows::{Previews, WholeMails};
use super::{Delivery, Imap};
use crate::delivery::Fate;
use crate::error::{Error, Result};
use crate::python::{ImapSession, Part};
use crate::uid::{Uid, UidSet, UidValidity};
use crate::withheld::{
    FailureBudget, Request, Response, Suspects, empty_response, fetch_all_but_suspects, withheld_error,
};

/// The fetch of chosen messages, which may take several connections.
pub(super) struct Fetch<'a> {
    pub(super) imap: &'a Imap,
    /// The UIDVALIDITY of all UIDs here. A session with another one does not go on with the fetch.
    pub(super) validity: UidValidity,
    pub(super) reader: Reader<'a>,
    /// All chosen messages.
    pub(super) chosen: BTreeSet<Uid>,
    /// Candidates that were not chosen, and that the cursor must not pass: a walk claims a batch anywhere among them.
    pub(super) left_out: UidSet,
    /// The chosen messages to preview.
    previewed: UidSet,
    /// The messages to fetch whole, with their sizes; `None` until the previews have arrived.
    ///
    /// Chosen once: on a new connection, the same messages are requested.
    large: Option<Vec<(Uid, u64)>>,
    /// Messages that FETCH returned nothing for: expunged.
    ///
    /// Verified by SEARCH before they count.
    pub(super) absent: BTreeSet<Uid>,
    /// Messages that failed when they were fetched by themselves, with the errors.
    pub(super) withheld: Vec<(Uid, Error)>,
    /// `true` if further messages wait.
    more: bool,
    /// `true` after the archive was read for duplicates, or was found not to need it.
    is_archive_read: bool,
}

impl<'a> Fetch<'a> {
    /// Begins with new messages that a prefetch has read already.
    pub(super) fn prefetched(imap: &'a Imap, new: UidSet, reader: Reader<'a>) -> Self {
        let (validity, chosen) = (new.validity(), new.iter().collect());
        Self { chosen, previewed: new, is_archive_read: true, ..Self::new(imap, validity, reader) }
    }

    /// Begins with these candidates. Suspects that are not due are delivered as their last error.
    pub(super) fn of_candidates(
        imap: &'a Imap,
        inbox: &mut Inbox,
        validity: UidValidity,
        candidates: &[Candidate],
        more: bool,
    ) -> Self {
        let (mut previewed, mut large, mut not_due) = (Vec::new(), Vec::new(), Vec::new());
        for &(uid, size) in candidates {
            match (inbox.suspects().get(uid), size) {
                (Some(suspect), _) if suspect.is_due() => {}
                (Some(suspect), _) => not_due.push((uid, suspect.error.clone())),
                (None, Some(size)) => large.push((uid, size)),
                (None, None) => previewed.push(uid),
            }
        }
        let mut reader = Reader::new(imap, validity, large);
        for (uid, error) in not_due {
            reader.deliver_error(uid, withheld_error(uid, error), Fate::Stay);
        }
        let chosen = candidates.iter().map(|(uid, _)| *uid).collect();
        let previewed = UidSet::new(validity, previewed);
        Self { chosen, previewed, more, ..Self::new(imap, validity, reader) }
    }

    /// Begins with no messages.
    fn new(imap: &'a Imap, validity: UidValidity, reader: Reader<'a>) -> Self {
        Self {
            imap,
            validity,
            reader,
            chosen: BTreeSet::new(),
            left_out: UidSet::empty(validity),
            previewed: UidSet::empty(validity),
            large: None,
            absent: BTreeSet::new(),
            withheld: Vec::new(),
            more: false,
            is_archive_read: false,
        }
    }

    /// Fetches all chosen messages but the suspects. Returns `false`, once, if the archive is to be read for duplicates
    /// before that. A prefetch has made sure that there is nothing to read.
    ///
    /// May be called again after a loss. A round without a refusal also shows that the server has recovered: the next
    /// transient refusal counts as such again. When UIDVALIDITY has changed, the messages that have arrived are all.
    ///
    /// # Errors
    ///
    /// A lost connection, with the message that caused it noted among the suspects. Refusals are counted in the budget.
    pub(super) fn fetch(
        &mut self,
        session: &mut ImapSession,
        inbox: &mut Inbox,
        budget: &mut FailureBudget,
    ) -> Result<bool> {
        if self.validity != session.validity() {
            self.cancel();
            return Ok(true);
        }
        let is_archive_read = self.chosen.is_empty() || std::mem::replace(&mut self.is_archive_read, true);
        if !is_archive_read && inbox.acknowledged().is_read_due(session) {
            return Ok(false);
        }
        fetch_all_but_suspects(session, budget, &mut PreviewRequest { fetch: self, inbox })?;
        if self.large.is_none() {
            self.large = Some(self.reader.take_large_within_budget(inbox));
        }
        fetch_all_but_suspects(session, budget, &mut WholeRequest { fetch: self, inbox })?;
        if budget.stopped.is_none() {
            self.verify_absent(session, inbox)?;
        }
        if !budget.has_refusals() && !self.chosen.is_empty() {
            inbox.suspects().no_refusal();
        }
        Ok(true)
    }

    /// Searches for the absent messages. Those that the server finds are not expunged, and become suspects.
    ///
    /// An expunged message, and one that the server withholds without a word, look the same to FETCH: an OK without
    /// data.
    fn verify_absent(&mut self, session: &mut ImapSession, inbox: &mut Inbox) -> Result<()> {
        let absent = UidSet::new(self.validity, std::mem::take(&mut self.absent));
        for part in absent.chunks() {
            let present = session.search(&format!("UID {part}"))?;
            for uid in part.iter() {
                if present.contains(uid) {
                    inbox.suspects().add(uid, &empty_response());
                } else {
                    self.absent.insert(uid);
                }
            }
        }
        Ok(())
    }

    /// Returns `true` if any message or error is ready for delivery.
    pub(super) fn has_deliveries(&self) -> bool {
        self.reader.has_deliveries()
    }

    /// Drops the chosen messages, since the inbox has another UIDVALIDITY; delivers those that have arrived.
    fn cancel(&mut self) {
        self.chosen.clear();
        self.more = true;
    }

    /// Removes expunged messages from the state, moves the cursor, and returns the deliveries, oldest
    /// first, and `true` if further messages wait.
    ///
    /// For messages above the highest one that was read, the cursor needs no list; those below it are skipped ones.
    pub(super) fn finish(self, inbox: &mut Inbox, cursor: &mut Cursor) -> (Vec<Delivery>, bool) {
        let last = self.reader.last().max(cursor.position(self.validity).1);
        let unfetched: Vec<Uid> = self.chosen.iter().copied().filter(|uid| self.is_unfetched(*uid)).collect();
        let more = self.more || self.reader.is_full() || !unfetched.is_empty();
        let gone = self.absent.iter().chain(self.reader.deleted());
        inbox.remove(&UidSet::new(self.validity, gone.copied()));
        let skipped = unfetched.into_iter().chain(self.left_out.iter()).filter(|uid| Some(*uid) <= last);
        let skipped = UidSet::new(self.validity, skipped);
        cursor.advance(self.validity, last, skipped.iter().collect());
        (self.reader.into_deliveries(), more)
    }

    /// Returns `true` for a message that is neither read nor absent.
    fn is_unfetched(&self, uid: Uid) -> bool {
        !self.reader.has_read(uid) && !self.absent.contains(&uid)
    }

    /// Fetches these messages whole, or the rests of those whose beginnings are kept. Rests that don't come as they were
    /// requested are fetched whole, too; messages that arrive shorter than their RFC822.SIZE once more, without a limit.
    pub(super) fn fetch_whole(
        &mut self,
        session: &mut ImapSession,
        inbox: &mut Inbox,
        mails: &[(Uid, u64)],
    ) -> Result<Response> {
        let first = self.reader.unread(mails, false);
        let mut response = self.fetch_part(session, inbox, &first, Part::Whole)?;
        if self.reader.drop_beginnings(inbox, &first) && response.failure.is_none() {
            let first = self.reader.unread(mails, false);
            response = self.fetch_part(session, inbox, &first, Part::Whole)?;
        }
        let short = self.reader.unread(mails, true);
        if response.failure.is_some() || short.is_empty() {
            let unrequested = response.unrequested.iter().chain(short.iter().map(|(uid, _)| *uid));
            return Ok(Response { unrequested: UidSet::new(self.validity, unrequested), ..response });
        }
        self.fetch_part(session, inbox, &short, Part::Entire)
    }

    fn fetch_part(
        &mut self,
        session: &mut ImapSession,
        inbox: &mut Inbox,
        mails: &[(Uid, u64)],
        part: Part,
    ) -> Result<Response> {
        let reader = &mut self.reader;
        let kept = if part == Part::Whole { reader.kept() } else { BTreeMap::new() };
        let mut whole = WholeMails { validity: self.validity, mails, kept, part, config: &self.imap.config };
        let failure = session.fetch(&mut whole, |mails, asked| reader.read_whole(inbox, &mails, asked))?;
        let unrequested = UidSet::new(self.validity, whole.mails.iter().map(|(uid, _)| *uid));
        Ok(Response { failure, unrequested })
    }
}

/// The request for previews.
pub(super) struct PreviewRequest<'f, 'a> {
    pub(super) fetch: &'f mut Fetch<'a>,
    pub(super) inbox: &'f mut Inbox,
}

impl Request for PreviewRequest<'_, '_> {
    fn missing(&self) -> UidSet {
        let mut missing = self.fetch.reader.unfetched(self.fetch.previewed.clone());
        missing.retain(|uid| !self.fetch.absent.contains(&uid));
        missing
    }

    fn send(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Response> {
        let (Fetch { imap, reader, .. }, inbox) = (&mut *self.fetch, &mut *self.inbox);
        let sizes = *inbox.sizes();
        let mut previews = Previews::new(part, sizes, reader.byte_budget(), &imap.config);
        let failure =
            session.fetch(&mut previews, |mails, asked| reader.read_previews(inbox, &mails, asked))?;
        *inbox.sizes() = previews.sizes();
        Ok(Response { failure, unrequested: previews.unrequested() })
    }

    fn arrived(&self) -> usize {
        self.fetch.reader.arrived()
    }

    fn set_absent(&mut self, uids: &UidSet) {
        // A full reader drops what arrives: that is not absent.
        if !self.fetch.reader.is_full() {
            self.fetch.absent.extend(uids.iter());
        }
    }

    fn suspects(&mut self) -> &mut Suspects {
        self.inbox.suspects()
    }
}

/// The request for whole messages.
struct WholeRequest<'f, 'a> {
    fetch: &'f mut Fetch<'a>,
    inbox: &'f mut Inbox,
}

impl Request for WholeRequest<'_, '_> {
    fn missing(&self) -> UidSet {
        let large = self.fetch.large.iter().flatten().map(|(uid, _)| *uid);
        UidSet::new(self.fetch.validity, large.filter(|uid| self.fetch.is_unfetched(*uid)))
    }

    fn send(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Response> {
        let large = self.fetch.large.iter().flatten().copied();
        let mails: Vec<(Uid, u64)> = large.filter(|(uid, _)| part.contains(*uid)).collect();
        self.fetch.fetch_whole(session, self.inbox, &mails)
    }

    fn arrived(&self) -> usize {
        self.fetch.reader.arrived()
    }

    fn set_absent(&mut self, uids: &UidSet) {
        self.fetch.absent.extend(uids.iter());
    }

    fn suspects(&mut self) -> &mut Suspects {
        self.inbox.suspects()
    }
}
