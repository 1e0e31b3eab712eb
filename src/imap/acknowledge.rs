//! From deliveries to the archive: by UID while UIDVALIDITY stands, by Message-ID when it does not.

use std::collections::HashSet;

use super::batch::{Life, lives};
use super::{Delivery, Imap, verbs};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Identity;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// Archives the deliveries, and with them the second copies of what was acknowledged before.
pub(super) fn acknowledge<'a>(
    imap: &Imap,
    deliveries: impl IntoIterator<Item = &'a Delivery>,
    deadline: Deadline,
) -> Result<()> {
    for life in lives(deliveries) {
        let lost = imap.link.repeat(deadline, |session| archive(session, &life, imap))?;
        let (lost, error) = lost.map_or((HashSet::new(), None), |(lost, error)| (lost, Some(error)));
        let mut archived = life;
        archived.deliveries.retain(|delivery| !lost.contains(&delivery.uid));
        let mut known = imap.known.lock();
        known.gone(&archived.uids());
        archived.identities().for_each(|identity| known.acknowledged().add(identity));
        drop(known);
        error.map_or(Ok(()), Err)?;
    }
    let spent = imap.known.lock().spent();
    if let Some(spent) = spent {
        imap.link.repeat(deadline, |session| sweep(session, &spent))?;
        imap.known.lock().swept();
    }
    Ok(())
}

/// Deliveries that are another consumer's by now, and the error that tells of them.
type Lost = (HashSet<Uid>, Error);

/// Archives what is not another consumer's.
fn archive(session: &mut ImapSession, life: &Life<'_>, imap: &Imap) -> Result<Option<Lost>> {
    let uids = life.uids();
    if !uids.validity().is_of_the_mailbox_of(session.validity()) || uids.validity() == session.validity() {
        let (ours, error) = archive_ours(session, &uids, imap)?;
        let lost = uids.iter().filter(|uid| !ours.contains(*uid)).collect();
        return Ok(error.map(|error| (lost, error)));
    }
    let (found, missing) = find_again(session, life, imap)?;
    let uids = UidSet::new(session.validity(), found.iter().map(|(uid, _)| *uid));
    let (ours, error) = archive_ours(session, &uids, imap)?;
    if let Some(error) = error {
        let lost: HashSet<Identity> =
            found.iter().filter(|(uid, _)| !ours.contains(*uid)).map(|(_, identity)| *identity).collect();
        let is_lost = |it: &&&Delivery| it.identity.is_some_and(|identity| lost.contains(&identity));
        return Ok(Some((life.deliveries.iter().filter(is_lost).map(|it| it.uid).collect(), error)));
    }
    if missing == 0 {
        return Ok(None);
    }
    let all = life.deliveries.len();
    let text =
        format!("the mailbox was made anew (UIDVALIDITY), and {missing} of {all} messages are not in it");
    Err(Error::new(ErrorKind::Refused, text).with_code(Some("UIDVALIDITY".into())))
}

/// Archives those of these messages that are not another consumer's: which, and the error that tells of the others.
fn archive_ours(session: &mut ImapSession, uids: &UidSet, imap: &Imap) -> Result<(UidSet, Option<Error>)> {
    let Some(claims) = &imap.claims else {
        return verbs::archive(session, uids).map(|()| (uids.clone(), None));
    };
    let (ours, error) = claims.assure(session, uids)?;
    verbs::archive(session, &ours)?;
    claims.release(&ours);
    Ok((ours, error))
}

/// The messages under their new UIDs, and how many are neither here nor known to be archived.
fn find_again(
    session: &mut ImapSession,
    life: &Life<'_>,
    imap: &Imap,
) -> Result<(Vec<(Uid, Identity)>, usize)> {
    let wanted: HashSet<Identity> = life.identities().collect();
    let mut found = HashSet::new();
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
                found.insert(identity);
                uids.push((uid, identity));
            }
        }
    }
    let mut known = imap.known.lock();
    let mut is_there = |delivery: &&&Delivery| {
        delivery.identity.is_some_and(|it| found.contains(&it) || known.acknowledged().contains(it))
    };
    let there = life.deliveries.iter().filter(|delivery| is_there(delivery)).count();
    Ok((uids, life.deliveries.len() - there))
}

/// Second copies whose UIDs mean nothing any more are found again by the next fetch.
fn sweep(session: &mut ImapSession, spent: &UidSet) -> Result<()> {
    if spent.validity() == session.validity() { verbs::archive(session, spent) } else { Ok(()) }
}
