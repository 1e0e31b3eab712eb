//! What the verbs do on a session: which commands, in which order, depending on what the server can.

use crate::config::ImapConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::python::{Copied, Failure, Fetching, ImapSession, Mails, Part, Window};
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

/// Moves to the archive.
pub(super) fn archive(session: &mut ImapSession, set: &UidSet) -> Result<()> {
    let archive = session.archive().to_owned();
    move_or_make(session, set, &archive)
}

/// Moves to a mailbox of ours, which is made again when somebody has removed it.
pub(super) fn move_or_make(session: &mut ImapSession, set: &UidSet, mailbox: &str) -> Result<()> {
    match move_to(session, set, mailbox) {
        Err(error) if matches!(error.code(), Some("TRYCREATE" | "NONEXISTENT")) => {
            session.create(mailbox)?;
            move_to(session, set, mailbox)
        }
        moved => moved,
    }
}

/// MOVE, or COPY and then, of what was copied for certain, STORE and EXPUNGE.
pub(super) fn move_to(session: &mut ImapSession, set: &UidSet, mailbox: &str) -> Result<()> {
    for chunk in set.chunks() {
        if session.has_move() {
            let moved = session.move_to(&chunk, mailbox)?;
            nothing_left(session, &chunk, &named(moved, &chunk), "MOVE")?;
        } else if session.has_uidplus() {
            let copied = session.copy(&chunk, mailbox)?;
            let copied = named(copied, &chunk);
            delete(session, &copied)?;
            nothing_left(session, &chunk, &copied, "COPY")?;
        } else {
            // What stays flagged here must not be copied again.
            let chunk = undeleted(session, &chunk)?;
            if !chunk.is_empty() {
                session.copy(&chunk, mailbox)?;
                delete(session, &chunk)?;
            }
        }
    }
    Ok(())
}

/// What the server said that it did.
fn named(copied: Copied, asked: &UidSet) -> UidSet {
    match copied {
        Copied::These(these) => these,
        Copied::Untold => UidSet::none(asked.validity()),
    }
}

/// A server's OK is no proof: what it did not name (COPYUID) is gone, for it was gone before, or was left alone.
fn nothing_left(session: &mut ImapSession, asked: &UidSet, named: &UidSet, command: &str) -> Result<()> {
    let mut unnamed = asked.clone();
    unnamed.retain(|uid| !named.contains(uid));
    if unnamed.is_empty() {
        return Ok(());
    }
    let mut left = session.search(&format!("UID {unnamed}"))?;
    left.retain(|uid| unnamed.contains(uid));
    if left.is_empty() {
        return Ok(());
    }
    let text = format!(
        "{command}: the server says yes, but {} of {} mails are still there",
        left.len(),
        asked.len()
    );
    Err(Error::new(ErrorKind::Refused, text))
}

fn undeleted(session: &mut ImapSession, set: &UidSet) -> Result<UidSet> {
    let mut left = session.search(&format!("UID {set} UNDELETED"))?;
    left.retain(|uid| set.contains(uid));
    Ok(left)
}

pub(super) fn copy(session: &mut ImapSession, set: &UidSet, mailbox: &str) -> Result<()> {
    set.chunks().iter().try_for_each(|chunk| session.copy(chunk, mailbox).map(drop))
}

/// Without UIDPLUS it stays flagged: EXPUNGE alone would remove what others have flagged.
pub(super) fn delete(session: &mut ImapSession, set: &UidSet) -> Result<()> {
    for chunk in set.chunks() {
        session.flag_deleted(&chunk)?;
        if session.has_uidplus() {
            session.expunge(&chunk)?;
        }
    }
    Ok(())
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
        let most = config.max_message + 1;
        let window = Some(Window { uids: chunk, part: Part::Whole, most, room: config.batch_bytes });
        let mut raw = Raw { window, mails: &mut mails, too_large: None };
        let failure = session.fetch(None, &mut raw)?;
        if let Some((uid, size)) = raw.too_large {
            return Err(too_much(uid, size));
        }
        failure.map_or(Ok(()), |failure| Err(named_failure(failure, &mails)))?;
    }
    mails.sort_by_key(|mail| mail.uid);
    mails.dedup_by_key(|mail| mail.uid);
    Ok(mails)
}

/// Names the first mail that is missing: it is the one that the server stopped at.
fn named_failure(Failure { uids, error }: Failure, came: &[RawMail]) -> Error {
    let first = uids.iter().find(|uid| came.iter().all(|mail| mail.uid != *uid));
    let text = first.map_or(error.to_string(), |uid| format!("{error} (at mail UID {uid})"));
    let named = Error::new(error.kind(), text).with_code(error.code().map(str::to_owned));
    named.with_retry_after(error.retry_after()).with_source(error)
}

fn too_much(uid: Uid, size: u64) -> Error {
    let text = format!("mail UID {uid} with {size} bytes is more than there is room for: ask for less");
    Error::new(ErrorKind::TooLarge, text)
}

/// The fetch of one window, of mails as they are.
struct Raw<'a> {
    window: Option<Window>,
    mails: &'a mut Vec<RawMail>,
    too_large: Option<(Uid, u64)>,
}

impl Fetching for Raw<'_> {
    fn next(&mut self) -> Option<Window> {
        self.window.take()
    }

    fn take(&mut self, mails: Mails, most: usize) {
        for mail in mails.iter() {
            if mail.size() >= most as u64 {
                self.too_large = Some((mail.uid, mail.size()));
            }
            self.mails.push(RawMail { uid: mail.uid, octets: mail.octets().into() });
        }
    }
}
