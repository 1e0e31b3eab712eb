//! Reads the identities of the archive's newest messages, so that their duplicates are dropped: the messages that an
//! earlier handle has acknowledged, or another consumer.
//!
//! Once for a handle, at the first fetch that finds any mail. With several consumers before each batch, from the last
//! place on, since the others archive, too. In a new archive there is nothing to read.

use std::time::Instant;

use super::Imap;
use super::inbox::Inbox;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::events;
use crate::message::Identity;
use crate::python::ImapSession;

/// The part of a call's time that reading the archive may take: one in so many.
///
/// A slow or unreadable archive must leave time for the messages themselves.
const DEADLINE_SHARE: u32 = 4;

/// Returns `true` if the archive has to be read: not if all is known, if it is empty, or while the wait after a failure
/// is not over.
pub(super) fn is_read_due(session: &ImapSession, imap: &Imap, inbox: &mut Inbox) -> bool {
    let acknowledged = inbox.acknowledged();
    if acknowledged.next_read(imap.claims.is_some()).is_none() {
        return false;
    }
    let is_empty = session.archive_is_empty() && imap.claims.is_none();
    if is_empty {
        acknowledged.load(Default::default(), []);
    }
    !is_empty
}

/// Reads the archive's newest messages that are not known yet.
///
/// A failure is an event and a count, no error: messages are delivered all the same, duplicates too.
///
/// A loss of the connection here is not counted against the messages.
pub(super) fn load_archived_ids(imap: &Imap, inbox: &mut Inbox, deadline: Deadline) {
    let began = Instant::now();
    if let Err(error) =
        imap.connection.once(deadline.share(DEADLINE_SHARE), |session| read(session, imap, inbox))
    {
        inbox.acknowledged().postpone_read(began.elapsed(), imap.config.common.options.backoff);
        imap.connection.count(|counts| counts.archive_unread += 1);
        imap.connection.note(&error);
        events::emit(move || {
            tracing::warn!(%error, "the archive can't be read: duplicates of its messages are delivered");
        });
    }
}

/// Fetches the identifying headers of the archive's newest messages.
fn read(session: &mut ImapSession, imap: &Imap, inbox: &mut Inbox) -> Result<()> {
    let range = inbox.acknowledged().next_read(imap.claims.is_some());
    let Some((most, since)) = range else { return Ok(()) };
    let (since, archived) = session.newest_archived(most, since)?;
    let identities = archived.iter().filter_map(|headers| Identity::read(headers));
    inbox.acknowledged().load(since, identities);
    Ok(())
}
