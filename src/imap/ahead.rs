//! What is new, searched for, fetched and read in one flight, where nothing else waits.

use super::Imap;
use super::archived_ids::are_loaded;
use super::cursor::Cursor;
use super::reader::Reader;
use super::windows::{FirstLooks, LEAST, OCTETS, look as look_at, read_while_they_come};
use crate::config::ImapConfig;
use crate::error::Result;
use crate::python::{Failure, ImapSession, Window};
use crate::uid::{UidSet, UidValidity};

/// So many new mails are fetched at most before anybody knows how many there are.
const UNSEEN: usize = 1_000;

/// The new mails, read; nothing when they can't be had so, or when others wait as well, which come first.
pub(super) fn look<'a>(
    session: &mut ImapSession,
    imap: &'a Imap,
    cursor: &Cursor,
) -> Result<Option<(UidSet, Reader<'a>)>> {
    let validity = session.validity();
    if imap.claims.is_some() || is_any_waiting(imap, validity) || !are_loaded(session, imap) {
        return Ok(None);
    }
    let (count, most) = unseen(&imap.config);
    let Some(window) = session.prefetch(&imap.search_criteria(), count, most)? else { return Ok(None) };
    let (new, room) = (window.uids.clone(), window.room);
    let mut reader = Reader::new(imap, validity, Vec::new());
    let failure = read(session, imap, window, &mut reader)?;
    if let Some(Failure { error, .. }) = &failure
        && error.ends_connection()
    {
        // It is read once more on another connection, without the one that it was lost at.
        if let Some(uid) = reader.unseen(new.clone()).iter().next() {
            imap.known.lock().doubts().lost_at(uid, reader.came() > 0);
        }
        return Err(error.clone());
    }
    // A NO that passes, and what another client has taken meanwhile, prove nothing.
    let has_come = new.is_empty() || reader.came() > 0;
    let worked = has_come || failure.as_ref().is_some_and(|failure| failure.error.is_transient());
    let Some(others) = session.remaining_matches(room, worked)? else { return Ok(None) };
    if failure.is_some() {
        return Ok(None);
    }
    Ok(are_all_that_waits(imap, cursor, &new, &others).then_some((new, reader)))
}

fn is_any_waiting(imap: &Imap, validity: UidValidity) -> bool {
    let mut known = imap.known.lock();
    known.is_any_waiting(validity) || known.doubts().is_any_due()
}

fn read(
    session: &mut ImapSession,
    imap: &Imap,
    window: Window,
    reader: &mut Reader<'_>,
) -> Result<Option<Failure>> {
    if window.uids.is_empty() {
        return Ok(None); // What the server says to the FETCH of nothing is taken with what else there is.
    }
    let nothing = UidSet::empty(window.uids.validity());
    let mut looks = FirstLooks::new(&nothing, *imap.known.lock().sizes(), reader.room(), &imap.config);
    let failure =
        read_while_they_come(session, Some(window), &mut looks, |mails, most| reader.take(mails, most))?;
    *imap.known.lock().sizes() = looks.sizes();
    Ok(failure)
}

/// Whether whoever is at the cursor would choose exactly what was read.
fn are_all_that_waits(imap: &Imap, cursor: &Cursor, new: &UidSet, others: &UidSet) -> bool {
    let (validity, most) = (new.validity(), imap.config.batch);
    let mut known = imap.known.lock();
    known.found(&UidSet::new(validity, new.iter().chain(others.iter())));
    let all = known.waiting(validity, &Cursor::default(), most + 1);
    let chosen = known.waiting(validity, cursor, most + 1);
    all.len() <= most && chosen.len() == all.len() && all.iter().all(|(uid, _)| new.contains(*uid))
}

/// How many new mails to fetch unseen, and how much of each.
fn unseen(config: &ImapConfig) -> (usize, usize) {
    let octets = OCTETS.min(config.batch_bytes);
    let count = config.batch.min(UNSEEN).min(octets / LEAST).max(1);
    (count, look_at(octets / count, config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Credentials, Server};

    #[test]
    fn what_is_fetched_unseen_is_within_the_bounds_of_a_batch() {
        for (batch, batch_bytes) in [(1_000, 64 << 20), (10_000, 1 << 30), (1_000, 1 << 20), (8, 4 << 20)] {
            let server = Server::tls("localhost");
            let config = ImapConfig::new(server, Credentials::new("alice", "secret"));
            let (count, most) = unseen(&config.batch(batch).batch_bytes(batch_bytes));
            assert!((1..=batch).contains(&count), "{count}");
            assert!(count * most <= batch_bytes.min(OCTETS), "{count} times {most}");
        }
    }
}
