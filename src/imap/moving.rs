//! Moves mails out of the inbox: MOVE, or COPY, STORE and EXPUNGE, in such a way that it can be asked for again.

use parking_lot::Mutex;

use super::halfway::Halfway;
use super::verbs::{delete, left_of, unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::python::{Copied, ImapSession, in_portions};
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

    /// Moves these mails, in portions that the server takes.
    pub(super) fn run(&mut self, set: &UidSet) -> Result<()> {
        in_portions(self, set, Self::portion)
    }

    /// Moves a portion, or the part of it that the server's limit allows; returns what has left the inbox.
    fn portion(&mut self, portion: &UidSet) -> Result<UidSet> {
        let (mut rest, mut is_made, mut attempts) = (portion.clone(), false, 0);
        loop {
            attempts += 1;
            rest = self.look(&rest)?;
            self.delete_copied(&mut rest)?;
            let error = match self.once(&rest) {
                Ok(moved) => {
                    self.done.extend(moved.iter());
                    let mut done = portion.clone();
                    done.retain(|uid| moved.contains(uid) || !rest.contains(uid));
                    return Ok(done);
                }
                Err(error) => error,
            };
            if attempts == MOST_ATTEMPTS || !self.helps_to_ask_again(&error, &mut rest, &mut is_made)? {
                return Err(error);
            }
        }
    }

    /// Looks what an earlier attempt has done for these mails, if there was one; returns those that are in the inbox.
    ///
    /// Changes nothing.
    pub(super) fn look(&mut self, set: &UidSet) -> Result<UidSet> {
        let mut rest = set.clone();
        let doubted = self.halfway.lock().doubted(set, &self.mailbox);
        in_portions(self, &doubted, |moving, portion| {
            let looked = moving.session.copies(portion, &moving.mailbox);
            if looked.as_ref().is_err_and(|error| !error.ends_connection() && error.is_transient()) {
                moving.halfway.lock().is_put_off(portion, &moving.mailbox);
            }
            let (present, copied) = looked?;
            let mut gone = portion.clone();
            gone.retain(|uid| !present.contains(uid));
            rest.retain(|uid| !gone.contains(uid));
            moving.done.extend(gone.iter());
            let mut halfway = moving.halfway.lock();
            halfway.settle(portion, &moving.mailbox);
            halfway.copied(&copied, &moving.mailbox);
            Ok(portion.clone())
        })?;
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

    /// Moves what the server's limit allows of a set, and returns it.
    fn once(&mut self, set: &UidSet) -> Result<UidSet> {
        if set.is_empty() {
            return Ok(set.clone());
        }
        let moved = if self.session.has_move() {
            self.halfway.lock().begin(set, &self.mailbox);
            let moved = self.session.move_to(set, &self.mailbox)?;
            let done = self.session.done(set)?;
            nothing_left(self.session, &done, &named(moved, set), "MOVE")?;
            done
        } else if self.session.has_uidplus() {
            let (copied, done) = self.copy(set)?;
            nothing_left(self.session, &done, &copied, "COPY")?;
            done
        } else {
            // What stays flagged here must not be copied again.
            let unflagged = undeleted(self.session, set)?;
            let done = if unflagged.is_empty() { unflagged.clone() } else { self.copy(&unflagged)?.1 };
            let mut moved = set.clone();
            moved.retain(|uid| done.contains(uid) || !unflagged.contains(uid));
            moved
        };
        self.leave(set);
        Ok(moved)
    }

    /// Copies, and deletes what was copied for certain: with UIDPLUS, what the server names. Returns that, and what the
    /// command was carried out for.
    fn copy(&mut self, set: &UidSet) -> Result<(UidSet, UidSet)> {
        self.halfway.lock().begin(set, &self.mailbox);
        let told = self.session.copy(set, &self.mailbox)?;
        let done = self.session.done(set)?;
        let copied = if self.session.has_uidplus() { named(told, set) } else { done.clone() };
        self.halfway.lock().copied(&copied, &self.mailbox);
        delete(self.session, &copied)?;
        self.leave(&copied);
        Ok((copied, done))
    }

    /// Removes the cause of a refusal, if it is one that can be: mails that are gone, a missing mailbox.
    fn helps_to_ask_again(&mut self, error: &Error, rest: &mut UidSet, is_made: &mut bool) -> Result<bool> {
        if error.code() == Some("EXPUNGEISSUED") {
            return Ok(true);
        }
        if error.kind() != ErrorKind::Refused || error.is_transient() {
            return Ok(false);
        }
        match error.code() {
            Some("TRYCREATE" | "NONEXISTENT") if self.makes && !*is_made => {
                *is_made = true;
                self.leave(rest);
                self.session.create(&self.mailbox).map(|_| true)
            }
            None | Some("BAD" | "CANNOT") => {
                let before = rest.len();
                *rest = self.look(rest)?;
                // Not every server with UIDPLUS says what it has copied (COPYUID).
                let is_copied = !self.halfway.lock().deletable(rest, &self.mailbox).is_empty();
                let is_done = is_copied || rest.len() < before;
                Ok(is_done
                    || self.session.note_move_refused(rest, error)
                    || (error.code().is_none() && self.was_missing(is_made)?))
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
            Err(error) if !error.ends_connection() && !error.is_transient() => Ok(false),
            made => made,
        }
    }
}

impl AsMut<ImapSession> for Moving<'_> {
    fn as_mut(&mut self) -> &mut ImapSession {
        self.session
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
        Copied::Uids(these) => these,
        Copied::Unknown => UidSet::empty(asked.validity()),
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
