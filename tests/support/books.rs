//! Every message's account, in little memory: the sender's outcome, and the number of its receipts.

use std::collections::HashMap;
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

    /// Notes a receipt.
    pub fn received(&mut self, mark: u64, account: u8, at: u32) {
        let page = self.0.entry(mark).or_default();
        page.received = page.received.saturating_add(1);
        (page.account, page.received_at) = (account, at);
    }

    /// Returns the number of messages in transit.
    pub fn missing(&self) -> usize {
        self.0.values().filter(|page| page.told == Told::Sent && page.received == 0).count()
    }

    /// Returns the balance.
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for (mark, page) in &self.0 {
            let is_lost = page.told == Told::Sent && page.received == 0;
            let is_expected = matches!(page.told, Told::Sent | Told::Unknown);
            let is_double = page.received > usize::from(is_expected).try_into().unwrap_or(1);
            balance.sent += usize::from(page.told == Told::Sent);
            balance.unknown += usize::from(page.told == Told::Unknown);
            balance.failed += usize::from(page.told == Told::Failed);
            balance.received += usize::from(page.received > 0);
            balance.lost += usize::from(is_lost);
            balance.duplicates += usize::from(is_double);
            if is_lost || is_double {
                balance.stories.push(format!("message {mark:x}: {page:?}"));
            }
        }
        balance
    }
}
