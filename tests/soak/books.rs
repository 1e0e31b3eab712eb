//! Every message's account, in little room: what the sender was told, and how often it was received.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// What the sender was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet.
    #[default]
    Nothing,
    /// That it is sent.
    Sent,
    /// That nobody knows.
    Unknown,
    /// That it is not sent.
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

/// What is in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Messages that were reported as sent.
    pub sent: usize,
    /// Messages of which nobody knows whether they were sent.
    pub unknown: usize,
    /// Messages that were reported as not sent.
    pub failed: usize,
    /// Messages that were received.
    pub received: usize,
    /// Messages that were reported as sent and not received.
    pub lost: usize,
    /// Messages that were received more than once, or though reported as not sent.
    pub duplicates: usize,
    /// What happened to those that are wrong.
    pub stories: Vec<String>,
}

/// What stands for a Message-ID.
pub fn mark(message_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    message_id.hash(&mut hasher);
    hasher.finish()
}

impl Books {
    /// The sender was told this.
    pub fn told(&mut self, mark: u64, account: u8, told: Told, at: u32) {
        let page = self.0.entry(mark).or_default();
        (page.told, page.account, page.told_at) = (told, account, at);
    }

    /// It was received.
    pub fn received(&mut self, mark: u64, account: u8, at: u32) {
        let page = self.0.entry(mark).or_default();
        page.received = page.received.saturating_add(1);
        (page.account, page.received_at) = (account, at);
    }

    /// How many are on their way.
    pub fn missing(&self) -> usize {
        self.0.values().filter(|page| page.told == Told::Sent && page.received == 0).count()
    }

    /// What is in them.
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
