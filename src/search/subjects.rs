//! Audits SEARCH by the Subjects of the mail that it did not find, and takes its place where it is unreliable.
//!
//! Some servers find nothing, or whole words only, or new mail much later. A server that finds too much needs no audit:
//! foreign mail is recognised when it is fetched. Until a SEARCH has found something, one that finds nothing in an inbox
//! with mail is audited at once: an app that runs for a moment would never receive anything where SEARCH finds nothing.
//!
//! ```text
//!  each `recheck` ─▶ SEARCH UNDELETED ─▶ SEARCH UNDELETED SUBJECT ─▶ FETCH the Subjects of the rest, newest first
//!                                                                      ├─ all foreign ─▶ known from now on
//!                                                                      └─ one is tagged ─▶ an audit with each search
//! ```

use std::time::Instant;

use super::{Search, unless_refused};
use crate::config::ImapConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Origin, origin};
use crate::python::ImapSession;
use crate::uid::{UidSet, UidValidity};
use crate::withheld::{fetch_available_headers, is_server_wide};

/// The most messages whose Subjects one audit reads: 8 MiB at most.
const MAX_AUDITED: usize = 500;

/// The same once SEARCH has turned out unreliable.
const MAX_READ: usize = 10_000;

/// The most refusals that may pass and fail a call, until an audit meets none.
const MAX_REFUSALS: u32 = 5;

/// The messages of one inbox whose Subjects were read.
#[derive(Debug)]
pub(super) struct Subjects {
    audited_at: Instant,
    is_search_unreliable: bool,
    /// `true` once a SEARCH has found something.
    has_found: bool,
    /// The calls that a refused part of an audit has failed, since the last audit that met none.
    refusals: u32,
    /// Messages that SEARCH did not find: with the tag, and without.
    read: Option<(UidSet, UidSet)>,
}

impl Default for Subjects {
    fn default() -> Self {
        let audited_at = Instant::now();
        Self { audited_at, is_search_unreliable: false, has_found: false, refusals: 0, read: None }
    }
}

impl Subjects {
    /// Returns `true` if the next SEARCH has to be audited.
    pub(super) fn is_due(&self, config: &ImapConfig) -> bool {
        self.is_search_unreliable || self.audited_at.elapsed() >= config.common.options.recheck
    }

    /// Records whether a SEARCH has found something.
    pub(super) fn record_search(&mut self, has_found: bool) {
        self.has_found |= has_found;
    }

    /// Returns `true` once a SEARCH has found something.
    pub(super) fn has_found(&self) -> bool {
        self.has_found
    }

    /// Forgets what was read: UIDs name other messages under another UIDVALIDITY.
    pub(super) fn clear(&mut self) {
        self.read = None;
    }

    /// Returns the messages with the tag and those without that were read before and are still there.
    fn present(&mut self, validity: UidValidity, all: &UidSet) -> (UidSet, UidSet) {
        let none = || (UidSet::empty(validity), UidSet::empty(validity));
        let (mut ours, mut foreign) = self.read.take().unwrap_or_else(none);
        ours.retain(|uid| all.contains(uid));
        foreign.retain(|uid| all.contains(uid));
        (ours, foreign)
    }
}

impl Search<'_> {
    /// Runs the search, and adds the tagged mail that it did not find.
    ///
    /// The list of all mail comes first: a message that arrives between the two searches was not missed by SEARCH. What
    /// the list has not seen stays announced, and ends the next wait: where SEARCH is unreliable, only a list shows it.
    ///
    /// # Errors
    /// Those of the search; a lost connection; a transient refusal where SEARCH is not known to find mail. Any other
    /// refused audit is made again later.
    pub(super) fn audit(&mut self) -> Result<UidSet> {
        let all = match self.session.list_all() {
            Err(error) if error.kind() == ErrorKind::Refused && !self.needs_audit(&error) => {
                return self.search(ImapSession::search_new);
            }
            all => all?,
        };
        let found = self.search(ImapSession::search)?;
        let mut missed = self.read_subjects(&all, &found)?;
        if !missed.is_empty() && !self.searched.subjects.is_search_unreliable {
            missed = self.not_deleted_since(missed)?;
        }
        if !missed.is_empty() && !std::mem::replace(&mut self.searched.subjects.is_search_unreliable, true) {
            self.connection.report_unreliable_search(missed.len());
        }
        self.session.all_read()?;
        self.searched.subjects.audited_at = Instant::now();
        Ok(UidSet::new(found.validity(), found.iter().chain(missed.iter())))
    }

    /// Returns `true` if the call fails with this refusal of a part of the audit: SEARCH alone may miss mail, and the
    /// refusal may pass. A server that sends it each time is one without audits.
    fn needs_audit(&mut self, refusal: &Error) -> bool {
        let subjects = &mut self.searched.subjects;
        let needs = subjects.is_search_unreliable || !subjects.has_found;
        let may_pass = is_server_wide(refusal) && subjects.refusals < MAX_REFUSALS;
        subjects.refusals += u32::from(needs && may_pass);
        needs && may_pass
    }

    /// Returns those of these messages that are still listed: SEARCH rightly leaves out what was flagged `\Deleted`
    /// since.
    fn not_deleted_since(&mut self, mut missed: UidSet) -> Result<UidSet> {
        if let Some(all) = unless_refused(self.session.search("UNDELETED"))? {
            missed.retain(|uid| all.contains(uid));
        }
        Ok(missed)
    }

    /// Reads the Subjects of the newest messages that are neither found nor read; returns all messages with the tag that
    /// were not found.
    ///
    /// A message whose headers do not come is read by the next audit.
    ///
    /// # Errors
    /// A lost connection; a refusal, as of [`audit`](Self::audit).
    fn read_subjects(&mut self, all: &UidSet, found: &UidSet) -> Result<UidSet> {
        let validity = all.validity();
        let most = if self.searched.subjects.is_search_unreliable { MAX_READ } else { MAX_AUDITED };
        let (ours, foreign) = self.searched.subjects.present(validity, all);
        let mut unread = all.clone();
        unread.retain(|uid| !found.contains(uid) && !ours.contains(uid) && !foreign.contains(uid));
        let unread = unread.skip(unread.len().saturating_sub(most));
        let fetched = fetch_available_headers(self.session, &unread);
        let tag = &self.config.common.tag;
        let headers = fetched.iter().flat_map(|(headers, _)| headers);
        let origins = headers.map(|(uid, it)| (*uid, origin(&it.octets, it.is_truncated, tag)));
        let origins: Vec<_> = origins.collect();
        let of = |wanted| origins.iter().filter(move |(_, origin)| *origin == wanted).map(|(uid, _)| *uid);
        let ours = UidSet::new(validity, ours.iter().chain(of(Origin::Ours)));
        let foreign = UidSet::new(validity, foreign.iter().chain(of(Origin::Foreign)));
        self.searched.subjects.read = Some((ours.clone(), foreign));
        match fetched?.1 {
            Some(refusal) if self.needs_audit(&refusal) => return Err(refusal),
            Some(_) => {}
            None => self.searched.subjects.refusals = 0,
        }
        let mut missed = ours;
        missed.retain(|uid| !found.contains(uid));
        Ok(missed)
    }
}
