//! The receive engine: chooses candidates, fetches them, and returns their deliveries.
//!
//! ```text
//!  receive ─▶ fetch_round ─▶ choose         prefetched mail; else candidates, after a SEARCH and claims if need be
//!    ▲           │           Fetch::fetch   previews, whole messages, a SEARCH for what FETCH has left out
//!    │           └─ on a new connection after each loss, with the messages that are missing
//!    │        fetch_suspects                each message that failed, by itself
//!    │        report_failures               errors in their places; or the call stops, if the server is at fault
//!    │        finish                        the inbox's state, the next cursor
//!    │        remove_dead_letters           with `dead_letters`: deliveries counted, messages moved
//!    └─ nothing to deliver, and more waits
//! ```
//!
//! # A lost connection
//!
//! No mail is changed up to the dead letters, and claims stay claimed, so a round can go on at any place:
//!
//! | lost | then |
//! | --- | --- |
//! | at a message | the message is a suspect; the round goes on without it, for 8 losses in a call at most |
//! | elsewhere | the round goes on, once in a call |
//! | once more, or no new connection | the deliveries so far are returned; without any, the error |
//!
//! When UIDVALIDITY has changed on the new connection, the round ends with the messages that have arrived; their UIDs
//! are those of before, and `ack` finds them by Message-ID.

use super::cursor::Cursor;
use super::fetch::Fetch;
use super::inbox::{Candidate, Inbox, Settled};
use super::prefetch::prefetch_new;
use super::{Delivery, Imap, attempts};
use crate::connection::Session as _;
use crate::deadline::Deadline;
use crate::duplicates::load_archived_ids;
use crate::error::Result;
use crate::message::{Origin, origin};
use crate::python::ImapSession;
use crate::uid::UidSet;
use crate::withheld::{FailureBudget, fetch_headers};

/// The most rounds of one call, against a server that always announces more mail.
const MAX_ROUNDS: usize = 100;

/// The most withheld messages that are retried in a round with nothing else to fetch.
///
/// Each may cost a connection, or an eighth of the timeout.
const MAX_RETRIED: usize = 8;

/// Returns the oldest candidates that the cursor has not passed. A message that can't be fetched is an error in its
/// place.
///
/// A round without deliveries, such as one of foreign mail only, is followed by another one while candidates remain.
///
/// An empty result means that no message waits, or that those that wait are withheld and not due. The cursor passes no
/// message of a round that fails: those are fetched again.
///
/// # Errors
///
/// A failure that no message has caused, or after which there is nothing to deliver.
pub(crate) fn receive(
    imap: &Imap,
    inbox: &mut Inbox,
    cursor: &mut Cursor,
    deadline: Deadline,
) -> Result<Vec<Delivery>> {
    inbox.last_batch.begin(cursor, imap.config.common.options.heartbeat);
    let received = receive_rounds(imap, inbox, cursor, deadline);
    let (deliveries, leaves_some) = match &received {
        Ok((deliveries, more)) => (&deliveries[..], *more || !cursor.is_consumer()),
        Err(_) => (&[][..], true),
    };
    inbox.last_batch.fetched(deliveries);
    let has_found_new = inbox.take_found_new();
    imap.connection.searched(has_found_new);
    if has_found_new && leaves_some {
        // The announcement counts as seen, and other consumers wait for it.
        imap.in_flight.leave_for_others();
        imap.connection.wake_waits();
    }
    received.map(|(deliveries, _)| deliveries)
}

/// Runs rounds until one has deliveries, or none waits. Returns `true` if further messages wait.
fn receive_rounds(
    imap: &Imap,
    inbox: &mut Inbox,
    cursor: &mut Cursor,
    deadline: Deadline,
) -> Result<(Vec<Delivery>, bool)> {
    let mut budget = FailureBudget::new(imap.config.common.options);
    for _ in 0..MAX_ROUNDS {
        let Some(mut fetch) = fetch_round(imap, inbox, cursor, &mut budget, deadline)? else { break };
        fetch.fetch_suspects(inbox, &mut budget, deadline);
        fetch.report_failures(inbox, cursor.is_walk(), &mut budget, deadline);
        let mut next = cursor.clone();
        let (deliveries, more) = fetch.finish(inbox, &mut next);
        let mut deliveries = attempts::remove_dead_letters(imap, inbox, deliveries, deadline)?;
        inbox.count_returns(&mut deliveries);
        *cursor = next;
        if !deliveries.is_empty() {
            // Detached: the lock may be held by another call, which needs the interpreter to release it.
            let hand_out = || imap.claims.iter().for_each(|claims| claims.hand_out(&deliveries));
            ImapSession::detached(hand_out);
            return Ok((deliveries, more));
        }
        if budget.stopped.is_some() || !more {
            break;
        }
    }
    let unreported = || inbox.suspects().unreported();
    budget.stopped.or_else(unreported).map_or(Ok((Vec::new(), false)), Err)
}

/// Chooses messages and fetches all but the suspects, on a new connection after each loss. They are chosen once: a new
/// connection goes on with those that are missing.
///
/// # Errors
///
/// Of a round that has nothing to deliver; else the error is kept in the budget, and ends the call after this round.
fn fetch_round<'a>(
    imap: &'a Imap,
    inbox: &mut Inbox,
    cursor: &Cursor,
    budget: &mut FailureBudget,
    deadline: Deadline,
) -> Result<Option<Fetch<'a>>> {
    let mut fetch = None;
    loop {
        inbox.suspects().take_lost_at();
        let result = imap.connection.once(deadline, |session| {
            let fetch = match &mut fetch {
                Some(fetch) => fetch,
                none => none.insert(choose(session, imap, inbox, cursor)?),
            };
            fetch.fetch(session, inbox, budget)
        });
        match result {
            Ok(true) => return Ok(fetch),
            // In a call of its own, with a share of the time, so that its failure does not end the round.
            Ok(false) => {
                let backoff = imap.config.common.options.backoff;
                load_archived_ids(&imap.connection, inbox.acknowledged(), backoff, deadline);
            }
            Err(error) => {
                let is_at_message = budget.count_loss_at_message(inbox.suspects(), &error);
                if budget.admits_reconnect(&error, is_at_message) {
                    continue;
                }
                if !fetch.as_ref().is_some_and(Fetch::has_deliveries) {
                    return Err(error);
                }
                budget.stop(error);
                return Ok(fetch);
            }
        }
    }
}

/// Chooses the messages of a round: prefetched ones if no others wait; else claimed ones, or the oldest.
///
/// Candidates are never fetched out of order: new mail is prefetched only while no older mail waits. With claims, all
/// candidates are offered, and claimed by batches, of the oldest or of others: a walk comes back to those left out.
fn choose<'a>(
    session: &mut ImapSession,
    imap: &'a Imap,
    inbox: &mut Inbox,
    cursor: &Cursor,
) -> Result<Fetch<'a>> {
    if let Some((new, reader)) = prefetch_new(session, imap, inbox, cursor)? {
        return Ok(Fetch::prefetched(imap, new, reader));
    }
    let validity = session.validity();
    let Some(claims) = &imap.claims else {
        let (chosen, more) = choose_oldest(session, imap, inbox, cursor)?;
        return Ok(Fetch::of_candidates(imap, inbox, validity, &chosen, more));
    };
    let present = imap.search_tagged(session, inbox)?;
    inbox.update_candidates(&present);
    let mut candidates = inbox.next_candidates(validity, cursor, usize::MAX);
    candidates.extend(inbox.due_withheld(validity, cursor, MAX_RETRIED));
    let mut wanted = UidSet::new(validity, candidates.iter().map(|(uid, _)| *uid));
    let (mine, more) = claims.claim(
        session,
        (&wanted, cursor.most(imap.config.batch)),
        &present,
        &mut |session, uids| without_foreign(session, uids, imap, inbox),
    )?;
    // Claiming fetches headers, and settles foreign mail.
    candidates.retain(|(uid, _)| mine.contains(*uid) && inbox.is_candidate(*uid));
    wanted.retain(|uid| !mine.contains(uid));
    if inbox.suspects().unreported().is_some() {
        // The failure of another consumer's message is that consumer's to report.
        claims.owned_by_others(&wanted).iter().for_each(|uid| inbox.suspects().remove(uid));
    }
    let mut fetch = Fetch::of_candidates(imap, inbox, validity, &candidates, more);
    if cursor.is_walk() {
        fetch.left_out = wanted;
    }
    Ok(fetch)
}

/// Returns the oldest candidates, after a SEARCH if fewer than a batch are left, and `true` if more may wait.
///
/// While an earlier SEARCH has left a full batch, no new one is sent: a SEARCH takes a server time in proportion to the
/// mailbox.
fn choose_oldest(
    session: &mut ImapSession,
    imap: &Imap,
    inbox: &mut Inbox,
    cursor: &Cursor,
) -> Result<(Vec<Candidate>, bool)> {
    let (most, validity) = (cursor.most(imap.config.batch), session.validity());
    let mut chosen = inbox.next_candidates(validity, cursor, most + 1);
    let is_searched = chosen.len() < most;
    if is_searched {
        let found = imap.search_tagged(session, inbox)?;
        inbox.update_candidates(&found);
        chosen = inbox.next_candidates(validity, cursor, most + 1);
    }
    // Without a SEARCH, candidates may have left the inbox, and new mail may have arrived.
    let more = chosen.len() > most || !is_searched;
    chosen.truncate(most);
    if !more && !cursor.is_walk() {
        let room = MAX_RETRIED.min(most - chosen.len());
        chosen.extend(inbox.due_withheld(validity, cursor, room));
    }
    Ok((chosen, more))
}

/// Returns the messages that are not foreign by their headers. A message whose headers the server withholds is claimed,
/// too, so that a single consumer reports it.
fn without_foreign(
    session: &mut ImapSession,
    uids: &UidSet,
    imap: &Imap,
    inbox: &mut Inbox,
) -> Result<UidSet> {
    let (mut tagged, fetched) = (uids.clone(), fetch_headers(session, inbox.suspects(), uids)?);
    tagged.retain(|uid| {
        let origin = fetched.get(&uid).map(|it| origin(&it.octets, it.is_truncated, &imap.config.common.tag));
        let is_foreign = origin == Some(Origin::Foreign);
        if is_foreign {
            inbox.settle(uids.validity(), uid, Settled::Foreign);
        }
        !is_foreign
    });
    Ok(tagged)
}
