//! From deliveries to the archive: by UID while UIDVALIDITY stands, by Message-ID when it does not.

use std::collections::HashSet;

use super::batch::{Life, lives};
use super::headers::headers;
use super::search::search;
use super::{Delivery, Imap, verbs};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Identity;
use crate::python::ImapSession;
use crate::uid::UidSet;

/// Archives the deliveries, and with them the second copies of what was acknowledged before.
pub(super) fn acknowledge<'a>(
    imap: &Imap,
    deliveries: impl IntoIterator<Item = &'a Delivery>,
    deadline: Deadline,
) -> Result<()> {
    for life in lives(deliveries) {
        imap.link.repeat(deadline, |session| archive(session, &life, imap))?;
        let mut known = imap.known.lock();
        known.gone(&life.uids());
        life.identities().for_each(|identity| known.acknowledged().add(identity));
    }
    let spent = imap.known.lock().spent();
    if let Some(spent) = spent {
        imap.link.repeat(deadline, |session| sweep(session, &spent))?;
        imap.known.lock().swept();
    }
    Ok(())
}

fn archive(session: &mut ImapSession, life: &Life<'_>, imap: &Imap) -> Result<()> {
    let uids = life.uids();
    if let Some(claims) = &imap.claims {
        claims.assure(session, &uids)?;
    }
    if !uids.validity().is_of_the_mailbox_of(session.validity()) || uids.validity() == session.validity() {
        verbs::archive(session, &uids)?;
        imap.claims.iter().for_each(|claims| claims.release(&uids));
        return Ok(());
    }
    let (found, missing) = find_again(session, life, imap)?;
    verbs::archive(session, &found)?;
    if missing == 0 {
        return Ok(());
    }
    let all = life.deliveries.len();
    let text =
        format!("the mailbox was made anew (UIDVALIDITY), and {missing} of {all} messages are not in it");
    Err(Error::new(ErrorKind::Refused, text).with_code(Some("UIDVALIDITY".into())))
}

/// The messages under their new UIDs, and how many are neither here nor known to be archived.
fn find_again(session: &mut ImapSession, life: &Life<'_>, imap: &Imap) -> Result<(UidSet, usize)> {
    let wanted: HashSet<Identity> = life.identities().collect();
    let mut found = HashSet::new();
    let mut uids = Vec::new();
    let candidates = search(session, imap)?;
    let told = headers(session, imap, &candidates)?;
    for (uid, headers) in &told {
        let identity = Identity::read(&headers.octets).filter(|identity| wanted.contains(identity));
        if let Some(identity) = identity {
            found.insert(identity);
            uids.push(*uid);
        }
    }
    let are_all_told = candidates.iter().all(|uid| told.contains_key(&uid));
    let mut known = imap.known.lock();
    let mut is_there = |delivery: &&&Delivery| {
        delivery.identity.is_some_and(|it| found.contains(&it) || known.acknowledged().contains(it))
    };
    let there = life.deliveries.iter().filter(|delivery| is_there(delivery)).count();
    if there < life.deliveries.len() && !are_all_told {
        let text =
            "the server does not give out the headers of every message: some may still be in the inbox";
        return Err(Error::new(ErrorKind::Refused, text));
    }
    Ok((UidSet::new(session.validity(), uids), life.deliveries.len() - there))
}

/// Second copies whose UIDs mean nothing any more are found again by the next fetch.
fn sweep(session: &mut ImapSession, spent: &UidSet) -> Result<()> {
    if spent.validity() == session.validity() { verbs::archive(session, spent) } else { Ok(()) }
}
