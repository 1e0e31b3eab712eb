//! Fetches the headers that identify messages: Message-ID, Subject and From.
//!
//! The headers find messages again under another UIDVALIDITY, keep foreign mail from being claimed, and decide on mail
//! that can't be fetched whole. In two steps: up to 16 KiB of these fields, of a thousand messages at a time; then up
//! to 1 MiB of each message whose fields were cut.

use std::collections::{BTreeMap, BTreeSet};

use super::{FailureBudget, Request, Response, Suspects, fetch_all_but_suspects};
use crate::config::ConnectionOptions;
use crate::error::{Error, Result};
use crate::python::{Failure, ImapSession, Mail, Part, Window, Windows};
use crate::uid::{Uid, UidSet};

/// The messages of a window, and the octets of headers to request of each.
#[derive(Clone, Copy)]
struct Limits {
    count: usize,
    octets: usize,
}

/// The limits of windows of many messages. At most 16 MiB for a command.
const MANY: Limits = Limits { count: 1_000, octets: 16 << 10 };

/// The limits for a single message, whose headers may be longer.
const SINGLE: Limits = Limits { count: 1, octets: 1 << 20 };

/// The identifying headers of one message.
pub(crate) struct Headers {
    /// The header lines as the server sent them.
    pub(crate) octets: Vec<u8>,
    /// `true` if the headers may be longer than what was requested.
    pub(crate) is_truncated: bool,
}

/// Fetches the headers of these messages, except for suspects. Messages whose headers the server refuses become
/// suspects.
///
/// A message that is missing in the result is a suspect, has left the inbox, or is one that the server sends nothing
/// of.
///
/// # Errors
///
/// A lost connection, a transient refusal, and too many refusals.
pub(crate) fn fetch_headers(
    session: &mut ImapSession,
    suspects: &mut Suspects,
    uids: &UidSet,
) -> Result<BTreeMap<Uid, Headers>> {
    let mut all = BTreeMap::new();
    fetch_within(session, suspects, &mut all, uids, MANY)?;
    let truncated = all.iter().filter(|(_, headers)| headers.is_truncated).map(|(uid, _)| *uid);
    let truncated = UidSet::new(uids.validity(), truncated);
    if !truncated.is_empty() {
        fetch_within(session, suspects, &mut all, &truncated, SINGLE)?;
    }
    Ok(all)
}

/// Adds the headers of these messages to `all`, those that arrived before an error, too.
fn fetch_within(
    session: &mut ImapSession,
    suspects: &mut Suspects,
    all: &mut BTreeMap<Uid, Headers>,
    uids: &UidSet,
    limits: Limits,
) -> Result<()> {
    let mut request =
        HeaderRequest { suspects, uids, absent: BTreeSet::new(), arrived: BTreeMap::new(), limits };
    let mut budget = FailureBudget::new(ConnectionOptions::default());
    let result = fetch_all_but_suspects(session, &mut budget, &mut request);
    all.append(&mut request.arrived);
    result.and(budget.stopped.map_or(Ok(()), Err))
}

/// Fetches the headers of these messages, whether suspects or not, and makes none a suspect. Leaves out those that the
/// server refuses by themselves; returns the refusal that has ended the fetch before all of them were requested.
///
/// # Errors
///
/// A lost connection.
pub(crate) fn fetch_available_headers(
    session: &mut ImapSession,
    uids: &UidSet,
) -> Result<(BTreeMap<Uid, Headers>, Option<Error>)> {
    let mut all = BTreeMap::new();
    match fetch_within(session, &mut Suspects::default(), &mut all, uids, MANY) {
        Err(error) if error.ends_connection() => Err(error),
        read => Ok((all, read.err())),
    }
}

/// Fetches the headers of one message, even of a suspect; `None` if the server returns none.
pub(crate) fn fetch_headers_of_one(session: &mut ImapSession, uid: Uid) -> Result<Option<Headers>> {
    let one = UidSet::new(session.validity(), [uid]);
    let mut arrived = BTreeMap::new();
    match HeaderWindows::new(&one, SINGLE).fetch(session, &mut arrived)? {
        Some(failure) => Err(failure.error),
        None => Ok(arrived.remove(&uid)),
    }
}

/// The request for headers.
struct HeaderRequest<'a> {
    suspects: &'a mut Suspects,
    uids: &'a UidSet,
    absent: BTreeSet<Uid>,
    arrived: BTreeMap<Uid, Headers>,
    limits: Limits,
}

impl Request for HeaderRequest<'_> {
    fn missing(&self) -> UidSet {
        let mut missing = self.uids.clone();
        missing.retain(|uid| !self.arrived.contains_key(&uid) && !self.absent.contains(&uid));
        missing
    }

    fn send(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Response> {
        let mut windows = HeaderWindows::new(part, self.limits);
        let failure = windows.fetch(session, &mut self.arrived)?;
        let unrequested = part.skip(windows.requested);
        Ok(Response { failure, unrequested })
    }

    fn arrived(&self) -> usize {
        self.arrived.len()
    }

    fn set_absent(&mut self, uids: &UidSet) {
        self.absent.extend(uids.iter());
    }

    fn suspects(&mut self) -> &mut Suspects {
        self.suspects
    }
}

/// The windows of headers.
struct HeaderWindows<'a> {
    uids: &'a UidSet,
    /// The number of messages requested.
    requested: usize,
    limits: Limits,
}

impl<'a> HeaderWindows<'a> {
    fn new(uids: &'a UidSet, limits: Limits) -> Self {
        Self { uids, requested: 0, limits }
    }

    /// Fetches the headers, and adds those that arrive to `all`.
    fn fetch(
        &mut self,
        session: &mut ImapSession,
        all: &mut BTreeMap<Uid, Headers>,
    ) -> Result<Option<Failure>> {
        session.fetch(self, |mails, most| {
            let arrived = mails.iter().filter(|mail| !mail.octets().is_empty());
            all.extend(arrived.map(|mail| (mail.uid, Headers::new(mail, most))));
        })
    }
}

impl Headers {
    fn new(mail: &Mail, most: usize) -> Self {
        Self { octets: mail.octets().into(), is_truncated: mail.octets().len() == most }
    }
}

impl Windows for HeaderWindows<'_> {
    fn next(&mut self) -> Option<Window> {
        let Limits { count, octets } = self.limits;
        let uids = self.uids.chunk(self.requested, count);
        self.requested += uids.len();
        (!uids.is_empty()).then_some(Window { uids, part: Part::Headers, most: octets, room: count * octets })
    }
}
