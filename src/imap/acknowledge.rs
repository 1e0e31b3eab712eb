//! From deliveries to the archive: by UID while UIDVALIDITY stands, by Message-ID when it does not.

use std::collections::{BTreeMap, HashSet};

use super::batch::{Life, lives};
use super::headers::{Headers, fetch_headers};
use super::moving::Moving;
use super::search::search;
use super::{Delivery, Imap};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Identity;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// Archives the deliveries, and with them the second copies of what was acknowledged before.
///
/// Remembers what has left the inbox, and tells it to `gone`, even when the rest fails.
pub(super) fn acknowledge<'a>(
    imap: &Imap,
    deliveries: impl IntoIterator<Item = &'a Delivery>,
    deadline: Deadline,
    gone: impl Fn(&UidSet),
) -> Result<()> {
    for life in lives(deliveries) {
        let mut done = Vec::new();
        let archived = imap.connection.repeat(deadline, |session| archive(session, &life, imap, &mut done));
        let done = UidSet::new(life.validity, done);
        remember(imap, &life, &done);
        gone(&done);
        archived?.map_or(Ok(()), Err)?;
    }
    let spent = imap.state.lock().duplicates();
    if let Some(spent) = spent {
        imap.connection.repeat(deadline, |session| sweep(session, &spent, imap))?;
        imap.state.lock().forget_duplicates();
    }
    Ok(())
}

/// Remembers what has been archived.
fn remember(imap: &Imap, life: &Life<'_>, done: &UidSet) {
    let mut state = imap.state.lock();
    state.remove(done);
    let archived = life.deliveries.iter().filter(|delivery| done.contains(delivery.uid));
    archived.filter_map(|delivery| delivery.identity).for_each(|identity| state.acknowledged().add(identity));
}

/// Archives what is not another consumer's, and returns the error that tells of the others. Adds to `done` what has left
/// the inbox, also when the rest fails.
fn archive(
    session: &mut ImapSession,
    life: &Life<'_>,
    imap: &Imap,
    done: &mut Vec<Uid>,
) -> Result<Option<Error>> {
    let uids = life.uids();
    if !uids.validity().is_same_mailbox(session.validity()) || uids.validity() == session.validity() {
        return archive_by_uid(session, &uids, imap, done);
    }
    let archive = session.archive().to_owned();
    let found = find_again(session, life, imap)?;
    let there = UidSet::new(session.validity(), found.0.keys().copied());
    if imap.halfway.lock().has_any(&uids, &archive) {
        imap.halfway.lock().begin(&there, &archive);
    }
    let mut moved = Vec::new();
    let lost = archive_by_uid(session, &there, imap, &mut moved);
    let moved: HashSet<Identity> = moved.iter().filter_map(|uid| found.0.get(uid).copied()).collect();
    let is_moved = |it: &&&Delivery| it.identity.is_some_and(|identity| moved.contains(&identity));
    done.extend(life.deliveries.iter().filter(is_moved).map(|it| it.uid));
    if let Some(error) = lost? {
        return Ok(Some(error));
    }
    let is_missing = |it: &&&Delivery| !done.contains(&it.uid) && !found.has(it, imap);
    let (missing, all) = (life.deliveries.iter().filter(is_missing).count(), life.deliveries.len());
    if missing == 0 {
        return Ok(None);
    }
    let text =
        format!("the mailbox was made anew (UIDVALIDITY), and {missing} of {all} messages are not in it");
    Err(Error::new(ErrorKind::StaleUids, text).with_code(Some("UIDVALIDITY".into())))
}

/// Archives those of these messages that are not another consumer's, and returns the error that tells of the others.
///
/// What an earlier attempt has archived needs no lease any more: another consumer can't have it.
fn archive_by_uid(
    session: &mut ImapSession,
    uids: &UidSet,
    imap: &Imap,
    done: &mut Vec<Uid>,
) -> Result<Option<Error>> {
    let mut left = uids.clone();
    left.retain(|uid| !done.contains(&uid));
    let archive = session.archive().to_owned();
    let mut moving = Moving::to_ours(session, &imap.halfway, &archive, done);
    let moved = moving.look(&left).and_then(|left| {
        let (ours, lost) = match &imap.claims {
            Some(claims) if !left.is_empty() => claims.assure(moving.session, &left)?,
            _ => (left, None),
        };
        moving.run(&ours)?;
        Ok(lost)
    });
    let done = UidSet::new(uids.validity(), done.iter().copied());
    imap.claims.iter().for_each(|claims| claims.release(&done));
    moved
}

/// Messages of an earlier UIDVALIDITY, by their UIDs of now.
struct Found(BTreeMap<Uid, Identity>);

impl Found {
    /// Returns whether a message is in the inbox, or known to be archived.
    fn has(&self, delivery: &Delivery, imap: &Imap) -> bool {
        let is_archived = |identity| imap.state.lock().acknowledged().contains(identity);
        delivery.identity.is_some_and(|it| self.0.values().any(|found| *found == it) || is_archived(it))
    }
}

fn find_again(session: &mut ImapSession, life: &Life<'_>, imap: &Imap) -> Result<Found> {
    let wanted: HashSet<Identity> = life.identities().collect();
    let candidates = search(session, imap)?;
    let told = fetch_headers(session, imap, &candidates)?;
    let identity = |headers: &Headers| Identity::read(&headers.octets).filter(|it| wanted.contains(it));
    let found = Found(told.iter().filter_map(|(uid, headers)| Some((*uid, identity(headers)?))).collect());
    let are_all_told = candidates.iter().all(|uid| told.contains_key(&uid));
    if !are_all_told && !life.deliveries.iter().all(|delivery| found.has(delivery, imap)) {
        let text =
            "the server does not give out the headers of every message: some may still be in the inbox";
        return Err(Error::new(ErrorKind::Refused, text));
    }
    Ok(found)
}

/// Archives second copies; those whose UIDs mean nothing any more are found again by the next fetch.
///
/// Without MOVE, the archive may have one of them already, from an acknowledgement that an earlier process did not end.
fn sweep(session: &mut ImapSession, spent: &UidSet, imap: &Imap) -> Result<()> {
    if spent.validity() != session.validity() {
        return Ok(());
    }
    let archive = session.archive().to_owned();
    if !session.has_move() {
        imap.halfway.lock().begin(spent, &archive);
    }
    Moving::to_ours(session, &imap.halfway, &archive, &mut Vec::new()).run(spent)
}
