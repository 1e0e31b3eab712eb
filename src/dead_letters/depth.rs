//! Counts the messages that wait, and the dead letters.

use super::mailbox::{list, within};
use crate::deadline::Deadline;
use crate::error::{ErrorKind, Result};
use crate::imap::{DEAD_LETTERS, Imap, Inbox};
use crate::message::NO_NOTE;
use crate::python::ImapSession;

/// The counts of messages on the server, from [`Imap::depth`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Depth {
    /// Tagged mails in the inbox: those that wait for a fetch, and those that were delivered, to any consumer, and are
    /// not acknowledged yet. A message that the inbox has twice counts twice, until a fetch has found that it is a
    /// duplicate of an acknowledged one.
    pub waiting: usize,
    /// Mails in the mailbox of dead letters, without the notes beside them. 0 where there is no such mailbox.
    pub dead_letters: usize,
}

/// Counts the messages that wait, and the dead letters. Changes nothing.
///
/// # Errors
///
/// A refusal; a lost connection.
pub(super) fn depth(imap: &Imap, inbox: &mut Inbox, deadline: Deadline) -> Result<Depth> {
    imap.connection.repeat(deadline, |session| {
        let waiting = count_waiting(session, imap, inbox)?;
        Ok(Depth { waiting, dead_letters: count_dead_letters(session)? })
    })
}

/// Returns the number of tagged mails in the inbox, without those that an earlier fetch has settled as foreign or as
/// duplicates.
///
/// The server counts if it can, and if one command has room for the settled mail. It does not where mail is known that
/// it can't search, whose presence takes a search of its own, nor where SEARCH misses messages or is to be audited.
fn count_waiting(session: &mut ImapSession, imap: &Imap, inbox: &mut Inbox) -> Result<usize> {
    let validity = session.validity();
    let settled = inbox.settled(validity);
    let can_count = !inbox.searched.has_unsearchable() && !inbox.searched.is_audit_due(&imap.config);
    if can_count && settled.chunks().len() < 2 {
        let except = if settled.is_empty() { String::new() } else { format!(" NOT UID {settled}") };
        let counted = session.count_matches(&(imap.config.search_criteria() + &except));
        match counted {
            Ok(Some(count)) => return Ok(count),
            // A SEARCH finds the mail that causes it.
            Err(error) if error.kind() != ErrorKind::Refused => return Err(error),
            _ => {}
        }
    }
    let mut found = session.counting(|session| imap.search_tagged(session, inbox))?;
    found.retain(|uid| !settled.contains(uid));
    Ok(found.len())
}

/// Returns the number of mails among the dead letters that are no notes.
fn count_dead_letters(session: &mut ImapSession) -> Result<usize> {
    match session.existing_child(DEAD_LETTERS)? {
        None | Some((_, Some(0))) => Ok(0),
        Some((mailbox, messages)) => {
            let count = session.count_in(&mailbox, &format!("UNDELETED {NO_NOTE}"))?;
            // Each letter has its note: such a server ignores the texts, or finds nothing by them.
            let is_doubtful = messages.is_some_and(|all| count == 0 || u32::try_from(count) == Ok(all));
            if is_doubtful { count_by_headers(session) } else { Ok(count) }
        }
    }
}

/// Returns the number of mails among the dead letters that are no notes by their headers.
fn count_by_headers(session: &mut ImapSession) -> Result<usize> {
    let letters = within(session, true, None, list)?.unwrap_or_default();
    Ok(letters.iter().map(|letter| 1 + letter.duplicates.len()).sum())
}
