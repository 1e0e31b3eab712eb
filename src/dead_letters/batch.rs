//! Reads a batch of dead letters, and their notes.
//!
//! Letters are often there because the server withholds them: by a NO, by closing the connection, or by a response that
//! does not end. So after a failure the first letter that has not arrived is fetched by itself; if that fails, too, its
//! error stands in its place, and the rest follows. Nothing is changed on the server, so all of it can be repeated.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::DeadLetter;
use super::mailbox::{self, Letter};
use crate::by_uid::fetch_into;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::imap::{Imap, count_fitting, too_large};
use crate::message::{Message, Note, parse};
use crate::python::{ImapSession, Part, Window};
use crate::uid::{Uid, UidSet, UidValidity};
use crate::withheld::withheld_error;

/// The most lost connections of a batch. The letters that have arrived by then are the batch.
const MAX_LOSSES: usize = 8;

/// The parts of a batch's time for fetching letters together, and for one by itself: one in so many.
const SHARES: u32 = 2;
const SHARES_ALONE: u32 = 6;

/// The octets of letters that are fetched with one command, unless one letter has more.
const WINDOW_OCTETS: usize = 8 << 20;

/// The most attempts to read the notes: one of them may end the connection, too.
const NOTE_READS: u32 = 2;

/// The octets of a note that are fetched: more than the longest reason takes.
const NOTE_OCTETS: usize = 64 << 10;

/// Reads the first letters, as many as `batch` and `batch_bytes` allow and at least one, and removes them from
/// `letters`. Leaves out letters that were removed meanwhile.
///
/// # Errors
///
/// A failure that no letter has caused, if nothing has arrived before it; `StaleUids`. The letters are lost then.
pub(super) fn read_batch(
    imap: &Imap,
    validity: UidValidity,
    letters: &mut VecDeque<Letter>,
    deadline: Deadline,
) -> Result<Vec<DeadLetter>> {
    let most = letters.len().min(imap.config.batch);
    let mut batch = Reading::new(imap, validity, letters.drain(..most).collect());
    let mut losses = 0;
    let stopped = loop {
        batch.is_fetching = false; // A failure to connect is no letter's.
        let shares = if batch.suspect.is_some() { SHARES_ALONE } else { SHARES };
        let result = imap.connection.once(deadline.share(shares), |session| batch.run(session));
        let Err(error) = result else { break None };
        losses += 1;
        if !error.ends_connection()
            || losses > MAX_LOSSES
            || deadline.left().is_zero()
            || !batch.blame(&error)
        {
            break Some(error);
        }
    };
    let (read, unread) = batch.finish(stopped.is_some());
    unread.into_iter().rev().for_each(|letter| letters.push_front(letter));
    match stopped {
        Some(error) if read.is_empty() => Err(error),
        _ => Ok(read),
    }
}

/// A batch that is being read, on as many connections as it takes.
struct Reading<'a> {
    imap: &'a Imap,
    validity: UidValidity,
    letters: Vec<Letter>,
    /// The letters of this batch with their sizes, ascending; `None` until the sizes are known.
    chosen: Option<Vec<(Uid, u64)>>,
    read: BTreeMap<Uid, Result<Message>>,
    notes: HashMap<Uid, Note>,
    /// The number of attempts to read the notes.
    note_reads: u32,
    /// `true` while a lost connection may be caused by a letter.
    is_fetching: bool,
    /// The letter at which a connection was lost; it is fetched by itself.
    suspect: Option<Uid>,
    /// The number of losses that no letter has caused.
    other_losses: u32,
}

impl<'a> Reading<'a> {
    fn new(imap: &'a Imap, validity: UidValidity, letters: Vec<Letter>) -> Self {
        Self {
            imap,
            validity,
            letters,
            chosen: None,
            read: BTreeMap::new(),
            notes: HashMap::new(),
            note_reads: 0,
            is_fetching: false,
            suspect: None,
            other_losses: 0,
        }
    }

    /// Reads what is missing, on this session.
    fn run(&mut self, session: &mut ImapSession) -> Result<()> {
        self.is_fetching = false;
        mailbox::within(session, true, Some(self.validity), |session| {
            self.choose(session)?;
            self.read_notes(session)?;
            self.is_fetching = true;
            if let Some(suspect) = self.suspect {
                self.fetch_alone(session, suspect)?;
                self.suspect = None;
            }
            self.fetch_missing(session)
        })
        .map(drop)
    }

    /// Chooses the letters of this batch by their sizes; one that is over the limit is an error in its place.
    fn choose(&mut self, session: &mut ImapSession) -> Result<()> {
        if self.chosen.is_some() {
            return Ok(());
        }
        let limit = self.imap.config.max_message;
        let uids = UidSet::new(self.validity, self.letters.iter().map(|letter| letter.uid));
        let sizes = match session.sizes(&uids) {
            // One that can't be read is an error in its place, when it is fetched.
            Err(error) if error.kind() == ErrorKind::Refused => Vec::new(),
            sizes => sizes?,
        };
        let sizes: HashMap<Uid, u64> = sizes.into_iter().collect();
        // A letter whose size the server does not send may be as large as is allowed.
        let size = |uid: Uid| (uid, sizes.get(&uid).copied().unwrap_or(limit as u64));
        let (fitting, over): (Vec<_>, Vec<_>) =
            uids.iter().map(size).partition(|(_, size)| *size <= limit as u64);
        let mut chosen = fitting;
        chosen.truncate(count_fitting(&chosen, self.imap.config.batch_bytes as u64));
        let last = chosen.last().map(|(uid, _)| *uid);
        let over = over.into_iter().filter(|(uid, _)| last.is_none_or(|last| *uid < last));
        self.read.extend(over.map(|(uid, size)| (uid, Err(too_large(uid, size, limit)))));
        self.chosen = Some(chosen);
        Ok(())
    }

    /// Reads the newest note about each letter. Without a note, a letter has no reason.
    fn read_notes(&mut self, session: &mut ImapSession) -> Result<()> {
        let chosen: HashSet<Uid> = self.chosen.iter().flatten().map(|(uid, _)| *uid).collect();
        let is_of_batch = |uid: &Uid| chosen.contains(uid) || self.read.contains_key(uid);
        let letters = self.letters.iter().filter(|letter| is_of_batch(&letter.uid));
        let newest = letters.filter_map(|letter| letter.notes.last().copied());
        let uids = UidSet::new(self.validity, newest.filter(|uid| !self.notes.contains_key(uid)));
        self.note_reads += 1;
        if uids.is_empty() || self.note_reads > NOTE_READS {
            return Ok(());
        }
        let room = uids.len().saturating_mul(NOTE_OCTETS);
        let window = Window { uids, part: Part::Whole, most: NOTE_OCTETS, room };
        let notes = &mut self.notes;
        let failure = session.fetch(&mut Some(window), |mails, _| {
            notes.extend(mails.iter().filter_map(|mail| Some((mail.uid, Note::read(mail.octets())?))));
        })?;
        match failure.map(|failure| failure.error) {
            Some(error) if error.ends_connection() => Err(error),
            Some(error) => {
                events::emit(
                    move || tracing::warn!(%error, "notes can't be read: dead letters are listed without their reasons"),
                );
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Fetches the letters that are missing, in portions; a letter that the server refuses is an error in its place.
    fn fetch_missing(&mut self, session: &mut ImapSession) -> Result<()> {
        let mut gone = HashSet::new();
        loop {
            let mut missing = self.missing();
            missing.retain(|(uid, _)| !gone.contains(uid));
            missing.truncate(count_fitting(&missing, WINDOW_OCTETS as u64));
            let portion: Vec<Uid> = missing.iter().map(|(uid, _)| *uid).collect();
            let Some(&first) = portion.first() else { return Ok(()) };
            match self.fetch(session, &portion) {
                // What has not arrived by now is gone.
                Ok(()) => gone.extend(portion),
                Err(error) if is_about_server(&error) => return Err(error),
                Err(_) => {
                    let left = portion.into_iter().find(|uid| !self.read.contains_key(uid)).unwrap_or(first);
                    self.fetch_alone(session, left)?;
                    gone.insert(left); // unless it has been read
                }
            }
        }
    }

    /// Fetches one letter; its error is put in its place.
    fn fetch_alone(&mut self, session: &mut ImapSession, uid: Uid) -> Result<()> {
        match self.fetch(session, &[uid]) {
            Err(error) if is_about_server(&error) => Err(error),
            Err(error) => {
                self.withhold(uid, error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Fetches letters and parses those that arrive.
    fn fetch(&mut self, session: &mut ImapSession, uids: &[Uid]) -> Result<()> {
        let set = UidSet::new(self.validity, uids.iter().copied());
        let limit = self.imap.config.max_message;
        let mut mails = Vec::new();
        let result = fetch_into(&mut mails, session, &set, (limit, limit.max(WINDOW_OCTETS)));
        let tag = &self.imap.config.common.tag;
        for mail in mails {
            let foreign = || Err(Error::message("its Subject does not begin with the tag"));
            let message = parse(&mail.octets, tag).unwrap_or_else(foreign).map(|parsed| parsed.message);
            self.read.insert(mail.uid, message);
        }
        result
    }

    /// Returns the letters that are neither read nor known to be unreadable, with their sizes.
    fn missing(&self) -> Vec<(Uid, u64)> {
        let chosen = self.chosen.iter().flatten().copied();
        chosen.filter(|(uid, _)| !self.read.contains_key(uid)).collect()
    }

    /// Puts an error in the place of a letter.
    fn withhold(&mut self, uid: Uid, error: Error) {
        let reason = error.clone();
        events::emit(move || tracing::warn!(%uid, error = %reason, "a dead letter can't be fetched"));
        self.read.insert(uid, Err(withheld_error(uid, error)));
    }

    /// Finds the cause of a lost connection: the letter that was fetched by itself, else the first one that is missing.
    /// Returns `false` if no letter is the cause, once more than the notes are read.
    fn blame(&mut self, error: &Error) -> bool {
        if !self.is_fetching {
            self.other_losses += 1;
            return self.other_losses <= NOTE_READS;
        }
        match self.suspect.take() {
            Some(suspect) => self.withhold(suspect, error.clone()),
            None => self.suspect = self.missing().first().map(|(uid, _)| *uid),
        }
        true
    }

    /// Returns the letters that were read, and those that were not; after a complete run the latter are gone, unless
    /// they were not chosen.
    fn finish(mut self, is_stopped: bool) -> (Vec<DeadLetter>, Vec<Letter>) {
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        let chosen: HashSet<Uid> = self.chosen.iter().flatten().map(|(uid, _)| *uid).collect();
        for letter in self.letters {
            let Some(message) = self.read.remove(&letter.uid) else {
                if is_stopped || !chosen.contains(&letter.uid) {
                    unread.push(letter);
                }
                continue;
            };
            let note = letter.notes.last().and_then(|uid| self.notes.remove(uid));
            let (reason, moved_at) = note.map_or((None, None), |note| (Some(note.reason), note.written));
            read.push(DeadLetter { letter, validity: self.validity, message, reason, moved_at });
        }
        (read, unread)
    }
}

/// Returns `true` if an error says nothing of a single letter: a lost connection, and a refusal for now. SERVERBUG is
/// mostly about one mail that can't be read (Dovecot).
fn is_about_server(error: &Error) -> bool {
    let is_for_now = error.kind() == ErrorKind::Refused && error.is_transient();
    error.ends_connection() || (is_for_now && error.code() != Some("SERVERBUG"))
}
