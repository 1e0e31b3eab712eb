//! From candidates on the server to deliveries: what is there, what is fetched of it, and what is still to come.

use super::archived_ids::{are_loaded, load_archived_ids};
use super::asking::Trouble;
use super::cursor::Cursor;
use super::known::Waiting;
use super::look::Look;
use super::search::search;
use super::{Delivery, Imap, ahead, dead_letters};
use crate::connection::Session as _;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::python::ImapSession;
use crate::uid::UidSet;

/// A server that always says that there is more must not keep a caller for ever.
const MOST_LOOKS: usize = 100;

/// When nothing else waits, so many withheld messages are tried again.
const ANOTHER_CHANCE: usize = 8;

/// Returns the oldest waiting messages that the cursor has not come to.
///
/// A look at nothing but foreign mail, or at mail that has gone meanwhile, says nothing about what is behind it. A message
/// that can't be had is an error in its place.
///
/// # Errors
/// A failure that no message is to blame for, or that left nothing to deliver.
pub(super) fn receive(imap: &Imap, cursor: &mut Cursor, deadline: Deadline) -> Result<Vec<Delivery>> {
    let mut trouble = Trouble::default();
    for _ in 0..MOST_LOOKS {
        let Some(mut look) = look(imap, cursor, &mut trouble, deadline)? else { break };
        look.try_alone(&mut trouble, deadline);
        look.report(cursor.is_a_walk(), &mut trouble, deadline);
        let mut next = cursor.clone();
        let seen = look.end(&mut next);
        let deliveries = dead_letters::remove_dead_letters(imap, seen.deliveries, deadline)?;
        *cursor = next;
        if !deliveries.is_empty() {
            // Another call may hold what this waits for, and need the interpreter.
            let hand_out = || imap.claims.iter().for_each(|claims| claims.hand_out(&deliveries));
            ImapSession::detached(hand_out);
            return Ok(deliveries);
        }
        if trouble.stopped.is_some() || !seen.more {
            break;
        }
    }
    let unreported = || imap.known.lock().doubts().unreported();
    trouble.stopped.or_else(unreported).map_or(Ok(Vec::new()), Err)
}

/// What to do when a part of a look has ended well.
enum Next {
    Recall,
    End,
}

/// Chooses messages and asks for those that are not doubtful, on a new connection after each loss.
fn look<'a>(
    imap: &'a Imap,
    cursor: &Cursor,
    trouble: &mut Trouble,
    deadline: Deadline,
) -> Result<Option<Look<'a>>> {
    let mut look = None;
    loop {
        imap.known.lock().doubts().take_lost_at();
        let answer =
            imap.connection.once(deadline, |session| go_on(session, imap, cursor, &mut look, trouble));
        match answer {
            Ok(Next::Recall) => load_archived_ids(imap, deadline),
            Ok(Next::End) => return Ok(look),
            Err(error) => {
                let is_blamed = trouble.lost_at(imap, &error);
                if trouble.goes_on(&error, is_blamed) {
                    continue;
                }
                if !look.as_ref().is_some_and(Look::has_any) {
                    return Err(error);
                }
                trouble.stop(error);
                return Ok(look);
            }
        }
    }
}

fn go_on<'a>(
    session: &mut ImapSession,
    imap: &'a Imap,
    cursor: &Cursor,
    look: &mut Option<Look<'a>>,
    trouble: &mut Trouble,
) -> Result<Next> {
    if look.is_none() {
        *look = Some(choose(session, imap, cursor)?);
    }
    let Some(look) = look else { return Ok(Next::End) };
    if look.validity != session.validity() {
        look.is_over();
        return Ok(Next::End);
    }
    if look.asks_for_recall() && !are_loaded(session, imap) {
        return Ok(Next::Recall);
    }
    look.fetch(session, trouble)?;
    Ok(Next::End)
}

/// What is new, in one flight, where nothing else waits; else what was found before, or a search.
fn choose<'a>(session: &mut ImapSession, imap: &'a Imap, cursor: &Cursor) -> Result<Look<'a>> {
    if let Some((new, reader)) = ahead::look(session, imap, cursor)? {
        return Ok(Look::at_new(imap, new, reader));
    }
    let validity = session.validity();
    let (chosen, more) = match &imap.claims {
        Some(claims) => {
            let present = search(session, imap)?;
            imap.known.lock().found(&present);
            let mut waiting = imap.known.lock().waiting(validity, cursor, usize::MAX);
            waiting.extend(imap.known.lock().due(validity, cursor, ANOTHER_CHANCE));
            let wanted = UidSet::new(validity, waiting.iter().map(|(uid, _)| *uid));
            let (mine, more) = claims.claim(session, &wanted, &present, imap)?;
            // To claim some has shown that others are foreign.
            let known = imap.known.lock();
            waiting.retain(|(uid, _)| mine.contains(*uid) && known.is_waiting(*uid));
            (waiting, more)
        }
        None => oldest(session, imap, cursor)?,
    };
    Ok(Look::at(imap, validity, &chosen, more))
}

/// What was found before, as long as that is a batch; else a search.
fn oldest(session: &mut ImapSession, imap: &Imap, cursor: &Cursor) -> Result<(Vec<Waiting>, bool)> {
    let (most, validity) = (imap.config.batch, session.validity());
    let waiting = || imap.known.lock().waiting(validity, cursor, most + 1);
    let mut chosen = waiting();
    let is_searched = chosen.len() < most;
    if is_searched {
        let found = search(session, imap)?;
        imap.known.lock().found(&found);
        chosen = waiting();
    }
    // What was found before may have gone, and new mail may have come.
    let more = chosen.len() > most || !is_searched;
    chosen.truncate(most);
    if !more && !cursor.is_a_walk() {
        let chances = ANOTHER_CHANCE.min(most - chosen.len());
        chosen.extend(imap.known.lock().due(validity, cursor, chances));
    }
    Ok((chosen, more))
}
