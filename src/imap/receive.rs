//! From candidates on the server to deliveries: what is there, what is fetched of it, and what is still to come.

use super::known::{Cursor, Waiting};
use super::reader::Reader;
use super::windows::{FirstLooks, WholeMails, look, read_while_they_come};
use super::{Delivery, Imap, dead_letters};
use crate::config::ImapConfig;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::message::Identity;
use crate::python::{ImapSession, Mails, Since};
use crate::uid::{Uid, UidSet};

/// So many new mails are fetched at most before anybody knows how many there are.
const UNSEEN: usize = 1_000;

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
    /// The beginnings of those that came along when they were found.
    ahead: Mails,
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

/// A search, windows of first looks, and windows of large messages; or less, where it is known or comes along.
fn look_at(session: &mut ImapSession, imap: &Imap, cursor: &Cursor) -> Result<Look> {
    let (config, validity) = (&*imap.config, session.validity());
    let Candidates { small, large, ahead, more } = candidates(session, imap, cursor)?;
    if !(small.is_empty() && large.is_empty()) {
        recall(session, imap)?;
    }
    let came = UidSet::new(validity, ahead.iter().map(|mail| mail.uid));
    let mut rest = small.clone();
    rest.retain(|uid| !came.contains(uid));
    let mut reader = Reader::new(imap, validity, large);
    let mut looks = FirstLooks::new(&rest, imap.known.lock().typical(), reader.room(), config);
    let ahead = (ahead, unseen(config).1);
    read_while_they_come(session, &mut looks, ahead, |mails, most| reader.take(mails, most))?;
    imap.known.lock().is_typical(looks.typical());
    let large = reader.large();
    let mut whole = WholeMails { validity, mails: &large, config };
    let nothing = (Mails::default(), 0);
    read_while_they_come(session, &mut whole, nothing, |mails, _| reader.take_whole(mails))?;
    imap.known.lock().gone(&reader.missing(small));
    imap.known.lock().gone(&reader.missing(UidSet::new(validity, large.iter().map(|(uid, _)| *uid))));
    let left: Vec<Uid> = reader.left().collect();
    let more = more || reader.is_full() || !left.is_empty();
    let cursor = Cursor::new(validity, reader.last().max(cursor.at(validity).1), left);
    Ok(Look { deliveries: reader.deliveries(), more, cursor })
}

fn candidates(session: &mut ImapSession, imap: &Imap, cursor: &Cursor) -> Result<Candidates> {
    let validity = session.validity();
    let (chosen, mut ahead, more) = match &imap.claims {
        Some(claims) => {
            let present = session.search(&imap.candidates())?;
            imap.known.lock().found(&present);
            let waiting = imap.known.lock().waiting(validity, cursor, usize::MAX);
            let waiting = UidSet::new(validity, waiting.into_iter().map(|(uid, _)| uid));
            let (mine, more) = claims.claim(session, &waiting, &present, imap)?;
            let mut waiting = imap.known.lock().waiting(validity, cursor, usize::MAX);
            waiting.retain(|(uid, _)| mine.contains(*uid));
            (waiting, Mails::default(), more)
        }
        None => oldest(session, imap, cursor)?,
    };
    let small = chosen.iter().filter(|(_, size)| size.is_none()).map(|(uid, _)| *uid);
    let small = UidSet::new(validity, small);
    let large = chosen.iter().filter_map(|(uid, size)| Some((*uid, (*size)?))).collect();
    ahead.keep(&small);
    Ok(Candidates { small, large, ahead, more })
}

/// What was found before, as long as that is a batch; else a search, which may bring new mails with it.
fn oldest(session: &mut ImapSession, imap: &Imap, cursor: &Cursor) -> Result<(Vec<Waiting>, Mails, bool)> {
    let (most, validity, criteria) = (imap.config.batch, session.validity(), imap.candidates());
    let waiting = || imap.known.lock().waiting(validity, cursor, most + 1);
    let (mut chosen, mut ahead) = (waiting(), Mails::default());
    if chosen.len() < most {
        let is_known = imap.known.lock().is_any_waiting(validity);
        let (count, octets) = unseen(&imap.config);
        let told = if is_known { None } else { session.look_ahead(&criteria, count, octets)? };
        let found = match told {
            Some((found, mails)) => {
                ahead = mails;
                found
            }
            None => session.search(&criteria)?,
        };
        imap.known.lock().found(&found);
        chosen = waiting();
    }
    let more = chosen.len() > most;
    chosen.truncate(most);
    Ok((chosen, ahead, more))
}

/// How many new mails to fetch unseen, and how much of each.
fn unseen(config: &ImapConfig) -> (usize, usize) {
    let count = config.batch.min(UNSEEN);
    (count, look(config.batch_bytes / count, config))
}

/// Reads from the archive what was acknowledged by an earlier handle, or by another one meanwhile.
fn recall(session: &mut ImapSession, imap: &Imap) -> Result<()> {
    let Some((most, since)) = imap.known.lock().acknowledged().to_be_recalled(imap.claims.is_some()) else {
        return Ok(());
    };
    if session.archive_is_empty() && imap.claims.is_none() {
        imap.known.lock().acknowledged().recall(Since::default(), []);
        return Ok(());
    }
    let (since, archived) = session.recall(most, since)?;
    let identities = archived.iter().filter_map(|headers| Identity::read(headers));
    imap.known.lock().acknowledged().recall(since, identities);
    Ok(())
}
