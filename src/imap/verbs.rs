//! The verbs on a session: the commands of each, in order, by the server's capabilities.

use std::collections::HashSet;

use super::single::empty_response;
use crate::config::ImapConfig;
use crate::connection::Session as _;
use crate::error::{Error, ErrorKind, Result};
use crate::moves::{outcome_unknown, retry_without_expunged, search_among};
use crate::python::{Failure, ImapSession, Mail, Part, Window, in_portions};
use crate::uid::{Uid, UidSet};

/// A mail as the server stores it: any mail, tagged or not. Returned by [`Imap::fetch_uids`](crate::Imap::fetch_uids).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawMail {
    /// The mail's UID in the inbox.
    pub uid: Uid,
    /// The whole mail: headers, an empty line and the body (RFC 5322), with CRLF line ends.
    pub octets: Vec<u8>,
}

/// Copies messages to another mailbox; messages that other clients expunge meanwhile are left out.
///
/// Once COPY was sent, a loss is `OutcomeUnknown`. Copies are not searched for: the app may want several.
pub(super) fn copy(session: &mut ImapSession, set: &UidSet, mailbox: &str) -> Result<()> {
    let mut may_be_copied = false;
    let copied = in_portions(session, set, |session, portion| {
        retry_without_expunged(session, portion, |session, portion| {
            let before = session.traffic().sent;
            let copied = session.copy(portion, mailbox).map(drop);
            let is_sent = session.traffic().sent > before;
            // A refused COPY copies nothing (RFC 3501, section 6.4.7).
            may_be_copied |= is_sent && copied.as_ref().err().is_none_or(Error::ends_connection);
            copied
        })?;
        session.done(portion)
    });
    copied.map_err(|error| match error.kind() {
        _ if !may_be_copied => error,
        ErrorKind::Refused => {
            let text = format!("{error}; some of the messages are copied");
            error.reworded(ErrorKind::OutcomeUnknown, text)
        }
        _ => outcome_unknown(error),
    })
}

/// Appends a mail to a mailbox. Once APPEND was sent, a loss is `OutcomeUnknown`.
pub(super) fn append(session: &mut ImapSession, mailbox: &str, mail: &[u8]) -> Result<()> {
    let before = session.traffic().sent;
    let appended = session.append_to_existing(mailbox, mail);
    let is_sent = session.traffic().sent > before;
    appended.map_err(|error| if is_sent { outcome_unknown(error) } else { error })
}

/// Fetches whole mails, after their sizes, so that no more is received than the limits allow.
///
/// Sizes are estimates at times: mail that turns out larger is refused afterwards, and mail that comes shorter is
/// fetched once more, without a limit.
///
/// # Errors
///
/// `TooLarge`, before or after the FETCH; a refusal or a lost connection, with the UID of the first mail that is
/// missing; `Message` for a mail that SEARCH finds and FETCH leaves out.
pub(super) fn fetch(session: &mut ImapSession, set: &UidSet, config: &ImapConfig) -> Result<Vec<RawMail>> {
    let mut mails = Vec::new();
    fetch_into(&mut mails, session, set, (config.max_message, config.batch_bytes))?;
    mails.sort_by_key(|mail| mail.uid);
    mails.dedup_by_key(|mail| mail.uid);
    Ok(mails)
}

/// Fetches whole mails as [`fetch`] does, and adds them to `mails` as they come, in any order: those that have arrived
/// before an error, too. The limits are `max_message` and `batch_bytes`.
pub(super) fn fetch_into(
    mails: &mut Vec<RawMail>,
    session: &mut ImapSession,
    set: &UidSet,
    (max_message, batch_bytes): (usize, usize),
) -> Result<()> {
    let mut room = batch_bytes as u64;
    for chunk in set.chunks() {
        for (uid, size) in session.sizes(&chunk)? {
            if size > max_message as u64 {
                return Err(over_max_message(uid, size));
            }
            room = room.checked_sub(size).ok_or_else(|| over_batch_bytes(uid))?;
        }
        let (most, requested) = (max_message + 1, chunk.clone());
        let window = Window { uids: chunk, part: Part::Whole, most, room: batch_bytes };
        let mut received = RawMails { mails: &mut *mails, short: Vec::new(), too_large: None };
        let mut failure = received.fetch(session, window)?;
        if failure.is_none() && !received.short.is_empty() {
            let uids = UidSet::new(set.validity(), received.short.iter().copied());
            let window = Window { uids, part: Part::Entire, most, room: batch_bytes };
            failure = received.fetch(session, window)?;
        }
        if let Some((uid, size)) = received.too_large {
            return Err(over_max_message(uid, size));
        }
        failure.map_or(Ok(()), |failure| Err(name_first_missing(failure, mails)))?;
        let received: HashSet<Uid> = mails.iter().map(|mail| mail.uid).collect();
        let mut missing = requested;
        missing.retain(|uid| !received.contains(&uid));
        let withheld = search_among(session, &missing, "")?;
        if !withheld.is_empty() {
            return Err(name_first_missing(Failure { uids: withheld, error: empty_response() }, &[]));
        }
    }
    Ok(())
}

/// Adds the UID of the first missing mail to the error: the server stopped at that mail.
fn name_first_missing(Failure { uids, error }: Failure, received: &[RawMail]) -> Error {
    let is_missing = |uid: &Uid| received.iter().all(|mail| mail.uid != *uid);
    let Some(first) = uids.iter().find(is_missing) else { return error };
    let (kind, text) = (error.kind(), format!("{error} (at mail UID {first})"));
    error.reworded(kind, text)
}

/// Returns the error for a single mail that is too large.
fn over_max_message(uid: Uid, size: u64) -> Error {
    let text = format!("mail UID {uid} has {size} bytes, more than max_message allows");
    Error::new(ErrorKind::TooLarge, text)
}

/// Returns the error for mails that are too large together.
fn over_batch_bytes(uid: Uid) -> Error {
    let text =
        format!("the mails up to UID {uid} have more bytes than batch_bytes allows: request fewer at a time");
    Error::new(ErrorKind::TooLarge, text)
}

/// Whole mails that were received.
struct RawMails<'a> {
    mails: &'a mut Vec<RawMail>,
    /// Mails of which fewer octets came than their sizes announced; they are fetched again without a limit.
    short: Vec<Uid>,
    /// A mail of more than `max_message` octets, with its size.
    too_large: Option<(Uid, u64)>,
}

impl RawMails<'_> {
    fn fetch(&mut self, session: &mut ImapSession, window: Window) -> Result<Option<Failure>> {
        session.fetch(&mut Some(window), |mails, most| self.receive(&mails, most))
    }

    fn receive(&mut self, mails: &[Mail], most: usize) {
        // A mail without octets was not sent: no mail is empty.
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
