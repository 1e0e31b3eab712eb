//! Keeping what a handle has: by renewing its lease, by claiming anew, until it lets go.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use super::log::Word;
use super::view::View;
use super::{Claims, MOST_LINES};
use crate::error::{ErrorKind, Result};
use crate::events;
use crate::imap::candidates;
use crate::imap::headers::fetch_available_headers;
use crate::message::Identity;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

impl Claims {
    /// Does what is due to keep what this handle has: claims it anew in a mailbox that was made anew, and renews the
    /// lease.
    pub(in crate::imap) fn keep(&self, session: &mut ImapSession) -> Result<()> {
        let mut view = self.view.lock();
        self.enter(session, &mut view)?;
        if view.is_in_doubt {
            self.read_log(session, &mut view)?;
        }
        let is_due = view.is_older_than(self.lease / 5)
            && view.tried.is_none_or(|tried| tried.elapsed() > self.lease / 20);
        if !is_due || !view.has_any(self.me) {
            return Ok(());
        }
        view.tried = Some(Instant::now());
        self.say(session, &mut view, &Word::Hold)?;
        // One renewal replaces the one before; and when the lease was over, another consumer may have taken something.
        self.read_log(session, &mut view)
    }

    /// Lets go of everything, so that no consumer has to wait for the lease.
    pub(in crate::imap) fn farewell(&self, session: &mut ImapSession) {
        let mut view = self.view.lock();
        if view.has_any(self.me)
            && let Err(error) = self.say(session, &mut view, &Word::Bye)
        {
            events::emit(move || {
                tracing::warn!(%error, "unacknowledged messages are held until the lease is over");
            });
        }
    }

    /// Claims anew what the app has, when the mailbox was made anew (UIDVALIDITY): other consumers wait for that.
    pub(super) fn enter(&self, session: &mut ImapSession, view: &mut View) -> Result<()> {
        let life = session.validity();
        if view.life == Some(life) {
            let is_unread = view.renewed.is_some() && view.read.is_none();
            return if is_unread { self.read_log(session, view) } else { Ok(()) };
        }
        let mut handed = BTreeMap::new();
        if view.renewed.is_some() {
            if view.is_in_doubt || view.is_older_than(self.lease) {
                self.read_log(session, view)?;
            }
            handed = self.find_again(session, &view.in_hand(self.me))?;
            let uids = UidSet::new(life, handed.keys().copied());
            let word = if uids.is_empty() { Word::Bye } else { Word::Claim(uids) };
            self.say(session, view, &word)?;
        }
        view.begin(life, handed);
        if view.renewed.is_some() { self.read_log(session, view) } else { Ok(()) }
    }

    /// Finds messages under their new UIDs, as many as an entry has room for.
    fn find_again(
        &self,
        session: &mut ImapSession,
        wanted: &HashSet<Identity>,
    ) -> Result<BTreeMap<Uid, Identity>> {
        let mut found = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let present = match session.search(&candidates(&self.tag)) {
            // One mail that the server can't search is enough for a NO; the headers tell as well.
            Err(error) if error.kind() == ErrorKind::Refused => session.search("UNDELETED")?,
            found => found?,
        };
        let told = fetch_available_headers(session, &present)?;
        let identities = told.iter().filter_map(|(uid, it)| Some((*uid, Identity::read(&it.octets)?)));
        found.extend(identities.filter(|(_, identity)| wanted.contains(identity)));
        let uids = UidSet::new(session.validity(), found.keys().copied());
        let room: BTreeSet<Uid> = uids.chunks().iter().take(MOST_LINES).flat_map(UidSet::iter).collect();
        found.retain(|uid, _| room.contains(uid));
        Ok(found)
    }
}
