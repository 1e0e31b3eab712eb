//! From candidates on the server to deliveries: what is there, what is fetched of it, and what is still to come.

use super::known::{Cursor, Waiting};
use super::reader::Reader;
use super::recall::recall;
use super::windows::{FirstLooks, WholeMails, read_while_they_come};
use super::{Delivery, Imap, ahead, dead_letters};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// A server that always says that there is more must not keep a caller for ever.
const MOST_LOOKS: usize = 100;

/// Of one look, the server refuses this many parts at most before nothing more is asked for.
const MOST_REFUSALS: usize = 100;

/// What a look at the inbox saw.
struct Look {
    deliveries: Vec<Delivery>,
    /// The server's no to some of it.
    refused: Option<Error>,
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
    let (mut looks, mut refused) = (0, None);
    loop {
        looks += 1;
        let look = imap.link.repeat(deadline, |session| look_at(session, imap, cursor))?;
        let deliveries = dead_letters::sort_out(imap, look.deliveries, deadline)?;
        *cursor = look.cursor;
        refused = refused.or(look.refused);
        if !deliveries.is_empty() || !look.more || looks == MOST_LOOKS {
            return if deliveries.is_empty() { refused.map_or(Ok(deliveries), Err) } else { Ok(deliveries) };
        }
    }
}

/// What is new, in one flight; else a search, windows of first looks, and windows of large messages, or less, where
/// it is known.
fn look_at(session: &mut ImapSession, imap: &Imap, cursor: &Cursor) -> Result<Look> {
    if let Some((new, reader)) = ahead::look(session, imap, cursor)? {
        return finish(session, imap, cursor, reader, Looked { small: new, refused: None, more: false });
    }
    let validity = session.validity();
    let Candidates { small, large, more } = candidates(session, imap, cursor)?;
    if !(small.is_empty() && large.is_empty()) {
        recall(session, imap)?;
    }
    let mut reader = Reader::new(imap, validity, large);
    let refused = first_looks(session, imap, &mut reader, &small)?;
    let refused = match refused {
        Some(refusal) if !refusal.is_transient() => in_halves(session, imap, &mut reader, &small, refusal)?,
        refused => refused,
    };
    finish(session, imap, cursor, reader, Looked { small, refused, more })
}

/// Returns the server's no, if it refused some of them.
fn first_looks(
    session: &mut ImapSession,
    imap: &Imap,
    reader: &mut Reader<'_>,
    uids: &UidSet,
) -> Result<Option<Error>> {
    let mut looks = FirstLooks::new(uids, imap.known.lock().typical(), reader.room(), &imap.config);
    let refused = read_while_they_come(session, None, &mut looks, |mails, most| reader.take(mails, most))?;
    imap.known.lock().is_typical(looks.typical());
    Ok(refused)
}

/// Asks once more for what did not come with a refusal, in halves, so that it is not for the sake of one mail: some
/// servers send what they can, some stop at the one that they can't send, some send nothing.
fn in_halves(
    session: &mut ImapSession,
    imap: &Imap,
    reader: &mut Reader<'_>,
    asked: &UidSet,
    mut refusal: Error,
) -> Result<Option<Error>> {
    let (mut parts, mut refusals) = (halves(&reader.missing(asked.clone())), 0);
    while let Some(part) = parts.pop() {
        let Some(again) = first_looks(session, imap, reader, &part)? else { continue };
        refusals += 1;
        if again.is_transient() || refusals == MOST_REFUSALS {
            return Ok(Some(again));
        }
        parts.extend(halves(&reader.missing(part)));
        refusal = again;
    }
    let has_all = reader.missing(asked.clone()).is_empty();
    Ok((!has_all).then_some(refusal))
}

/// The second half first; nothing of one mail, which can't be had.
fn halves(uids: &UidSet) -> Vec<UidSet> {
    let half = uids.len().div_ceil(2);
    let parts = [uids.window(half, uids.len()), uids.window(0, half)];
    if uids.len() < 2 { Vec::new() } else { parts.into() }
}

/// First looks that were taken.
struct Looked {
    small: UidSet,
    refused: Option<Error>,
    more: bool,
}

/// Fetches what is large, behind the first looks.
fn finish(
    session: &mut ImapSession,
    imap: &Imap,
    cursor: &Cursor,
    mut reader: Reader<'_>,
    Looked { small, mut refused, more }: Looked,
) -> Result<Look> {
    let validity = session.validity();
    let large = reader.large();
    let mut whole = WholeMails { validity, mails: &large, config: &imap.config };
    refused =
        read_while_they_come(session, None, &mut whole, |mails, _| reader.take_whole(mails))?.or(refused);
    if let Some(refusal) = &refused {
        tracing::warn!(%refusal, "the server does not give out every message");
    }
    // Nobody comes back to what was refused before the next walk.
    let refused_up_to = refused.as_ref().and_then(|_| small.iter().last());
    let last = reader.last().max(refused_up_to).max(cursor.at(validity).1);
    let left = reader.left(&small);
    imap.known.lock().gone(&reader.missing(small));
    imap.known.lock().gone(&reader.missing(UidSet::new(validity, large.iter().map(|(uid, _)| *uid))));
    let more = more || reader.is_full() || !left.is_empty();
    let cursor = Cursor::new(validity, last, left);
    Ok(Look { deliveries: reader.deliveries(), refused, more, cursor })
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
