//! Several consumers of one mailbox: a message is handed to the one that has claimed it first, in a log that all share.

mod book;
mod keep;
mod log;
mod ownership;
#[cfg(test)]
mod tests;
mod view;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;

use self::log::{Consumer, Word};
use self::view::View;
use super::headers::fetch_headers;
use super::inbox_state::Settled;
use super::verbs::left_of;
use super::{Delivery, Imap};
use crate::config::ImapConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::message::{Origin, origin};
use crate::python::ImapSession;
use crate::uid::UidSet;

/// How often a handle that lost a race runs another one before it searches again, and how often it does that before it
/// says so.
const MOST_RACES: usize = 3;
const MOST_LOST: usize = 20;

/// A log with more claims to messages that may be in the inbox is refused: it takes time and memory, and a server may
/// say anything.
const MOST_CLAIMED: usize = 500_000;

/// The same for claims to any messages.
const MOST_READ: usize = 50_000_000;

/// So many messages are claimed at once at most, which an entry has room for.
const MOST_AT_ONCE: usize = 4_000;

/// An entry has room for the UIDs of so many command lines.
const MOST_LINES: usize = 8;

/// One handle's part in sharing a mailbox.
#[derive(Debug)]
pub(super) struct Claims {
    me: Consumer,
    lease: Duration,
    inbox: String,
    tag: String,
    archive: String,
    /// Whether logs in other archives were looked for.
    has_looked: AtomicBool,
    view: Mutex<View>,
}

impl Claims {
    pub(super) fn new(lease: Duration, config: &ImapConfig) -> Result<Self> {
        let mut bits = [0; 16];
        let random = getrandom::fill(&mut bits);
        random.map_err(|e| Error::new(ErrorKind::Runtime, "no random numbers").with_source(e))?;
        Ok(Self {
            me: Consumer(u128::from_be_bytes(bits)),
            lease,
            inbox: config.inbox.clone(),
            tag: config.common.tag.clone(),
            archive: config.archive_name().to_owned(),
            has_looked: AtomicBool::new(false),
            view: Mutex::default(),
        })
    }

    /// Returns the name of the log on this server.
    fn log(&self, session: &ImapSession) -> String {
        session.archive_child(&log::name(&self.inbox, &self.tag, &self.archive))
    }

    /// Returns the messages among the candidates that this handle has, after claiming some if it has less than a batch;
    /// and whether there are more.
    ///
    /// The inbox was selected anew after the claim was read: what another consumer has acknowledged before is
    /// gone from it. What this handle has already needs no log.
    pub(super) fn claim(
        &self,
        session: &mut ImapSession,
        wanted: &UidSet,
        present: &UidSet,
        imap: &Imap,
    ) -> Result<(UidSet, bool)> {
        let mut view = self.view.lock();
        self.enter(session, &mut view)?;
        view.found(present);
        match self.more(session, &mut view, wanted, imap) {
            Err(error) if error.kind() == ErrorKind::Refused && !view.is_older_than(self.lease) => {
                let (mine, more) = view.of(self.me, wanted).first(imap.config.batch);
                if mine.is_empty() {
                    return Err(error);
                }
                events::emit(move || tracing::warn!(%error, "no more messages can be claimed for now"));
                Ok((mine, more))
            }
            claimed => claimed,
        }
    }

    fn more(
        &self,
        session: &mut ImapSession,
        view: &mut View,
        wanted: &UidSet,
        imap: &Imap,
    ) -> Result<(UidSet, bool)> {
        let most = imap.config.batch;
        let mut is_fresh = view.read.is_none_or(|read| read.elapsed() > self.lease / 10)
            && !(wanted.is_empty() && view.obsolete(self.lease).is_empty());
        if is_fresh {
            self.read_log(session, view)?;
        }
        for _ in 0..MOST_RACES {
            let (mine, more) = view.of(self.me, wanted).first(most);
            let room = (most - mine.len()).min(MOST_AT_ONCE);
            if let Some(word) = self.next_word(session, view, wanted, room, imap)? {
                self.say(session, view, &word)?;
                self.read_log(session, view)?;
                is_fresh = true;
                let (now_mine, _) = view.of(self.me, wanted).first(most);
                if !now_mine.is_empty() {
                    view.lost_races = 0;
                    let more = more || wanted.len() > now_mine.len();
                    return Ok((now_mine, more));
                }
            } else if is_fresh || !mine.is_empty() || wanted.is_empty() || !self.has_news(session, view)? {
                view.lost_races = 0;
                return Ok((mine, more));
            } else {
                self.read_log(session, view)?;
                is_fresh = true;
            }
        }
        // What was won may be archived by now: another search tells.
        view.lost_races += 1;
        if view.lost_races < MOST_LOST {
            return Ok((UidSet::empty(wanted.validity()), true));
        }
        view.lost_races = 0;
        let text = format!(
            "reading the log: other consumers' claims came first, {} times in a row",
            MOST_LOST * MOST_RACES
        );
        Err(Error::new(ErrorKind::Refused, text).with_code(Some("INUSE".into())))
    }

    /// Returns what to say in order to have this many more messages; nothing when there is nothing to be had.
    fn next_word(
        &self,
        session: &mut ImapSession,
        view: &View,
        wanted: &UidSet,
        room: usize,
        imap: &Imap,
    ) -> Result<Option<Word>> {
        if room == 0 || wanted.is_empty() {
            return Ok(None);
        }
        if let Some(wait) = view.wait(self.me, self.lease) {
            let text = "the mailbox was made anew (UIDVALIDITY), and other consumers have not said yet which \
                        messages they have";
            let error = Error::new(ErrorKind::Refused, text).with_code(Some("INUSE".into()));
            return Err(error.with_retry_after(Some(wait)));
        }
        let mut left = wanted.clone();
        loop {
            let free = view.some_free(self.me, &left, room);
            if free.is_empty() {
                break;
            }
            let ours = ours_of(session, &free, imap)?;
            if !ours.is_empty() {
                return Ok(Some(Word::Claim(ours)));
            }
            left.retain(|uid| !free.contains(uid));
        }
        Ok(view.left_behind(self.me, wanted, room, self.lease))
    }

    /// Returns those of these messages that this handle still has, and the error that tells of the others.
    ///
    /// UIDs of another UIDVALIDITY are returned as they are: the messages are found again by their Message-IDs, and
    /// asked for under their new UIDs.
    pub(super) fn assure(&self, session: &mut ImapSession, uids: &UidSet) -> Result<(UidSet, Option<Error>)> {
        let mut view = self.view.lock();
        self.enter(session, &mut view)?;
        if uids.validity() != session.validity() {
            return Ok((uids.clone(), None));
        }
        if view.is_in_doubt || view.is_older_than(self.lease) {
            self.read_log(session, &mut view)?; // The lease could not be renewed, or there was nothing to renew.
        }
        let was_released = |view: &View, uid| view.was_released(uids.validity(), uid);
        let mut free = uids.clone();
        free.retain(|uid| view.owner(uid).is_none() && !was_released(&view, uid));
        // Another client may have removed some, or an ack whose answer was lost: they are no other consumer's.
        let there = left_of(session, &free, " UNDELETED")?;
        free.retain(|uid| !there.contains(uid));
        let gone = free;
        if !there.is_empty() && view.wait(self.me, self.lease).is_none() {
            // Let go of by a consumer that had them meanwhile.
            match self.say(session, &mut view, &Word::Claim(there)) {
                Err(error) if error.kind() == ErrorKind::Refused => {}
                said => said.and_then(|()| self.read_log(session, &mut view))?,
            }
        }
        let (mut ours, mut lost) = (uids.clone(), uids.clone());
        ours.retain(|uid| view.owner(uid) == Some(self.me) || was_released(&view, uid) || gone.contains(uid));
        lost.retain(|uid| !ours.contains(uid));
        let error = (!lost.is_empty()).then(|| lost_lease(&lost, uids.len()));
        Ok((ours, error))
    }

    /// Returns an error unless this handle still has all of these messages.
    pub(super) fn require(&self, session: &mut ImapSession, uids: &UidSet) -> Result<()> {
        self.assure(session, uids)?.1.map_or(Ok(()), Err)
    }

    /// Notes that these have left the inbox.
    pub(super) fn release(&self, uids: &UidSet) {
        self.view.lock().release(uids);
    }

    /// Returns whether this handle may have archived a message: it has, or nothing is known of its UIDVALIDITY any more.
    pub(super) fn may_have_archived(&self, delivery: &Delivery) -> bool {
        let view = self.view.lock();
        view.life != Some(delivery.validity) || view.was_released(delivery.validity, delivery.uid)
    }

    /// Notes that the app has these messages.
    pub(super) fn hand_out(&self, deliveries: &[Delivery]) {
        let mut view = self.view.lock();
        for delivery in deliveries {
            let uids = std::iter::once(delivery.uid).chain(delivery.copies.iter().copied());
            let messages = uids.filter_map(|uid| Some((uid, delivery.identity?)));
            view.hand_out(delivery.validity, messages);
        }
    }
}

fn lost_lease(lost: &UidSet, all: usize) -> Error {
    let count = lost.len();
    let text =
        format!("the lease ran out, and {count} of {all} messages may be another consumer's: UID {lost}");
    Error::new(ErrorKind::LeaseLost, text).with_code(Some("LEASE".into()))
}

/// Returns those of these messages that are not foreign by their headers. What the server does not tell of is claimed,
/// too, so that one consumer reports it.
fn ours_of(session: &mut ImapSession, uids: &UidSet, imap: &Imap) -> Result<UidSet> {
    let (mut ours, told) = (uids.clone(), fetch_headers(session, imap, uids)?);
    ours.retain(|uid| {
        let origin = told.get(&uid).map(|it| origin(&it.octets, it.is_truncated, &imap.config.common.tag));
        let is_foreign = origin == Some(Origin::Foreign);
        if is_foreign {
            imap.state.lock().settle(uids.validity(), uid, Settled::Foreign);
        }
        !is_foreign
    });
    Ok(ours)
}
