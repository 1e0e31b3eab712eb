//! Every message's account, in little memory: the sender's outcome, and the number of its receipts.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The sender's outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// None yet.
    #[default]
    Nothing,
    /// Sent.
    Sent,
    /// Unknown delivery.
    Unknown,
    /// Not sent.
    Failed,
}

/// A message's account. The times are in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Page {
    told: Told,
    received: u8,
    account: u8,
    told_at: u32,
    received_at: u32,
    /// The UID of the last receipt.
    uid: u32,
    /// `true` if one UID was received twice.
    has_same_uid: bool,
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Books(HashMap<u64, Page>);

/// The balance of the accounts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Messages that were reported as sent.
    pub sent: usize,
    /// Messages whose delivery is unknown.
    pub unknown: usize,
    /// Messages that were reported as not sent.
    pub failed: usize,
    /// Messages that were received.
    pub received: usize,
    /// Messages that were reported as sent and not received.
    pub lost: usize,
    /// Messages that were received more than once, or although they were reported as not sent.
    pub duplicates: usize,
    /// Messages that the servers have copied, and that two consumers have received: no duplicates of the library's.
    pub copied: usize,
    /// The history of each message with a violation.
    pub stories: Vec<String>,
}

/// A short stand-in for a Message-ID.
pub fn mark(message_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    message_id.hash(&mut hasher);
    hasher.finish()
}

impl Books {
    /// Notes the sender's outcome.
    pub fn told(&mut self, mark: u64, account: u8, told: Told, at: u32) {
        let page = self.0.entry(mark).or_default();
        (page.told, page.account, page.told_at) = (told, account, at);
    }

    /// Notes a receipt, under a UID.
    pub fn received(&mut self, mark: u64, account: u8, uid: u32, at: u32) {
        let page = self.0.entry(mark).or_default();
        page.received = page.received.saturating_add(1);
        page.has_same_uid |= page.uid == uid;
        (page.account, page.uid, page.received_at) = (account, uid, at);
    }

    /// Returns the number of messages in transit.
    pub fn missing(&self) -> usize {
        self.0.values().filter(|page| page.told == Told::Sent && page.received == 0).count()
    }

    /// Returns the balance.
    ///
    /// The first `shared` accounts have several consumers, which may hold two copies of a message at the same time. A
    /// server that is killed after it has handed a message on, and before it has noted that, hands it on again: such
    /// copies have UIDs of their own, and were `submitted` once.
    pub fn balance(&self, shared: usize, submitted: &[u64]) -> Balance {
        let mut balance = Balance::default();
        let mut once = HashSet::new();
        let again: HashSet<u64> = submitted.iter().copied().filter(|mark| !once.insert(*mark)).collect();
        for (mark, page) in &self.0 {
            let is_lost = page.told == Told::Sent && page.received == 0;
            let is_expected = matches!(page.told, Told::Sent | Told::Unknown);
            let is_twice = page.received > usize::from(is_expected).try_into().unwrap_or(1);
            let is_copied = is_twice
                && is_expected
                && usize::from(page.account) < shared
                && !page.has_same_uid
                && !again.contains(mark);
            let is_double = is_twice && !is_copied;
            balance.sent += usize::from(page.told == Told::Sent);
            balance.unknown += usize::from(page.told == Told::Unknown);
            balance.failed += usize::from(page.told == Told::Failed);
            balance.received += usize::from(page.received > 0);
            balance.lost += usize::from(is_lost);
            balance.duplicates += usize::from(is_double);
            balance.copied += usize::from(is_copied);
            if is_lost || is_double {
                balance.stories.push(format!("message {mark:x}: {page:?}"));
            }
        }
        balance
    }
}
