//! The commands of an IMAP session.

use std::borrow::Cow;

use super::errors::{self, Refusal};
use super::imap::{ImapSession, Uids};
use super::portions::in_portions;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::uid::{Uid, UidSet};

/// Messages with their UIDs.
pub(crate) type Entries = Vec<(Uid, Vec<u8>)>;

/// A log as Python returns it: UIDNEXT, and messages with their UIDs.
type Log = (u32, Vec<(u32, Vec<u8>)>);

/// The UIDVALIDITY of a mailbox and the last UID that was read from it.
pub(crate) type Since = (u32, u32);

/// The messages that a COPY or MOVE has copied, as the server reports by COPYUID (RFC 4315).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Exactly these.
    Uids(UidSet),
    /// The server did not report them.
    Unknown,
}

impl ImapSession {
    /// Returns the messages that match a search program (RFC 3501, section 6.4.4).
    pub(crate) fn search(&mut self, criteria: &str) -> Result<UidSet> {
        let Uids(uids) = self.call("search", (criteria.to_owned(),), "SEARCH")?;
        Ok(UidSet::new(self.validity(), uids))
    }

    /// Fetches the identifying headers of the newest messages in the archive: those after `since`, at most `most`.
    /// Returns the `since` for the next call with them.
    pub(crate) fn newest_archived(
        &mut self,
        most: usize,
        since: Option<Since>,
    ) -> Result<(Since, Vec<Vec<u8>>)> {
        let args = (self.archive.clone(), most, since.unwrap_or_default());
        let action = "looking into the archive";
        let (since, headers, refusal): (Since, Vec<Vec<u8>>, Option<Refusal>) =
            self.call("newest_headers", args, action)?;
        let refused = refusal.map(|(code, text)| errors::refused(code, text, self.python.context(action)));
        refused.filter(Error::is_transient).map_or(Ok((since, headers)), Err)
    }

    /// Appends a message to a mailbox, which is created if it is missing.
    pub(crate) fn append(&mut self, mailbox: &str, mail: &[u8]) -> Result<()> {
        let mail = mail.to_vec();
        self.creating(mailbox, |session, mailbox| {
            session.python.run("append", (mailbox, Cow::Borrowed(&*mail)), "APPEND")
        })
    }

    /// Removes these entries of a log, a mailbox with a message for each entry; returns its UIDNEXT and the other
    /// entries.
    pub(crate) fn read_log(&mut self, mailbox: &str, drop: &[Uid]) -> Result<(u32, Entries)> {
        let mut drop = UidSet::new(self.validity(), drop.iter().copied());
        loop {
            let sets = self.profile.portions(&drop);
            let texts: Vec<String> = sets.iter().map(UidSet::to_string).collect();
            let log: Result<Log> = self.creating(mailbox, |session, mailbox| {
                session.call("read_log", (mailbox, texts.clone()), "reading the log")
            });
            match log {
                Err(error) if sets.first().is_some_and(|set| self.profile.shrink(set, &error)) => {}
                // Entries that can't be removed only cost the time to read them.
                Err(error) if error.kind() == ErrorKind::Refused && !drop.is_empty() => {
                    drop = UidSet::empty(self.validity());
                    events::emit(move || tracing::info!(%error, "entries can't be removed from the log"));
                }
                log => {
                    let (next, mails) = log?;
                    let mails = mails.into_iter().filter_map(|(uid, mail)| Some((Uid::new(uid)?, mail)));
                    return Ok((next, mails.collect()));
                }
            }
        }
    }

    /// Returns the UIDNEXT of another mailbox; `None` when the server does not send it.
    pub(crate) fn next_uid(&mut self, mailbox: &str) -> Result<Option<u32>> {
        self.call("next_uid_of", (mailbox,), "STATUS")
    }

    /// Returns the names of the mailboxes that match a pattern; none when the server refuses to list them.
    pub(crate) fn mailboxes(&mut self, pattern: &str) -> Result<Vec<String>> {
        self.call("mailboxes", (pattern,), "LIST")
    }

    /// Returns how often each of these messages was delivered, by its keywords.
    pub(crate) fn delivery_counts(&mut self, set: &UidSet) -> Result<Vec<(Uid, u32)>> {
        let counts = self.numbers("delivery_counts", set)?;
        Ok(counts.into_iter().filter_map(|(uid, count)| Some((uid, u32::try_from(count).ok()?))).collect())
    }

    /// Marks these messages as delivered for the nth time, if the server has keywords.
    pub(crate) fn mark_delivery(&mut self, set: &UidSet, nth: u32) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.python.run("mark_delivery", (portion.to_string(), nth), "STORE")?;
            session.done(portion)
        })
    }

    /// Returns the sizes of these messages (RFC822.SIZE).
    pub(crate) fn sizes(&mut self, set: &UidSet) -> Result<Vec<(Uid, u64)>> {
        self.numbers("sizes", set)
    }

    /// Calls a method that returns a number for each message.
    fn numbers(&mut self, method: &str, set: &UidSet) -> Result<Vec<(Uid, u64)>> {
        let mut all = Vec::new();
        in_portions(self, set, |session, portion| {
            let numbers: Vec<(u32, u64)> = session.call(method, (portion.to_string(),), "FETCH")?;
            let numbers = numbers.into_iter().filter_map(|(uid, number)| Some((Uid::new(uid)?, number)));
            all.extend(numbers.filter(|(uid, _)| portion.contains(*uid)));
            session.done(portion)
        })?;
        Ok(all)
    }

    /// Copies these messages to another mailbox; COPY does all or nothing.
    pub(crate) fn copy(&mut self, set: &UidSet, mailbox: &str) -> Result<Copied> {
        self.copy_by("copy", "COPY", set, mailbox)
    }

    /// Moves these messages to another mailbox (MOVE, RFC 6851).
    pub(crate) fn move_to(&mut self, set: &UidSet, mailbox: &str) -> Result<Copied> {
        self.copy_by("move", "MOVE", set, mailbox)
    }

    fn copy_by(&mut self, method: &str, action: &str, set: &UidSet, mailbox: &str) -> Result<Copied> {
        self.check(set)?;
        let copyuid: Option<String> = self.call(method, (set.to_string(), mailbox.to_owned()), action)?;
        Ok(copyuid.map_or(Copied::Unknown, |words| copied(&words, set)))
    }

    /// Returns which of these messages are in the inbox, and which of those have a copy in another mailbox: the same
    /// size and the same headers.
    pub(crate) fn copies(&mut self, set: &UidSet, mailbox: &str) -> Result<(UidSet, UidSet)> {
        self.check(set)?;
        let (args, action) = ((set.to_string(), set.len(), mailbox.to_owned()), "looking for copies");
        let (here, there, refusals): (Vec<u32>, Vec<u32>, Vec<Refusal>) =
            self.call("copies", args, action)?;
        for (code, text) in refusals {
            let error = errors::refused(code, text, self.python.context(action));
            // After a permanent refusal, the copies will never be known.
            if error.is_transient() && error.code() != Some("SERVERBUG") {
                return Err(error);
            }
        }
        let of = |uids: Vec<u32>| {
            let mut uids = UidSet::new(self.validity(), uids.into_iter().filter_map(Uid::new));
            uids.retain(|uid| set.contains(uid));
            uids
        };
        Ok((of(here), of(there)))
    }

    /// Flags these messages `\Deleted`.
    pub(crate) fn flag_deleted(&mut self, set: &UidSet) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.python.run("flag_deleted", (portion.to_string(),), "STORE")?;
            session.done(portion)
        })
    }

    /// Removes those of these messages that are flagged `\Deleted` (UIDPLUS, RFC 4315).
    pub(crate) fn expunge(&mut self, set: &UidSet) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.python.run("expunge", (portion.to_string(),), "EXPUNGE")?;
            session.done(portion)
        })
    }
}

/// Parses COPYUID's three words: the target's UIDVALIDITY, the UIDs here, the UIDs there. Keeps only requested UIDs.
pub(super) fn copied(words: &str, requested: &UidSet) -> Copied {
    let here = words.split_whitespace().nth(1);
    let here = here.and_then(|set| UidSet::parse(requested.validity(), set, requested.len()));
    here.map_or(Copied::Unknown, |mut set| {
        set.retain(|uid| requested.contains(uid));
        Copied::Uids(set)
    })
}
