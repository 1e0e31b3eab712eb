//! Moves messages out of the inbox: by MOVE, or by COPY, STORE and UID EXPUNGE. A failed move can be repeated.
//!
//! | the server has | commands | the outcome of a message is unknown |
//! | --- | --- | --- |
//! | MOVE (RFC 6851) | MOVE | from the first octet of MOVE until its response |
//! | UIDPLUS (RFC 4315) | COPY, STORE `\Deleted`, UID EXPUNGE | during COPY; later it is known to be copied |
//! | neither | COPY, STORE `\Deleted` | during COPY |
//!
//! Before COPY or MOVE is sent, the messages are marked as unknown. A later attempt, in this call or in another one,
//! searches for their copies first, by size and headers; those with a copy are only deleted, those that have left the
//! inbox are done, the rest is moved again. So a loss at any place makes no second copy, and costs no message.
//!
//! COPY comes before STORE, and STORE only after COPY's response (RFC 3501, section 6.4.7: all or nothing). With
//! UIDPLUS, only messages that COPYUID names are deleted: the server's OK is no proof.
//!
//! MOVE by several sessions at once may copy a message more than once. Only one consumer moves a message: its owner.

mod delete;
mod unconfirmed_copies;

pub(crate) use self::delete::{delete, outcome_unknown, retry_without_expunged, search_among};
pub(crate) use self::unconfirmed_copies::UnconfirmedCopies;
use crate::error::{Error, ErrorKind, Result};
use crate::python::{Ahead, Copied, ImapSession, in_portions};
use crate::uid::{Uid, UidSet};

/// The most attempts to move a portion: other clients may expunge some of its messages each time.
///
/// A missing mailbox, and a MOVE that is not known, take one attempt more each.
const MAX_ATTEMPTS: usize = 5;

/// A move of messages to one mailbox.
pub(crate) struct Move<'a> {
    pub(crate) session: &'a mut ImapSession,
    copies: &'a mut UnconfirmedCopies,
    /// The target's name on this server.
    mailbox: String,
    /// `true` if a missing mailbox is created.
    creates_mailbox: bool,
    /// The next fetch, to be sent behind a MOVE of all messages.
    pub(crate) ahead: Option<Ahead>,
    /// Receives the UIDs of messages that have left the inbox, also when the move fails.
    done: &'a mut Vec<Uid>,
}

impl<'a> Move<'a> {
    /// Makes a move to the archive or to the dead letters, which are created again when another client has removed
    /// them.
    pub(crate) fn to_own_mailbox(
        session: &'a mut ImapSession,
        copies: &'a mut UnconfirmedCopies,
        mailbox: &str,
        done: &'a mut Vec<Uid>,
    ) -> Self {
        Self { session, copies, mailbox: mailbox.to_owned(), creates_mailbox: true, ahead: None, done }
    }

    /// Makes a move to a mailbox that the app names, which must exist.
    pub(crate) fn to_existing_mailbox(
        session: &'a mut ImapSession,
        copies: &'a mut UnconfirmedCopies,
        mailbox: &str,
        done: &'a mut Vec<Uid>,
    ) -> Self {
        Self { creates_mailbox: false, ..Self::to_own_mailbox(session, copies, mailbox, done) }
    }

    /// Moves these messages, in portions that the server accepts.
    ///
    /// # Errors
    ///
    /// `StaleUids` before anything is sent; `Refused` by the server, or for an OK after which messages are still in the
    /// inbox; a lost connection. `done` has the messages that have left the inbox by then.
    pub(crate) fn run(&mut self, set: &UidSet) -> Result<()> {
        in_portions(self, set, |this, portion| {
            this.ahead.take_if(|_| portion.len() < set.len());
            this.run_portion(portion)
        })
    }

    /// Moves a portion, or as much of it as the server's limit allows; returns the UIDs that have left the inbox.
    ///
    /// Messages that turn out to be gone, by an earlier attempt or by another client, count as moved.
    fn run_portion(&mut self, portion: &UidSet) -> Result<UidSet> {
        let (mut rest, mut is_created, mut attempts) = (portion.clone(), false, 0);
        loop {
            attempts += 1;
            rest = self.search_copies(&rest)?;
            self.delete_copied(&mut rest)?;
            let error = match self.attempt(&rest) {
                Ok(moved) => {
                    self.done.extend(moved.iter());
                    let mut done = portion.clone();
                    done.retain(|uid| moved.contains(uid) || !rest.contains(uid));
                    return Ok(done);
                }
                Err(error) => error,
            };
            if attempts == MAX_ATTEMPTS || !self.resolve(&error, &mut rest, &mut is_created)? {
                return Err(error);
            }
        }
    }

    /// Searches for the copies that an earlier attempt may have made; returns the messages that are still in the inbox.
    ///
    /// Sends nothing when there was no such attempt, and changes nothing on the server.
    ///
    /// Up to ten times without success; then the messages are moved again, at the risk of second copies. A transient
    /// refusal does not count.
    ///
    /// # Errors
    ///
    /// Those of [`ImapSession::copies`].
    pub(crate) fn search_copies(&mut self, set: &UidSet) -> Result<UidSet> {
        let mut rest = set.clone();
        let unknown = self.copies.begin_search(set, &self.mailbox);
        in_portions(self, &unknown, |this, portion| {
            let result = this.session.copies(portion, &this.mailbox);
            if result.as_ref().is_err_and(|error| !error.ends_connection() && error.is_transient()) {
                this.copies.undo_search(portion, &this.mailbox);
            }
            let (present, duplicated) = result?;
            let mut gone = portion.clone();
            gone.retain(|uid| !present.contains(uid));
            rest.retain(|uid| !gone.contains(uid));
            this.done.extend(gone.iter());
            let copies = &mut *this.copies;
            copies.remove(portion, &this.mailbox);
            copies.mark_copied(&duplicated, &this.mailbox);
            Ok(portion.clone())
        })?;
        Ok(rest)
    }

    /// Deletes the messages that are copied already from the inbox, and from `rest`.
    ///
    /// A loss in between leaves them marked as copied: the next attempt deletes them.
    fn delete_copied(&mut self, rest: &mut UidSet) -> Result<()> {
        let copied = self.copies.copied_among(rest, &self.mailbox);
        if !copied.is_empty() {
            delete(self.session, &copied)?;
            self.confirm(&copied);
            self.done.extend(copied.iter());
            rest.retain(|uid| !copied.contains(uid));
        }
        Ok(())
    }

    /// Notes that the outcome of these messages is known: no copy is unconfirmed.
    fn confirm(&mut self, set: &UidSet) {
        self.copies.remove(set, &self.mailbox);
    }

    /// Moves as much of a set as the server's limit allows, and returns it.
    ///
    /// After MOVE and after COPY, messages that COPYUID does not name are searched for in the inbox. With neither MOVE
    /// nor UIDPLUS, messages that are flagged already were copied before.
    fn attempt(&mut self, set: &UidSet) -> Result<UidSet> {
        if set.is_empty() {
            return Ok(set.clone());
        }
        let moved = if self.session.has_move() {
            self.copies.mark_unknown(set, &self.mailbox);
            let copyuid = self.session.move_to(set, &self.mailbox, self.ahead.take().as_ref())?;
            let done = self.session.done(set)?;
            check_gone(self.session, &done, &named(copyuid, set), "MOVE")?;
            done
        } else if self.session.has_uidplus() {
            let (copied, done) = self.copy(set)?;
            check_gone(self.session, &done, &copied, "COPY")?;
            done
        } else {
            // Messages flagged \Deleted were copied before, and stay in the inbox.
            let unflagged = search_among(self.session, set, " UNDELETED")?;
            let done = if unflagged.is_empty() { unflagged.clone() } else { self.copy(&unflagged)?.1 };
            let mut moved = set.clone();
            moved.retain(|uid| done.contains(uid) || !unflagged.contains(uid));
            moved
        };
        self.confirm(set);
        Ok(moved)
    }

    /// Copies messages, and deletes the copied ones: with UIDPLUS, those that COPYUID names.
    ///
    /// Returns the deleted messages, and those that COPY has processed.
    ///
    /// Without UIDPLUS, an OK has to do: COPY is all or nothing, and no COPYUID says more.
    fn copy(&mut self, set: &UidSet) -> Result<(UidSet, UidSet)> {
        self.copies.mark_unknown(set, &self.mailbox);
        let copyuid = self.session.copy(set, &self.mailbox)?;
        let done = self.session.done(set)?;
        let copied = if self.session.has_uidplus() { named(copyuid, set) } else { done.clone() };
        self.copies.mark_copied(&copied, &self.mailbox);
        delete(self.session, &copied)?;
        self.confirm(&copied);
        Ok((copied, done))
    }

    /// Removes the cause of a refusal, if it is a missing mailbox or expunged messages. Returns `true` if a retry may
    /// succeed.
    ///
    /// | code | cause | remedy |
    /// | --- | --- | --- |
    /// | `EXPUNGEISSUED` (RFC 5530) | another client has expunged some | again, without those that are gone |
    /// | `TRYCREATE`, `NONEXISTENT` | no such mailbox | created once, if it is pymail's own |
    /// | none, `BAD`, `CANNOT` | some are moved, or copied without a COPYUID | again, for the rest |
    /// | | MOVE is announced and not known | COPY in place of MOVE |
    /// | none | no such mailbox, in other words | created once, if it is pymail's own |
    /// | any other, or a transient refusal | | none |
    fn resolve(&mut self, error: &Error, rest: &mut UidSet, is_created: &mut bool) -> Result<bool> {
        if error.code() == Some("EXPUNGEISSUED") {
            return Ok(true);
        }
        if error.kind() != ErrorKind::Refused || error.is_transient() {
            return Ok(false);
        }
        match error.code() {
            Some("TRYCREATE" | "NONEXISTENT") if self.creates_mailbox && !*is_created => {
                *is_created = true;
                self.confirm(rest);
                self.session.create(&self.mailbox).map(|_| true)
            }
            None | Some("BAD" | "CANNOT") => {
                let before = rest.len();
                *rest = self.search_copies(rest)?;
                // Not every server with UIDPLUS sends COPYUID.
                let is_copied = !self.copies.copied_among(rest, &self.mailbox).is_empty();
                let is_done = is_copied || rest.len() < before;
                Ok(is_done
                    || self.session.note_move_refused(rest, error)
                    || (error.code().is_none() && self.create_missing(is_created)?))
            }
            _ => Ok(false),
        }
    }

    /// Creates the mailbox, once, since not every server names a missing mailbox as the cause. Returns `true` if it is
    /// empty, and so may have been missing.
    fn create_missing(&mut self, is_created: &mut bool) -> Result<bool> {
        if !self.creates_mailbox || std::mem::replace(is_created, true) {
            return Ok(false);
        }
        match self.session.create(&self.mailbox) {
            Err(error) if !error.ends_connection() && !error.is_transient() => Ok(false),
            created => created,
        }
    }
}

impl AsMut<ImapSession> for Move<'_> {
    fn as_mut(&mut self) -> &mut ImapSession {
        self.session
    }
}

/// Moves messages to a mailbox that the app names; see [`Imap::move_to`](crate::Imap::move_to).
///
/// # Errors
///
/// `OutcomeUnknown` in place of a lost connection, on a server without MOVE, if COPY may have been done.
pub(crate) fn move_to(
    session: &mut ImapSession,
    copies: &mut UnconfirmedCopies,
    set: &UidSet,
    mailbox: &str,
) -> Result<()> {
    let mut done = Vec::new();
    let moved = Move::to_existing_mailbox(session, copies, mailbox, &mut done).run(set);
    let may_be_copied = !session.has_move() && copies.has_any(set, mailbox);
    if may_be_copied { moved.map_err(outcome_unknown) } else { moved }
}

/// Returns the messages that COPYUID names (RFC 4315, section 3).
fn named(copyuid: Copied, set: &UidSet) -> UidSet {
    match copyuid {
        Copied::Uids(uids) => uids,
        Copied::Unknown => UidSet::empty(set.validity()),
    }
}

/// Checks that messages which COPYUID did not name have left the inbox: the server's OK is no proof.
///
/// # Errors
///
/// `Refused`, with the number of messages that are still there.
fn check_gone(session: &mut ImapSession, done: &UidSet, named: &UidSet, command: &str) -> Result<()> {
    let mut unnamed = done.clone();
    unnamed.retain(|uid| !named.contains(uid));
    if unnamed.is_empty() {
        return Ok(());
    }
    let left = search_among(session, &unnamed, "")?;
    if left.is_empty() {
        return Ok(());
    }
    let (left, all) = (left.len(), done.len());
    let place = if session.is_elsewhere() { "among the dead letters" } else { "in the inbox" };
    let text = format!("{command}: the server answered OK, but {left} of {all} messages are still {place}");
    Err(Error::new(ErrorKind::Refused, text))
}
