//! Reads the identities of the archive's newest messages, so that their duplicates are dropped: the messages that an
//! earlier handle has acknowledged, or another consumer.
//!
//! Once for a handle, at the first fetch that finds any mail. With several consumers before each batch, from the last
//! place on, since the others archive, too. In a new archive there is nothing to read.

use std::time::{Duration, Instant};

use super::Acknowledged;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::events;
use crate::message::Identity;
use crate::python::ImapSession;

/// The part of a call's time that reading the archive may take: one in so many.
///
/// A slow or unreadable archive must leave time for the messages themselves.
const DEADLINE_SHARE: u32 = 4;

/// Reads the archive's newest messages that are not known yet.
///
/// A failure is an event and a count, no error: messages are delivered all the same, duplicates too.
///
/// A loss of the connection here is not counted against the messages.
pub(crate) fn load_archived_ids(
    connection: &Connection<ImapSession>,
    acknowledged: &mut Acknowledged,
    backoff: (Duration, Duration),
    deadline: Deadline,
) {
    let began = Instant::now();
    if let Err(error) = connection.once(deadline.share(DEADLINE_SHARE), |session| read(session, acknowledged))
    {
        acknowledged.postpone_read(began.elapsed(), backoff);
        connection.count(|counts| counts.archive_unread += 1);
        connection.note(&error);
        events::emit(move || {
            tracing::warn!(%error, "the archive can't be read: duplicates of its messages are delivered");
        });
    }
}

/// Fetches the identifying headers of the archive's newest messages.
fn read(session: &mut ImapSession, acknowledged: &mut Acknowledged) -> Result<()> {
    let Some((most, since)) = acknowledged.next_read() else { return Ok(()) };
    let (since, archived) = session.newest_archived(most, since)?;
    acknowledged.load(since, archived.iter().filter_map(|headers| Identity::read(headers)));
    Ok(())
}
