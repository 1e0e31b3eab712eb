//! From deliveries to the archive: by UID while UIDVALIDITY stands, by Message-ID when it does not.

use std::collections::HashSet;

use super::batch::{Life, lives};
use super::moving::Moving;
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
        let archived = imap.link.repeat(deadline, |session| archive(session, &life, imap, &mut done));
        let done = UidSet::new(life.validity, done);
        remember(imap, &life, &done);
        gone(&done);
        archived?;
    }
    let spent = imap.known.lock().spent();
    if let Some(spent) = spent {
        imap.link.repeat(deadline, |session| sweep(session, &spent, imap))?;
        imap.known.lock().swept();
    }
    Ok(())
}

fn remember(imap: &Imap, life: &Life<'_>, done: &UidSet) {
    let mut known = imap.known.lock();
    known.gone(done);
    let archived = life.deliveries.iter().filter(|delivery| done.contains(delivery.uid));
    archived.filter_map(|delivery| delivery.identity).for_each(|identity| known.acknowledged().add(identity));
}

/// Archives deliveries of one life of the mailbox; adds to `done` what has left the inbox, also when the rest fails.
fn archive(session: &mut ImapSession, life: &Life<'_>, imap: &Imap, done: &mut Vec<Uid>) -> Result<()> {
    let uids = life.uids();
    if !uids.validity().is_of_the_mailbox_of(session.validity()) || uids.validity() == session.validity() {
        return archive_by_uid(session, &uids, imap, done);
    }
    let archive = session.archive().to_owned();
    let found = find_again(session, life, imap)?;
    if imap.halfway.lock().has_any(&uids, &archive) {
        imap.halfway.lock().begin(&found.uids, &archive);
    }
    Moving::to_ours(session, &imap.halfway, &archive, &mut Vec::new()).run(&found.uids)?;
    done.extend(life.deliveries.iter().filter(|it| found.has(it, imap)).map(|it| it.uid));
    let all = life.deliveries.len();
    let missing = all - life.deliveries.iter().filter(|it| found.has(it, imap)).count();
    if missing == 0 {
        return Ok(());
    }
    let text =
        format!("the mailbox was made anew (UIDVALIDITY), and {missing} of {all} messages are not in it");
    Err(Error::new(ErrorKind::Refused, text).with_code(Some("UIDVALIDITY".into())))
}

/// Archives mails, for which a lease is needed unless an earlier attempt has archived them.
fn archive_by_uid(session: &mut ImapSession, uids: &UidSet, imap: &Imap, done: &mut Vec<Uid>) -> Result<()> {
    let mut left = uids.clone();
    left.retain(|uid| !done.contains(&uid));
    let archive = session.archive().to_owned();
    let mut moving = Moving::to_ours(session, &imap.halfway, &archive, done);
    let moved = moving.look(&left).and_then(|left| {
        if let Some(claims) = imap.claims.as_ref().filter(|_| !left.is_empty()) {
            claims.assure(moving.session, &left)?;
        }
        moving.run(&left)
    });
    let done = UidSet::new(uids.validity(), done.iter().copied());
    imap.claims.iter().for_each(|claims| claims.release(&done));
    moved
}

/// Messages of an earlier life of the mailbox, under their UIDs of now.
struct Found {
    uids: UidSet,
    identities: HashSet<Identity>,
}

impl Found {
    /// Returns whether a message is here, or known to be archived.
    fn has(&self, delivery: &Delivery, imap: &Imap) -> bool {
        let is_archived = |identity| imap.known.lock().acknowledged().contains(identity);
        delivery.identity.is_some_and(|it| self.identities.contains(&it) || is_archived(it))
    }
}

fn find_again(session: &mut ImapSession, life: &Life<'_>, imap: &Imap) -> Result<Found> {
    let wanted: HashSet<Identity> = life.identities().collect();
    let mut identities = HashSet::new();
    let mut uids = Vec::new();
    for chunk in session.search(&imap.candidates())?.chunks() {
        let (told, is_refused) = session.identities(&chunk)?;
        if is_refused {
            let text =
                "the server does not give out the headers of every mail: which are archived, nobody knows";
            return Err(Error::new(ErrorKind::Refused, text));
        }
        for (uid, headers) in told {
            if let Some(identity) = Identity::read(&headers).filter(|identity| wanted.contains(identity)) {
                identities.insert(identity);
                uids.push(uid);
            }
        }
    }
    Ok(Found { uids: UidSet::new(session.validity(), uids), identities })
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
