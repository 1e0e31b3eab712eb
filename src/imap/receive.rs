//! From candidates on the server to deliveries: what is there, what is fetched of it, and what is still to come.

use super::cursor::Cursor;
use super::known::Waiting;
use super::reader::Reader;
use super::recall::recall;
use super::refusals::{Asked, Open, PATIENCE, ask_for};
use super::windows::{FirstLooks, WholeMails, read_while_they_come};
use super::{Delivery, Imap, ahead, dead_letters};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// A server that always says that there is more must not keep a caller for ever.
const MOST_LOOKS: usize = 100;

/// When nothing else waits, so many mails that were refused are asked for again.
const ANOTHER_CHANCE: usize = 8;

/// What a look at the inbox saw.
struct Look {
    deliveries: Vec<Delivery>,
    /// The server's no to some of it, and whether to leave it in peace.
    refused: Option<Error>,
    stops: bool,
    more: bool,
    cursor: Cursor,
}

/// What is to be looked at next.
struct Candidates {
    /// Oldest first.
    small: UidSet,
    /// Ours, with sizes, that need a fetch of their own.
    large: Vec<(Uid, u64)>,
    more: bool,
}

/// The oldest waiting messages that the cursor has not come to.
///
/// A look at nothing but foreign mail, or at mail that has gone meanwhile, says nothing about what is behind it. What
/// the server does not give out keeps nobody from the others, and is an error when there are none.
pub(super) fn receive(imap: &Imap, cursor: &mut Cursor, deadline: Deadline) -> Result<Vec<Delivery>> {
    let (mut patience, mut refused) = (PATIENCE, None);
    for _ in 0..MOST_LOOKS {
        let look = imap.link.repeat(deadline, |session| look_at(session, imap, cursor, &mut patience))?;
        let deliveries = dead_letters::sort_out(imap, look.deliveries, deadline)?;
        *cursor = look.cursor;
        refused = refused.or(look.refused);
        if !deliveries.is_empty() {
            imap.claims.iter().for_each(|claims| claims.hand_out(&deliveries));
            return Ok(deliveries);
        }
        if look.stops || !(look.more || another_chance(imap, cursor, refused.as_ref())) {
            break;
        }
    }
    refused.map_or(Ok(Vec::new()), Err)
}

/// Whether there are mails that were refused before, and are to be asked for again.
fn another_chance(imap: &Imap, cursor: &mut Cursor, refused: Option<&Error>) -> bool {
    if refused.is_some() {
        return false;
    }
    let again = imap.known.lock().give_another_chance(ANOTHER_CHANCE.min(imap.config.batch));
    let are_any = !again.is_empty();
    cursor.back_to(again);
    are_any
}

/// What is new, in one flight; else a search, windows of first looks, and windows of large messages, or less, where
/// it is known.
fn look_at(session: &mut ImapSession, imap: &Imap, cursor: &Cursor, patience: &mut usize) -> Result<Look> {
    if let Some((new, reader)) = ahead::look(session, imap, cursor)? {
        let looked = Looked { small: new, open: Open::default(), more: false };
        return finish(session, imap, cursor, reader, looked, patience);
    }
    let validity = session.validity();
    let Candidates { small, large, more } = candidates(session, imap, cursor)?;
    if !(small.is_empty() && large.is_empty()) {
        recall(session, imap)?;
    }
    let mut reader = Reader::new(imap, validity, large);
    let first = |reader: &mut Reader<'_>, uids: &UidSet| first_looks(session, imap, reader, uids);
    let open = ask_for(&mut reader, imap, &small, patience, first)?;
    finish(session, imap, cursor, reader, Looked { small, open, more }, patience)
}

fn first_looks(
    session: &mut ImapSession,
    imap: &Imap,
    reader: &mut Reader<'_>,
    uids: &UidSet,
) -> Result<Asked> {
    let mut looks = FirstLooks::new(uids, imap.known.lock().typical(), reader.room(), &imap.config);
    let refusal = read_while_they_come(session, None, &mut looks, |mails, most| reader.take(mails, most))?;
    imap.known.lock().is_typical(looks.typical());
    Ok(Asked { refusal, unasked: looks.unasked() })
}

fn whole_mails(
    session: &mut ImapSession,
    imap: &Imap,
    reader: &mut Reader<'_>,
    mails: &[(Uid, u64)],
) -> Result<Asked> {
    let mut whole = WholeMails { validity: session.validity(), mails, config: &imap.config };
    let refusal = read_while_they_come(session, None, &mut whole, |mails, _| reader.take_whole(mails))?;
    let unasked = UidSet::new(session.validity(), whole.mails.iter().map(|(uid, _)| *uid));
    Ok(Asked { refusal, unasked })
}

/// First looks that were taken.
struct Looked {
    small: UidSet,
    open: Open,
    more: bool,
}

/// Fetches what is large, behind the first looks.
fn finish(
    session: &mut ImapSession,
    imap: &Imap,
    cursor: &Cursor,
    mut reader: Reader<'_>,
    Looked { small, open, more }: Looked,
    patience: &mut usize,
) -> Result<Look> {
    let validity = session.validity();
    let large = reader.large();
    let uids = UidSet::new(validity, large.iter().map(|(uid, _)| *uid));
    let whole = |reader: &mut Reader<'_>, uids: &UidSet| {
        let mails: Vec<_> = large.iter().copied().filter(|(uid, _)| uids.contains(*uid)).collect();
        whole_mails(session, imap, reader, &mails)
    };
    let whole =
        if open.stops { Open::of(&uids) } else { ask_for(&mut reader, imap, &uids, patience, whole)? };
    let open = open.and(whole);
    if let Some(error) = &open.refused {
        let error = error.clone();
        events::emit(move || tracing::warn!(%error, "the server does not give out every message"));
    }
    let last = reader.last().max(cursor.at(validity).1);
    let left = reader.left(&small, &open.waiting, last);
    imap.known.lock().gone(&open.without(reader.missing(small)));
    imap.known.lock().gone(&open.without(reader.missing(uids)));
    let more = more || reader.is_full() || !left.is_empty() || !open.waiting.is_empty();
    let cursor = Cursor::new(validity, last, left);
    let Open { refused, stops, .. } = open;
    Ok(Look { deliveries: reader.deliveries(), refused, stops, more, cursor })
}

fn candidates(session: &mut ImapSession, imap: &Imap, cursor: &Cursor) -> Result<Candidates> {
    let validity = session.validity();
    let (chosen, more) = match &imap.claims {
        Some(claims) => {
            let present = session.search(&imap.candidates())?;
            imap.known.lock().found(&present);
            let waiting = imap.known.lock().waiting(validity, cursor, usize::MAX);
            let waiting = UidSet::new(validity, waiting.into_iter().map(|(uid, _)| uid));
            let (mine, more) = claims.claim(session, &waiting, &present, imap)?;
            let mut waiting = imap.known.lock().waiting(validity, cursor, usize::MAX);
            waiting.retain(|(uid, _)| mine.contains(*uid));
            (waiting, more)
        }
        None => oldest(session, imap, cursor)?,
    };
    let small = chosen.iter().filter(|(_, size)| size.is_none()).map(|(uid, _)| *uid);
    let small = UidSet::new(validity, small);
    let large = chosen.iter().filter_map(|(uid, size)| Some((*uid, (*size)?))).collect();
    Ok(Candidates { small, large, more })
}

/// What was found before, as long as that is a batch; else a search.
fn oldest(session: &mut ImapSession, imap: &Imap, cursor: &Cursor) -> Result<(Vec<Waiting>, bool)> {
    let (most, validity) = (imap.config.batch, session.validity());
    let waiting = || imap.known.lock().waiting(validity, cursor, most + 1);
    let mut chosen = waiting();
    let is_searched = chosen.len() < most;
    if is_searched {
        let found = session.search(&imap.candidates())?;
        imap.known.lock().found(&found);
        chosen = waiting();
    }
    // What was found before may have gone, and new mail may have come.
    let more = chosen.len() > most || !is_searched;
    chosen.truncate(most);
    Ok((chosen, more))
}
