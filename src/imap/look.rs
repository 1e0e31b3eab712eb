//! A look at the inbox: some messages that were chosen, and what becomes of each.

use std::collections::BTreeSet;

use super::alone::{nothing_came, withheld};
use super::asking::{Asked, Trouble, Wanted, obtain};
use super::batch::Fate;
use super::cursor::Cursor;
use super::known::Waiting;
use super::reader::Reader;
use super::windows::{FirstLooks, WholeMails, read_while_they_come};
use super::{Delivery, Imap};
use crate::error::{Error, Result};
use crate::events;
use crate::python::{ImapSession, Part};
use crate::uid::{Uid, UidSet, UidValidity};

/// What is left when a look has ended.
pub(super) struct Seen {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) more: bool,
}

/// Messages that were chosen, on whatever connections they come.
pub(super) struct Look<'a> {
    pub(super) imap: &'a Imap,
    pub(super) validity: UidValidity,
    pub(super) reader: Reader<'a>,
    /// Those of which nothing is known.
    small: UidSet,
    /// Those to be fetched whole, once that is known.
    large: Option<Vec<Waiting>>,
    /// Asked for, and the server has nothing of them.
    pub(super) absent: BTreeSet<Uid>,
    /// Failed when they were asked for alone.
    pub(super) withheld: Vec<(Uid, Error)>,
    /// All that were chosen.
    pub(super) chosen: BTreeSet<Uid>,
    /// Whether others wait.
    more: bool,
    /// Whether the archive was looked into, or was not to be.
    is_recalled: bool,
}

impl<'a> Look<'a> {
    /// At new messages that have been read in one flight.
    pub(super) fn at_new(imap: &'a Imap, new: UidSet, reader: Reader<'a>) -> Self {
        let chosen = new.iter().collect();
        Self { is_recalled: true, ..Self::new(imap, new.validity(), reader, (new, chosen), false) }
    }

    /// At these messages.
    pub(super) fn at(imap: &'a Imap, validity: UidValidity, chosen: &[Waiting], more: bool) -> Self {
        let (mut small, mut large, mut aside) = (Vec::new(), Vec::new(), Vec::new());
        let mut known = imap.known.lock();
        for &(uid, size) in chosen {
            match (known.doubts().get(uid), size) {
                (Some(doubt), _) if doubt.is_due() => {}
                (Some(doubt), _) => aside.push((uid, doubt.error.clone())),
                (None, Some(size)) => large.push((uid, size)),
                (None, None) => small.push(uid),
            }
        }
        drop(known);
        let mut reader = Reader::new(imap, validity, large);
        // The error of the last time stands in place of what is not to be tried again yet.
        for (uid, error) in aside {
            reader.deliver_error(uid, withheld(uid, error), Fate::Stay);
        }
        let uids = chosen.iter().map(|(uid, _)| *uid).collect();
        Self::new(imap, validity, reader, (UidSet::new(validity, small), uids), more)
    }

    fn new(
        imap: &'a Imap,
        validity: UidValidity,
        reader: Reader<'a>,
        (small, chosen): (UidSet, BTreeSet<Uid>),
        more: bool,
    ) -> Self {
        Self {
            imap,
            validity,
            reader,
            small,
            large: None,
            absent: BTreeSet::new(),
            withheld: Vec::new(),
            chosen,
            more,
            is_recalled: false,
        }
    }

    /// Returns whether the archive should be looked into first; says so once.
    pub(super) fn asks_for_recall(&mut self) -> bool {
        !self.chosen.is_empty() && !std::mem::replace(&mut self.is_recalled, true)
    }

    /// Asks for all that are not doubtful.
    pub(super) fn fetch(&mut self, session: &mut ImapSession, trouble: &mut Trouble) -> Result<()> {
        let imap = self.imap;
        obtain(session, imap, trouble, &mut Firsts(self))?;
        if self.large.is_none() {
            let large = self.reader.large().into_iter().map(|(uid, size)| (uid, Some(size)));
            self.large = Some(large.collect());
        }
        obtain(session, imap, trouble, &mut Wholes(self))?;
        if trouble.stopped.is_none() {
            self.look_for_absent(session)?;
        }
        if !trouble.has_refusals() && !self.chosen.is_empty() {
            imap.known.lock().is_put_off(false);
        }
        Ok(())
    }

    /// A server that has nothing of a message, and finds it when it is searched for, does not tell all.
    fn look_for_absent(&mut self, session: &mut ImapSession) -> Result<()> {
        let absent = UidSet::new(self.validity, std::mem::take(&mut self.absent));
        for part in absent.chunks() {
            let present = session.search(&format!("UID {part}"))?;
            let mut known = self.imap.known.lock();
            for uid in part.iter() {
                if present.contains(uid) {
                    known.doubts().suspect(uid, &nothing_came());
                } else {
                    self.absent.insert(uid);
                }
            }
        }
        Ok(())
    }

    /// Returns whether there is anything to deliver.
    pub(super) fn has_any(&self) -> bool {
        self.reader.has_any()
    }

    /// Chooses nothing any more: the inbox was made anew.
    pub(super) fn is_over(&mut self) {
        self.chosen.clear();
        self.more = true;
    }

    /// Ends the look: what is settled, what is left behind by the cursor, and what is delivered.
    pub(super) fn end(self, cursor: &mut Cursor) -> Seen {
        let last = self.reader.last().max(cursor.at(self.validity).1);
        let is_open = |uid: &Uid| !self.reader.has_read(*uid) && !self.absent.contains(uid);
        let open: Vec<Uid> = self.chosen.iter().copied().filter(is_open).collect();
        let more = self.more || self.reader.is_full() || !open.is_empty();
        let gone = self.absent.iter().chain(self.reader.deleted());
        let mut known = self.imap.known.lock();
        known.gone(&UidSet::new(self.validity, gone.copied()));
        drop(known);
        for uid in self.reader.spent() {
            let uid = *uid;
            events::emit(
                move || tracing::info!(%uid, "a duplicate of an acknowledged message is not delivered"),
            );
        }
        cursor.go_to(self.validity, last, open.into_iter().filter(|uid| Some(*uid) <= last).collect());
        Seen { deliveries: self.reader.deliveries(), more }
    }

    /// Fetches these mails whole, and what comes short of its size once more without a limit.
    pub(super) fn fetch_whole(&mut self, session: &mut ImapSession, mails: &[(Uid, u64)]) -> Result<Asked> {
        let others = self.reader.unread(mails, false);
        let asked = self.fetch_part(session, &others, Part::Whole)?;
        let short = self.reader.unread(mails, true);
        if asked.failure.is_some() || short.is_empty() {
            let unasked = asked.unasked.iter().chain(short.iter().map(|(uid, _)| *uid));
            return Ok(Asked { unasked: UidSet::new(self.validity, unasked), ..asked });
        }
        self.fetch_part(session, &short, Part::Entire)
    }

    fn fetch_part(&mut self, session: &mut ImapSession, mails: &[(Uid, u64)], part: Part) -> Result<Asked> {
        let mut whole = WholeMails { validity: self.validity, mails, part, config: &self.imap.config };
        let reader = &mut self.reader;
        let failure =
            read_while_they_come(session, None, &mut whole, |mails, most| reader.take_whole(mails, most))?;
        let unasked = UidSet::new(self.validity, whole.mails.iter().map(|(uid, _)| *uid));
        Ok(Asked { failure, unasked })
    }
}

/// First looks at those of which nothing is known.
pub(super) struct Firsts<'l, 'a>(pub(super) &'l mut Look<'a>);

impl Wanted for Firsts<'_, '_> {
    fn missing(&self) -> UidSet {
        let mut missing = self.0.reader.unseen(self.0.small.clone());
        missing.retain(|uid| !self.0.absent.contains(&uid));
        missing
    }

    fn ask(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Asked> {
        let Look { imap, reader, .. } = &mut *self.0;
        let sizes = *imap.known.lock().sizes();
        let mut looks = FirstLooks::new(part, sizes, reader.room(), &imap.config);
        let failure =
            read_while_they_come(session, None, &mut looks, |mails, most| reader.take(mails, most))?;
        *imap.known.lock().sizes() = looks.sizes();
        Ok(Asked { failure, unasked: looks.unasked() })
    }

    fn came(&self) -> usize {
        self.0.reader.came()
    }

    /// What there was no room for has come, too.
    fn are_absent(&mut self, uids: &UidSet) {
        if !self.0.reader.is_full() {
            self.0.absent.extend(uids.iter());
        }
    }
}

/// Those that are fetched whole.
struct Wholes<'l, 'a>(&'l mut Look<'a>);

impl Wanted for Wholes<'_, '_> {
    fn missing(&self) -> UidSet {
        let large = self.0.large.iter().flatten().map(|(uid, _)| *uid);
        let is_open = |uid: &Uid| !self.0.reader.has_read(*uid) && !self.0.absent.contains(uid);
        UidSet::new(self.0.validity, large.filter(is_open))
    }

    fn ask(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Asked> {
        let large = self.0.large.iter().flatten().filter(|(uid, _)| part.contains(*uid));
        let mails: Vec<(Uid, u64)> = large.filter_map(|(uid, size)| Some((*uid, (*size)?))).collect();
        self.0.fetch_whole(session, &mails)
    }

    fn came(&self) -> usize {
        self.0.reader.came()
    }

    fn are_absent(&mut self, uids: &UidSet) {
        self.0.absent.extend(uids.iter());
    }
}
