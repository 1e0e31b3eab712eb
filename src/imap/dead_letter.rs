//! Dead letters as the app sees them, and the iterator over them, which reads a batch at a time.

use std::collections::VecDeque;
use std::fmt;
use std::time::SystemTime;

use super::Imap;
use super::dead_batch::read_batch;
use super::dead_mailbox::{self, Letter};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::uid::{Uid, UidValidity};

/// A message among the dead letters, with the reason why it is there. Returned by [`Imap::dead_letters`].
///
/// [`Imap::redrive`] moves it back into the inbox. Until then it stays where it is.
#[derive(Clone)]
pub struct DeadLetter {
    pub(super) letter: Letter,
    pub(super) validity: UidValidity,
    pub(super) message: Result<Message>,
    pub(super) reason: Option<String>,
    pub(super) moved_at: Option<SystemTime>,
}

impl DeadLetter {
    /// Returns the message.
    ///
    /// # Errors
    /// `Message` for a message that can't be decoded or is not whole, `TooLarge` for one that is over
    /// [`max_message`](crate::ImapConfig::max_message), `Refused`, `Disconnected`, `Timeout` or `Message` for one that
    /// the server withholds. It can be redriven all the same.
    pub fn message(&self) -> Result<&Message> {
        self.message.as_ref().map_err(Error::clone)
    }

    /// Returns the message, by value.
    ///
    /// # Errors
    /// As [`message`](DeadLetter::message).
    pub fn into_message(self) -> Result<Message> {
        self.message
    }

    /// Returns the reason, such as `its handling failed 5 times; the last time: no such account`, from the note beside
    /// the message; `None` without a note that can be read.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Returns the moment when the message was moved here, by the clock of the handle that has moved it, to the second;
    /// `None` without a note that can be read.
    #[must_use]
    pub fn moved_at(&self) -> Option<SystemTime> {
        self.moved_at
    }

    /// Returns the UID of the message in the mailbox of dead letters.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.letter.uid
    }

    /// Returns a copy with an empty body, for a redrive.
    #[cfg(feature = "async")]
    pub(super) fn without_body(&self) -> Self {
        Self {
            letter: self.letter.clone(),
            validity: self.validity,
            message: self.message.as_ref().map(Message::without_body).map_err(Error::clone),
            reason: None,
            moved_at: None,
        }
    }

    /// Returns the UIDs of the message and of its copies.
    pub(super) fn uids(&self) -> impl Iterator<Item = Uid> {
        std::iter::once(self.letter.uid).chain(self.letter.duplicates.iter().copied())
    }
}

/// Shows the UID, the reason, and the message without its body or the error.
impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("uid", &self.letter.uid.get())
            .field("reason", &self.reason)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// The letters that are still to be read, and their UIDVALIDITY.
type Listed = (UidValidity, VecDeque<Letter>);

/// An iterator over the dead letters, oldest first; returned by [`Imap::dead_letters`].
///
/// Lists the mailbox at the first call of `next`, and reads a batch when the one before is used up. Holds one batch in
/// memory, and about 100 octets for each letter that is still to come. After an error it returns `None`.
#[must_use = "nothing is fetched before `next`"]
pub struct DeadLetters {
    imap: Imap,
    /// `None` before the first call.
    listed: Option<Listed>,
    batch: std::vec::IntoIter<DeadLetter>,
    has_ended: bool,
}

impl DeadLetters {
    pub(super) fn new(imap: Imap) -> Self {
        Self { imap, listed: None, batch: Vec::new().into_iter(), has_ended: false }
    }

    /// Returns the next letter of the batch. Never blocks.
    #[cfg(feature = "async")]
    pub(super) fn next_fetched(&mut self) -> Option<DeadLetter> {
        self.batch.next()
    }

    /// Lists the letters; `None` without a mailbox of dead letters.
    fn list(&self, deadline: Deadline) -> Result<Option<Listed>> {
        self.imap.connection.repeat(deadline, |session| {
            dead_mailbox::within(session, true, None, |session| {
                Ok((session.validity(), dead_mailbox::list(session)?.into()))
            })
        })
    }

    /// Reads batches up to one that has a letter: those of another may have been removed meanwhile.
    fn fetch(&mut self) -> Result<Option<DeadLetter>> {
        let deadline = self.imap.connection.deadline();
        let listed = self.listed.take().map_or_else(|| self.list(deadline), |listed| Ok(Some(listed)));
        let Some((validity, mut letters)) = listed? else { return Ok(None) };
        while self.batch.as_slice().is_empty() && !letters.is_empty() {
            self.batch = read_batch(&self.imap, validity, &mut letters, deadline)?.into_iter();
        }
        self.listed = Some((validity, letters));
        Ok(self.batch.next())
    }
}

/// Shows the handle, and the number of letters that are read and not yet returned.
impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("imap", &self.imap)
            .field("fetched", &self.batch.len())
            .finish_non_exhaustive()
    }
}

/// Each item is a [`DeadLetter`], or the error of a batch, which is the last item.
impl Iterator for DeadLetters {
    type Item = Result<DeadLetter>;

    fn next(&mut self) -> Option<Result<DeadLetter>> {
        if let Some(letter) = self.batch.next() {
            return Some(Ok(letter));
        }
        let next = if self.has_ended { None } else { self.fetch().transpose() };
        self.has_ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl std::iter::FusedIterator for DeadLetters {}
