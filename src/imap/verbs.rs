//! What the verbs do on a session: which commands, in which order, depending on what the server can.

use std::collections::HashSet;

use super::alone::nothing_came;
use crate::config::ImapConfig;
use crate::connection::Session as _;
use crate::error::{Error, ErrorKind, Result};
use crate::python::{Failure, Fetching, ImapSession, Mails, Part, Window, in_portions};
use crate::uid::{Uid, UidSet};

/// Any mail, as it is on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawMail {
    /// Its UID in the selected mailbox.
    pub uid: Uid,
    /// The whole mail: headers, an empty line, the body (RFC 5322), with CRLF line ends.
    pub octets: Vec<u8>,
}

/// Copies; what other clients have removed meanwhile is left out.
pub(super) fn copy(session: &mut ImapSession, set: &UidSet, mailbox: &str) -> Result<()> {
    let mut is_begun = false;
    in_portions(session, set, |session, portion| {
        let copied = without_the_gone(session, portion, |session, portion| {
            let before = session.traffic().sent;
            let copied = session.copy(portion, mailbox).map(drop);
            is_begun |= session.traffic().sent > before;
            if is_begun { copied.map_err(unknown) } else { copied }
        });
        copied?;
        session.done(portion)
    })
}

/// Turns a lost connection into the error for a command that may have been carried out.
pub(super) fn unknown(error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout) {
        return error;
    }
    Error::new(ErrorKind::OutcomeUnknown, format!("{error}; it may have been done")).caused_by(error)
}

/// Without UIDPLUS it stays flagged: EXPUNGE alone would remove what others have flagged.
pub(super) fn delete(session: &mut ImapSession, set: &UidSet) -> Result<()> {
    without_the_gone(session, set, ImapSession::flag_deleted)?;
    if session.has_uidplus() { without_the_gone(session, set, ImapSession::expunge) } else { Ok(()) }
}

/// Asks, and once more for the mails that are left when the server refuses because others are gone.
fn without_the_gone(
    session: &mut ImapSession,
    set: &UidSet,
    mut ask: impl FnMut(&mut ImapSession, &UidSet) -> Result<()>,
) -> Result<()> {
    let Err(error) = ask(session, set) else { return Ok(()) };
    let says_so = error.code() == Some("EXPUNGEISSUED");
    let is_vague = matches!(error.code(), None | Some("BAD"));
    let may_be = is_vague && error.kind() == ErrorKind::Refused && !error.is_transient();
    if !(says_so || may_be) {
        return Err(error);
    }
    let left = left_of(session, set, "")?;
    match left.len() {
        0 => Ok(()),
        len if len < set.len() || says_so => ask(session, &left),
        _ => Err(error),
    }
}

/// Searches for those of these mails that are in the inbox, and match.
pub(super) fn left_of(session: &mut ImapSession, set: &UidSet, criteria: &str) -> Result<UidSet> {
    let mut left = Vec::new();
    in_portions(session, set, |session, portion| {
        let found = session.search(&format!("UID {portion}{criteria}"))?;
        left.extend(found.iter().filter(|uid| portion.contains(*uid)));
        Ok(portion.clone())
    })?;
    Ok(UidSet::new(set.validity(), left))
}

/// The sizes first, so that no more comes than there is room for.
pub(super) fn fetch(session: &mut ImapSession, set: &UidSet, config: &ImapConfig) -> Result<Vec<RawMail>> {
    let mut mails = Vec::new();
    let mut room = config.batch_bytes as u64;
    for chunk in set.chunks() {
        for (uid, size) in session.sizes(&chunk)? {
            if size > config.max_message as u64 || size > room {
                return Err(too_much(uid, size));
            }
            room -= size;
        }
        let (most, asked) = (config.max_message + 1, chunk.clone());
        let window = Some(Window { uids: chunk, part: Part::Whole, most, room: config.batch_bytes });
        let mut raw = Raw { window, mails: &mut mails, short: Vec::new(), too_large: None };
        let mut failure = session.fetch(None, &mut raw)?;
        if failure.is_none() && !raw.short.is_empty() {
            let uids = UidSet::new(set.validity(), raw.short.iter().copied());
            raw.window = Some(Window { uids, part: Part::Entire, most, room: config.batch_bytes });
            failure = session.fetch(None, &mut raw)?;
        }
        if let Some((uid, size)) = raw.too_large {
            return Err(too_much(uid, size));
        }
        failure.map_or(Ok(()), |failure| Err(named_failure(failure, &mails)))?;
        let came: HashSet<Uid> = mails.iter().map(|mail| mail.uid).collect();
        let mut missing = asked;
        missing.retain(|uid| !came.contains(&uid));
        let held_back = left_of(session, &missing, "")?;
        if !held_back.is_empty() {
            return Err(named_failure(Failure { uids: held_back, error: nothing_came() }, &[]));
        }
    }
    mails.sort_by_key(|mail| mail.uid);
    mails.dedup_by_key(|mail| mail.uid);
    Ok(mails)
}

/// Names the first mail that is missing: it is the one that the server stopped at.
fn named_failure(Failure { uids, error }: Failure, came: &[RawMail]) -> Error {
    let first = uids.iter().find(|uid| came.iter().all(|mail| mail.uid != *uid));
    let text = first.map_or(error.to_string(), |uid| format!("{error} (at mail UID {uid})"));
    Error::new(error.kind(), text).caused_by(error)
}

fn too_much(uid: Uid, size: u64) -> Error {
    let text = format!("mail UID {uid} with {size} bytes is more than there is room for: ask for less");
    Error::new(ErrorKind::TooLarge, text)
}

/// The fetch of one window, of mails as they are.
struct Raw<'a> {
    window: Option<Window>,
    mails: &'a mut Vec<RawMail>,
    /// Those that came with fewer octets than their sizes, and are asked for once more without a limit.
    short: Vec<Uid>,
    too_large: Option<(Uid, u64)>,
}

impl Fetching for Raw<'_> {
    fn next(&mut self) -> Option<Window> {
        self.window.take()
    }

    fn take(&mut self, mails: Mails, most: usize) {
        // A mail without octets has not come: no mail is empty.
        for mail in mails.iter().filter(|mail| !mail.octets().is_empty()) {
            if mail.size() >= most as u64 {
                self.too_large = Some((mail.uid, mail.size()));
            }
            if mail.is_short(most) && !self.short.contains(&mail.uid) {
                self.short.push(mail.uid);
                continue;
            }
            self.mails.push(RawMail { uid: mail.uid, octets: mail.octets().into() });
        }
    }
}
