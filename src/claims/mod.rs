//! Several consumers of one mailbox. Each message is handed to the consumer that claims it first, in a log that all
//! share.
//!
//! | file | contains |
//! | --- | --- |
//! | `entry` | the format of the log |
//! | `ownership` | the owners that follow from the log, and the entries that are obsolete |
//! | `view` | the log as it was last read |
//! | `log` | appends entries, and reads the log |
//! | `lease` | renews the lease, claims again under another UIDVALIDITY, releases |
//!
//! # The log
//!
//! A mailbox, in which each entry is a mail. Its UID is its place, and all consumers compute the same owners:
//!
//! ```text
//!  UID  by  entry                              owners of the messages 1 to 5
//!    1   A  claim 1:3                          A A A - -
//!    2   B  claim 3:5                          A A A B B     3 has an owner already
//!    3   B  hold                               A A A B B     renews B's lease
//!    4   C  take 1:3 from A, last seen 1       C C C B B     A was silent for its lease, by C's clock
//!    5   A  claim 1:2                          C C C B B     too late: A reads this, and has lost them
//!    6   D  take 4:5 from B, last seen 2       C C C B B     void: B has written the entry 3 since
//!    7   B  bye                                C C C - -     releases all of B's
//! ```
//!
//! # The way of a message
//!
//! ```text
//!  SEARCH ─▶ read ─▶ claim ─▶ read ─▶ FETCH ─▶ app ─▶ check ─▶ MOVE
//!            the log  APPEND   the log, selecting        the lease, and
//!                              the inbox anew            the log if it ran out
//! ```
//!
//! | the connection is lost, or the process dies | |
//! | --- | --- |
//! | before the claim is stored | the message has no owner |
//! | after it is stored, before its OK | it counts: the next read shows it, and the next fetch delivers the message |
//! | before the message is archived | it is delivered again by this handle, or, after the lease, by another one |
//! | after it was archived | its claims are obsolete, and are removed by any reader |
//!
//! The second read selects the inbox anew. So a message that another consumer has archived, and whose claims are gone
//! with it, is found missing by FETCH, also if it was in this consumer's SEARCH.
//!
//! # Time
//!
//! Each consumer compares its own monotonic clock with itself: no clocks are compared. A lease is two timeouts at
//! least, so that a call that begins with a renewed lease ends before another consumer may take its messages.
//!
//! # Locks
//!
//! `view` is held for the whole of an operation, commands included, by the thread that has the session. Other threads,
//! which hand out deliveries, wait for it detached: its holder may need the interpreter.

mod entry;
mod lease;
mod log;
mod ownership;
#[cfg(test)]
mod tests;
mod view;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use self::entry::{Consumer, Op};
use self::view::View;
use crate::config::ImapConfig;
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::moves::search_among;
use crate::python::ImapSession;
use crate::uid::UidSet;

/// The most races for messages in one call, after which the inbox is searched again: the messages may be archived by
/// now.
const MAX_RACES: usize = 3;

/// The most calls in a row that lose all their races; the next one is an error. These are sixty claims that came too
/// late.
const MAX_LOST_ROUNDS: usize = 20;

/// The time in which a claim is stored and read, about: consumers that are woken together begin so long after each other,
/// on average.
const STAGGER: Duration = Duration::from_millis(25);

/// The longest time by which a consumer begins later.
const MAX_STAGGER: Duration = Duration::from_secs(1);

/// The most claims to messages that may be in the inbox, of about 60 octets each: 30 MB. A log with more is refused, to
/// bound time and memory.
const MAX_PRESENT_CLAIMS: usize = 500_000;

/// The most claims to any messages. Those to messages that are gone are dropped as they are read; this bounds the time
/// for that, since a range of a few octets can name 100,000 UIDs.
const MAX_CLAIMS: usize = 50_000_000;

/// The most messages that are claimed at once.
///
/// In single UIDs of ten digits, 44,000 octets: an entry of up to 64 KiB is read whole.
const MAX_UIDS_PER_CLAIM: usize = 4_000;

/// The most UIDs of an entry, in command lines ([`UidSet::chunks`]). Of 7,000 octets each: 56,000.
const MAX_LINES_PER_ENTRY: usize = 8;

/// Returns the messages of a set that are not foreign by their headers: SEARCH matches the tag anywhere in the Subject.
type WithoutForeign<'a> = dyn FnMut(&mut ImapSession, &UidSet) -> Result<UidSet> + 'a;

/// The claims of one handle on a shared mailbox. Clones of the handle share them; a second handle, also in the same
/// process, is another consumer.
#[derive(Debug)]
pub(crate) struct Claims {
    me: Consumer,
    lease: Duration,
    inbox: String,
    tag: String,
    /// Those of the SEARCH for messages with the tag.
    criteria: String,
    archive: String,
    /// `true` after the search for logs in other archives.
    has_searched_other_logs: AtomicBool,
    /// The number of other consumers when the log was last read.
    others: AtomicUsize,
    /// `true` if other consumers are likely to have claimed messages since.
    looks_first: AtomicBool,
    view: Mutex<View>,
}

impl Claims {
    /// Makes the claims of a new handle, under a random identifier.
    ///
    /// An identifier of 128 random bits is never used twice. A process that starts again is another consumer, and waits
    /// for the lease of the one before, unless that has released its messages.
    pub(crate) fn new(lease: Duration, config: &ImapConfig) -> Result<Self> {
        let mut bits = [0; 16];
        let random = getrandom::fill(&mut bits);
        random.map_err(|e| {
            Error::new(ErrorKind::Runtime, "the system provides no random numbers").with_source(e)
        })?;
        Ok(Self {
            me: Consumer(u128::from_be_bytes(bits)),
            lease,
            inbox: config.inbox.clone(),
            tag: config.common.tag.clone(),
            criteria: config.search_criteria(),
            archive: config.archive_name().to_owned(),
            has_searched_other_logs: AtomicBool::new(false),
            others: AtomicUsize::new(0),
            looks_first: AtomicBool::new(false),
            view: Mutex::default(),
        })
    }

    /// Returns a random time by which to begin later than the others, who have been woken by the same announcement; `None`
    /// without others. The next [`claim`](Self::claim) reads first whether they have claimed the messages by then.
    pub(crate) fn stagger(&self) -> Option<Duration> {
        let others = u32::try_from(self.others.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        if others == 0 {
            return None;
        }
        self.looks_first.store(true, Ordering::Relaxed);
        let most = STAGGER.saturating_mul(others).min(MAX_STAGGER);
        let share = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
        Some(most.mul_f64(share))
    }

    /// Returns the name of the log on this server.
    fn log_name(&self, session: &ImapSession) -> String {
        session.archive_child(&entry::log_name(&self.inbox, &self.tag, &self.archive))
    }

    /// Returns at most a batch of the messages that this handle owns, and `true` if there are more.
    ///
    /// Claims some first if it owns less than a batch. `present` are the results of a SEARCH, `wanted` the part to
    /// deliver. When nothing can be claimed, messages that it owns already are returned all the same.
    ///
    /// Foreign mail is not claimed: `without_foreign` leaves it out, by a round trip for each claim.
    ///
    /// `present` must be the results of the last SEARCH of the whole inbox: messages that are not in it count as gone.
    /// An empty set with `true` means that other consumers were quicker: search again.
    ///
    /// # Errors
    ///
    /// `Refused`: the log can't be read or written, and this handle has no messages (`OVERQUOTA`, for example); code
    /// `INUSE` after too many lost races, or while others may claim under a new UIDVALIDITY, with the wait. A lost
    /// connection.
    pub(crate) fn claim(
        &self,
        session: &mut ImapSession,
        (wanted, most): (&UidSet, usize),
        present: &UidSet,
        without_foreign: &mut WithoutForeign<'_>,
    ) -> Result<(UidSet, bool)> {
        let mut view = self.view.lock();
        self.enter_validity(session, &mut view)?;
        view.set_present(present);
        match self.claim_more(session, &mut view, (wanted, most), without_foreign) {
            Err(error) if error.kind() == ErrorKind::Refused && !view.is_older_than(self.lease) => {
                let (owned, more) = view.owned_by(self.me, wanted).first(most);
                if owned.is_empty() {
                    return Err(error);
                }
                events::emit(move || tracing::warn!(%error, "no more messages can be claimed for now"));
                Ok((owned, more))
            }
            claimed => claimed,
        }
    }

    /// Claims messages until there is a batch, in at most [`MAX_RACES`] attempts.
    ///
    /// The log is read first if it was not for a tenth of the lease, unless there is nothing to claim and nothing to
    /// remove. Else the last view is used, and only an APPEND and the read behind it are sent. When nothing seems free,
    /// and the log was not read in this call, STATUS tells if it has new entries: a release, for example. STATUS comes
    /// first after an announcement, when other consumers are likely to claim the same messages.
    fn claim_more(
        &self,
        session: &mut ImapSession,
        view: &mut View,
        (wanted, most): (&UidSet, usize),
        without_foreign: &mut WithoutForeign<'_>,
    ) -> Result<(UidSet, bool)> {
        let mut is_current = view.read_at.is_none_or(|read| read.elapsed() > self.lease / 10)
            && !(wanted.is_empty() && view.obsolete(self.lease).is_empty());
        if self.looks_first.swap(false, Ordering::Relaxed) && !is_current && !wanted.is_empty() {
            is_current = match self.has_new_entries(session, view) {
                Err(error) if error.kind() == ErrorKind::Refused => false, // The claim itself shows who was first.
                has => has?,
            };
        }
        if is_current {
            self.read_log(session, view)?;
        }
        for _ in 0..MAX_RACES {
            let (owned, more) = view.owned_by(self.me, wanted).first(most);
            let room = (most - owned.len()).min(MAX_UIDS_PER_CLAIM);
            if let Some(op) = self.next_op(session, view, wanted, room, without_foreign)? {
                self.append(session, view, &op)?;
                self.read_log(session, view)?;
                is_current = true;
                let (now_owned, _) = view.owned_by(self.me, wanted).first(most);
                if !now_owned.is_empty() {
                    view.lost_rounds = 0;
                    let more = more || wanted.len() > now_owned.len();
                    return Ok((now_owned, more));
                }
            } else if is_current
                || !owned.is_empty()
                || wanted.is_empty()
                || !self.has_new_entries(session, view)?
            {
                view.lost_rounds = 0;
                return Ok((owned, more));
            } else {
                self.read_log(session, view)?;
                is_current = true;
            }
        }
        // The wanted messages may be archived by now: the caller searches again.
        view.lost_rounds += 1;
        if view.lost_rounds < MAX_LOST_ROUNDS {
            return Ok((UidSet::empty(wanted.validity()), true));
        }
        view.lost_rounds = 0;
        let text = format!(
            "claiming messages: other consumers' claims came first, {} times in a row",
            MAX_LOST_ROUNDS * MAX_RACES
        );
        Err(Error::new(ErrorKind::Refused, text).with_code(Some("INUSE".into())))
    }

    /// Returns the operation that gets up to `room` more messages: a claim, else a take; `None` if there are none.
    ///
    /// Messages are taken from a silent consumer only when no others are left.
    ///
    /// # Errors
    ///
    /// `INUSE` with the wait after a change of UIDVALIDITY; those of fetching headers.
    fn next_op(
        &self,
        session: &mut ImapSession,
        view: &View,
        wanted: &UidSet,
        room: usize,
        without_foreign: &mut WithoutForeign<'_>,
    ) -> Result<Option<Op>> {
        if room == 0 || wanted.is_empty() {
            return Ok(None);
        }
        if let Some(wait) = view.reclaim_wait(self.me, self.lease) {
            let text =
                "UIDVALIDITY has changed, and other consumers have not claimed their messages again yet";
            let error = Error::new(ErrorKind::Refused, text).with_code(Some("INUSE".into()));
            return Err(error.with_retry_after(Some(wait)));
        }
        let mut left = wanted.clone();
        loop {
            let free = view.choose_free(self.me, &left, room, self.lease);
            if free.is_empty() {
                break;
            }
            let tagged = without_foreign(session, &free)?;
            if !tagged.is_empty() {
                return Ok(Some(Op::Claim(tagged)));
            }
            left.retain(|uid| !free.contains(uid));
        }
        Ok(view.take_from_silent(self.me, wanted, room, self.lease))
    }

    /// Returns the messages of the set that this handle still owns, and the error that names the others.
    ///
    /// UIDs of another UIDVALIDITY are returned unchecked: the caller finds the messages by Message-ID, and checks the
    /// new UIDs.
    ///
    /// | message | counts as owned |
    /// | --- | --- |
    /// | claimed by this handle | yes |
    /// | archived by this handle before | yes: the retry of an acknowledgement |
    /// | without an owner, not in the inbox | yes: another client has removed it, or an `ack` whose response was lost |
    /// | without an owner, in the inbox | if a new claim to it comes first |
    /// | claimed by another consumer | no |
    ///
    /// Sends nothing while the lease was renewed in time and all messages have this owner, which is the usual case.
    ///
    /// # Errors
    ///
    /// A log that can't be read; a lost connection. Lost messages are no error here, since the others can be archived.
    pub(crate) fn check_owned(
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
            self.read_log(session, &mut view)?; // the lease was not renewed in time
        }
        let was_archived = |view: &View, uid| view.was_archived(uids.validity(), uid);
        let mut free = uids.clone();
        free.retain(|uid| view.owner(uid).is_none() && !was_archived(&view, uid));
        // Messages that are gone, by another client or by an ack whose response was lost, are no other consumer's.
        let present = search_among(session, &free, " UNDELETED")?;
        free.retain(|uid| !present.contains(uid));
        let gone = free;
        if !present.is_empty() && view.reclaim_wait(self.me, self.lease).is_none() {
            // Another consumer had them meanwhile, and has released them.
            match self.append(session, &mut view, &Op::Claim(present)) {
                Err(error) if error.kind() == ErrorKind::Refused => {}
                appended => appended.and_then(|()| self.read_log(session, &mut view))?,
            }
        }
        let (mut owned, mut lost) = (uids.clone(), uids.clone());
        owned
            .retain(|uid| view.owner(uid) == Some(self.me) || was_archived(&view, uid) || gone.contains(uid));
        lost.retain(|uid| !owned.contains(uid));
        let error = (!lost.is_empty()).then(|| lease_lost(&lost, uids.len()));
        Ok((owned, error))
    }

    /// Returns those of these messages that other consumers owned when the log was last read.
    pub(crate) fn owned_by_others(&self, uids: &UidSet) -> UidSet {
        self.view.lock().owned_by_others(self.me, uids)
    }

    /// Returns an error unless this handle still owns all of these messages.
    ///
    /// # Errors
    ///
    /// `LeaseLost`, and those of [`check_owned`](Self::check_owned).
    pub(crate) fn require_owned(&self, session: &mut ImapSession, uids: &UidSet) -> Result<()> {
        self.check_owned(session, uids)?.1.map_or(Ok(()), Err)
    }

    /// Removes messages that this handle has archived, and remembers them: nothing is written to the log, where their
    /// claims are obsolete from now on.
    pub(crate) fn remove_archived(&self, uids: &UidSet) {
        self.view.lock().remove_archived(uids);
    }

    /// Returns `true` if this handle has archived the message, or if its UIDVALIDITY is an earlier one, of which
    /// nothing is known.
    pub(crate) fn may_have_archived(&self, delivery: &Delivery) -> bool {
        let view = self.view.lock();
        view.validity != Some(delivery.validity) || view.was_archived(delivery.validity, delivery.uid)
    }

    /// Records that deliveries are handed out to the app.
    ///
    /// Only these are claimed again after a change of UIDVALIDITY; messages without a Message-ID can't be found again.
    pub(crate) fn hand_out(&self, deliveries: &[Delivery]) {
        let mut view = self.view.lock();
        for delivery in deliveries {
            let uids = delivery.uids();
            let messages = uids.filter_map(|uid| Some((uid, delivery.identity?)));
            view.hand_out(delivery.validity, messages);
        }
    }
}

/// Returns the error that names lost messages.
fn lease_lost(lost: &UidSet, all: usize) -> Error {
    let count = lost.len();
    let text =
        format!("the lease ran out, and {count} of {all} messages may be another consumer's: UID {lost}");
    Error::new(ErrorKind::LeaseLost, text).with_code(Some("LEASE".into()))
}
