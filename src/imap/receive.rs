//! From candidates on the server to deliveries: what is there, what is fetched of it, and what is still to come.

use super::known::{Cursor, Waiting};
use super::reader::Reader;
use super::recall::recall;
use super::windows::{FirstLooks, WholeMails, read_while_they_come};
use super::{Delivery, Imap, ahead, dead_letters};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// A server that always says that there is more must not keep a caller for ever.
const MOST_LOOKS: usize = 100;

/// What a look at the inbox saw.
struct Look {
    deliveries: Vec<Delivery>,
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
/// A look at nothing but foreign mail, or at mail that has gone meanwhile, says nothing about what is behind it.
pub(super) fn receive(imap: &Imap, cursor: &mut Cursor, deadline: Deadline) -> Result<Vec<Delivery>> {
    let mut looks = 0;
    loop {
        looks += 1;
        let look = imap.link.repeat(deadline, |session| look_at(session, imap, cursor))?;
        let deliveries = dead_letters::sort_out(imap, look.deliveries, deadline)?;
        *cursor = look.cursor;
        if !deliveries.is_empty() || !look.more || looks == MOST_LOOKS {
            return Ok(deliveries);
        }
    }
}

/// What is new, in one flight; else a search, windows of first looks, and windows of large messages, or less, where
/// it is known.
fn look_at(session: &mut ImapSession, imap: &Imap, cursor: &Cursor) -> Result<Look> {
    if let Some((new, reader)) = ahead::look(session, imap, cursor)? {
        return finish(session, imap, cursor, reader, new, false);
    }
    let (config, validity) = (&*imap.config, session.validity());
    let Candidates { small, large, more } = candidates(session, imap, cursor)?;
    if !(small.is_empty() && large.is_empty()) {
        recall(session, imap)?;
    }
    let mut reader = Reader::new(imap, validity, large);
    let mut looks = FirstLooks::new(&small, imap.known.lock().typical(), reader.room(), config);
    read_while_they_come(session, None, &mut looks, |mails, most| reader.take(mails, most))?;
    imap.known.lock().is_typical(looks.typical());
    finish(session, imap, cursor, reader, small, more)
}

/// Fetches what is large, when `small` was looked at.
fn finish(
    session: &mut ImapSession,
    imap: &Imap,
    cursor: &Cursor,
    mut reader: Reader<'_>,
    small: UidSet,
    more: bool,
) -> Result<Look> {
    let validity = session.validity();
    let large = reader.large();
    let mut whole = WholeMails { validity, mails: &large, config: &imap.config };
    read_while_they_come(session, None, &mut whole, |mails, _| reader.take_whole(mails))?;
    imap.known.lock().gone(&reader.missing(small));
    imap.known.lock().gone(&reader.missing(UidSet::new(validity, large.iter().map(|(uid, _)| *uid))));
    let left: Vec<Uid> = reader.left().collect();
    let more = more || reader.is_full() || !left.is_empty();
    let cursor = Cursor::new(validity, reader.last().max(cursor.at(validity).1), left);
    Ok(Look { deliveries: reader.deliveries(), more, cursor })
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
    if chosen.len() < most {
        let found = session.search(&imap.candidates())?;
        imap.known.lock().found(&found);
        chosen = waiting();
    }
    let more = chosen.len() > most;
    chosen.truncate(most);
    Ok((chosen, more))
}
