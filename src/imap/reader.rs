//! Reads fetched mail: decides which is ours, drops duplicates, and collects the deliveries of a batch.
//!
//! | mail | becomes |
//! | --- | --- |
//! | whole, tagged, new | a delivery, or the error of its decoding |
//! | whole, tagged, of an acknowledged message, and not redriven | settled as a duplicate, and archived by the next acknowledgement |
//! | whole, tagged, of a message in this batch | a further UID of that delivery |
//! | whole or not, foreign by its Subject | settled as foreign, and left alone |
//! | a beginning, not foreign | kept, and its rest is fetched, if it is within `max_message` |
//! | a rest | whole, with its beginning; if they don't fit, it is fetched whole |
//! | over `max_message`, tagged | an error, which an acknowledgement archives |
//! | over `max_message`, Subject not seen | decided by its headers (`single.rs`) |
//! | flagged `\Deleted` by now | removed from the candidates |
//! | without octets | not arrived |
//!
//! Each message is read once, however often it arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::inbox::{Inbox, Settled, Sizes};
use super::windows::count_fitting;
use super::{Delivery, Imap};
use crate::delivery::Fate;
use crate::error::{Error, ErrorKind};
use crate::events;
use crate::message::{Identity, IdentityHasher, Origin, origin, parse};
use crate::python::Mail;
use crate::uid::{Uid, UidSet, UidValidity};

/// The size of the largest mail whose beginning is kept, as a multiple of that.
const LARGEST_JOINED: u64 = 8;

/// The octets left in a batch. Clones share the count: the windows check it while the reader spends it.
/// `ImapConfig::batch_bytes` at the beginning. The last message may take more than is left.
#[derive(Clone, Debug)]
pub(super) struct ByteBudget(Arc<AtomicUsize>);

impl ByteBudget {
    /// Returns `true` if no octets are left.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left() == 0
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Subtracts octets. Not atomic: only the reader calls it.
    fn spend(&self, octets: usize) {
        self.0.store(self.left().saturating_sub(octets), Ordering::Relaxed);
    }
}

/// The reader of one batch: takes mail as it arrives, and collects deliveries.
pub(super) struct Reader<'a> {
    imap: &'a Imap,
    validity: UidValidity,
    deliveries: Vec<Delivery>,
    /// The place in `deliveries` of the first copy of each message. The copy that arrives first, mostly the oldest one.
    first: HashMap<Identity, usize, IdentityHasher>,
    /// Mail that needs no further FETCH in this batch.
    read: BTreeSet<Uid>,
    /// Mail to fetch whole, with its size: its preview did not show that it is foreign.
    large: Vec<(Uid, u64)>,
    /// The beginnings of such mail with its size, as far as the whole mails fit into the byte budget.
    beginnings: HashMap<Uid, (Vec<u8>, u64)>,
    /// The octets of these whole mails.
    kept: u64,
    /// Mail that arrived shorter than its RFC822.SIZE, with the octets that arrived. They are requested once more,
    /// without a limit.
    short: HashMap<Uid, usize>,
    /// Mail over the size limit whose preview does not show the Subject, with its size.
    oversized: Vec<(Uid, u64)>,
    /// Mail that another client has flagged `\Deleted` since the SEARCH.
    deleted: Vec<Uid>,
    byte_budget: ByteBudget,
    /// The highest UID read, delivered, or chosen to be fetched whole.
    last: Option<Uid>,
    /// The number of messages that have arrived.
    arrived: usize,
}

impl<'a> Reader<'a> {
    /// Creates a reader; `large` has the messages known to need a whole fetch.
    pub(super) fn new(imap: &'a Imap, validity: UidValidity, large: Vec<(Uid, u64)>) -> Self {
        let byte_budget = ByteBudget(Arc::new(AtomicUsize::new(imap.config.batch_bytes)));
        Self {
            imap,
            validity,
            deliveries: Vec::new(),
            first: HashMap::default(),
            read: BTreeSet::new(),
            large,
            beginnings: HashMap::new(),
            kept: 0,
            short: HashMap::new(),
            oversized: Vec::new(),
            deleted: Vec::new(),
            byte_budget,
            last: None,
            arrived: 0,
        }
    }

    /// Reads mail of which `asked` octets each were requested. Drops it once the batch is full.
    ///
    /// Dropped mail stays a candidate, for the next batch.
    pub(super) fn read_previews(&mut self, inbox: &mut Inbox, mails: &[Mail], asked: usize) {
        for mail in mails {
            if self.is_full() {
                return;
            }
            self.read(inbox, mail, asked);
        }
    }

    /// Reads mail whose size was within the byte budget when it was chosen.
    ///
    /// It is read also when the budget has been spent meanwhile: it was requested, and one large message may go beyond.
    pub(super) fn read_whole(&mut self, inbox: &mut Inbox, mails: &[Mail], asked: usize) {
        for mail in mails {
            self.read(inbox, mail, asked);
        }
    }

    /// Returns the octets left in the batch, a count that goes on changing.
    pub(super) fn byte_budget(&self) -> ByteBudget {
        self.byte_budget.clone()
    }

    /// Returns `true` if the batch has no octets left.
    pub(super) fn is_full(&self) -> bool {
        self.byte_budget.is_exhausted()
    }

    /// Returns the number of messages that have arrived, foreign ones and previews included.
    pub(super) fn arrived(&self) -> usize {
        self.arrived
    }

    /// Returns `true` if a message needs no further FETCH in this batch.
    pub(super) fn has_read(&self, uid: Uid) -> bool {
        self.read.contains(&uid)
    }

    /// Returns those of these messages whose previews have not arrived.
    pub(super) fn unfetched(&self, mut uids: UidSet) -> UidSet {
        let large: HashSet<Uid> = self.large.iter().map(|(uid, _)| *uid).collect();
        uids.retain(|uid| !self.has_read(uid) && !large.contains(&uid));
        uids
    }

    /// Reads one mail, or decides by its preview that it is to be fetched whole.
    ///
    /// The order of the checks matters: a cut mail must not be parsed as a whole one, and a mail over the limit
    /// neither.
    fn read(&mut self, inbox: &mut Inbox, mail: &Mail, asked: usize) {
        let (uid, limit) = (mail.uid, self.imap.config.max_message);
        // No mail is empty: without octets it has not arrived.
        if self.has_read(uid) || (mail.octets().is_empty() && !mail.is_deleted) {
            return;
        }
        self.last = self.last.max(Some(uid));
        self.arrived += 1;
        if mail.is_deleted {
            self.deleted.push(uid);
        } else if mail.is_rest() {
            return self.read_rest(inbox, mail);
        } else if self.may_be_truncated(inbox, mail, asked) {
            if origin(mail.octets(), true, &self.imap.config.common.tag) != Origin::Foreign {
                return self.large.push((uid, mail.size().min(limit as u64)));
            }
            inbox.settle(self.validity, uid, Settled::Foreign);
        } else if mail.is_whole(asked) && mail.octets().len() <= limit {
            self.read_complete(inbox, mail);
        } else if !self.read_preview(inbox, mail, asked) {
            return;
        }
        self.read.insert(uid);
    }

    /// Returns `true` if the server may have truncated a mail: it is shorter than its RFC822.SIZE, and that may be
    /// exact.
    ///
    /// The mail is then fetched without a limit. If the same octets arrive again, the server's sizes are estimates.
    fn may_be_truncated(&mut self, inbox: &mut Inbox, mail: &Mail, asked: usize) -> bool {
        if !mail.is_short(asked) {
            return false;
        }
        let arrived = mail.octets().len();
        let before = self.short.insert(mail.uid, arrived);
        inbox.sizes().are_estimates |= before == Some(arrived);
        before.is_none() && !inbox.sizes().are_estimates
    }

    /// Returns those of these mails that are not read: with `is_short` the ones that arrived shorter than their
    /// RFC822.SIZE, else the others. Those whose beginnings are kept come first, so that few windows request their rests.
    pub(super) fn unread(&self, mails: &[(Uid, u64)], is_short: bool) -> Vec<(Uid, u64)> {
        let unread = mails.iter().copied().filter(|(uid, _)| !self.has_read(*uid));
        let mut unread: Vec<_> = unread.filter(|(uid, _)| self.short.contains_key(uid) == is_short).collect();
        unread.sort_by_key(|(uid, _)| !self.beginnings.contains_key(uid));
        unread
    }

    /// Reads a preview, or a mail over the size limit. Returns `false` if it is to be fetched whole.
    fn read_preview(&mut self, inbox: &mut Inbox, mail: &Mail, asked: usize) -> bool {
        let (uid, limit) = (mail.uid, self.imap.config.max_message);
        match origin(mail.octets(), !mail.is_whole(asked), &self.imap.config.common.tag) {
            Origin::Foreign => inbox.settle(self.validity, uid, Settled::Foreign),
            _ if asked <= limit && mail.size() <= limit as u64 => {
                self.large.push((uid, mail.size()));
                self.keep(inbox, mail, asked);
                return false;
            }
            Origin::Ours => {
                let error = too_large(uid, mail.size(), limit);
                self.deliveries.push(Delivery::new(uid, self.validity, Err(error), mail.arrived_at));
            }
            Origin::Undecided => self.oversized.push((uid, mail.size())),
        }
        true
    }

    /// Keeps the beginning of a mail, so that only its rest is fetched; not where the server's sizes or parts of mails
    /// can't be relied on.
    fn keep(&mut self, inbox: &mut Inbox, mail: &Mail, asked: usize) {
        let Sizes { are_estimates, ignores_partial, lacks_rests, .. } = *inbox.sizes();
        let is_exact = mail.octets().len() == asked && !(are_estimates || ignores_partial || lacks_rests);
        // To join a much larger mail costs more than to receive its beginning again.
        let is_worth_it = mail.size() <= LARGEST_JOINED.saturating_mul(asked as u64);
        if is_exact && is_worth_it && self.kept + mail.size() <= self.byte_budget.left() as u64 {
            self.kept += mail.size();
            let mut beginning = Vec::with_capacity(usize::try_from(mail.size()).unwrap_or(asked));
            beginning.extend_from_slice(mail.octets());
            self.beginnings.insert(mail.uid, (beginning, mail.size()));
        }
    }

    /// Reads the rest of a mail whose beginning was kept. If they don't make up the mail, it stays unread.
    fn read_rest(&mut self, inbox: &mut Inbox, mail: &Mail) {
        let Some((beginning, size)) = self.beginnings.get_mut(&mail.uid) else { return };
        if let Some(whole) = mail.behind(std::mem::take(beginning), *size) {
            self.read_complete(inbox, &whole);
            self.read.insert(mail.uid);
        }
    }

    /// Returns the octets that are kept of each beginning.
    pub(super) fn kept(&self) -> BTreeMap<Uid, usize> {
        self.beginnings.iter().map(|(uid, (beginning, _))| (*uid, beginning.len())).collect()
    }

    /// Drops the beginnings of those of these mails whose rests did not come; returns `true` if there are any. Then no rest
    /// is requested again.
    pub(super) fn drop_beginnings(&mut self, inbox: &mut Inbox, mails: &[(Uid, u64)]) -> bool {
        let before = self.beginnings.len();
        mails.iter().filter(|(uid, _)| !self.read.contains(uid)).for_each(|(uid, _)| {
            self.beginnings.remove(uid);
        });
        let lacks_rests = self.beginnings.len() < before;
        inbox.sizes().lacks_rests |= lacks_rests;
        lacks_rests
    }

    /// Reads a complete mail. Delivers it if it is ours, unless it is a duplicate, of an acknowledged message or in
    /// this batch.
    ///
    /// A mail that can't be decoded has no identity here, so that it is never dropped as a duplicate.
    fn read_complete(&mut self, inbox: &mut Inbox, mail: &Mail) {
        let uid = mail.uid;
        let Some(parsed) = parse(mail.octets(), &self.imap.config.common.tag) else {
            return inbox.settle(self.validity, uid, Settled::Foreign);
        };
        let identity = parsed.as_ref().ok().and_then(|parsed| parsed.identity);
        let is_known = identity.is_some_and(|identity| inbox.acknowledged().contains(identity));
        if is_known && !mail.is_redriven {
            inbox.settle(self.validity, uid, Settled::Duplicate);
            self.imap.connection.count(|counts| counts.duplicates += 1);
            let text = "a duplicate of an acknowledged message is not delivered";
            return events::emit(move || tracing::info!(%uid, "{text}"));
        }
        if let Some(&at) = identity.and_then(|identity| self.first.get(&identity)) {
            self.deliveries[at].duplicates.push(uid);
            return;
        }
        self.byte_budget.spend(mail.octets().len());
        self.first.extend(identity.map(|identity| (identity, self.deliveries.len())));
        self.deliveries.push(Delivery::new(uid, self.validity, parsed, mail.arrived_at));
    }

    /// Delivers an error in place of a message.
    pub(super) fn deliver_error(&mut self, uid: Uid, error: Error, fate: Fate) {
        self.last = self.last.max(Some(uid));
        self.read.insert(uid);
        self.deliveries.push(Delivery { fate, ..Delivery::new(uid, self.validity, Err(error), None) });
    }

    /// Takes out the mail over the size limit whose origin is unknown, with an error for each.
    pub(super) fn take_oversized(&mut self) -> Vec<(Uid, Error)> {
        let limit = self.imap.config.max_message;
        let oversized = std::mem::take(&mut self.oversized);
        oversized.into_iter().map(|(uid, size)| (uid, too_large(uid, size, limit))).collect()
    }

    /// Takes out one mail to fetch whole, with its size; `None` if it was not listed for that.
    pub(super) fn take_large(&mut self, uid: Uid) -> Option<(Uid, u64)> {
        let at = self.large.iter().position(|(large, _)| *large == uid)?;
        self.beginnings.remove(&uid);
        Some(self.large.swap_remove(at))
    }

    /// Takes out the oldest mail to fetch whole, as much as the byte budget allows and at least one. The rest stays a
    /// candidate, with its size.
    ///
    /// Called once, after the previews: the budget then has room for what is left of the batch.
    pub(super) fn take_large_within_budget(&mut self, inbox: &mut Inbox) -> Vec<(Uid, u64)> {
        self.large.sort_unstable();
        self.large.dedup_by_key(|(uid, _)| *uid);
        let rest = self.large.split_off(count_fitting(&self.large, self.byte_budget.left() as u64));
        for &(uid, size) in &rest {
            inbox.set_size(self.validity, uid, size);
            self.beginnings.remove(&uid);
        }
        let chosen = std::mem::replace(&mut self.large, rest);
        self.last = self.last.max(chosen.last().map(|(uid, _)| *uid));
        chosen
    }

    /// Returns the highest UID read, delivered, or chosen to be fetched whole.
    pub(super) fn last(&self) -> Option<Uid> {
        self.last
    }

    /// Returns `true` if there is any delivery.
    pub(super) fn has_deliveries(&self) -> bool {
        !self.deliveries.is_empty()
    }

    /// Returns the mail that another client has flagged `\Deleted` since the SEARCH.
    pub(super) fn deleted(&self) -> &[Uid] {
        &self.deleted
    }

    /// Returns the deliveries, oldest first.
    pub(super) fn into_deliveries(mut self) -> Vec<Delivery> {
        self.deliveries.sort_by_key(|delivery| delivery.uid);
        self.deliveries
    }
}

/// Returns the error for a message over `max_message`.
pub(crate) fn too_large(uid: Uid, size: u64, limit: usize) -> Error {
    let text = format!("message UID {uid} has {size} bytes, over the limit of {limit} (max_message)");
    Error::new(ErrorKind::TooLarge, text)
}
