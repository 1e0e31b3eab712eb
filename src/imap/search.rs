//! SEARCH for candidates, around mail that makes the server refuse it.
//!
//! SEARCH UNDELETED SUBJECT goes over the whole mailbox, and a server that can't read one mail refuses all of it.
//! Finding k such mails among n takes about 2 k log n searches, once: the next ones exclude them.

use super::Imap;
use super::inbox::Inbox;
use super::subjects::audited;
use crate::error::{Error, ErrorKind, Result};
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// After this many refusals in a row the cause is no single message: bisecting four million takes 22.
const MAX_REFUSALS_IN_A_ROW: usize = 24;

/// Returns the UIDs that SEARCH finds, those of unsearchable mail, and those that an audit finds.
///
/// After a refusal (Dovecot: `[SERVERBUG]` for an unreadable file), bisects the mailbox to find the mail that causes
/// it; the next SEARCH excludes that mail.
///
/// Unsearchable mail counts as found, so that it is fetched by itself, and is an error in its place if need be. The
/// result has foreign mail among it.
///
/// # Errors
///
/// A transient refusal; a permanent one, if it is not about single mails; a lost connection.
pub(crate) fn search(session: &mut ImapSession, imap: &Imap, inbox: &mut Inbox) -> Result<UidSet> {
    audited(session, imap, inbox, |session, inbox| search_subjects(session, imap, inbox))
}

/// Runs the SEARCH, or several in its place.
fn search_subjects(session: &mut ImapSession, imap: &Imap, inbox: &mut Inbox) -> Result<UidSet> {
    let validity = session.validity();
    let unsearchable = inbox.unsearchable(validity).clone();
    let found = match session.search_new(&imap.search_criteria(inbox)) {
        Err(error) if error.kind() == ErrorKind::Refused && !inbox.suspects().treat_as_transient(&error) => {
            bisect(session, imap, inbox, error)?
        }
        found => found?,
    };
    if unsearchable.is_empty() {
        return Ok(found);
    }
    let mut present = UidSet::empty(validity);
    for part in unsearchable.chunks() {
        let some = session.search(&format!("UID {part} UNDELETED"))?;
        present = UidSet::new(validity, present.iter().chain(some.iter().filter(|uid| part.contains(*uid))));
    }
    inbox.set_unsearchable(&present);
    Ok(UidSet::new(validity, found.iter().chain(present.iter())))
}

/// Searches in parts, and halves those that are refused. Mail refused alone becomes unsearchable, and counts as found:
/// its Subject is not known.
///
/// Depth first, so that refusals in a row are those of one descent.
///
/// # Errors
///
/// The `refusal` of the whole SEARCH, if too many parts are refused. The next SEARCH excludes the mail found by then.
fn bisect(session: &mut ImapSession, imap: &Imap, inbox: &mut Inbox, refusal: Error) -> Result<UidSet> {
    let validity = session.validity();
    let criteria = imap.search_criteria(inbox);
    let Some(all) = unless_refused(session.search_new("UNDELETED"))? else { return Err(refusal) };
    let (mut found, mut refused, mut in_a_row) = (Vec::<Uid>::new(), Vec::<Uid>::new(), 0);
    let mut parts = all.chunks();
    while let Some(part) = parts.pop() {
        if let Some(some) = unless_refused(session.search(&format!("UID {part} {criteria}")))? {
            found.extend(some.iter().filter(|uid| part.contains(*uid)));
            in_a_row = 0;
            continue;
        }
        if part.len() > 1 {
            parts.extend(part.halves());
        } else {
            refused.extend(part.iter());
        }
        in_a_row += 1;
        if in_a_row >= MAX_REFUSALS_IN_A_ROW {
            break;
        }
    }
    if refused.len() == all.len() && refused.len() > 1 {
        return Err(refusal);
    }
    let before = inbox.unsearchable(validity).clone();
    let refused = UidSet::new(validity, before.iter().chain(refused));
    inbox.set_unsearchable(&refused);
    if in_a_row >= MAX_REFUSALS_IN_A_ROW {
        return Err(refusal);
    }
    Ok(UidSet::new(validity, found.into_iter().chain(refused.iter())))
}

/// Returns `None` for a refusal.
fn unless_refused(found: Result<UidSet>) -> Result<Option<UidSet>> {
    match found {
        Err(error) if error.kind() == ErrorKind::Refused => Ok(None),
        found => found.map(Some),
    }
}
