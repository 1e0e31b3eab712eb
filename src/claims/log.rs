//! Appends entries to the log, and reads it.
//!
//! Both run under the lock of the view, on the session of the call. After a loss the view may be older than the log,
//! which is safe at any time: each claim is read back before it counts.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::entry::{Op, other_log_patterns, read, write};
use super::view::View;
use super::{Claims, MAX_CLAIMS, MAX_LINES_PER_ENTRY, MAX_PRESENT_CLAIMS};
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::moves::search_among;
use crate::python::ImapSession;
use crate::uid::UidSet;

impl Claims {
    /// Appends an entry. A server that refuses it gets a second try, after obsolete entries have been removed.
    ///
    /// The time counts from before the APPEND: another consumer's clock starts when it reads the entry, which is later.
    /// If the lease had run out by then, messages may be lost although the entry was stored, and `may_have_lost` says
    /// so until the log is read.
    ///
    /// # Errors
    ///
    /// `Refused`, such as `OVERQUOTA`, with nothing stored. After a lost connection the entry may be stored; to append
    /// it again does no harm, as the first one of two counts.
    pub(super) fn append(&self, session: &mut ImapSession, view: &mut View, op: &Op) -> Result<()> {
        let mail = write(self.me, self.lease, session.validity(), op);
        let log = self.log_name(session);
        let mut now = Instant::now();
        let mut appended = session.append(&log, mail.as_bytes());
        let is_refused = appended.as_ref().is_err_and(|error| error.kind() == ErrorKind::Refused);
        if is_refused && !view.obsolete(self.lease).is_empty() {
            self.read_log(session, view)?; // removes obsolete entries, which may be all that the quota lacks
            now = Instant::now();
            appended = session.append(&log, mail.as_bytes());
        }
        appended?;
        // No other consumer takes messages from one whose entry arrives before its lease has run out.
        view.may_have_lost |= view.renewed_at.is_some_and(|before| before.elapsed() >= self.lease);
        view.renewed_at = (*op != Op::Release).then_some(now);
        Ok(())
    }

    /// Returns `true` if the log has entries that were not read.
    ///
    /// By UIDNEXT (STATUS, RFC 3501, section 6.3.10). `false` when the server does not send it: then a release is seen
    /// when the view is a tenth of the lease old.
    pub(super) fn has_new_entries(&self, session: &mut ImapSession, view: &View) -> Result<bool> {
        Ok(session.next_uid(&self.log_name(session))?.is_some_and(|next| next != view.place.next_uid))
    }

    /// Reads the log, and removes obsolete entries from it: first the removal, then the read, in one visit of the
    /// mailbox.
    ///
    /// The UIDs of claims are reduced to those that may be present, entry by entry, before more are parsed. A claim of
    /// this handle's that another client has removed is written again, at the end.
    ///
    /// # Errors
    ///
    /// `Refused` for a log with too many claims, or that can't be read; a lost connection.
    pub(super) fn read_log(&self, session: &mut ImapSession, view: &mut View) -> Result<()> {
        let name = self.log_name(session);
        let validity = view.validity.unwrap_or_else(|| session.validity());
        let is_current = validity == session.validity();
        let drop = if is_current { view.obsolete(self.lease) } else { Vec::new() };
        let (place, mails) = session.read_log(&name, view.place, &drop)?;
        let (mut entries, mut all, mut claimed) = (Vec::new(), 0, 0);
        for (uid, mail) in mails {
            let Some(mut entry) = read(uid, &String::from_utf8_lossy(&mail), validity) else { continue };
            let is_current = entry.validity == validity.get();
            let (before, left) = entry.retain(|uid| is_current && view.may_be_present(uid));
            (all, claimed) = (all + before, claimed + left);
            if claimed > MAX_PRESENT_CLAIMS || all > MAX_CLAIMS {
                let text = format!(
                    "reading the log of claims: it has too many claims, of which {MAX_PRESENT_CLAIMS} to messages in the inbox are allowed"
                );
                return Err(Error::new(ErrorKind::Refused, text));
            }
            entries.push(entry);
        }
        let known = view.other_leases(self.me, self.lease);
        let lost_claims = view.replace_entries(entries, place, self.me, self.lease);
        self.others.store(view.others(self.me), Ordering::Relaxed);
        for &other in view.other_leases(self.me, self.lease).difference(&known) {
            let ours = self.lease;
            events::emit(move || {
                tracing::warn!(
                    ?other,
                    ?ours,
                    "consumers of one mailbox have different leases: the longer counts"
                );
            });
        }
        if is_current && !lost_claims.is_empty() {
            self.claim_again(session, view, &UidSet::new(validity, lost_claims))?;
        }
        self.warn_of_other_logs(session, &name)
    }

    /// Claims messages again whose claims another client has removed from the log, and reads it.
    ///
    /// Messages that have left the inbox meanwhile need no claim. The lease still holds, and other consumers leave the
    /// messages alone for that long, so that nothing is lost if this fails.
    fn claim_again(&self, session: &mut ImapSession, view: &mut View, uids: &UidSet) -> Result<()> {
        let present = search_among(session, uids, " UNDELETED")?;
        if present.is_empty() {
            return Ok(());
        }
        let count = present.len();
        events::emit(move || {
            tracing::warn!(count, "claims were removed from the log: claiming the messages again");
        });
        for lines in present.chunks().chunks(MAX_LINES_PER_ENTRY) {
            let uids = UidSet::new(present.validity(), lines.iter().flat_map(UidSet::iter));
            self.append(session, view, &Op::Claim(uids))?;
        }
        self.read_log(session, view)
    }

    /// Warns, once for each handle, of logs of the same inbox and tag in other archives: their consumers are invisible
    /// here.
    ///
    /// A LIST for each handle, at its first read of the log. It is sent once even if it fails.
    fn warn_of_other_logs(&self, session: &mut ImapSession, name: &str) -> Result<()> {
        if self.has_searched_other_logs.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for pattern in other_log_patterns(session, &self.inbox, &self.tag, &self.archive) {
            for log in session.mailboxes(&pattern)?.into_iter().filter(|log| log != name) {
                let tag = self.tag.clone();
                events::emit(move || {
                    tracing::warn!(
                        log,
                        tag,
                        "another archive has a log of claims to the same messages: consumers with different \
                         archives get the same messages; remove that log if it is not in use"
                    );
                });
            }
        }
        Ok(())
    }
}
