//! From mails to deliveries: what is ours, what was seen before, and what needs a second fetch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::batch::Fate;
use super::known::Settled;
use super::{Delivery, Imap};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Identity, Message, Origin, origin, parse};
use crate::python::{Mail, Mails};
use crate::uid::{Uid, UidSet, UidValidity};

/// How many octets more a batch has room for; those who fetch look at it while others read.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Room {
    pub(super) fn is_full(&self) -> bool {
        self.left() == 0
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Only readers take, one at a time.
    fn take(&self, octets: usize) {
        self.0.store(self.left().saturating_sub(octets), Ordering::Relaxed);
    }
}

/// Reads the mails of one batch as they come.
pub(super) struct Reader<'a> {
    imap: &'a Imap,
    validity: UidValidity,
    deliveries: Vec<Delivery>,
    /// Where the first copy of each message is.
    first: HashMap<Identity, usize>,
    seen: HashSet<Uid>,
    /// Ours, as far as is known, with sizes, of which there is only a beginning.
    large: Vec<(Uid, u64)>,
    /// Those that came with fewer octets than their sizes, and with how many.
    short: HashMap<Uid, usize>,
    /// Too large to be fetched, and not shown to be ours by their beginning, with sizes.
    unjudged: Vec<(Uid, u64)>,
    /// Flagged `\Deleted` by another client since they were found.
    deleted: Vec<Uid>,
    /// Second copies of what was acknowledged before.
    spent: Vec<Uid>,
    room: Room,
    last: Option<Uid>,
    came: usize,
}

impl<'a> Reader<'a> {
    /// `large` are those that are known to be large, and ours.
    pub(super) fn new(imap: &'a Imap, validity: UidValidity, large: Vec<(Uid, u64)>) -> Self {
        let room = Room(Arc::new(AtomicUsize::new(imap.config.batch_bytes)));
        Self {
            imap,
            validity,
            deliveries: Vec::new(),
            first: HashMap::new(),
            seen: HashSet::new(),
            large,
            short: HashMap::new(),
            unjudged: Vec::new(),
            deleted: Vec::new(),
            spent: Vec::new(),
            room,
            last: None,
            came: 0,
        }
    }

    /// Reads mails, or the beginnings of large ones: `asked` octets were asked for.
    pub(super) fn take(&mut self, mails: &Mails, asked: usize) {
        for mail in mails.iter() {
            if self.is_full() {
                return;
            }
            self.look(mail, asked);
        }
    }

    /// Reads mails that there is room for whatever their size is.
    pub(super) fn take_whole(&mut self, mails: &Mails, asked: usize) {
        mails.iter().for_each(|mail| self.look(mail, asked));
    }

    pub(super) fn room(&self) -> Room {
        self.room.clone()
    }

    /// Returns whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Returns how many mails, or beginnings of them, have come, whatever they are.
    pub(super) fn came(&self) -> usize {
        self.came
    }

    /// Returns whether a mail was read, or is known not to be for us.
    pub(super) fn has_read(&self, uid: Uid) -> bool {
        self.seen.contains(&uid)
    }

    /// Returns those of these mails that were not even looked at.
    pub(super) fn unseen(&self, mut uids: UidSet) -> UidSet {
        let large: HashSet<Uid> = self.large.iter().map(|(uid, _)| *uid).collect();
        uids.retain(|uid| !self.has_read(uid) && !large.contains(&uid));
        uids
    }

    /// A mail without octets has not come: no mail is empty.
    fn look(&mut self, mail: &Mail, asked: usize) {
        let (uid, limit) = (mail.uid, self.imap.config.max_message);
        if self.seen.contains(&uid) || (mail.octets().is_empty() && !mail.is_deleted) {
            return;
        }
        self.last = self.last.max(Some(uid));
        self.came += 1;
        if mail.is_deleted {
            self.deleted.push(uid);
        } else if self.is_short(mail, asked) {
            if origin(mail.octets(), true, &self.imap.config.common.tag) != Origin::Foreign {
                return self.large.push((uid, mail.size().min(limit as u64)));
            }
            self.is_foreign(uid);
        } else if mail.is_whole(asked) && mail.octets().len() <= limit {
            self.read(mail);
        } else if !self.judge(mail, asked) {
            return; // It is to be fetched whole.
        }
        self.seen.insert(uid);
    }

    /// Returns whether a mail may have been cut by the server: what comes when it is asked for without a limit shows whether
    /// that is so, or sizes are estimates.
    fn is_short(&mut self, mail: &Mail, asked: usize) -> bool {
        if !mail.is_short(asked) {
            return false;
        }
        let came = mail.octets().len();
        let before = self.short.insert(mail.uid, came);
        let mut known = self.imap.known.lock();
        known.sizes().are_estimates |= before == Some(came);
        before.is_none() && !known.sizes().are_estimates
    }

    /// Returns those of these mails that are not read, and have come short or not.
    pub(super) fn unread(&self, mails: &[(Uid, u64)], short: bool) -> Vec<(Uid, u64)> {
        let unread = mails.iter().copied().filter(|(uid, _)| !self.has_read(*uid));
        unread.filter(|(uid, _)| self.short.contains_key(uid) == short).collect()
    }

    /// Judges a mail of which there is only a beginning, or that is too large; false for one to be fetched whole.
    fn judge(&mut self, mail: &Mail, asked: usize) -> bool {
        let (uid, limit) = (mail.uid, self.imap.config.max_message);
        match origin(mail.octets(), !mail.is_whole(asked), &self.imap.config.common.tag) {
            Origin::Foreign => self.is_foreign(uid),
            _ if asked <= limit && mail.size() <= limit as u64 => {
                self.large.push((uid, mail.size()));
                return false;
            }
            Origin::Ours => self.deliver(uid, None, Err(too_large(uid, mail.size(), limit))),
            Origin::Undecided => self.unjudged.push((uid, mail.size())),
        }
        true
    }

    fn is_foreign(&self, uid: Uid) {
        self.imap.known.lock().settle(self.validity, uid, Settled::Foreign);
    }

    /// Reads a whole mail. What is ours and was not acknowledged yet is delivered; a second copy goes with the first.
    fn read(&mut self, mail: &Mail) {
        let uid = mail.uid;
        let Some(message) = parse(mail.octets(), &self.imap.config.common.tag) else {
            return self.is_foreign(uid);
        };
        let identity = message.as_ref().ok().and_then(|(_, identity)| *identity);
        if identity.is_some_and(|identity| self.imap.known.lock().acknowledged().contains(identity)) {
            self.imap.known.lock().settle(self.validity, uid, Settled::Spent);
            return self.spent.push(uid);
        }
        if let Some(&at) = identity.and_then(|identity| self.first.get(&identity)) {
            self.deliveries[at].duplicates.push(uid);
            return;
        }
        self.room.take(mail.octets().len());
        self.deliver(uid, identity, message.map(|(message, _)| message));
    }

    fn deliver(&mut self, uid: Uid, identity: Option<Identity>, message: Result<Message>) {
        self.first.extend(identity.map(|identity| (identity, self.deliveries.len())));
        let (validity, duplicates) = (self.validity, Vec::new());
        self.deliveries.push(Delivery { uid, validity, identity, duplicates, message, fate: Fate::Archive });
    }

    /// Delivers an error in place of a message.
    pub(super) fn deliver_error(&mut self, uid: Uid, error: Error, fate: Fate) {
        self.last = self.last.max(Some(uid));
        self.seen.insert(uid);
        self.deliver(uid, None, Err(error));
        self.deliveries.last_mut().into_iter().for_each(|delivery| delivery.fate = fate);
    }

    /// Takes out what is too large and not judged yet.
    pub(super) fn take_unjudged(&mut self) -> Vec<(Uid, Error)> {
        let limit = self.imap.config.max_message;
        let unjudged = std::mem::take(&mut self.unjudged);
        unjudged.into_iter().map(|(uid, size)| (uid, too_large(uid, size, limit))).collect()
    }

    /// Takes out a mail that is to be fetched whole.
    pub(super) fn take_large(&mut self, uid: Uid) -> Option<(Uid, u64)> {
        let at = self.large.iter().position(|(large, _)| *large == uid)?;
        Some(self.large.swap_remove(at))
    }

    /// Takes out the large messages that there is room for, and one in any case; the others wait.
    pub(super) fn large(&mut self) -> Vec<(Uid, u64)> {
        self.large.sort_unstable();
        self.large.dedup_by_key(|(uid, _)| *uid);
        let mut room = self.room.left() as u64;
        let mut fits = |mail: &&(Uid, u64)| {
            let before = room;
            room = room.saturating_sub(mail.1);
            mail.1 <= before
        };
        let count = self.large.iter().take_while(&mut fits).count().max(1).min(self.large.len());
        let rest = self.large.split_off(count);
        let mut known = self.imap.known.lock();
        for &(uid, size) in &rest {
            known.is_large(self.validity, uid, size);
        }
        let chosen = std::mem::replace(&mut self.large, rest);
        self.last = self.last.max(chosen.last().map(|(uid, _)| *uid));
        chosen
    }

    /// Returns the last mail that was looked at.
    pub(super) fn last(&self) -> Option<Uid> {
        self.last
    }

    /// Returns whether there is anything to deliver.
    pub(super) fn has_any(&self) -> bool {
        !self.deliveries.is_empty()
    }

    /// Returns those that another client has flagged `\Deleted` since they were found.
    pub(super) fn deleted(&self) -> &[Uid] {
        &self.deleted
    }

    /// Returns the second copies of what was acknowledged before.
    pub(super) fn spent(&self) -> &[Uid] {
        &self.spent
    }

    /// Returns the deliveries, oldest first.
    pub(super) fn deliveries(mut self) -> Vec<Delivery> {
        self.deliveries.sort_by_key(|delivery| delivery.uid);
        self.deliveries
    }
}

pub(super) fn too_large(uid: Uid, size: u64, limit: usize) -> Error {
    let text = format!("message UID {uid} has {size} bytes, over the limit of {limit}");
    Error::new(ErrorKind::TooLarge, text)
}
