//! Archives acknowledged deliveries: by their UIDs, or by their Message-IDs after UIDVALIDITY has changed.
//!
//! ```text
//!  deliveries ─▶ groups of one UIDVALIDITY
//!    │
//!    ├─ the session's ─▶ search_copies ─▶ check_owned ─▶ Move::run ─▶ done
//!    │                   of an earlier    with `shared`   MOVE, or COPY, STORE, UID EXPUNGE
//!    │                   attempt
//!    ├─ an earlier one ─▶ find_by_identity: their UIDs of now ─▶ as above
//!    │                    └ not found ─▶ find_moved: in the archive, by a move without a response ─▶ done
//!    │                                   └ not found ─▶ StaleUids
//!    └─ another mailbox's ─▶ StaleUids
//!  duplicates of acknowledged messages ─▶ Move::run
//! ```
//!
//! An acknowledgement may be repeated, by the connection after a loss, by the app after an error, and in part: `done`
//! has the messages that have left the inbox, and [`UnconfirmedCopies`](crate::moves::UnconfirmedCopies)
//! those that may be in both mailboxes. They are looked for before anything is moved again, so that no message is
//! archived twice.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

mod fetch_and_ack;

use crate::deadline::Deadline;
use crate::delivery::{Delivery, ValidityGroup, group_by_validity};
use crate::error::{Error, ErrorKind, Result};
use crate::imap::{Imap, Inbox, next_fetch};
use crate::message::Identity;
use crate::moves::Move;
use crate::python::ImapSession;
use crate::spans::verb_span;
use crate::uid::{Uid, UidSet};
use crate::withheld::{Headers, fetch_headers};
#[cfg(doc)]
use crate::{Batch, Consumer, ImapConfig};

/// Acknowledges messages.
impl Imap {
    /// Moves these deliveries from the inbox to the archive.
    ///
    /// Uses MOVE (RFC 6851), else COPY, STORE and UID EXPUNGE with COPYUID checked (RFC 4315). On a server with neither
    /// MOVE nor UIDPLUS the messages are copied and stay in the inbox, flagged `\Deleted`, because a plain EXPUNGE
    /// would remove other clients' mail, too; they are not fetched again.
    ///
    /// Messages that the server withholds stay in the inbox ([`Delivery::message`]). Duplicates of acknowledged
    /// messages are archived, too. When UIDVALIDITY has changed since the fetch, the messages are found by Message-ID,
    /// Subject and sender; in the archive, too, if the response to an earlier move was lost.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `Refused` when the server answers OK and the messages are still in the inbox; when it withholds the log of a
    ///   [`shared`](ImapConfig::shared) mailbox; and when UIDVALIDITY has changed, and it withholds headers by which
    ///   the messages are found again;
    /// - `StaleUids` when UIDVALIDITY has changed and some messages are not found again, and for deliveries of another
    ///   mailbox;
    /// - `LeaseLost` when other consumers of a [`shared`](ImapConfig::shared) mailbox may have some of the messages:
    ///   the text names their UIDs, and the others are archived.
    ///
    /// After any error each message is in the inbox or in the archive; a retry archives none of them twice. A message of
    /// a [`Consumer`] stays in flight, unless the error is `StaleUids` or `LeaseLost`: acknowledge it again, or return it
    /// by [`nack`](Imap::nack).
    pub fn ack<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>) -> Result<()> {
        let deliveries: Vec<&Delivery> = deliveries.into_iter().collect();
        let span = verb_span!("imap.ack");
        span.record("messages", deliveries.len());
        let acknowledged = self.with_inbox(&span, |inbox, deadline| {
            acknowledge(self, inbox, deliveries.clone(), deadline, Inbox::forget_unreturned)
        });
        let are_lost = |error: &Error| matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::StaleUids);
        if acknowledged.as_ref().is_err_and(are_lost) {
            // If the consumer that has them now fails, or they are under other UIDs, they come again.
            self.in_flight.delay(&deliveries, Duration::ZERO);
            self.connection.wake_waits();
        }
        if acknowledged.is_ok() {
            // Also what was held under an earlier UIDVALIDITY.
            for group in group_by_validity(deliveries) {
                self.in_flight.remove(&group.uids());
            }
        }
        acknowledged
    }

    /// Fetches one batch and acknowledges it before it returns: at most once, where [`fetch`](Imap::fetch) and
    /// [`Batch::ack`] deliver at least once.
    ///
    /// Returns at most [`batch`](ImapConfig::batch) messages, and none when the inbox has no more. When the process
    /// dies before it has handled them, no later call delivers them: they are in the archive only.
    ///
    /// After an error, messages may be archived already. The next call on this handle acknowledges and returns them,
    /// without those that [`ack`](Imap::ack) has acknowledged meanwhile.
    ///
    /// # Errors
    /// As [`fetch`](Imap::fetch) and [`ack`](Imap::ack). `Timeout` also while another thread's `fetch_and_ack` runs.
    pub fn fetch_and_ack(&self) -> Result<Vec<Delivery>> {
        let span = verb_span!("imap.fetch_and_ack");
        let mut deliveries =
            self.with_inbox(&span, |inbox, deadline| fetch_and_ack::fetch_and_ack(self, inbox, deadline))?;
        span.record("messages", deliveries.len());
        self.hand_out(&mut deliveries);
        Ok(deliveries)
    }
}

/// Archives the deliveries, and the duplicates of earlier acknowledged messages that are in the inbox.
///
/// Passes the UIDs that have left the inbox to `on_archived`, also when the rest fails.
///
/// Each group is a call on the connection with the same deadline. Messages that are lost or missing keep no other group
/// from being archived; another error ends the call. Duplicates come last, since their failure must not keep messages from
/// being archived.
///
/// # Errors
///
/// `LeaseLost` after the messages that are still owned were archived; `StaleUids`; `Refused`, also for an OK that is
/// none; a lost connection. After each of them, a message is in the inbox or in the archive, and a retry is safe.
fn acknowledge<'a>(
    imap: &Imap,
    inbox: &mut Inbox,
    deliveries: impl IntoIterator<Item = &'a Delivery>,
    deadline: Deadline,
    on_archived: impl Fn(&mut Inbox, &UidSet),
) -> Result<()> {
    let mut outcome = Ok(());
    for group in group_by_validity(deliveries) {
        let mut done = Vec::new();
        let unfinished = inbox.unconfirmed_copies.among(&group.uids());
        let archived =
            imap.connection.repeat(deadline, |session| archive(session, &group, imap, inbox, &mut done));
        let done = UidSet::new(group.validity, done);
        let count = count_new(inbox, &group, &done, &unfinished);
        imap.connection.count(|counts| counts.acknowledged += count as u64);
        remember(inbox, &group, &done);
        on_archived(inbox, &done);
        match archived {
            Err(error) if error.kind() != ErrorKind::StaleUids => return Err(error),
            archived => outcome = outcome.and(archived.and_then(|lost| lost.map_or(Ok(()), Err))),
        }
    }
    outcome?;
    let spent = inbox.duplicates();
    if let Some(spent) = spent {
        imap.connection.repeat(deadline, |session| archive_duplicates(session, &spent, inbox))?;
        inbox.forget_duplicates();
    }
    Ok(())
}

/// Returns the number of messages that have left the inbox by this acknowledgement, or by an `unfinished` one before.
fn count_new(inbox: &Inbox, group: &ValidityGroup<'_>, done: &UidSet, unfinished: &BTreeSet<Uid>) -> usize {
    let is_new = |it: &&&Delivery| unfinished.contains(&it.uid) || inbox.is_waiting(it);
    let archived = group.deliveries.iter().filter(|delivery| done.contains(delivery.uid));
    archived.filter(is_new).map(|it| it.uid).collect::<BTreeSet<_>>().len()
}

/// Records archived messages: they are not fetched again, and their duplicates are dropped.
fn remember(inbox: &mut Inbox, group: &ValidityGroup<'_>, done: &UidSet) {
    inbox.remove(done);
    let archived = group.deliveries.iter().filter(|delivery| done.contains(delivery.uid));
    archived.filter_map(|delivery| delivery.identity).for_each(|identity| inbox.acknowledged().add(identity));
}

/// Archives the messages of a group that this handle still owns; returns the error for the others.
///
/// Adds the UIDs that have left the inbox to `done`, also when the rest fails.
///
/// Under an earlier UIDVALIDITY, a message that cannot be found by its identity, in the inbox or among the
/// acknowledged, counts as missing. The others are archived all the same.
///
/// # Errors
///
/// `StaleUids` for UIDs of another mailbox, and for missing messages; those of the commands. `LeaseLost` is a result,
/// since it does not undo what was archived.
fn archive(
    session: &mut ImapSession,
    group: &ValidityGroup<'_>,
    imap: &Imap,
    inbox: &mut Inbox,
    done: &mut Vec<Uid>,
) -> Result<Option<Error>> {
    let uids = group.uids();
    // The UIDs of another mailbox are refused there.
    if !uids.validity().is_same_mailbox(session.validity()) || uids.validity() == session.validity() {
        return archive_by_uid(session, &uids, imap, inbox, done);
    }
    let archive = session.archive().to_owned();
    let found = find_by_identity(session, group, imap, inbox)?;
    done.extend(find_moved(session, group, &found, imap, inbox)?);
    let present = UidSet::new(session.validity(), found.uids.keys().copied());
    if inbox.unconfirmed_copies.has_any(&uids, &archive) {
        inbox.unconfirmed_copies.mark_unknown(&present, &archive);
    }
    let mut moved = Vec::new();
    let lost = archive_by_uid(session, &present, imap, inbox, &mut moved);
    let moved: HashSet<Identity> = moved.iter().filter_map(|uid| found.uids.get(uid).copied()).collect();
    let is_moved = |it: &&&Delivery| it.identity.is_some_and(|identity| moved.contains(&identity));
    done.extend(group.deliveries.iter().filter(is_moved).map(|it| it.uid));
    if let Some(error) = lost? {
        return Ok(Some(error));
    }
    let is_missing = |it: &&&Delivery| !done.contains(&it.uid) && !found.has(it, inbox);
    let (missing, all) = (group.deliveries.iter().filter(is_missing).count(), group.deliveries.len());
    if missing == 0 {
        return Ok(None);
    }
    let text =
        format!("UIDVALIDITY has changed, and {missing} of {all} messages are not in the mailbox any more");
    Err(Error::new(ErrorKind::StaleUids, text).with_code(Some("UIDVALIDITY".into())))
}

/// Archives the messages of a set that this handle still owns; returns the error for the others.
///
/// Messages that an earlier attempt has archived need no lease: no other consumer can have them.
fn archive_by_uid(
    session: &mut ImapSession,
    uids: &UidSet,
    imap: &Imap,
    inbox: &mut Inbox,
    done: &mut Vec<Uid>,
) -> Result<Option<Error>> {
    let mut left = uids.clone();
    left.retain(|uid| !done.contains(&uid));
    let archive = session.archive().to_owned();
    let ahead = next_fetch(session, imap, inbox, &left);
    let mut moving = Move::to_own_mailbox(session, &mut inbox.unconfirmed_copies, &archive, done);
    moving.ahead = ahead;
    let result = moving.search_copies(&left).and_then(|left| {
        let (owned, lost) = match &imap.claims {
            Some(claims) if !left.is_empty() => claims.check_owned(moving.session, &left)?,
            _ => (left, None),
        };
        moving.run(&owned)?;
        Ok(lost)
    });
    let done = UidSet::new(uids.validity(), done.iter().copied());
    imap.claims.iter().for_each(|claims| claims.remove_archived(&done));
    result
}

/// Messages of an earlier UIDVALIDITY that were found again, by their present UIDs.
struct Found {
    uids: BTreeMap<Uid, Identity>,
    identities: HashSet<Identity>,
}

impl Found {
    /// Returns `true` if a message is in the inbox.
    fn is_present(&self, delivery: &Delivery) -> bool {
        delivery.identity.is_some_and(|identity| self.identities.contains(&identity))
    }

    /// Returns `true` if a message is in the inbox, or known to be archived.
    fn has(&self, delivery: &Delivery, inbox: &mut Inbox) -> bool {
        let is_archived = |identity| inbox.acknowledged().contains(identity);
        self.is_present(delivery) || delivery.identity.is_some_and(is_archived)
    }
}

/// Finds the messages of a group under their present UIDs, by Message-ID, Subject and sender.
///
/// Fetches the headers of all tagged messages in the inbox. Messages without a Message-ID are never found.
///
/// # Errors
///
/// `Refused` if messages are missing and the server withholds headers: they may be the missing ones.
fn find_by_identity(
    session: &mut ImapSession,
    group: &ValidityGroup<'_>,
    imap: &Imap,
    inbox: &mut Inbox,
) -> Result<Found> {
    let wanted: HashSet<Identity> = group.identities().collect();
    // What arrived is left to the next fetch.
    let candidates = session.counting(|session| imap.search_tagged(session, inbox))?;
    let fetched = fetch_headers(session, inbox.suspects(), &candidates)?;
    let identity = |headers: &Headers| Identity::read(&headers.octets).filter(|it| wanted.contains(it));
    let uids: BTreeMap<Uid, Identity> =
        fetched.iter().filter_map(|(uid, headers)| Some((*uid, identity(headers)?))).collect();
    let found = Found { identities: uids.values().copied().collect(), uids };
    let has_all_headers = candidates.iter().all(|uid| fetched.contains_key(&uid));
    if !has_all_headers && !group.deliveries.iter().all(|delivery| found.has(delivery, inbox)) {
        let text = "UIDVALIDITY has changed, and the server withholds the headers of some messages: not all of those to \
                    acknowledge could be found";
        return Err(Error::new(ErrorKind::Refused, text));
    }
    Ok(found)
}

/// Returns the messages that are in the archive and not in the inbox, of those whose move was unfinished when
/// UIDVALIDITY changed: the server has moved them, and its response was lost.
///
/// Only a message that is seen in the archive counts as moved. The archive is read from its newest message on, as many
/// as `dedup_window`.
fn find_moved(
    session: &mut ImapSession,
    group: &ValidityGroup<'_>,
    found: &Found,
    imap: &Imap,
    inbox: &mut Inbox,
) -> Result<Vec<Uid>> {
    let archive = session.archive().to_owned();
    let is_unfinished =
        |it: &Delivery| inbox.unconfirmed_copies.has_any(&UidSet::new(group.validity, it.uids()), &archive);
    let mut unfinished = group.deliveries.clone();
    unfinished.retain(|it| !found.is_present(it) && is_unfinished(it));
    if unfinished.is_empty() {
        return Ok(Vec::new());
    }
    let most = imap.config.dedup_window.max(unfinished.len());
    let headers = match session.newest_archived(most, None) {
        // Without an archive that can be read, they count as missing.
        Err(error) if error.kind() == ErrorKind::Refused && !error.is_transient() => return Ok(Vec::new()),
        archived => archived?.1,
    };
    let archived: HashSet<Identity> = headers.iter().filter_map(|it| Identity::read(it)).collect();
    unfinished.retain(|it| it.identity.is_some_and(|identity| archived.contains(&identity)));
    Ok(unfinished.iter().map(|it| it.uid).collect())
}

/// Archives duplicates. After a change of UIDVALIDITY it does nothing: the next fetch finds them again.
fn archive_duplicates(session: &mut ImapSession, duplicates: &UidSet, inbox: &mut Inbox) -> Result<()> {
    if duplicates.validity() != session.validity() {
        return Ok(());
    }
    let archive = session.archive().to_owned();
    if !session.has_move() {
        // An acknowledgement that an earlier process did not finish may have copied some to the archive.
        inbox.unconfirmed_copies.mark_unknown(duplicates, &archive);
    }
    Move::to_own_mailbox(session, &mut inbox.unconfirmed_copies, &archive, &mut Vec::new()).run(duplicates)
}
