//! What the archive tells of what was acknowledged before, by an earlier handle or by another one meanwhile.

use super::Imap;
use crate::error::Result;
use crate::message::Identity;
use crate::python::{ImapSession, Since};

/// Whether all of it is known without looking into the archive.
pub(super) fn is_recalled(session: &ImapSession, imap: &Imap) -> bool {
    let mut known = imap.known.lock();
    let acknowledged = known.acknowledged();
    if acknowledged.to_be_recalled(imap.claims.is_some()).is_none() {
        return true;
    }
    let is_nothing = session.archive_is_empty() && imap.claims.is_none();
    if is_nothing {
        acknowledged.recall(Since::default(), []);
    }
    is_nothing
}

/// Looks into the archive, unless that is known.
pub(super) fn recall(session: &mut ImapSession, imap: &Imap) -> Result<()> {
    if is_recalled(session, imap) {
        return Ok(());
    }
    let asked = imap.known.lock().acknowledged().to_be_recalled(imap.claims.is_some());
    let Some((most, since)) = asked else { return Ok(()) };
    let (since, archived) = session.recall(most, since)?;
    let identities = archived.iter().filter_map(|headers| Identity::read(headers));
    imap.known.lock().acknowledged().recall(since, identities);
    Ok(())
}
