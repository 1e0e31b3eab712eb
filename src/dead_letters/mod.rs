//! Dead letters as the app sees them, and the iterator over them, which reads a batch at a time.

mod batch;
mod depth;
mod mailbox;
mod redrive;

use std::collections::VecDeque;
use std::fmt;
use std::time::SystemTime;

use self::batch::read_batch;
pub use self::depth::Depth;
use self::mailbox::Letter;
#[cfg(doc)]
use crate::ImapConfig;
use crate::deadline::Deadline;
use crate::delivery::Delivery;
use crate::error::{Error, Result};
use crate::imap::{self, Imap};
use crate::message::Message;
use crate::spans::verb_span;
use crate::uid::{Uid, UidValidity};

/// Lists and redrives dead letters, and counts.
impl Imap {
    /// Returns deliveries that could not be handled. They are delivered again, until they have failed as often as
    /// [`dead_letters`](ImapConfig::dead_letters) allows; then they are moved to the dead letters, with the reason of
    /// the last failure beside them.
    ///
    /// ```no_run
    /// # fn handle(_: &pymail::Delivery) -> Result<(), String> { Ok(()) }
    /// # fn receive(config: pymail::ImapConfig) -> pymail::Result<()> {
    /// let imap = pymail::Imap::connect(config.dead_letters(5))?;
    /// for delivery in &imap.fetch()? {
    ///     match handle(delivery) {
    ///         Ok(()) => imap.ack([delivery])?,
    ///         Err(reason) => imap.reject([delivery], &reason)?,
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Config` without [`dead_letters`](ImapConfig::dead_letters): the messages would be delivered for ever. They stay
    /// in the inbox and are delivered again.
    ///
    /// Else as [`ack`](Imap::ack), of messages that have failed often enough: nothing is sent for the others. After any
    /// error the messages are still in the inbox or in the dead letters, all are returned, and all are moved that could
    /// be. Repeat the call, and acknowledge none of them: it moves the others, and so does the next
    /// [`fetch`](Imap::fetch).
    pub fn reject<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>, reason: &str) -> Result<()> {
        let deliveries: Vec<&Delivery> = deliveries.into_iter().collect();
        let rejected = self.with_inbox(&verb_span!("imap.reject"), |inbox, deadline| {
            imap::reject(self, inbox, deliveries, reason, deadline)
        });
        self.connection.wake_waits();
        rejected
    }

    /// Returns an iterator over the messages in the mailbox of [dead letters](ImapConfig::dead_letters), oldest first,
    /// each with the reason why it is there. One batch at a time is in memory.
    ///
    /// Works on any handle with the same tag and [`archive`](ImapConfig::archive), also without
    /// [`dead_letters`](ImapConfig::dead_letters) among its settings. Without such a mailbox there are none. Changes
    /// nothing, on the server either. A message that can't be read is an error in its place, see
    /// [`DeadLetter::message`]; copies of one message are one letter. Letters that come during the iteration are left
    /// out. Each batch, of [`batch`](ImapConfig::batch) letters or [`batch_bytes`](ImapConfig::batch_bytes) at most, has
    /// its own [`timeout`](ImapConfig::timeout).
    ///
    /// ```no_run
    /// # fn show(imap: &pymail::Imap) -> pymail::Result<()> {
    /// for letter in imap.dead_letters() {
    ///     let letter = letter?;
    ///     let id = letter.message().map_or("?", |message| &message.id);
    ///     println!("{id}: {}", letter.reason().unwrap_or("for unknown reasons"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The last item is an error: one of [every call](Imap#errors-of-every-call), or `StaleUids` when the mailbox was
    /// removed, or has got another UIDVALIDITY, during the iteration.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.clone())
    }

    /// Moves dead letters back into the inbox, where they are delivered again, as often as
    /// [`dead_letters`](ImapConfig::dead_letters) allows; removes the notes about them.
    ///
    /// The opposite of [`reject`](Imap::reject), by the same commands as [`ack`](Imap::ack). A redriven message is
    /// delivered even if a message with the same Message-ID was acknowledged before. It is marked for that with the
    /// keyword `$PymailRedriven`; on a server without keywords, only this handle knows. Letters that are no longer among
    /// the dead letters are left out. Claims of a [`shared`](ImapConfig::shared) mailbox do not matter: any consumer may
    /// get the messages.
    ///
    /// ```no_run
    /// # fn redrive(imap: &pymail::Imap) -> pymail::Result<()> {
    /// for letter in imap.dead_letters() {
    ///     let letter = letter?;
    ///     if letter.reason().is_some_and(|reason| reason.contains("database is down")) {
    ///         imap.redrive([&letter])?; // many at a time take fewer round trips
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `Refused` also when the server answers OK and the messages are still among the dead letters;
    /// - `StaleUids` for letters of an earlier UIDVALIDITY or of another mailbox, and when the mailbox of dead letters is
    ///   gone: list them again.
    ///
    /// After any error each message is among the dead letters or in the inbox. A retry by the same handle makes no second
    /// copies, unless a copy has left the inbox meanwhile.
    pub fn redrive<'a>(&self, letters: impl IntoIterator<Item = &'a DeadLetter>) -> Result<()> {
        let letters: Vec<&DeadLetter> = letters.into_iter().collect();
        self.with_inbox(&verb_span!("imap.redrive"), |inbox, deadline| {
            redrive::redrive(self, inbox, &letters, deadline)
        })
    }

    /// Returns how many tagged mails are in the inbox, and how many dead letters there are. Changes nothing.
    ///
    /// Counts what SEARCH UNDELETED SUBJECT finds, on the server where it has ESEARCH (RFC 4731). That includes messages
    /// that were delivered and are not acknowledged, also those of other consumers. Mail that has the tag elsewhere in
    /// its Subject, and a duplicate of an acknowledged message, count until a fetch of this handle has met them; mail
    /// whose Subject the server can't search counts as tagged, as for [`fetch`](Imap::fetch).
    ///
    /// Costs a round trip for the inbox, one for the mailbox of dead letters, and a third while there are any. Where
    /// that mailbox is missing, the server is asked for its other name, and for a list: two more.
    ///
    /// ```no_run
    /// # fn watch(imap: &pymail::Imap) -> pymail::Result<()> {
    /// let depth = imap.depth()?;
    /// println!("{} wait, {} are dead letters", depth.waiting, depth.dead_letters);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call).
    pub fn depth(&self) -> Result<Depth> {
        self.with_inbox(&verb_span!("imap.depth"), |inbox, deadline| depth::depth(self, inbox, deadline))
    }
}

/// A message among the dead letters, with the reason why it is there. Returned by [`Imap::dead_letters`].
///
/// [`Imap::redrive`] moves it back into the inbox. Until then it stays where it is.
#[derive(Clone)]
pub struct DeadLetter {
    letter: Letter,
    pub(crate) validity: UidValidity,
    pub(crate) message: Result<Message>,
    pub(crate) reason: Option<String>,
    pub(crate) moved_at: Option<SystemTime>,
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
    pub(crate) fn without_body(&self) -> Self {
        Self {
            letter: self.letter.clone(),
            validity: self.validity,
            message: self.message.as_ref().map(Message::without_body).map_err(Error::clone),
            reason: None,
            moved_at: None,
        }
    }

    /// Returns the UIDs of the message and of its copies.
    pub(crate) fn uids(&self) -> impl Iterator<Item = Uid> {
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
    pub(crate) fn new(imap: Imap) -> Self {
        Self { imap, listed: None, batch: Vec::new().into_iter(), has_ended: false }
    }

    /// Returns the next letter of the batch. Never blocks.
    #[cfg(feature = "async")]
    pub(crate) fn next_fetched(&mut self) -> Option<DeadLetter> {
        self.batch.next()
    }

    /// Lists the letters; `None` without a mailbox of dead letters.
    fn list(&self, deadline: Deadline) -> Result<Option<Listed>> {
        self.imap.connection.repeat(deadline, |session| {
            mailbox::within(session, true, None, |session| {
                Ok((session.validity(), mailbox::list(session)?.into()))
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
