//! SEARCH for tagged mail, around mail that makes the server refuse it.
//!
//! SEARCH UNDELETED SUBJECT goes over the whole mailbox, and a server that can't read one mail refuses all of it.
//! Finding k such mails among n takes about 2 k log n searches, once: the next ones exclude them. `subjects` audits the
//! servers that find too little.

mod subjects;

use self::subjects::Subjects;
use crate::config::ImapConfig;
use crate::connection::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet, UidValidity};
use crate::withheld::Suspects;

/// After this many refusals in a row the cause is no single message: bisecting four million takes 22.
const MAX_REFUSALS_IN_A_ROW: usize = 24;

/// The most UIDs excluded from one SEARCH command.
const MAX_EXCLUDED: usize = 100;

/// The results of earlier searches of an inbox, under one UIDVALIDITY.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    /// Mail whose Subject the server can't search. Counts as found by each SEARCH, for as long as it is in the inbox.
    unsearchable: Option<UidSet>,
    subjects: Subjects,
}

impl Searched {
    /// Forgets UIDs, which name other messages under another UIDVALIDITY.
    pub(crate) fn clear(&mut self) {
        self.unsearchable = None;
        self.subjects.clear();
    }

    /// Returns the criteria of the SEARCH for tagged messages, without the mails that the server can't search, as many as
    /// a command has room for.
    ///
    /// They also match foreign mail that has the tag elsewhere in its Subject.
    pub(crate) fn criteria(&self, config: &ImapConfig) -> String {
        let except = self.unsearchable.as_ref().filter(|uids| !uids.is_empty());
        let except =
            except.map(|uids| format!(" NOT UID {}", uids.chunk(0, MAX_EXCLUDED))).unwrap_or_default();
        config.search_criteria() + &except
    }

    /// Returns `true` if the next SEARCH has to be audited.
    pub(crate) fn is_audit_due(&self, config: &ImapConfig) -> bool {
        self.subjects.is_due(config)
    }

    /// Returns `true` once a SEARCH has found something.
    pub(crate) fn has_found(&self) -> bool {
        self.subjects.has_found()
    }

    /// Records whether a SEARCH has found something.
    pub(crate) fn record_search(&mut self, has_found: bool) {
        self.subjects.record_search(has_found);
    }

    /// Returns `true` if mail is known that the server can't search.
    pub(crate) fn has_unsearchable(&self) -> bool {
        self.unsearchable.as_ref().is_some_and(|uids| !uids.is_empty())
    }

    fn unsearchable(&self, validity: UidValidity) -> UidSet {
        self.unsearchable.clone().unwrap_or_else(|| UidSet::empty(validity))
    }
}

/// [`ImapSession::search_new`], or [`ImapSession::search`] behind a list that has seen what is new.
type Command = fn(&mut ImapSession, &str) -> Result<UidSet>;

/// A search of the inbox for tagged mail.
pub(crate) struct Search<'a> {
    pub(crate) session: &'a mut ImapSession,
    pub(crate) connection: &'a Connection<ImapSession>,
    pub(crate) config: &'a ImapConfig,
    pub(crate) searched: &'a mut Searched,
    pub(crate) suspects: &'a mut Suspects,
}

impl Search<'_> {
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
    pub(crate) fn run(mut self) -> Result<UidSet> {
        if !self.searched.is_audit_due(self.config) {
            let found = self.search(ImapSession::search_new)?;
            if self.searched.has_found() || !self.session.has_unlisted()? {
                return Ok(found);
            }
        }
        self.audit()
    }

    /// Runs the SEARCH by this command, or several in its place.
    fn search(&mut self, command: Command) -> Result<UidSet> {
        let validity = self.session.validity();
        let unsearchable = self.searched.unsearchable(validity);
        let found = match command(self.session, &self.searched.criteria(self.config)) {
            Err(error) if error.kind() == ErrorKind::Refused && !self.suspects.treat_as_transient(&error) => {
                self.bisect(command, error)?
            }
            found => found?,
        };
        self.searched.record_search(!found.is_empty());
        if unsearchable.is_empty() {
            return Ok(found);
        }
        let mut present = UidSet::empty(validity);
        for part in unsearchable.chunks() {
            let some = self.session.search(&format!("UID {part} UNDELETED"))?;
            let some = some.iter().filter(|uid| part.contains(*uid));
            present = UidSet::new(validity, present.iter().chain(some));
        }
        // With those that bisecting has found in this call.
        let mut still = self.searched.unsearchable(validity);
        still.retain(|uid| !unsearchable.contains(uid) || present.contains(uid));
        self.searched.unsearchable = Some(still);
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
    fn bisect(&mut self, command: Command, refusal: Error) -> Result<UidSet> {
        let validity = self.session.validity();
        let criteria = self.searched.criteria(self.config);
        let Some(all) = unless_refused(command(self.session, "UNDELETED"))? else { return Err(refusal) };
        let (mut found, mut refused, mut in_a_row) = (Vec::<Uid>::new(), Vec::<Uid>::new(), 0);
        let mut parts = all.chunks();
        while let Some(part) = parts.pop() {
            if let Some(some) = unless_refused(self.session.search(&format!("UID {part} {criteria}")))? {
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
        let before = self.searched.unsearchable(validity);
        let refused = UidSet::new(validity, before.iter().chain(refused));
        self.searched.unsearchable = Some(refused.clone());
        if in_a_row >= MAX_REFUSALS_IN_A_ROW {
            return Err(refusal);
        }
        Ok(UidSet::new(validity, found.into_iter().chain(refused.iter())))
    }
}

/// Returns `None` for a refusal.
fn unless_refused(found: Result<UidSet>) -> Result<Option<UidSet>> {
    match found {
        Err(error) if error.kind() == ErrorKind::Refused => Ok(None),
        found => found.map(Some),
    }
}
