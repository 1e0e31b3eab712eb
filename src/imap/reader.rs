//! From mails to deliveries: what is ours, what was seen before, and what needs a second fetch.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::known::Settled;
use super::{Delivery, Imap};
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::message::{Identity, Message, is_ours, parse};
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
    /// Ours, with sizes, of which there is only a beginning.
    large: Vec<(Uid, u64)>,
    room: Room,
    last: Option<Uid>,
}

impl<'a> Reader<'a> {
    /// `large` are those that are known to be large, and ours.
    pub(super) fn new(imap: &'a Imap, validity: UidValidity, large: Vec<(Uid, u64)>) -> Self {
        let (deliveries, first, seen) = (Vec::new(), HashMap::new(), HashSet::new());
        let room = Room(Arc::new(AtomicUsize::new(imap.config.batch_bytes)));
        Self { imap, validity, deliveries, first, seen, large, room, last: None }
    }

    /// Reads mails, or the beginnings of large ones: `asked` octets were asked for.
    pub(super) fn take(&mut self, mails: &Mails, asked: usize) {
        for mail in mails.iter() {
            if self.is_full() {
                return;
            }
            self.last = self.last.max(Some(mail.uid));
            if self.is_to_be_fetched_whole(mail, asked) {
                self.large.push((mail.uid, mail.size()));
            } else {
                self.read(mail);
            }
        }
    }

    /// Reads mails that there is room for whatever their size is.
    pub(super) fn take_whole(&mut self, mails: &Mails) {
        for mail in mails.iter() {
            self.read(mail);
        }
    }

    pub(super) fn room(&self) -> Room {
        self.room.clone()
    }

    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.room.is_full()
    }

    fn is_to_be_fetched_whole(&self, mail: &Mail, asked: usize) -> bool {
        let is_cut = !mail.is_whole(asked) && self.fits(mail) && !mail.is_deleted;
        is_cut && is_ours(mail.octets(), &self.imap.config.common.tag)
    }

    fn fits(&self, mail: &Mail) -> bool {
        mail.size() <= self.imap.config.max_message as u64
    }

    /// What is ours and was not acknowledged yet is delivered. A second copy goes with the first.
    fn read(&mut self, mail: &Mail) {
        let uid = mail.uid;
        if mail.is_deleted || !self.seen.insert(uid) || mail.octets().is_empty() {
            return; // No mail is empty: the server has not looked properly, and says nothing of whose it is.
        }
        let Some(message) = self.message(mail) else {
            self.imap.known.lock().settle(self.validity, uid, Settled::Foreign);
            return;
        };
        let identity = message.as_ref().ok().and_then(|(_, identity)| *identity);
        if identity.is_some_and(|identity| self.imap.known.lock().acknowledged().contains(identity)) {
            events::emit(move || {
                tracing::info!(%uid, "a second copy of an acknowledged message is not delivered");
            });
            self.imap.known.lock().settle(self.validity, uid, Settled::Spent);
            return;
        }
        if let Some(&at) = identity.and_then(|identity| self.first.get(&identity)) {
            self.deliveries[at].copies.push(uid);
            return;
        }
        self.room.take(mail.octets().len());
        self.first.extend(identity.map(|identity| (identity, self.deliveries.len())));
        let (validity, message) = (self.validity, message.map(|(message, _)| message));
        self.deliveries.push(Delivery { uid, validity, identity, copies: Vec::new(), message });
    }

    /// What is ours, or the reason why it can't be read; `None` for what is somebody else's.
    fn message(&self, mail: &Mail) -> Option<Result<(Message, Option<Identity>)>> {
        let tag = &self.imap.config.common.tag;
        if self.fits(mail) {
            return parse(mail.octets(), tag);
        }
        is_ours(mail.octets(), tag).then(|| Err(too_large(mail, self.imap.config.max_message)))
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

    /// Those of these mails that did not come, though they were asked for.
    pub(super) fn missing(&self, asked: UidSet) -> UidSet {
        if self.is_full() { UidSet::none(self.validity) } else { self.unread(asked) }
    }

    /// Those of these mails that were not read, and are not to be fetched whole.
    pub(super) fn unread(&self, mut asked: UidSet) -> UidSet {
        let large: HashSet<Uid> = self.large.iter().map(|(uid, _)| *uid).collect();
        asked.retain(|uid| !self.seen.contains(&uid) && !large.contains(&uid));
        asked
    }

    /// What is to be come back to, up to the last mail that was ever looked at: large ones that there was no room for, and
    /// of these others, when there was none for them either, what has come behind later ones; and what still waits.
    pub(super) fn left(&self, others: &UidSet, still_wait: &BTreeSet<Uid>, last: Option<Uid>) -> Vec<Uid> {
        let unread = if self.is_full() { self.unread(others.clone()) } else { UidSet::none(self.validity) };
        let all = unread.iter().chain(still_wait.iter().copied()).filter(|uid| Some(*uid) <= last);
        let mut left: Vec<Uid> = all.chain(self.large.iter().map(|(uid, _)| *uid)).collect();
        left.sort_unstable();
        left.dedup();
        left
    }

    /// The last mail that was looked at.
    pub(super) fn last(&self) -> Option<Uid> {
        self.last
    }

    /// The deliveries, oldest first.
    pub(super) fn deliveries(mut self) -> Vec<Delivery> {
        self.deliveries.sort_by_key(|delivery| delivery.uid);
        self.deliveries
    }
}

fn too_large(mail: &Mail, limit: usize) -> Error {
    let text = format!("message UID {} has {} bytes, over the limit of {limit}", mail.uid, mail.size());
    Error::new(ErrorKind::TooLarge, text)
}
