//! From candidates on the server to deliveries: a SEARCH, a FETCH, and what is ours of it.

use std::collections::HashMap;

use super::known::Settled;
use super::{Delivery, Imap, dead_letters};
use crate::config::ImapConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Identity, Message, is_ours, parse};
use crate::python::{ImapSession, Mail};
use crate::uid::{Uid, UidSet, UidValidity};

/// What the first look takes of each mail; most of ours are smaller by far.
const FIRST_LOOK: usize = 128 << 10;

/// A server that always says that there is more must not keep a caller for ever.
const MOST_LOOKS: usize = 100;

/// Mails as they came, and whether more candidates wait.
struct Look {
    validity: UidValidity,
    mails: Vec<Mail>,
    more: bool,
}

/// The oldest waiting messages.
///
/// A look at nothing but foreign mail, or at mail that has gone meanwhile, says nothing about what is behind it.
pub(super) fn receive(imap: &Imap, deadline: Deadline) -> Result<Vec<Delivery>> {
    let mut looks = 0;
    loop {
        looks += 1;
        let look = imap.link.repeat(deadline, |session| look(session, imap))?;
        let deliveries = deliveries(look.mails, look.validity, imap);
        let deliveries = dead_letters::sort_out(imap, deliveries, deadline)?;
        if !deliveries.is_empty() || !look.more || looks == MOST_LOOKS {
            return Ok(deliveries);
        }
    }
}

/// One SEARCH and one FETCH, and a second FETCH when there are large messages.
fn look(session: &mut ImapSession, imap: &Imap) -> Result<Look> {
    let config = &*imap.config;
    let validity = session.validity();
    let present = session.search(&imap.candidates())?;
    let mut wanted = present.clone();
    imap.known.lock().leave_out_of(&mut wanted);
    let (wanted, more) = match &imap.claims {
        Some(claims) => claims.claim(session, &wanted, &present, imap)?,
        None => wanted.first(config.batch),
    };
    if wanted.is_empty() {
        return Ok(Look { validity, mails: Vec::new(), more });
    }
    recall(session, imap)?;
    let most = FIRST_LOOK.min(config.max_message);
    let mut mails = session.fetch(&wanted, most, wanted.len() * most)?;
    let large = large_ones(&mails, most, config);
    let whole = if large.is_empty() {
        Vec::new()
    } else {
        let room = config.batch_bytes.max(config.max_message + 1);
        session.fetch(&UidSet::new(validity, large), config.max_message + 1, room)?
    };
    mails.retain(|mail| {
        mail.is_whole(most) || !fits(mail, config) || !is_ours(mail.octets(), &config.common.tag)
    });
    mails.extend(whole);
    mails.sort_by_key(|mail| mail.uid);
    Ok(Look { validity, mails, more })
}

/// The messages of ours that need a second FETCH, as many as there is room for, and one in any case.
fn large_ones(mails: &[Mail], most: usize, config: &ImapConfig) -> Vec<Uid> {
    let large = mails.iter().filter(|mail| {
        !mail.is_whole(most) && fits(mail, config) && is_ours(mail.octets(), &config.common.tag)
    });
    let mut room = config.batch_bytes as u64;
    let mut chosen = Vec::new();
    for mail in large {
        if mail.size() > room && !chosen.is_empty() {
            break;
        }
        room = room.saturating_sub(mail.size());
        chosen.push(mail.uid);
    }
    chosen
}

fn fits(mail: &Mail, config: &ImapConfig) -> bool {
    mail.size() <= config.max_message as u64
}

/// Reads from the archive what was acknowledged by an earlier handle, or by another one meanwhile.
fn recall(session: &mut ImapSession, imap: &Imap) -> Result<()> {
    let Some((most, since)) = imap.known.lock().acknowledged().to_be_recalled(imap.claims.is_some()) else {
        return Ok(());
    };
    let (since, archived) = session.recall(most, since)?;
    let identities = archived.iter().filter_map(|headers| Identity::read(headers));
    imap.known.lock().acknowledged().recall(since, identities);
    Ok(())
}

/// Deliveries for what is ours and was not acknowledged yet. A second copy goes with the first.
fn deliveries(mails: Vec<Mail>, validity: UidValidity, imap: &Imap) -> Vec<Delivery> {
    let mut deliveries: Vec<Delivery> = Vec::new();
    let mut first: HashMap<Identity, usize> = HashMap::new();
    // Each mail is let go as soon as it is read: a batch is in memory once, not twice.
    for mail in mails {
        let uid = mail.uid;
        if mail.octets().is_empty() {
            continue; // No mail is empty: the server has not looked properly, and says nothing of whose it is.
        }
        let Some(message) = read(&mail, imap) else {
            imap.known.lock().settle(validity, uid, Settled::Foreign);
            continue;
        };
        let identity = message.as_ref().ok().and_then(|(_, identity)| *identity);
        if identity.is_some_and(|identity| imap.known.lock().acknowledged().contains(identity)) {
            tracing::info!(%uid, "a second copy of an acknowledged message is not delivered");
            imap.known.lock().settle(validity, uid, Settled::Spent);
            continue;
        }
        if let Some(&at) = identity.and_then(|identity| first.get(&identity)) {
            deliveries[at].copies.push(uid);
            continue;
        }
        first.extend(identity.map(|identity| (identity, deliveries.len())));
        let message = message.map(|(message, _)| message);
        deliveries.push(Delivery { uid, validity, identity, copies: Vec::new(), message });
    }
    deliveries
}

/// What is ours, or the reason why it can't be read; `None` for what is somebody else's.
fn read(mail: &Mail, imap: &Imap) -> Option<Result<(Message, Option<Identity>)>> {
    let tag = &imap.config.common.tag;
    if fits(mail, &imap.config) {
        return parse(mail.octets(), tag);
    }
    is_ours(mail.octets(), tag).then(|| Err(too_large(mail, imap.config.max_message)))
}

fn too_large(mail: &Mail, limit: usize) -> Error {
    let text = format!("message UID {} has {} bytes, over the limit of {limit}", mail.uid, mail.size());
    Error::new(ErrorKind::TooLarge, text)
}
