//! Typed calls into `py/imap.py`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::call::PyCallArgs;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::convert::{self, Refusal};
use super::dialogue::{Dialogue, Service};
use super::modules;
use super::portions::{Learnt, in_portions};
use super::speaker::Speaker;
use crate::config::ImapConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::uid::{Uid, UidSet, UidValidity};

/// RFC 8314: 993 with implicit TLS, 143 otherwise.
const SERVICE: Service =
    Service { module: &modules::IMAP, name: "IMAP", tls: 993, starttls: 143, plain: 143 };

/// A mail, and what is read of it.
pub(crate) type Entries = Vec<(Uid, Vec<u8>)>;

/// A log as Python has it: UIDNEXT, and each mail with its UID.
type Log = (u32, Vec<(u32, Vec<u8>)>);

/// The UIDVALIDITY and the last UID of a mailbox when it was looked into.
pub(crate) type Since = (u32, u32);

/// A logged-in IMAP connection with its inbox selected.
pub(crate) struct ImapSession {
    pub(super) dialogue: Dialogue,
    validity: UidValidity,
    pub(super) archive: String,
    pub(super) delimiter: String,
    pub(super) archive_is_empty: bool,
    /// Mailboxes that should be within the archive and are beside it, by the name that they should have.
    pub(super) beside: HashMap<String, String>,
    has_move: bool,
    has_uidplus: bool,
    pub(super) learnt: Arc<Learnt>,
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
    pub(crate) fn connect(config: &ImapConfig, learnt: &Arc<Learnt>, deadline: Deadline) -> Result<Self> {
        Dialogue::open(&SERVICE, &config.common, None, deadline, |dialogue| {
            Self::begin(dialogue, config, Arc::clone(learnt))
        })
    }

    fn begin(dialogue: Dialogue, config: &ImapConfig, learnt: Arc<Learnt>) -> Result<Self> {
        let way = learnt.way.lock().clone();
        dialogue.tell("prefer", (way,), "logging in")?;
        let capabilities = dialogue.login(&SERVICE, &config.common)?;
        *learnt.way.lock() = dialogue.call("used_way", (), "logging in")?;
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        let limits = capabilities.iter().filter_map(|name| name.strip_prefix("MESSAGELIMIT=")?.parse().ok());
        limits.for_each(|limit| learnt.at_most(limit));
        let version = env!("CARGO_PKG_VERSION");
        let names = (config.inbox.clone(), config.archive_name().to_owned(), has("NAMESPACE"), version);
        let (number, archives, delimiter): (u32, Vec<String>, String) =
            dialogue.call("prepare", names, "opening the mailboxes")?;
        let mut session = Self {
            validity: UidValidity::new(number, config.mailbox()),
            archive: String::new(),
            delimiter,
            archive_is_empty: false,
            beside: HashMap::new(),
            has_move: has("MOVE"),
            has_uidplus: has("UIDPLUS"),
            learnt,
            dialogue,
        };
        session.make_archive(archives)?;
        Ok(session)
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

    pub(crate) fn has_move(&self) -> bool {
        self.has_move && !self.learnt.moves_not.load(Ordering::Relaxed)
    }

    /// Notes for all of the handle's connections that MOVE is not understood, if nothing else explains its refusal;
    /// returns whether that is new.
    pub(crate) fn moves_not(&self, set: &UidSet, error: &Error) -> bool {
        let is_unknown = matches!(error.code(), Some("BAD" | "CANNOT"));
        let is_new = is_unknown && self.has_move() && self.learnt.smaller(set, error).is_none();
        if is_new {
            self.learnt.moves_not.store(true, Ordering::Relaxed);
            let error = error.clone();
            events::emit(move || tracing::info!(%error, "MOVE is refused: COPY and STORE from now on"));
        }
        is_new
    }

    pub(crate) fn has_uidplus(&self) -> bool {
        self.has_uidplus
    }

    /// The mails that match, by an IMAP search program (RFC 3501, section 6.4.4).
    pub(crate) fn search(&mut self, criteria: &str) -> Result<UidSet> {
        let Uids(uids) = self.call("search", (criteria.to_owned(),), "SEARCH")?;
        Ok(UidSet::new(self.validity, uids))
    }

    /// Fetches the headers that tell who the newest mails in the archive are, at most this many: those since the last time, if
    /// there was one, and since when to ask the next time.
    pub(crate) fn recall(&mut self, most: usize, since: Option<Since>) -> Result<(Since, Vec<Vec<u8>>)> {
        let args = (self.archive.clone(), most, since.unwrap_or_default());
        let action = "looking into the archive";
        let (since, headers, refusal): (Since, Vec<Vec<u8>>, Option<Refusal>) =
            self.call("recall", args, action)?;
        let refused = refusal.map(|(code, text)| convert::refused(code, text, self.dialogue.asking(action)));
        refused.filter(Error::is_transient).map_or(Ok((since, headers)), Err)
    }

    /// Adds a mail to a mailbox, which is made if it is missing.
    pub(crate) fn append(&mut self, mailbox: &str, mail: &[u8]) -> Result<()> {
        let mail = mail.to_vec();
        self.making(mailbox, |session, mailbox| {
            session.dialogue.tell("append", (mailbox, Cow::Borrowed(&*mail)), "APPEND")
        })
    }

    /// Reads a mailbox that is a log: its UIDNEXT, and every mail with its UID; before that, removes some.
    pub(crate) fn log(&mut self, mailbox: &str, drop: &[Uid]) -> Result<(u32, Entries)> {
        let mut drop = UidSet::new(self.validity, drop.iter().copied());
        loop {
            let sets = self.learnt.portions(&drop);
            let texts: Vec<String> = sets.iter().map(UidSet::to_string).collect();
            let told: Result<Log> = self.making(mailbox, |session, mailbox| {
                session.call("log", (mailbox, texts.clone()), "reading the log")
            });
            match told {
                Err(error) if sets.first().is_some_and(|set| self.learnt.shrink(set, &error)) => {}
                // What may not be removed does no harm but that it is read each time.
                Err(error) if error.kind() == ErrorKind::Refused && !drop.is_empty() => {
                    drop = UidSet::empty(self.validity);
                    events::emit(move || tracing::info!(%error, "entries can't be removed from the log"));
                }
                told => {
                    let (next, mails) = told?;
                    let mails = mails.into_iter().filter_map(|(uid, mail)| Some((Uid::new(uid)?, mail)));
                    return Ok((next, mails.collect()));
                }
            }
        }
    }

    /// Returns the UIDNEXT of another mailbox; `None` when the server does not say it.
    pub(crate) fn next_uid(&mut self, mailbox: &str) -> Result<Option<u32>> {
        self.call("next_uid_of", (mailbox,), "STATUS")
    }

    /// Returns the names of the mailboxes that match a pattern; none when the server refuses to list them.
    pub(crate) fn mailboxes(&mut self, pattern: &str) -> Result<Vec<String>> {
        self.call("mailboxes", (pattern,), "LIST")
    }

    /// How often each of these mails was delivered, as it is marked.
    pub(crate) fn deliveries(&mut self, set: &UidSet) -> Result<Vec<(Uid, u32)>> {
        let told = self.numbers("deliveries", set)?;
        Ok(told.into_iter().filter_map(|(uid, times)| Some((uid, u32::try_from(times).ok()?))).collect())
    }

    /// Marks these mails as delivered for the nth time, where the server has keywords.
    pub(crate) fn mark_delivery(&mut self, set: &UidSet, nth: u32) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.dialogue.tell("mark_delivery", (portion.to_string(), nth), "STORE")?;
            session.done(portion)
        })
    }

    /// The sizes of these mails, by the server.
    pub(crate) fn sizes(&mut self, set: &UidSet) -> Result<Vec<(Uid, u64)>> {
        self.numbers("sizes", set)
    }

    /// Fetches a number of each of these mails.
    fn numbers(&mut self, verb: &str, set: &UidSet) -> Result<Vec<(Uid, u64)>> {
        let mut all = Vec::new();
        in_portions(self, set, |session, portion| {
            let told: Vec<(u32, u64)> = session.call(verb, (portion.to_string(),), "FETCH")?;
            let told = told.into_iter().filter_map(|(uid, number)| Some((Uid::new(uid)?, number)));
            all.extend(told.filter(|(uid, _)| portion.contains(*uid)));
            session.done(portion)
        })?;
        Ok(all)
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

    /// Looks which of these mails are in the inbox, and which of those are in another mailbox too, octet for octet.
    pub(crate) fn copies(&mut self, set: &UidSet, mailbox: &str) -> Result<(UidSet, UidSet)> {
        self.check(set)?;
        let (args, action) = ((set.to_string(), set.len(), mailbox.to_owned()), "looking for copies");
        let (here, there, refusals): (Vec<u32>, Vec<u32>, Vec<Refusal>) =
            self.call("copies", args, action)?;
        for (code, text) in refusals {
            let error = convert::refused(code, text, self.dialogue.asking(action));
            // Of what is not given out for good, nothing will ever be known.
            if error.is_transient() && error.code() != Some("SERVERBUG") {
                return Err(error);
            }
        }
        let of = |uids: Vec<u32>| {
            let mut uids = UidSet::new(self.validity, uids.into_iter().filter_map(Uid::new));
            uids.retain(|uid| set.contains(uid));
            uids
        };
        Ok((of(here), of(there)))
    }

    pub(crate) fn flag_deleted(&mut self, set: &UidSet) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.dialogue.tell("flag_deleted", (portion.to_string(),), "STORE")?;
            session.done(portion)
        })
    }

    pub(crate) fn expunge(&mut self, set: &UidSet) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.dialogue.tell("expunge", (portion.to_string(),), "EXPUNGE")?;
            session.done(portion)
        })
    }

    /// UIDs of another life of the mailbox are other mails.
    pub(crate) fn check(&self, set: &UidSet) -> Result<()> {
        if set.validity() == self.validity {
            return Ok(());
        }
        let text = "these UIDs are of another mailbox, or of one that was made anew (UIDVALIDITY)";
        Err(Error::new(ErrorKind::StaleUids, text).with_code(Some("UIDVALIDITY".into())))
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
    let here = told.split_whitespace().nth(1);
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
