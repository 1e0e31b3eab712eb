//! From candidates on the server to deliveries: a SEARCH, a FETCH, and what is ours of it.

use std::collections::BTreeSet;

use super::{Delivery, Imap};
use crate::config::ImapConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{is_ours, parse};
use crate::python::{ImapSession, Mail};
use crate::uid::{Uid, UidSet, UidValidity};

/// What the first look takes of each mail; most of ours are smaller by far.
const FIRST_LOOK: usize = 128 << 10;

/// A server that always says that there is more must not keep a caller for ever.
const MOST_LOOKS: usize = 100;

/// Candidates that turned out to be somebody else's: not to be looked at again and again.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    validity: Option<UidValidity>,
    uids: BTreeSet<Uid>,
}

impl Foreign {
    fn of(&mut self, validity: UidValidity) -> &mut BTreeSet<Uid> {
        if self.validity != Some(validity) {
            self.validity = Some(validity);
            self.uids.clear();
        }
        &mut self.uids
    }

    /// Takes what is foreign out of the candidates, and forgets what is no candidate any more.
    fn leave_out_of(&mut self, wanted: &mut UidSet) {
        let foreign = self.of(wanted.validity());
        foreign.retain(|uid| wanted.contains(*uid));
        wanted.retain(|uid| !foreign.contains(&uid));
    }
}

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
        // Each mail is let go as soon as it is read: a batch is in memory once, not twice.
        let mails = look.mails.into_iter();
        let deliveries: Vec<Delivery> =
            mails.filter_map(|mail| delivery(&mail, look.validity, imap)).collect();
        if !deliveries.is_empty() || !look.more || looks == MOST_LOOKS {
            return Ok(deliveries);
        }
    }
}

/// One SEARCH and one FETCH, and a second FETCH when there are large messages.
fn look(session: &mut ImapSession, imap: &Imap) -> Result<Look> {
    let config = &*imap.config;
    let validity = session.validity();
    let mut wanted = session.search(&format!("UNDELETED SUBJECT \"{}\"", config.common.tag))?;
    imap.foreign.lock().leave_out_of(&mut wanted);
    let (wanted, more) = wanted.first(config.batch);
    if wanted.is_empty() {
        return Ok(Look { validity, mails: Vec::new(), more });
    }
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

/// A delivery for what is ours; the rest is remembered as foreign.
fn delivery(mail: &Mail, validity: UidValidity, imap: &Imap) -> Option<Delivery> {
    let tag = &imap.config.common.tag;
    let message = if fits(mail, &imap.config) {
        parse(mail.octets(), tag)
    } else {
        is_ours(mail.octets(), tag).then(|| Err(too_large(mail, imap.config.max_message)))
    };
    if message.is_none() {
        imap.foreign.lock().of(validity).insert(mail.uid);
    }
    Some(Delivery { uid: mail.uid, validity, message: message? })
}

fn too_large(mail: &Mail, limit: usize) -> Error {
    let text = format!("message UID {} has {} bytes, over the limit of {limit}", mail.uid, mail.size());
    Error::new(ErrorKind::TooLarge, text)
}
