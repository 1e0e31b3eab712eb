//! The search for messages that may be ours, which one mail that the server can't read does not stop.

use super::Imap;
use super::asking::is_to_pass;
use crate::error::{ErrorKind, Result};
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// After so many refusals in a row it is the search that the server does not like. Halves of four million are 22.
const REFUSALS_IN_A_ROW: usize = 24;

/// Returns the mails that the server finds, and those whose Subjects it can't search.
///
/// A NO (Dovecot says `[SERVERBUG]` where a file can't be read) is met by searching in halves; the next search leaves
/// out what was refused alone.
pub(super) fn search(session: &mut ImapSession, imap: &Imap) -> Result<UidSet> {
    let validity = session.validity();
    let unsearchable = imap.known.lock().unsearchable(validity).clone();
    let found = match session.search(&imap.search_criteria()) {
        Err(error) if error.kind() == ErrorKind::Refused && !is_to_pass(imap, &error) => {
            match in_halves(session, imap)? {
                Some(found) => found,
                None => return Err(error),
            }
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
    imap.known.lock().is_unsearchable(&present);
    Ok(UidSet::new(validity, found.iter().chain(present.iter())))
}

/// Searches in parts; none when too many are refused, of which some are left out the next time. What is refused alone is among what is found: nothing shows whose it is.
fn in_halves(session: &mut ImapSession, imap: &Imap) -> Result<Option<UidSet>> {
    let validity = session.validity();
    let criteria = imap.search_criteria();
    let Some(all) = unless_refused(session.search("UNDELETED"))? else { return Ok(None) };
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
        if in_a_row >= REFUSALS_IN_A_ROW {
            break;
        }
    }
    if refused.len() == all.len() && refused.len() > 1 {
        return Ok(None);
    }
    let before = imap.known.lock().unsearchable(validity).clone();
    let refused = UidSet::new(validity, before.iter().chain(refused));
    imap.known.lock().is_unsearchable(&refused);
    let found = UidSet::new(validity, found.into_iter().chain(refused.iter()));
    Ok((in_a_row < REFUSALS_IN_A_ROW).then_some(found))
}

fn unless_refused(answer: Result<UidSet>) -> Result<Option<UidSet>> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Refused => Ok(None),
        answer => answer.map(Some),
    }
}
