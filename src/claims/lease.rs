//! The lease of this handle: renewed before calls, claimed again after a change of UIDVALIDITY, released at the end.
//!
//! | since the last entry | |
//! | --- | --- |
//! | a fifth of the lease | the lease is due to be renewed, before any call and any NOOP |
//! | a quarter | the longest time between NOOPs, and between attempts to reconnect |
//! | half | the longest timeout of a call |
//! | all of it | it may be lost: the log is read before anything is archived |
//! | a second more | other consumers take the messages |

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use super::entry::Op;
use super::view::View;
use super::{Claims, MAX_LINES_PER_ENTRY};
use crate::error::{ErrorKind, Result};
use crate::events;
use crate::message::Identity;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};
use crate::withheld::fetch_available_headers;

impl Claims {
    /// Renews the lease when a fifth of it has passed; after a change of UIDVALIDITY, claims the messages again.
    ///
    /// Called before each call and each heartbeat. Writes nothing while this handle owns no messages.
    ///
    /// A failed attempt is repeated after a twentieth of the lease, not by each call. On a new connection it runs at
    /// once.
    ///
    /// # Errors
    ///
    /// A lost connection. A refusal is returned, too, and does not fail the call: messages that are held stay held.
    pub(crate) fn renew_if_due(&self, session: &mut ImapSession) -> Result<()> {
        let mut view = self.view.lock();
        self.enter_validity(session, &mut view)?;
        if view.may_have_lost {
            self.read_log(session, &mut view)?;
        }
        let is_due = view.is_older_than(self.lease / 5)
            && view.renewal_tried_at.is_none_or(|tried| tried.elapsed() > self.lease / 20);
        if !is_due || !view.has_any(self.me) {
            return Ok(());
        }
        view.renewal_tried_at = Some(Instant::now());
        self.append(session, &mut view, &Op::Renew)?;
        // Reading removes the renewal before, and tells whether another consumer took messages after the lease ran out.
        self.read_log(session, &mut view)
    }

    /// Releases all messages, so that other consumers need not wait for the end of the lease.
    ///
    /// Best effort, at the end of a handle: if it fails, the lease runs out.
    pub(crate) fn release_all(&self, session: &mut ImapSession) {
        let mut view = self.view.lock();
        if view.has_any(self.me)
            && let Err(error) = self.append(session, &mut view, &Op::Release)
        {
            events::emit(move || {
                tracing::warn!(%error, "unacknowledged messages can't be released: they are held until the lease is over");
            });
        }
    }

    /// After a change of UIDVALIDITY, claims the messages that the app has under their new UIDs. Other consumers wait
    /// for that.
    ///
    /// The claim is appended before the view begins anew. So after a loss in between, the next call does all of it
    /// again; a second claim to the same messages has no effect. `Release` in place of an empty claim tells the others
    /// at once that they need not wait.
    ///
    /// # Errors
    ///
    /// Those of SEARCH, FETCH and APPEND, after which the next call tries again.
    pub(super) fn enter_validity(&self, session: &mut ImapSession, view: &mut View) -> Result<()> {
        let validity = session.validity();
        if view.validity == Some(validity) {
            let is_unread = view.renewed_at.is_some() && view.read_at.is_none();
            return if is_unread { self.read_log(session, view) } else { Ok(()) };
        }
        let mut handed_out = BTreeMap::new();
        if view.renewed_at.is_some() {
            if view.may_have_lost || view.is_older_than(self.lease) {
                self.read_log(session, view)?;
            }
            handed_out = self.find_by_identity(session, &view.handed_out(self.me))?;
            let uids = UidSet::new(validity, handed_out.keys().copied());
            let op = if uids.is_empty() { Op::Release } else { Op::Claim(uids) };
            self.append(session, view, &op)?;
        }
        view.begin_validity(validity, handed_out);
        if view.renewed_at.is_some() { self.read_log(session, view) } else { Ok(()) }
    }

    /// Returns the new UIDs of messages, as many as an entry has room for.
    ///
    /// Messages beyond that are handed out again, as are those without a Message-ID. Two mails with the same identity
    /// are both claimed: one of them is a duplicate of the other.
    fn find_by_identity(
        &self,
        session: &mut ImapSession,
        wanted: &HashSet<Identity>,
    ) -> Result<BTreeMap<Uid, Identity>> {
        let mut found = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let present = match session.search(&self.criteria) {
            // A single mail that the server can't search makes it answer NO. The headers identify the messages, too.
            Err(error) if error.kind() == ErrorKind::Refused => session.search("UNDELETED")?,
            found => found?,
        };
        let (fetched, _) = fetch_available_headers(session, &present)?;
        let identities = fetched.iter().filter_map(|(uid, it)| Some((*uid, Identity::read(&it.octets)?)));
        found.extend(identities.filter(|(_, identity)| wanted.contains(identity)));
        let uids = UidSet::new(session.validity(), found.keys().copied());
        let room: BTreeSet<Uid> =
            uids.chunks().iter().take(MAX_LINES_PER_ENTRY).flat_map(UidSet::iter).collect();
        found.retain(|uid, _| room.contains(uid));
        Ok(found)
    }
}
