//! Moves mails out of the inbox: MOVE, or COPY, STORE and EXPUNGE, in such a way that it can be asked for again.

use parking_lot::Mutex;

use super::halfway::Halfway;
use super::verbs::{delete, left_of, unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::python::{Copied, ImapSession};
use crate::uid::{Uid, UidSet};

/// How often one set of mails is asked for: other clients may remove some each time.
const MOST_ATTEMPTS: usize = 5;

/// A move of mails to one mailbox.
pub(super) struct Moving<'a> {
    pub(super) session: &'a mut ImapSession,
    halfway: &'a Mutex<Halfway>,
    mailbox: String,
    /// Whether the mailbox is made when it is missing.
    makes: bool,
    /// Gets the mails that have left the inbox.
    done: &'a mut Vec<Uid>,
}

impl<'a> Moving<'a> {
    /// Prepares a move to a mailbox of ours, which is made again when another client has removed it.
    pub(super) fn to_ours(
        session: &'a mut ImapSession,
        halfway: &'a Mutex<Halfway>,
        mailbox: &str,
        done: &'a mut Vec<Uid>,
    ) -> Self {
        Self { session, halfway, mailbox: mailbox.to_owned(), makes: true, done }
    }

    /// Prepares a move to a mailbox of the user's.
    pub(super) fn to(
        session: &'a mut ImapSession,
        halfway: &'a Mutex<Halfway>,
        mailbox: &str,
        done: &'a mut Vec<Uid>,
    ) -> Self {
        Self { makes: false, ..Self::to_ours(session, halfway, mailbox, done) }
    }

    /// Moves these mails, in portions that fit on a command line.
    pub(super) fn run(&mut self, set: &UidSet) -> Result<()> {
        set.chunks().into_iter().try_for_each(|chunk| self.portion(chunk))
    }

    fn portion(&mut self, mut rest: UidSet) -> Result<()> {
        let mut is_made = false;
        for attempt in 1.. {
            rest = self.look(&rest)?;
            self.delete_copied(&mut rest)?;
            let Err(error) = self.once(&rest) else { break };
            let helps =
                attempt < MOST_ATTEMPTS && self.helps_to_ask_again(&error, &mut rest, &mut is_made)?;
            if !helps {
                return Err(error);
            }
        }
        self.done.extend(rest.iter());
        Ok(())
    }

    /// Looks what an earlier attempt has done for these mails, if there was one; returns those that are in the inbox.
    ///
    /// Changes nothing.
    pub(super) fn look(&mut self, set: &UidSet) -> Result<UidSet> {
        let mut rest = set.clone();
        let doubted = self.halfway.lock().doubted(set, &self.mailbox);
        for chunk in doubted.chunks() {
            let (present, copied) = self.session.copies(&chunk, &self.mailbox)?;
            let mut gone = chunk.clone();
            gone.retain(|uid| !present.contains(uid));
            rest.retain(|uid| !gone.contains(uid));
            self.done.extend(gone.iter());
            let mut halfway = self.halfway.lock();
            halfway.settle(&chunk, &self.mailbox);
            halfway.copied(&copied, &self.mailbox);
        }
        Ok(rest)
    }

    /// Removes from the inbox what the other mailbox has already.
    fn delete_copied(&mut self, rest: &mut UidSet) -> Result<()> {
        let copied = self.halfway.lock().deletable(rest, &self.mailbox);
        if !copied.is_empty() {
            delete(self.session, &copied)?;
            self.leave(&copied);
            self.done.extend(copied.iter());
            rest.retain(|uid| !copied.contains(uid));
        }
        Ok(())
    }

    fn leave(&self, set: &UidSet) {
        self.halfway.lock().settle(set, &self.mailbox);
    }

    fn once(&mut self, set: &UidSet) -> Result<()> {
        if set.is_empty() {
            return Ok(());
        }
        if self.session.has_move() {
            self.halfway.lock().begin(set, &self.mailbox);
            let moved = self.session.move_to(set, &self.mailbox)?;
            nothing_left(self.session, set, &named(moved, set), "MOVE")?;
        } else if self.session.has_uidplus() {
            let copied = self.copy(set)?;
            nothing_left(self.session, set, &copied, "COPY")?;
        } else {
            // What stays flagged here must not be copied again.
            let unflagged = undeleted(self.session, set)?;
            if !unflagged.is_empty() {
                self.copy(&unflagged)?;
            }
        }
        self.leave(set);
        Ok(())
    }

    /// Copies, and deletes what was copied for certain: with UIDPLUS, what the server names.
    fn copy(&mut self, set: &UidSet) -> Result<UidSet> {
        self.halfway.lock().begin(set, &self.mailbox);
        let told = self.session.copy(set, &self.mailbox)?;
        let copied = if self.session.has_uidplus() { named(told, set) } else { set.clone() };
        self.halfway.lock().copied(&copied, &self.mailbox);
        delete(self.session, &copied)?;
        self.leave(&copied);
        Ok(copied)
    }

    /// Removes the cause of a refusal, if it is one that can be: mails that are gone, a missing mailbox.
    fn helps_to_ask_again(&mut self, error: &Error, rest: &mut UidSet, is_made: &mut bool) -> Result<bool> {
        if error.kind() != ErrorKind::Refused || error.is_transient() {
            return Ok(false);
        }
        match error.code() {
            Some("TRYCREATE" | "NONEXISTENT") if self.makes && !*is_made => {
                *is_made = true;
                self.leave(rest);
                self.session.create(&self.mailbox).map(|_| true)
            }
            Some("EXPUNGEISSUED") => Ok(true),
            None | Some("BAD") => {
                let before = rest.len();
                *rest = self.look(rest)?;
                Ok(rest.len() < before || (error.code().is_none() && self.was_missing(is_made)?))
            }
            _ => Ok(false),
        }
    }

    /// Makes the mailbox, once, since not every server says that it is missing; returns whether it is empty then.
    fn was_missing(&mut self, is_made: &mut bool) -> Result<bool> {
        if !self.makes || std::mem::replace(is_made, true) {
            return Ok(false);
        }
        match self.session.create(&self.mailbox) {
            Err(error) if !error.ends_connection() => Ok(false),
            made => made,
        }
    }
}

/// Moves to a mailbox of the user's.
pub(super) fn move_to(
    session: &mut ImapSession,
    halfway: &Mutex<Halfway>,
    set: &UidSet,
    mailbox: &str,
) -> Result<()> {
    let mut done = Vec::new();
    let moved = Moving::to(session, halfway, mailbox, &mut done).run(set);
    let may_be_copied = !session.has_move() && halfway.lock().has_any(set, mailbox);
    if may_be_copied { moved.map_err(unknown) } else { moved }
}

/// Returns the mails that the server said it has copied.
fn named(copied: Copied, asked: &UidSet) -> UidSet {
    match copied {
        Copied::These(these) => these,
        Copied::Untold => UidSet::none(asked.validity()),
    }
}

/// Checks that mails are gone that the server did not name (COPYUID): its OK is no proof.
fn nothing_left(session: &mut ImapSession, asked: &UidSet, named: &UidSet, command: &str) -> Result<()> {
    let mut unnamed = asked.clone();
    unnamed.retain(|uid| !named.contains(uid));
    if unnamed.is_empty() {
        return Ok(());
    }
    let left = left_of(session, &unnamed, "")?;
    if left.is_empty() {
        return Ok(());
    }
    let text = format!(
        "{command}: the server says yes, but {} of {} mails are still there",
        left.len(),
        asked.len()
    );
    Err(Error::new(ErrorKind::Refused, text))
}

fn undeleted(session: &mut ImapSession, set: &UidSet) -> Result<UidSet> {
    left_of(session, set, " UNDELETED")
}
