//! Writing the log and reading it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::log::{Word, elsewhere, read, write};
use super::view::View;
use super::{Claims, MOST_CLAIMED, MOST_READ};
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::python::ImapSession;

impl Claims {
    pub(super) fn say(&self, session: &mut ImapSession, view: &mut View, word: &Word) -> Result<()> {
        let mail = write(self.me, self.lease, session.validity(), word);
        let log = self.log(session);
        let mut now = Instant::now();
        let mut said = session.append(&log, mail.as_bytes());
        let is_refused = said.as_ref().is_err_and(|error| error.kind() == ErrorKind::Refused);
        if is_refused && !view.obsolete(self.lease).is_empty() {
            self.read_log(session, view)?; // What it removes may make room.
            now = Instant::now();
            said = session.append(&log, mail.as_bytes());
        }
        said?;
        // A consumer that was silent for less than a lease, by when the word has arrived, is not taken from.
        view.is_in_doubt |= view.renewed.is_some_and(|before| before.elapsed() >= self.lease);
        view.renewed = (*word != Word::Bye).then_some(now);
        Ok(())
    }

    /// Returns whether there is an entry that was not read.
    pub(super) fn has_news(&self, session: &mut ImapSession, view: &View) -> Result<bool> {
        Ok(session.next_uid(&self.log(session))?.is_some_and(|next| next != view.next))
    }

    /// Reads the log, and removes from it what means nothing any more.
    pub(super) fn read_log(&self, session: &mut ImapSession, view: &mut View) -> Result<()> {
        let name = self.log(session);
        let life = view.life.unwrap_or_else(|| session.validity());
        let is_current = life == session.validity();
        let drop = if is_current { view.obsolete(self.lease) } else { Vec::new() };
        let (next, mails) = session.read_log(&name, &drop)?;
        let (mut entries, mut all, mut claimed) = (Vec::new(), 0, 0);
        for (at, mail) in mails {
            let Some(mut entry) = read(at, &String::from_utf8_lossy(&mail), life) else { continue };
            let is_current = entry.life == life.get();
            let (before, left) = entry.retain(|uid| is_current && view.may_be_there(uid));
            (all, claimed) = (all + before, claimed + left);
            if claimed > MOST_CLAIMED || all > MOST_READ {
                let text = format!("reading the log: it has more than {MOST_CLAIMED} claims");
                return Err(Error::new(ErrorKind::Refused, text));
            }
            entries.push(entry);
        }
        let known = view.other_leases(self.me, self.lease);
        view.take_in(entries, next);
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
        self.look_elsewhere(session, &name)
    }

    /// Warns, once, when there is a log of the same inbox and tag in another archive: its consumers can't be seen.
    fn look_elsewhere(&self, session: &mut ImapSession, name: &str) -> Result<()> {
        if self.has_looked.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for pattern in elsewhere(session, &self.inbox, &self.tag, &self.archive) {
            for log in session.mailboxes(&pattern)?.into_iter().filter(|log| log != name) {
                let tag = self.tag.clone();
                events::emit(move || {
                    tracing::warn!(
                        log,
                        tag,
                        "another archive has a log of claims to the same messages: consumers with different \
                         archives hand out messages twice; remove that log if it is not in use"
                    );
                });
            }
        }
        Ok(())
    }
}
