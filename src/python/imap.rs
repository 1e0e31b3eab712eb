//! Typed calls into `py/imap.py`.

use std::borrow::Cow;

use pyo3::call::PyCallArgs;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::dialogue::{Dialogue, Service};
use super::modules;
use super::speaker::Speaker;
use crate::config::ImapConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::uid::{Uid, UidSet, UidValidity};

/// RFC 8314: 993 with implicit TLS, 143 otherwise.
const SERVICE: Service =
    Service { module: &modules::IMAP, name: "IMAP", tls: 993, starttls: 143, plain: 143 };

/// A mail, and what is read of it, such as the headers that tell who it is.
pub(crate) type Headers = (Uid, Vec<u8>);

/// The UIDVALIDITY and the last UID of a mailbox when it was looked into.
pub(crate) type Since = (u32, u32);

/// A logged-in IMAP connection with its inbox selected.
pub(crate) struct ImapSession {
    pub(super) dialogue: Dialogue,
    validity: UidValidity,
    archive: String,
    delimiter: String,
    archive_is_empty: bool,
    has_move: bool,
    has_uidplus: bool,
}

/// What a server tells of a COPY or MOVE by COPYUID (RFC 4315): the mails that it did copy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Exactly these.
    These(UidSet),
    /// It did not say.
    Untold,
}

/// What `Session.search` found: four octets each, because a list of Python's takes ten times that.
pub(super) struct Uids(pub(super) Vec<Uid>);

impl<'a, 'py> FromPyObject<'a, 'py> for Uids {
    type Error = PyErr;

    fn extract(found: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let found = found.cast::<PyBytes>()?;
        let uid = |octets: &[u8]| Uid::new(u32::from_le_bytes(octets.try_into().ok()?));
        Ok(Self(found.as_bytes().chunks_exact(4).filter_map(uid).collect()))
    }
}

impl ImapSession {
    /// Connects, logs in, selects the inbox and makes the archive if it is missing.
    pub(crate) fn connect(config: &ImapConfig, deadline: Deadline) -> Result<Self> {
        Dialogue::open(&SERVICE, &config.common, None, deadline, |dialogue| Self::begin(dialogue, config))
    }

    fn begin(dialogue: Dialogue, config: &ImapConfig) -> Result<Self> {
        let capabilities = dialogue.login(&SERVICE, &config.common)?;
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        let names = (config.inbox.clone(), config.archive_name().to_owned(), has("NAMESPACE"));
        let (number, archive, delimiter, archive_is_empty) =
            dialogue.call("prepare", names, "opening the mailboxes")?;
        Ok(Self {
            validity: UidValidity::new(number, config.mailbox()),
            archive,
            delimiter,
            archive_is_empty,
            has_move: has("MOVE"),
            has_uidplus: has("UIDPLUS"),
            dialogue,
        })
    }

    pub(crate) fn validity(&self) -> UidValidity {
        self.validity
    }

    /// The archive's name on this server, with the prefix of the personal namespace (RFC 2342).
    pub(crate) fn archive(&self) -> &str {
        &self.archive
    }

    /// Whether nothing was in the archive when this connection was made.
    pub(crate) fn archive_is_empty(&self) -> bool {
        self.archive_is_empty
    }

    /// What stands between a mailbox's name and those of the mailboxes within it; empty when nothing does.
    #[cfg(test)]
    pub(crate) fn delimiter(&self) -> &str {
        &self.delimiter
    }

    /// The name of a mailbox within the archive, or beside it where mailboxes have none within.
    pub(crate) fn beside_the_archive(&self, name: &str) -> String {
        self.within(&self.archive, name)
    }

    /// Returns the name of a mailbox within another one, or beside it where mailboxes have none within.
    pub(crate) fn within(&self, mailbox: &str, name: &str) -> String {
        let between = if self.delimiter.is_empty() { "-" } else { &self.delimiter };
        format!("{mailbox}{between}{name}")
    }

    pub(crate) fn has_move(&self) -> bool {
        self.has_move
    }

    pub(crate) fn has_uidplus(&self) -> bool {
        self.has_uidplus
    }

    /// The mails that match, by an IMAP search program (RFC 3501, section 6.4.4).
    pub(crate) fn search(&mut self, criteria: &str) -> Result<UidSet> {
        let Uids(uids) = self.call("search", (criteria.to_owned(),), "SEARCH")?;
        Ok(UidSet::new(self.validity, uids))
    }

    /// The headers that tell who it is, of each of these mails that the server gives out; whether it refuses some.
    pub(crate) fn identities(&mut self, set: &UidSet) -> Result<(Vec<Headers>, bool)> {
        self.check(set)?;
        let told: (Vec<(u32, Vec<u8>)>, bool) =
            self.call("identities", (set.to_string(), set.len()), "FETCH")?;
        let (mails, is_refused) = told;
        let mails = mails.into_iter().filter_map(|(uid, headers)| Some((Uid::new(uid)?, headers)));
        Ok((mails.filter(|(uid, _)| set.contains(*uid)).collect(), is_refused))
    }

    /// The same headers of the newest mails in the archive, at most this many: those since the last time, if
    /// there was one, and since when to ask the next time.
    pub(crate) fn recall(&mut self, most: usize, since: Option<Since>) -> Result<(Since, Vec<Vec<u8>>)> {
        let args = (self.archive.clone(), most, since.unwrap_or_default());
        self.call("recall", args, "looking into the archive")
    }

    /// Adds a mail to a mailbox, which is made if it is missing.
    pub(crate) fn append(&mut self, mailbox: &str, mail: &[u8]) -> Result<()> {
        let mail = mail.to_vec();
        self.making(mailbox, |session| {
            session.dialogue.tell("append", (mailbox, Cow::Borrowed(&*mail)), "APPEND")
        })
    }

    /// Reads a mailbox that is a log: its UIDNEXT, and every mail with its UID; before that, removes some.
    pub(crate) fn log(&mut self, mailbox: &str, drop: &[Uid]) -> Result<(u32, Vec<Headers>)> {
        let drop = UidSet::new(self.validity, drop.iter().copied()).chunks();
        let drop: Vec<String> = drop.iter().map(UidSet::to_string).collect();
        let (next, mails): (u32, Vec<(u32, Vec<u8>)>) =
            self.making(mailbox, |session| session.call("log", (mailbox, drop.clone()), "reading the log"))?;
        Ok((next, mails.into_iter().filter_map(|(uid, mail)| Some((Uid::new(uid)?, mail))).collect()))
    }

    /// Returns the UIDNEXT of another mailbox; `None` when the server does not say it.
    pub(crate) fn next_uid(&mut self, mailbox: &str) -> Result<Option<u32>> {
        self.call("next_uid_of", (mailbox,), "STATUS")
    }

    /// Returns the names of the mailboxes that match a pattern; none when the server refuses to list them.
    pub(crate) fn mailboxes(&mut self, pattern: &str) -> Result<Vec<String>> {
        self.call("mailboxes", (pattern,), "LIST")
    }

    /// Asks again when the mailbox was missing. Not every server says that it was.
    fn making<T>(&mut self, mailbox: &str, mut ask: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        match ask(self) {
            Err(error) if error.kind() == ErrorKind::Refused && error.retry_after().is_none() => {
                self.create(mailbox)?;
                ask(self)
            }
            answer => answer,
        }
    }

    /// How often each of these mails was delivered, as it is marked.
    pub(crate) fn deliveries(&mut self, set: &UidSet) -> Result<Vec<(Uid, u32)>> {
        self.check(set)?;
        let mails: Vec<(u32, u32)> = self.call("deliveries", (set.to_string(),), "FETCH")?;
        let mails = mails.into_iter().filter_map(|(uid, times)| Some((Uid::new(uid)?, times)));
        Ok(mails.filter(|(uid, _)| set.contains(*uid)).collect())
    }

    /// Marks these mails as delivered for the nth time, where the server has keywords.
    pub(crate) fn mark_delivery(&mut self, set: &UidSet, nth: u32) -> Result<()> {
        self.check(set)?;
        self.dialogue.tell("mark_delivery", (set.to_string(), nth), "STORE")
    }

    /// The sizes of these mails, by the server.
    pub(crate) fn sizes(&mut self, set: &UidSet) -> Result<Vec<(Uid, u64)>> {
        self.check(set)?;
        let sizes: Vec<(u32, u64)> = self.call("sizes", (set.to_string(),), "FETCH")?;
        let sizes = sizes.into_iter().filter_map(|(uid, size)| Some((Uid::new(uid)?, size)));
        Ok(sizes.filter(|(uid, _)| set.contains(*uid)).collect())
    }

    pub(crate) fn copy(&mut self, set: &UidSet, mailbox: &str) -> Result<Copied> {
        self.copying("copy", "COPY", set, mailbox)
    }

    pub(crate) fn move_to(&mut self, set: &UidSet, mailbox: &str) -> Result<Copied> {
        self.copying("move", "MOVE", set, mailbox)
    }

    fn copying(&mut self, verb: &str, action: &str, set: &UidSet, mailbox: &str) -> Result<Copied> {
        self.check(set)?;
        let told: Option<String> = self.call(verb, (set.to_string(), mailbox.to_owned()), action)?;
        Ok(told.map_or(Copied::Untold, |told| copied(&told, set)))
    }

    /// Makes a mailbox, unless it is there.
    pub(crate) fn create(&mut self, mailbox: &str) -> Result<()> {
        self.dialogue.tell("create", (mailbox.to_owned(),), "CREATE")
    }

    pub(crate) fn flag_deleted(&mut self, set: &UidSet) -> Result<()> {
        self.check(set)?;
        self.dialogue.tell("flag_deleted", (set.to_string(),), "STORE")
    }

    pub(crate) fn expunge(&mut self, set: &UidSet) -> Result<()> {
        self.check(set)?;
        self.dialogue.tell("expunge", (set.to_string(),), "EXPUNGE")
    }

    /// UIDs of another life of the mailbox are other mails.
    pub(crate) fn check(&self, set: &UidSet) -> Result<()> {
        if set.validity() == self.validity {
            return Ok(());
        }
        let text = "these UIDs are of another mailbox, or of one that was made anew (UIDVALIDITY)";
        Err(Error::new(ErrorKind::Refused, text).with_code(Some("UIDVALIDITY".into())))
    }

    pub(super) fn call<T>(
        &mut self,
        verb: &str,
        args: impl for<'py> PyCallArgs<'py>,
        action: &str,
    ) -> Result<T>
    where
        T: for<'py> FromPyObjectOwned<'py, Error: Into<pyo3::PyErr>>,
    {
        self.dialogue.call(verb, args, action)
    }
}

/// COPYUID's three words: the target's UIDVALIDITY, the UIDs here, the UIDs there.
pub(super) fn copied(told: &str, asked: &UidSet) -> Copied {
    let here = told.split(' ').nth(1);
    let here = here.and_then(|set| UidSet::parse(asked.validity(), set, asked.len()));
    here.map_or(Copied::Untold, |mut set| {
        set.retain(|uid| asked.contains(uid));
        Copied::These(set)
    })
}

impl Speaker for ImapSession {
    const GOODBYE: &'static str = "LOGOUT";

    fn dialogue(&self) -> &Dialogue {
        &self.dialogue
    }
}
