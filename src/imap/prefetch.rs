//! Prefetch: SEARCH and FETCH of new mail in one flight (SEARCHRES, RFC 5182), while no other mail waits.
//!
//! For a handle that polls a mailbox which it keeps empty: one round trip for new mail, and none more for its archive.
//!
//! A prefetch is made only if its result can be the next batch. Else, and after any failure but a loss, the usual way
//! follows: what has arrived is dropped then, and fetched again, since nothing was changed by it.

use super::Imap;
use super::cursor::Cursor;
use super::inbox::Inbox;
use super::reader::Reader;
use super::windows::{PREVIEW_MIN, PREVIEW_WINDOW, Previews, preview_size};
use crate::config::ImapConfig;
use crate::connection::Session as _;
use crate::error::Result;
use crate::python::{ImapSession, Windows as _};
use crate::uid::{UidSet, UidValidity};
use crate::withheld::LostAt;

/// The most messages of a prefetch.
///
/// For more, looking for new mail by SELECT costs some servers more time than the round trip that it saves.
const MAX_PREFETCHED: usize = 1_000;

/// Fetches and reads the new mail; returns its UIDs and the reader.
///
/// Returns `None` where a prefetch is impossible or failed, and if the next batch has other mail.
///
/// With claims, mail is claimed before it is fetched, so that it can't be prefetched.
///
/// # Errors
///
/// A lost connection; the first message that had not arrived is recorded as its cause, and left out of the next
/// attempt.
pub(super) fn prefetch_new<'a>(
    session: &mut ImapSession,
    imap: &'a Imap,
    inbox: &mut Inbox,
    cursor: &Cursor,
) -> Result<Option<(UidSet, Reader<'a>)>> {
    let validity = session.validity();
    let has_room = cursor.most(imap.config.batch) == imap.config.batch;
    if !has_room
        || inbox.searched.is_audit_due(&imap.config)
        || imap.claims.is_some()
        || is_any_due(inbox, validity)
        || inbox.acknowledged().is_read_due(session)
    {
        return Ok(None);
    }
    let (count, most) = limits(&imap.config);
    // Messages that come after a search end the next wait of a consumer, if the server announces them.
    let trusts_none = cursor.is_consumer() && session.can_listen() && !imap.connection.is_distrusted();
    let Some(prefetched) =
        session.prefetch(&inbox.searched.criteria(&imap.config), count, most, trusts_none)?
    else {
        return Ok(None);
    };
    let new = prefetched.window.uids.clone();
    let mut reader = Reader::new(imap, validity, Vec::new());
    let none = UidSet::empty(validity);
    let mut previews = Previews::new(&none, *inbox.sizes(), reader.byte_budget(), &imap.config);
    let received = session.receive_prefetched(prefetched, |mails| {
        previews.record(&mails, most);
        reader.read_previews(inbox, &mails, most);
    });
    *inbox.sizes() = previews.sizes();
    let others = match received {
        Err(error) if error.ends_connection() => {
            if let Some(uid) = reader.unfetched(new).iter().next() {
                inbox.suspects().set_lost_at(LostAt { uid, others_arrived: reader.arrived() > 0 });
            }
            return Err(error);
        }
        Err(refusal) => {
            session.remaining_matches()?;
            if reader.arrived() > 0 || (refusal.is_transient() && !new.is_empty()) {
                return Ok(None); // SEARCHRES may still work.
            }
            None
        }
        Ok(others) => others.filter(|_| new.is_empty() || reader.arrived() > 0),
    };
    match others {
        Some(others) => {
            inbox.searched.record_search(!(new.is_empty() && others.is_empty()));
            // Where SEARCH has never found anything, the usual way audits it.
            let is_reliable = inbox.searched.has_found() || !session.has_unlisted()?;
            let is_next = is_reliable && is_next_batch(imap, inbox, cursor, &new, &others);
            Ok(is_next.then_some((new, reader)))
        }
        None => session.stop_prefetching().map(|()| None),
    }
}

/// Returns `true` if mail found earlier may be fetched now.
fn is_any_due(inbox: &mut Inbox, validity: UidValidity) -> bool {
    inbox.has_fetchable(validity, &UidSet::empty(validity)) || inbox.suspects().has_due()
}

/// Updates the candidates, and returns `true` if the prefetched messages are exactly the next batch.
///
/// Both, since a walk leaves out what its cursor has passed: a prefetch would deliver that again.
fn is_next_batch(imap: &Imap, inbox: &mut Inbox, cursor: &Cursor, new: &UidSet, others: &UidSet) -> bool {
    let (validity, most) = (new.validity(), imap.config.batch);
    inbox.update_candidates(&UidSet::new(validity, new.iter().chain(others.iter())));
    let all = inbox.next_candidates(validity, &Cursor::default(), most + 1);
    let chosen = inbox.next_candidates(validity, cursor, most + 1);
    all.len() <= most && chosen.len() == all.len() && all.iter().all(|(uid, _)| new.contains(*uid))
}

/// Returns the number of messages to prefetch, and the octets of each.
///
/// Together no more than a window of previews, and no more than a batch: all of it is requested at once.
pub(super) fn limits(config: &ImapConfig) -> (usize, usize) {
    let octets = PREVIEW_WINDOW.min(config.batch_bytes);
    let count = config.batch.min(MAX_PREFETCHED).min(octets / PREVIEW_MIN).max(1);
    (count, preview_size(octets / count, config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Credentials, Server};

    #[test]
    fn a_prefetch_stays_within_the_limits_of_a_batch() {
        for (batch, batch_bytes) in [(1_000, 64 << 20), (10_000, 1 << 30), (1_000, 1 << 20), (8, 4 << 20)] {
            let server = Server::tls("localhost");
            let config = ImapConfig::new(server, Credentials::new("alice", "secret"));
            let (count, most) = limits(&config.batch(batch).batch_bytes(batch_bytes));
            assert!((1..=batch).contains(&count), "{count}");
            assert!(count * most <= batch_bytes.min(PREVIEW_WINDOW), "{count} times {most}");
        }
    }
}
