//! Several consumers of one mailbox: a message is handed to the one that has claimed it first, in a log that all share.

mod entry;
mod lease;
mod log;
mod ownership;
#[cfg(test)]
mod tests;
mod view;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;

use self::entry::{Consumer, Op};
use self::view::View;
use super::headers::headers;
use super::known::Settled;
use super::verbs::search_among;
use super::{Delivery, Imap};
use crate::config::ImapConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::message::{Origin, origin};
use crate::python::ImapSession;
use crate::uid::UidSet;

/// How often a handle that lost a race runs another one before it searches again, and how often it does that before it
/// says so.
const MAX_RACES: usize = 3;
const MAX_LOST_ROUNDS: usize = 20;

/// A log with more claims to messages that may be in the inbox is refused: it takes time and memory, and a server may
/// say anything.
const MAX_PRESENT_CLAIMS: usize = 500_000;

/// The same for claims to any messages.
const MAX_CLAIMS: usize = 50_000_000;

/// So many messages are claimed at once at most, which an entry has room for.
const MAX_UIDS_PER_CLAIM: usize = 4_000;

/// An entry has room for the UIDs of so many command lines.
const MAX_LINES_PER_ENTRY: usize = 8;

/// One handle's part in sharing a mailbox.
#[derive(Debug)]
pub(super) struct Claims {
    me: Consumer,
    lease: Duration,
    inbox: String,
    tag: String,
    archive: String,
    /// Whether logs in other archives were looked for.
    has_searched_other_logs: AtomicBool,
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
            has_searched_other_logs: AtomicBool::new(false),
            view: Mutex::default(),
        })
    }

    /// Returns the name of the log on this server.
    fn log_name(&self, session: &ImapSession) -> String {
        session.archive_child(&entry::log_name(&self.inbox, &self.tag, &self.archive))
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
        self.enter_validity(session, &mut view)?;
        view.set_present(present);
        match self.claim_more(session, &mut view, wanted, imap) {
            Err(error) if error.kind() == ErrorKind::Refused && !view.is_older_than(self.lease) => {
                let (mine, more) = view.owned_by(self.me, wanted).first(imap.config.batch);
                if mine.is_empty() {
                    return Err(error);
                }
                events::emit(move || tracing::warn!(%error, "no more messages can be claimed for now"));
                Ok((mine, more))
            }
            claimed => claimed,
        }
    }

    fn claim_more(
        &self,
        session: &mut ImapSession,
        view: &mut View,
        wanted: &UidSet,
        imap: &Imap,
    ) -> Result<(UidSet, bool)> {
        let most = imap.config.batch;
        let mut is_current = view.read_at.is_none_or(|read| read.elapsed() > self.lease / 10)
            && !(wanted.is_empty() && view.obsolete(self.lease).is_empty());
        if is_current {
            self.read_log(session, view)?;
        }
        for _ in 0..MAX_RACES {
            let (mine, more) = view.owned_by(self.me, wanted).first(most);
            let room = (most - mine.len()).min(MAX_UIDS_PER_CLAIM);
            if let Some(op) = self.next_op(session, view, wanted, room, imap)? {
                self.append(session, view, &op)?;
                self.read_log(session, view)?;
                is_current = true;
                let (now_mine, _) = view.owned_by(self.me, wanted).first(most);
                if !now_mine.is_empty() {
                    view.lost_rounds = 0;
                    let more = more || wanted.len() > now_mine.len();
                    return Ok((now_mine, more));
                }
            } else if is_current
                || !mine.is_empty()
                || wanted.is_empty()
                || !self.has_new_entries(session, view)?
            {
                view.lost_rounds = 0;
                return Ok((mine, more));
            } else {
                self.read_log(session, view)?;
                is_current = true;
            }
        }
        // What was won may be archived by now: another search tells.
        view.lost_rounds += 1;
        if view.lost_rounds < MAX_LOST_ROUNDS {
            return Ok((UidSet::empty(wanted.validity()), true));
        }
        view.lost_rounds = 0;
        let text = format!(
            "reading the log: other consumers' claims came first, {} times in a row",
            MAX_LOST_ROUNDS * MAX_RACES
        );
        Err(Error::new(ErrorKind::Refused, text).with_code(Some("INUSE".into())))
    }

    /// Returns what to say in order to have this many more messages; nothing when there is nothing to be had.
    fn next_op(
        &self,
        session: &mut ImapSession,
        view: &View,
        wanted: &UidSet,
        room: usize,
        imap: &Imap,
    ) -> Result<Option<Op>> {
        if room == 0 || wanted.is_empty() {
            return Ok(None);
        }
        if let Some(wait) = view.reclaim_wait(self.me, self.lease) {
            let text = "the mailbox was made anew (UIDVALIDITY), and other consumers have not said yet which \
                        messages they have";
            let error = Error::new(ErrorKind::Refused, text).with_code(Some("INUSE".into()));
            return Err(error.with_retry_after(Some(wait)));
        }
        let mut left = wanted.clone();
        loop {
            let free = view.choose_free(self.me, &left, room);
            if free.is_empty() {
                break;
            }
            let ours = without_foreign(session, &free, imap)?;
            if !ours.is_empty() {
                return Ok(Some(Op::Claim(ours)));
            }
            left.retain(|uid| !free.contains(uid));
        }
        Ok(view.take_from_silent(self.me, wanted, room, self.lease))
    }

    /// Returns those of these messages that this handle still has, and the error that tells of the others.
    ///
    /// UIDs of another UIDVALIDITY are returned as they are: the messages are found again by their Message-IDs, and
    /// asked for under their new UIDs.
    pub(super) fn check_owned(
        &self,
        session: &mut ImapSession,
        uids: &UidSet,
    ) -> Result<(UidSet, Option<Error>)> {
        let mut view = self.view.lock();
        self.enter_validity(session, &mut view)?;
        if uids.validity() != session.validity() {
            return Ok((uids.clone(), None));
        }
        if view.may_have_lost || view.is_older_than(self.lease) {
            self.read_log(session, &mut view)?; // The lease could not be renewed, or there was nothing to renew.
        }
        let was_archived = |view: &View, uid| view.was_archived(uids.validity(), uid);
        let mut free = uids.clone();
        free.retain(|uid| view.owner(uid).is_none() && !was_archived(&view, uid));
        // Another client may have removed some, or an ack whose answer was lost: they are no other consumer's.
        let there = search_among(session, &free, " UNDELETED")?;
        free.retain(|uid| !there.contains(uid));
        let gone = free;
        if !there.is_empty() && view.reclaim_wait(self.me, self.lease).is_none() {
            // Let go of by a consumer that had them meanwhile.
            match self.append(session, &mut view, &Op::Claim(there)) {
                Err(error) if error.kind() == ErrorKind::Refused => {}
                said => said.and_then(|()| self.read_log(session, &mut view))?,
            }
        }
        let (mut ours, mut lost) = (uids.clone(), uids.clone());
        ours.retain(|uid| view.owner(uid) == Some(self.me) || was_archived(&view, uid) || gone.contains(uid));
        lost.retain(|uid| !ours.contains(uid));
        let error = (!lost.is_empty()).then(|| lease_lost(&lost, uids.len()));
        Ok((ours, error))
    }

    /// Returns an error unless this handle still has all of these messages.
    pub(super) fn require_owned(&self, session: &mut ImapSession, uids: &UidSet) -> Result<()> {
        self.check_owned(session, uids)?.1.map_or(Ok(()), Err)
    }

    /// Notes that these have left the inbox.
    pub(super) fn remove_archived(&self, uids: &UidSet) {
        self.view.lock().remove_archived(uids);
    }

    /// Returns whether this handle may have archived a message: it has, or nothing is known of its UIDVALIDITY any more.
    pub(super) fn may_have_archived(&self, delivery: &Delivery) -> bool {
        let view = self.view.lock();
        view.validity != Some(delivery.validity) || view.was_archived(delivery.validity, delivery.uid)
    }

    /// Notes that the app has these messages.
    pub(super) fn hand_out(&self, deliveries: &[Delivery]) {
        let mut view = self.view.lock();
        for delivery in deliveries {
            let uids = delivery.uids();
            let messages = uids.filter_map(|uid| Some((uid, delivery.identity?)));
            view.hand_out(delivery.validity, messages);
        }
    }
}

fn lease_lost(lost: &UidSet, all: usize) -> Error {
    let count = lost.len();
    let text =
        format!("the lease ran out, and {count} of {all} messages may be another consumer's: UID {lost}");
    Error::new(ErrorKind::LeaseLost, text).with_code(Some("LEASE".into()))
}

/// Returns those of these messages that are not foreign by their headers. What the server does not tell of is claimed,
/// too, so that one consumer reports it.
fn without_foreign(session: &mut ImapSession, uids: &UidSet, imap: &Imap) -> Result<UidSet> {
    let (mut ours, told) = (uids.clone(), headers(session, imap, uids)?);
    ours.retain(|uid| {
        let origin = told.get(&uid).map(|it| origin(&it.octets, it.are_cut, &imap.config.common.tag));
        let is_foreign = origin == Some(Origin::Foreign);
        if is_foreign {
            imap.known.lock().settle(uids.validity(), uid, Settled::Foreign);
        }
        !is_foreign
    });
    Ok(ours)
}
