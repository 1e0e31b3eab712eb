//! Deletes messages, and commands on messages that other clients may expunge meanwhile.

use crate::error::{Error, ErrorKind, Result};
use crate::python::{ImapSession, in_portions};
use crate::uid::UidSet;

/// Flags messages `\Deleted` and expunges them by UID. Without UIDPLUS they stay flagged: a plain EXPUNGE would remove
/// other clients' mail, too.
///
/// STORE comes first, in whole: a loss in between leaves messages that are flagged, which a repetition expunges.
pub(crate) fn delete(session: &mut ImapSession, set: &UidSet) -> Result<()> {
    retry_without_expunged(session, set, ImapSession::flag_deleted)?;
    if session.has_uidplus() { retry_without_expunged(session, set, ImapSession::expunge) } else { Ok(()) }
}

/// Runs a command; when the server refuses it because some messages are expunged, runs it once more for the others.
///
/// A server may refuse a command of which some messages are gone, with `EXPUNGEISSUED` (RFC 5530) or in its own words.
/// If none is left, there is nothing to do.
pub(crate) fn retry_without_expunged(
    session: &mut ImapSession,
    set: &UidSet,
    mut command: impl FnMut(&mut ImapSession, &UidSet) -> Result<()>,
) -> Result<()> {
    let Err(error) = command(session, set) else { return Ok(()) };
    let is_expunged = error.code() == Some("EXPUNGEISSUED");
    let is_vague = matches!(error.code(), None | Some("BAD"));
    let may_be_expunged = is_vague && error.kind() == ErrorKind::Refused && !error.is_transient();
    if !(is_expunged || may_be_expunged) {
        return Err(error);
    }
    let left = search_among(session, set, "")?;
    match left.len() {
        0 => Ok(()),
        len if len < set.len() || is_expunged => command(session, &left),
        _ => Err(error),
    }
}

/// Returns the messages of the set that are in the inbox and match the criteria, which begin with a space.
///
/// An empty set sends nothing.
pub(crate) fn search_among(session: &mut ImapSession, set: &UidSet, criteria: &str) -> Result<UidSet> {
    let mut found = Vec::new();
    in_portions(session, set, |session, portion| {
        let result = session.search(&format!("UID {portion}{criteria}"))?;
        found.extend(result.iter().filter(|uid| portion.contains(*uid)));
        Ok(portion.clone())
    })?;
    Ok(UidSet::new(set.validity(), found))
}

/// Turns the loss of the connection, or a timeout, into `OutcomeUnknown`: the command was sent.
pub(crate) fn outcome_unknown(error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout) {
        return error;
    }
    let text = format!("{error}; the command may have been carried out");
    error.reworded(ErrorKind::OutcomeUnknown, text)
}
