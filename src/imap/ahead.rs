//! The next fetch, sent ahead: in one flight with the acknowledgement of the batch before.
//!
//! So an app that fetches and acknowledges batch after batch waits for one round trip a batch. The commands go out behind
//! the MOVE that archives the last messages of a batch; the next fetch reads their responses.
//!
//! | the next fetch is | sent ahead |
//! | --- | --- |
//! | a full batch of candidates that an earlier SEARCH has left | the FETCH of their first window |
//! | of new mail only | what a [prefetch](super::prefetch) sends |
//! | any other | nothing |
//!
//! They change nothing on the server. Any other command drops their responses, the heartbeat's too. Where new mail was
//! searched for and none found, or more than a second ago, a fetch searches again; a consumer need not, since what comes
//! after the search ends its next wait.
//!
//! They are sent once a batch, for an app in a loop, whose last fetch has followed an acknowledgement before the heartbeat.
//! A server may send their responses before that of MOVE, for which `ack` then waits: so not if fetches take long.

use std::time::{Duration, Instant};

use super::cursor::Cursor;
use super::inbox::Inbox;
use super::prefetch::limits;
use super::reader::Reader;
use super::windows::Previews;
use super::{Delivery, Imap};
use crate::python::{Ahead, ImapSession, Windows as _};
use crate::uid::{Uid, UidSet, UidValidity};

/// The most octets to expect of a fetch that is sent ahead: they may be for nothing.
const MAX_OCTETS: usize = 1 << 20;

/// The part of a call's time that a fetch may take, one in so many, for the next one to be sent ahead.
const SHARE_OF_TIME: u32 = 4;

/// The last batch that this handle has fetched, and whether its app is in a loop.
#[derive(Debug, Default)]
pub(super) struct LastBatch {
    /// The messages to acknowledge, by their lowest and highest UID.
    range: Option<(UidValidity, Uid, Uid)>,
    count: usize,
    /// The number of those that are not acknowledged.
    left: usize,
    is_consumers: bool,
    /// `true` if it was fetched soon after an acknowledgement.
    is_in_loop: bool,
    /// The time at which its fetch began.
    began: Option<Instant>,
    /// The duration of its fetch, and of the acknowledgement behind which that was sent.
    took: Duration,
    /// The time at which the next fetch was sent ahead.
    sent_ahead: Option<Instant>,
    /// The time at which the last of them was acknowledged.
    done_at: Option<Instant>,
}

impl LastBatch {
    /// Records the begin of a fetch, which follows the acknowledgement before if that was within `soon`.
    pub(super) fn begin(&mut self, cursor: &Cursor, soon: Duration) {
        let follows = self.done_at.is_some_and(|done| done.elapsed() < soon);
        let in_acknowledgement = self.done_at.zip(self.sent_ahead).map(|(done, sent)| done - sent);
        *self = Self {
            is_in_loop: follows && !cursor.is_walk(),
            is_consumers: cursor.is_consumer(),
            began: Some(Instant::now()),
            took: in_acknowledgement.unwrap_or_default(),
            ..Self::default()
        };
    }

    /// Records the messages of a fetch.
    pub(super) fn fetched(&mut self, deliveries: &[Delivery]) {
        for delivery in deliveries.iter().filter(|it| it.is_archivable()) {
            for uid in delivery.uids() {
                let (_, first, last) = self.range.unwrap_or((delivery.validity, uid, uid));
                self.range = Some((delivery.validity, first.min(uid), last.max(uid)));
                self.count += 1;
            }
        }
        self.left = self.count;
        self.took += self.began.map(|began| began.elapsed()).unwrap_or_default();
    }

    /// Records messages that have left the inbox.
    pub(super) fn remove(&mut self, gone: &UidSet) {
        let count = self.count_among(gone);
        if count > 0 {
            self.left = self.left.saturating_sub(count);
            self.done_at = (self.left == 0).then(Instant::now);
        }
    }

    /// Returns `true` if none is left without these, and the app will likely fetch the next batch, in a short time.
    fn is_completed_by(&self, leaving: &UidSet, timeout: Duration) -> bool {
        let is_quick = self.took < timeout / SHARE_OF_TIME;
        self.is_in_loop && is_quick && self.left > 0 && self.count_among(leaving) >= self.left
    }

    /// Records that the next fetch is sent ahead; not again for this batch, since it may be the cause of a loss.
    fn sent_ahead(&mut self) {
        self.is_in_loop = false;
        self.sent_ahead = Some(Instant::now());
    }

    fn count_among(&self, uids: &UidSet) -> usize {
        let Some((validity, first, last)) = self.range else { return 0 };
        if validity != uids.validity() {
            return 0;
        }
        uids.iter().filter(|uid| (first..=last).contains(uid)).count()
    }
}

/// Returns the fetch that is likely to follow, once these messages have left the inbox; `None` if there is none, or it
/// is not known.
pub(crate) fn next_fetch(
    session: &mut ImapSession,
    imap: &Imap,
    inbox: &mut Inbox,
    leaving: &UidSet,
) -> Option<Ahead> {
    let timeout = imap.config.common.options.timeout;
    if !inbox.last_batch.is_completed_by(leaving, timeout) || imap.connection.is_awaited() {
        return None;
    }
    let octets = inbox.sizes().average?.saturating_mul(inbox.last_batch.count);
    // With claims, messages are claimed before they are fetched. Duplicates are archived by a move of their own.
    let is_next = session.can_send_ahead() && imap.claims.is_none() && inbox.duplicates().is_none();
    if !is_next || octets > MAX_OCTETS {
        return None;
    }
    let room = imap.in_flight.room_without(leaving, imap.config.max_in_flight);
    let is_consumers = inbox.last_batch.is_consumers;
    let cursor = if is_consumers { Cursor::consumer(room, &imap.config) } else { Cursor::default() };
    let next = if inbox.has_fetchable(session.validity(), leaving) {
        first_window(session, imap, inbox, &cursor, leaving)
    } else {
        new_mail(session, imap, inbox, &cursor)
    };
    if next.is_some() {
        inbox.last_batch.sent_ahead();
    }
    next
}

/// Returns the fetch of new mail, where that is a prefetch.
fn new_mail(session: &mut ImapSession, imap: &Imap, inbox: &mut Inbox, cursor: &Cursor) -> Option<Ahead> {
    let is_prefetched = cursor.most(imap.config.batch) == imap.config.batch
        && !inbox.suspects().has_due()
        && !inbox.searched.is_audit_due(&imap.config)
        && !inbox.acknowledged().is_read_due(session);
    let (count, most) = limits(&imap.config);
    is_prefetched.then(|| Ahead::NewMail { criteria: inbox.searched.criteria(&imap.config), count, most })
}

/// Returns the first window of a full batch of candidates.
fn first_window(
    session: &mut ImapSession,
    imap: &Imap,
    inbox: &mut Inbox,
    cursor: &Cursor,
    leaving: &UidSet,
) -> Option<Ahead> {
    let (validity, most) = (session.validity(), cursor.most(imap.config.batch));
    let mut candidates = inbox.next_candidates(validity, cursor, most + leaving.len());
    candidates.retain(|(uid, _)| !leaving.contains(*uid));
    candidates.truncate(most);
    let is_new = |(uid, size): &(Uid, Option<u64>)| size.is_none() && !inbox.suspects().contains(*uid);
    if most == 0 || candidates.len() < most || !candidates.iter().all(is_new) {
        return None;
    }
    let uids = UidSet::new(validity, candidates.iter().map(|(uid, _)| *uid));
    let is_whole = inbox.suspects().next_portion(uids.clone()).len() == uids.len();
    let byte_budget = Reader::new(imap, validity, Vec::new()).byte_budget();
    let window = Previews::new(&uids, *inbox.sizes(), byte_budget, &imap.config).next();
    window.filter(|window| is_whole && session.fits(&window.uids)).map(Ahead::Window)
}
