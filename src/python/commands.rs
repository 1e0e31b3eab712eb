//! The commands of an IMAP session.

use std::borrow::Cow;

use super::imap::{ImapSession, Uids};
use super::portions::in_portions;
use super::visits::known_uid;
use crate::error::Result;
use crate::fetched::{Attributes, Octets};
use crate::uid::{Uid, UidSet};

/// Messages with their UIDs.
pub(crate) type Entries = Vec<(Uid, Octets)>;

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

    /// Appends a message to a mailbox, which is created if it is missing.
    pub(crate) fn append(&mut self, mailbox: &str, mail: &[u8]) -> Result<()> {
        let mail = mail.to_vec();
        self.creating(mailbox, |session, mailbox| {
            session.python.run("append", (mailbox, Cow::Borrowed(&*mail)), "APPEND")
        })
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
        // Flags without a UID may come unasked.
        self.attributes(set, "(UID FLAGS)", |it| Ok(it.uid.zip(it.flags.map(|flags| flags.deliveries))))
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
        let uid = |it: &Attributes| known_uid(it, "FETCH");
        self.attributes(set, "(UID RFC822.SIZE)", |it| it.size.map(|size| Ok((uid(it)?, size))).transpose())
    }

    /// Fetches one attribute of each message; `value` returns it with the UID.
    fn attributes<T>(
        &mut self,
        set: &UidSet,
        items: &str,
        value: impl Fn(&Attributes) -> Result<Option<(Uid, T)>>,
    ) -> Result<Vec<(Uid, T)>> {
        let mut all = Vec::new();
        in_portions(self, set, |session, portion| {
            let (some, refusal) = session.fetch_attributes(&portion.to_string(), items, 0, "FETCH")?;
            refusal.map_or(Ok(()), Err)?;
            for it in &some {
                all.extend(value(it)?.filter(|(uid, _)| portion.contains(*uid)));
            }
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
