//! Reads other mailboxes, the archive and the log of claims, and selects the inbox again.
//!
//! ```text
//!  SELECT log or archive ─▶ SEARCH, FETCH, STORE, UID EXPUNGE ─▶ SELECT inbox, with a check of its UIDVALIDITY
//! ```
//!
//! One mailbox is selected at a time (RFC 3501, section 6.3.1): a visit costs two round trips, in place of a second
//! connection. The connection's lock is held meanwhile, so that no other call can meet the wrong mailbox.
//!
//! If the connection is lost during a visit, nothing has to be undone: the next connection selects the inbox. If the
//! server refuses to select the inbox again, no mailbox is selected, and the connection ends.

use super::commands::{Entries, Since};
use super::imap::{ImapSession, Uids};
use super::mails::identifying_headers;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::fetched::{Attributes, Octets};
use crate::uid::{Uid, UidSet};

/// The messages whose identifying headers are fetched with one command, and the octets of headers of each. The limits
/// of reading the archive: at most 16 MiB of headers at a time.
const HEADERS_WINDOW: usize = 1_000;
const HEADER_OCTETS: usize = 16 << 10;

/// The largest entry of the log that is read whole, the entries read at a time, and the largest log.
const ENTRY_OCTETS: usize = 64 << 10;
/// The entries that are read with one command.
const LOG_WINDOW: usize = 200;
/// The largest log whose entries are fetched without a SEARCH.
const LOG_WINDOW_SMALL: u32 = 100;
/// The octets of the largest log, in memory while it is parsed.
const LOG_OCTETS: usize = 128 << 20;

/// The place up to which a log was read.
///
/// The two together tell if there are new entries: each raises UIDNEXT, and a log that was removed and made anew has
/// another UIDVALIDITY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPlace {
    /// The log's UIDVALIDITY; 0 before the first read.
    pub(crate) validity: u32,
    /// The log's UIDNEXT; 0 when the server does not send it.
    pub(crate) next_uid: u32,
}

/// A mailbox that is selected in place of the inbox.
pub(super) struct Visited {
    /// Its UIDVALIDITY.
    pub(super) validity: u32,
    /// The number of its messages.
    pub(super) exists: u32,
    /// Its UIDNEXT; 0 when the server does not send it.
    next_uid: u32,
}

impl ImapSession {
    /// Selects another mailbox, runs `read`, and selects the inbox again, unless the connection is lost.
    ///
    /// Selects with EXAMINE if `is_readonly`, by which nothing can be changed, and new mail in it stays recent for
    /// other clients. After a refusal of `read`, the inbox is selected again, too.
    ///
    /// # Errors
    ///
    /// A refused SELECT, with the inbox selected again; the error of `read`; a lost connection, also if the inbox can't
    /// be selected again or has another UIDVALIDITY.
    pub(super) fn visit<T>(
        &mut self,
        mailbox: &str,
        is_readonly: bool,
        action: &str,
        read: impl FnOnce(&mut Self, Visited) -> Result<T>,
    ) -> Result<T> {
        let (validity, exists, next_uid) = self.call("visit", (mailbox, is_readonly), action)?;
        let result = read(self, Visited { validity, exists, next_uid });
        if result.as_ref().is_err_and(Error::ends_connection) {
            return result;
        }
        self.python.run("come_back", (), action)?;
        result
    }

    /// Splits messages into windows for one command each: at most so many, and not more than the server allows, which a
    /// SEARCH may have told.
    ///
    /// A message limit of the server (RFC 9738) applies to FETCH as well, and each mailbox is read under it.
    pub(super) fn windows_of<'a>(
        &mut self,
        uids: &'a [Uid],
        most: usize,
        action: &str,
    ) -> Result<std::slice::Chunks<'a, Uid>> {
        let allowed: usize = self.call("most_messages", (), action)?;
        Ok(uids.chunks(most.min(allowed).max(1)))
    }

    /// Returns the UIDs that match in the mailbox that is selected, ascending.
    ///
    /// Not as a [`UidSet`], which is bound to the inbox's UIDVALIDITY.
    pub(super) fn search_here(&mut self, criteria: &str, action: &str) -> Result<Vec<Uid>> {
        let Uids(mut uids) = self.call("search", (criteria.to_owned(), false), action)?;
        uids.sort_unstable();
        Ok(uids)
    }

    /// Fetches the identifying headers of the newest messages in the archive: those after `since`, at most `most`.
    /// Returns the `since` for the next call with them.
    ///
    /// Under another UIDVALIDITY than that of `since`, everything counts as new. Each message that enters a mailbox
    /// gets a higher UID, moved ones included, so that `since` misses none.
    ///
    /// # Errors
    ///
    /// `Refused`, permanent if the archive can't be selected, transient if only some headers were withheld for now:
    /// then a later attempt reads the same messages again.
    pub(crate) fn newest_archived(
        &mut self,
        most: usize,
        since: Option<Since>,
    ) -> Result<(Since, Vec<Octets>)> {
        let (archive, action) = (self.archive.clone(), "looking into the archive");
        self.visit(&archive, true, action, |session, visited| {
            let last = since.filter(|since| since.0 == visited.validity).map_or(0, |since| since.1);
            let from = visited.exists.saturating_sub(u32::try_from(most).unwrap_or(u32::MAX)) + 1;
            let criteria =
                if last > 0 { format!("UID {}:*", last.saturating_add(1)) } else { format!("{from}:*") };
            let found = if visited.exists > 0 { session.search_here(&criteria, action)? } else { Vec::new() };
            let newer: Vec<Uid> = found.into_iter().filter(|uid| uid.get() > last).collect();
            let newer = &newer[newer.len().saturating_sub(most)..];
            let headers = session.headers_here(newer, action)?;
            let last = newer.last().map_or(last, |uid| uid.get());
            Ok(((visited.validity, last), headers))
        })
    }

    /// Fetches the identifying headers of messages in the mailbox that is selected; leaves out those that the server
    /// refuses for good.
    ///
    /// Messages that are refused for good are like messages without a Message-ID: their duplicates are not recognised.
    fn headers_here(&mut self, uids: &[Uid], action: &str) -> Result<Vec<Octets>> {
        let items = format!("(UID {})", identifying_headers(HEADER_OCTETS));
        let (mut headers, mut transient) = (Vec::new(), None);
        for window in self.windows_of(uids, HEADERS_WINDOW, action)? {
            // A range, since other consumers archive too: messages between two of these are wanted.
            let range = range(window);
            let room = window.len() * HEADER_OCTETS;
            let (some, refusal) = self.fetch_attributes(&range, &items, room, action)?;
            transient = transient.or(refusal.filter(Error::is_transient));
            let some = some.into_iter().filter(|it| it.uid.is_some());
            headers.extend(some.filter_map(|it| it.section.or(it.mail)));
        }
        transient.map_or(Ok(headers), Err)
    }

    /// Removes these entries of a log, a mailbox with a message for each entry; returns the other entries, and the
    /// place up to which it was read. Removes none if its UIDVALIDITY is not that of `known`: then they are entries of
    /// an earlier log.
    ///
    /// The order is safe: an entry is removed only if it decides nothing, so a loss before, between or after the two
    /// steps leaves a log from which all readers compute the same owners. Other consumers may append and remove
    /// meanwhile: what is read is the log as of the SELECT, or later.
    ///
    /// # Errors
    ///
    /// `Refused` for a log that can't be selected, created or read, or has more than 128 MiB; `Disconnected` for
    /// entries without UIDs, which could not be put into their order.
    pub(crate) fn read_log(
        &mut self,
        mailbox: &str,
        known: LogPlace,
        drop: &[Uid],
    ) -> Result<(LogPlace, Entries)> {
        let mut drop = UidSet::new(self.validity(), drop.iter().copied());
        loop {
            let sets = self.profile.portions(&drop);
            let log = self.creating(mailbox, |session, mailbox| {
                session.visit(mailbox, false, READING_LOG, |session, visited| {
                    let place = LogPlace { validity: visited.validity, next_uid: visited.next_uid };
                    let sets = if place.validity == known.validity { &sets[..] } else { &[] };
                    let exists = session.remove_entries(sets, visited.exists)?;
                    Ok((place, session.read_entries(mailbox, exists)?))
                })
            });
            match log {
                Err(error) if sets.first().is_some_and(|set| self.profile.shrink(set, &error)) => {}
                // Entries that can't be removed only cost the time to read them.
                Err(error) if error.kind() == ErrorKind::Refused && !drop.is_empty() => {
                    drop = UidSet::empty(self.validity());
                    events::emit(move || tracing::info!(%error, "entries can't be removed from the log"));
                }
                log => return log,
            }
        }
    }

    /// Removes entries of the log that is selected; returns the number of its entries, which was `exists`.
    ///
    /// Entries that are flagged and not expunged, after a loss in between, are still read: the flag decides nothing.
    fn remove_entries(&mut self, sets: &[UidSet], exists: u32) -> Result<u32> {
        if sets.is_empty() {
            return Ok(exists);
        }
        for set in sets {
            self.python.run("flag_deleted", (set.to_string(),), READING_LOG)?;
            if self.has_uidplus() {
                self.python.run("expunge", (set.to_string(),), READING_LOG)?;
            }
        }
        if !self.has_uidplus() {
            // The log has no messages of other clients: everything that is flagged may go.
            self.python.run("expunge_all", (), READING_LOG)?;
        }
        self.call("count", (), READING_LOG)
    }

    /// Fetches all entries of the log that is selected.
    ///
    /// Small logs are fetched by the range `1:*` of all UIDs, without a SEARCH. Of a larger one the UIDs are needed, to
    /// read it in windows: the gaps between UIDs may be large.
    ///
    /// # Errors
    ///
    /// A refusal: a log of which a part is missing must not be used, since the missing entries may be claims.
    fn read_entries(&mut self, mailbox: &str, exists: u32) -> Result<Entries> {
        let windows = match exists {
            0 => Vec::new(),
            1..=LOG_WINDOW_SMALL => vec!["1:*".to_owned()],
            _ => {
                let all = self.search_here("ALL", READING_LOG)?;
                self.windows_of(&all, LOG_WINDOW, READING_LOG)?.map(range).collect()
            }
        };
        let items = format!("(UID BODY.PEEK[]<0.{ENTRY_OCTETS}>)");
        let (mut entries, mut octets) = (Vec::new(), 0);
        for window in windows {
            let room = LOG_WINDOW * ENTRY_OCTETS;
            let (some, refusal) = self.fetch_attributes(&window, &items, room, READING_LOG)?;
            refusal.map_or(Ok(()), Err)?;
            for it in some.into_iter().filter(|it| it.section.is_some() || it.mail.is_some()) {
                let uid = known_uid(&it, READING_LOG)?;
                let mail = it.section.or(it.mail).unwrap_or_default();
                octets += mail.len();
                entries.push((uid, mail));
            }
            if octets > LOG_OCTETS {
                let text = format!("{READING_LOG}: the log in {mailbox} has more than {LOG_OCTETS} octets");
                return Err(Error::new(ErrorKind::Refused, text));
            }
        }
        Ok(entries)
    }
}

/// The action that errors name.
const READING_LOG: &str = "reading the log";

/// Returns the range of these UIDs, ascending.
///
/// A FETCH of it also returns messages in between that the SEARCH has left out.
fn range(uids: &[Uid]) -> String {
    let (first, last) = (uids.first().map_or(1, |uid| uid.get()), uids.last().map_or(1, |uid| uid.get()));
    format!("{first}:{last}")
}

/// Returns the UID of a message; without one, the data could be any message's.
///
/// # Errors
///
/// `Disconnected`.
pub(super) fn known_uid(it: &Attributes, action: &str) -> Result<Uid> {
    let missing = || Error::during(ErrorKind::Disconnected, action, "a FETCH response has no UID");
    it.uid.ok_or_else(missing)
}
