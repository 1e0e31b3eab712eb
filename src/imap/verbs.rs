//! What the verbs do on a session: which commands, in which order, depending on what the server can.

use crate::config::ImapConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::python::{Copied, Fetching, ImapSession, Mails, Window};
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
    session.in_portions(set, |session, chunk| {
        if session.has_move() {
            let moved = session.move_to(chunk, mailbox)?;
            let done = session.done(chunk)?;
            nothing_left(session, &done, &named(moved, chunk), "MOVE")?;
            return Ok(done);
        }
        if session.has_uidplus() {
            let copied = session.copy(chunk, mailbox)?;
            let done = session.done(chunk)?;
            let copied = named(copied, chunk);
            delete(session, &copied)?;
            nothing_left(session, &done, &copied, "COPY")?;
            return Ok(done);
        }
        // What stays flagged here must not be copied again.
        let left = undeleted(session, chunk)?;
        if left.is_empty() {
            return Ok(chunk.clone());
        }
        session.copy(&left, mailbox)?;
        let copied = session.done(&left)?;
        delete(session, &copied)?;
        let mut done = chunk.clone();
        done.retain(|uid| copied.contains(uid) || !left.contains(uid));
        Ok(done)
    })
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
    session.in_portions(set, |session, chunk| {
        session.copy(chunk, mailbox)?;
        session.done(chunk)
    })
}

/// Without UIDPLUS it stays flagged: EXPUNGE alone would remove what others have flagged.
pub(super) fn delete(session: &mut ImapSession, set: &UidSet) -> Result<()> {
    session.flag_deleted(set)?;
    if session.has_uidplus() { session.expunge(set) } else { Ok(()) }
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
        let window = Some(Window { uids: chunk, most, room: config.batch_bytes });
        let mut raw = Raw { window, mails: &mut mails, too_large: None };
        session.fetch(None, &mut raw)?.map_or(Ok(()), |refusal| Err(refusal.error))?;
        if let Some((uid, size)) = raw.too_large {
            return Err(too_much(uid, size));
        }
    }
    mails.sort_by_key(|mail| mail.uid);
    mails.dedup_by_key(|mail| mail.uid);
    Ok(mails)
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
