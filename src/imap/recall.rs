//! What the archive tells of what was acknowledged before, by an earlier handle or by another one meanwhile.

use std::time::Instant;

use super::Imap;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::events;
use crate::message::Identity;
use crate::python::ImapSession;

/// The share of a verb's time that the archive may take.
const SHARES: u32 = 4;

/// Returns whether all of it is known without looking into the archive, or the archive is left alone for a while.
pub(super) fn is_recalled(session: &ImapSession, imap: &Imap) -> bool {
    let mut state = imap.state.lock();
    let acknowledged = state.acknowledged();
    if acknowledged.next_read(imap.claims.is_some()).is_none() {
        return true;
    }
    let is_nothing = session.archive_is_empty() && imap.claims.is_none();
    if is_nothing {
        acknowledged.load(Default::default(), []);
    }
    is_nothing
}

/// Looks into the archive.
///
/// It helps to know second copies, and is no condition: where it can't be read, mail comes all the same.
pub(super) fn recall(imap: &Imap, deadline: Deadline) {
    let began = Instant::now();
    if let Err(error) = imap.connection.once(deadline.share(SHARES), |session| read(session, imap)) {
        imap.state.lock().acknowledged().postpone_read(began.elapsed(), imap.config.common.options.backoff);
        imap.connection.count(|counts| counts.archive_unread += 1);
        imap.connection.note(&error);
        events::emit(move || {
            tracing::warn!(%error, "the archive can't be read: second copies of earlier messages are not known");
        });
    }
}

fn read(session: &mut ImapSession, imap: &Imap) -> Result<()> {
    let asked = imap.state.lock().acknowledged().next_read(imap.claims.is_some());
    let Some((most, since)) = asked else { return Ok(()) };
    let (since, archived) = session.newest_archived(most, since)?;
    let identities = archived.iter().filter_map(|headers| Identity::read(headers));
    imap.state.lock().acknowledged().load(since, identities);
    Ok(())
}
