//! The verbs for any mail by UID: the commands of each, in order, by the server's capabilities.

use std::collections::HashSet;

use crate::config::{ImapConfig, check_mailbox};
use crate::connection::Session as _;
use crate::error::{Error, ErrorKind, Result};
use crate::imap::Imap;
use crate::moves::{self, outcome_unknown, retry_without_expunged, search_among};
use crate::python::{Failure, ImapSession, Mail, Part, Window, in_portions};
use crate::spans::{in_span, verb_span};
use crate::uid::{Uid, UidSet};
use crate::withheld::empty_response;

/// A mail as the server stores it: any mail, tagged or not. Returned by [`Imap::fetch_uids`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawMail {
    /// The mail's UID in the inbox.
    pub uid: Uid,
    /// The whole mail: headers, an empty line and the body (RFC 5322), with CRLF line ends.
    pub octets: Vec<u8>,
}

/// Finds, copies and deletes any mail, tagged or not, by UID.
impl Imap {
    /// Returns the UIDs of all mail in the inbox, tagged or not, that matches criteria such as
    /// `FROM "bob" SINCE 1-Jan-2026` (RFC 3501, section 6.4.4).
    ///
    /// The criteria are one line of ASCII.
    ///
    /// ```no_run
    /// # fn delete_bounces(imap: &pymail::Imap) -> pymail::Result<()> {
    /// let bounces = imap.search("FROM \"MAILER-DAEMON\" SEEN")?;
    /// imap.delete(&bounces)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `InvalidInput` for criteria with a line break or beyond ASCII, with a literal or RETURN, and for empty ones;
    /// - `Refused` for criteria that the server does not understand, and when more than 4,000,000 messages match.
    pub fn search(&self, criteria: &str) -> Result<UidSet> {
        check_criteria(criteria)?;
        in_span(&verb_span!("imap.search"), || {
            self.connection.repeat(self.connection.deadline(), |session| session.search(criteria))
        })
    }

    /// Fetches whole mails, tagged or not, without setting `\Seen`. Mails that are expunged are left out.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `TooLarge` when a mail is over [`max_message`](ImapConfig::max_message), or all together are over
    ///   [`batch_bytes`](ImapConfig::batch_bytes);
    /// - `StaleUids` for UIDs of an earlier UIDVALIDITY or of another mailbox;
    /// - `Refused`, `Disconnected`, or `Message` (an OK without data) for a mail that the server withholds.
    ///
    /// One mail that fails fails the call. The text names its UID: request the others without it.
    pub fn fetch_uids(&self, uids: &UidSet) -> Result<Vec<RawMail>> {
        in_span(&verb_span!("imap.fetch_uids"), || {
            self.connection.repeat(self.connection.deadline(), |session| fetch(session, uids, &self.config))
        })
    }

    /// Stores a mail in a mailbox, with `\Seen`: APPEND (RFC 3501, section 6.3.11).
    ///
    /// The mail is whole: headers, an empty line and the body (RFC 5322). Lone CRs and LFs become CRLF. Never repeated
    /// after a loss, since that could store it twice. The mailbox is named, and must exist, as for
    /// [`copy`](Imap::copy).
    ///
    /// ```no_run
    /// # fn store(imap: &pymail::Imap) -> pymail::Result<()> {
    /// imap.append("Sent", b"From: alice@example.org\r\nSubject: lunch\r\n\r\nat one?\r\n")
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `InvalidInput` for an invalid mailbox name, an empty mail, and one with a NUL;
    /// - `Refused` when the mailbox does not exist, or the server does not take the mail;
    /// - `OutcomeUnknown` when the connection is lost, or the time is up, after APPEND was sent.
    pub fn append(&self, mailbox: &str, mail: &[u8]) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        if mail.is_empty() || mail.contains(&0) {
            return Err(Error::invalid_input("a mail that is empty, or has a NUL in it, can't be stored"));
        }
        in_span(&verb_span!("imap.append"), || {
            self.connection.once(self.connection.deadline(), |session| append(session, mailbox, mail))
        })
    }

    /// Copies mails to another mailbox (RFC 3501, section 6.4.7). Mails that are expunged are left out.
    ///
    /// Never repeated after a loss, since that could make second copies. A set that one command line can't hold, of
    /// some thousand UIDs, is copied in portions.
    ///
    /// The mailbox must exist. Its name is sent unchanged, without the prefix of a namespace. It follows the [rules for
    /// names](ImapConfig::inbox).
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and:
    /// - `InvalidInput` for an invalid mailbox name;
    /// - `StaleUids` for UIDs of an earlier UIDVALIDITY or of another mailbox;
    /// - `Refused`, on most servers with the code `TRYCREATE`, when the mailbox does not exist;
    /// - `OutcomeUnknown` when the connection is lost, or the time is up, after COPY was sent; and for any error after
    ///   the first portion, when some of the mails are copied.
    pub fn copy(&self, uids: &UidSet, mailbox: &str) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        in_span(&verb_span!("imap.copy"), || {
            self.connection.once(self.connection.deadline(), |session| copy(session, uids, mailbox))
        })
    }

    /// Moves mails to another mailbox, by the same commands as [`ack`](Imap::ack). Mails that are expunged are left
    /// out.
    ///
    /// The mailbox must exist, as for [`copy`](Imap::copy). A retry after an error, by the same handle, makes no second
    /// copies.
    ///
    /// # Errors
    /// As [`copy`](Imap::copy), but `Disconnected` or `Timeout` in place of `OutcomeUnknown` on a server with MOVE.
    /// `Refused` also when the server answers OK and the mails are still in the inbox.
    pub fn move_to(&self, uids: &UidSet, mailbox: &str) -> Result<()> {
        check_mailbox(mailbox, ErrorKind::InvalidInput)?;
        self.with_inbox(&verb_span!("imap.move_to"), |inbox, deadline| {
            let copies = &mut inbox.unconfirmed_copies;
            self.connection.once(deadline, |session| moves::move_to(session, copies, uids, mailbox))
        })
    }

    /// Deletes exactly these mails, and no others that are flagged `\Deleted` (UID EXPUNGE, RFC 4315).
    ///
    /// On a server without UIDPLUS they are flagged `\Deleted` and stay in the inbox.
    ///
    /// # Errors
    /// The errors of [every call](Imap#errors-of-every-call), and `StaleUids` for UIDs of an earlier UIDVALIDITY or of
    /// another mailbox. After an error, some of the mails may be deleted; a retry deletes the others.
    pub fn delete(&self, uids: &UidSet) -> Result<()> {
        in_span(&verb_span!("imap.delete"), || {
            self.connection.repeat(self.connection.deadline(), |session| moves::delete(session, uids))
        })
    }
}

/// Copies messages to another mailbox; messages that other clients expunge meanwhile are left out.
///
/// Once COPY was sent, a loss is `OutcomeUnknown`. Copies are not searched for: the app may want several.
fn copy(session: &mut ImapSession, set: &UidSet, mailbox: &str) -> Result<()> {
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
fn append(session: &mut ImapSession, mailbox: &str, mail: &[u8]) -> Result<()> {
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
fn fetch(session: &mut ImapSession, set: &UidSet, config: &ImapConfig) -> Result<Vec<RawMail>> {
    let mut mails = Vec::new();
    fetch_into(&mut mails, session, set, (config.max_message, config.batch_bytes))?;
    mails.sort_by_key(|mail| mail.uid);
    mails.dedup_by_key(|mail| mail.uid);
    Ok(mails)
}

/// Fetches whole mails as [`fetch`] does, and adds them to `mails` as they come, in any order: those that have arrived
/// before an error, too. The limits are `max_message` and `batch_bytes`.
pub(crate) fn fetch_into(
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

/// Checks that the criteria are a single SEARCH with an ordinary response.
fn check_criteria(criteria: &str) -> Result<()> {
    // A line break would begin another command, `}` announces a literal that never comes, RETURN changes the response.
    let returns = criteria.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("RETURN"));
    let one_line = criteria.bytes().all(|b| (b' '..=b'~').contains(&b));
    if criteria.trim().is_empty() || !one_line || criteria.ends_with('}') || returns {
        let rule = "one line of printable ASCII, no literal, no RETURN";
        return Err(Error::invalid_input(format!("search criteria {criteria:?}: {rule}")));
    }
    Ok(())
}
