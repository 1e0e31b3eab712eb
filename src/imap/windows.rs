//! In which portions the mails of a batch are asked for: bounded in octets, and large enough to be few.
//!
//! Some servers look through a whole mailbox after each command (Dovecot, with maildir): many small windows cost more
//! than they hide.

use super::reader::Reader;
use crate::config::ImapConfig;
use crate::python::{Fetching, Mail, Window};
use crate::uid::{Uid, UidSet};

/// The first look takes so much of each mail at most, and at least, by how large the mails before were.
const MOST: usize = 128 << 10;
const LEAST: usize = 16 << 10;

/// A mail is unlikely to be so many times as large as those before it.
const SPREAD: usize = 8;

/// What the first looks of a window may be together.
const OCTETS: usize = 32 << 20;

/// The same for large mails, whose sizes are known.
const LARGE_OCTETS: u64 = 8 << 20;

/// How much of each mail to look at, when so much would do.
pub(super) fn look(wanted: usize, config: &ImapConfig) -> usize {
    wanted.clamp(LEAST, MOST).min(config.max_message)
}

/// Looks at mails of which nothing is known.
pub(super) struct FirstLooks<'r, 'a> {
    reader: &'r mut Reader<'a>,
    uids: &'r UidSet,
    asked: usize,
    is_waiting: bool,
    config: &'r ImapConfig,
}

impl<'r, 'a> FirstLooks<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>, uids: &'r UidSet, config: &'r ImapConfig) -> Self {
        Self { reader, uids, asked: 0, is_waiting: false, config }
    }
}

impl Fetching for FirstLooks<'_, '_> {
    fn next(&mut self) -> Option<Window> {
        let typical = self.reader.typical();
        if self.reader.is_full() || (typical.is_none() && self.is_waiting) {
            return None; // The first ones tell how large the others are.
        }
        self.is_waiting = true;
        let most = look(typical.map_or(MOST, |size| size.saturating_mul(SPREAD)), self.config);
        let count = (OCTETS.min(self.config.batch_bytes) / most).max(1);
        let uids = self.uids.window(self.asked, count);
        self.asked += uids.len();
        (!uids.is_empty()).then_some(Window { uids, most, room: count * most })
    }

    fn take(&mut self, mails: Vec<Mail>, most: usize) {
        self.is_waiting = false;
        self.reader.take(mails, most);
    }
}

/// Fetches large mails, which there is room for.
pub(super) struct WholeMails<'r, 'a> {
    reader: &'r mut Reader<'a>,
    mails: &'r [(Uid, u64)],
    config: &'r ImapConfig,
}

impl<'r, 'a> WholeMails<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>, mails: &'r [(Uid, u64)], config: &'r ImapConfig) -> Self {
        Self { reader, mails, config }
    }
}

impl Fetching for WholeMails<'_, '_> {
    fn next(&mut self) -> Option<Window> {
        let mut room = LARGE_OCTETS;
        let fits = self.mails.iter().take_while(|(_, size)| {
            let before = room;
            room = room.saturating_sub(*size);
            *size <= before
        });
        let count = fits.count().max(1).min(self.mails.len());
        let (window, rest) = self.mails.split_at(count);
        self.mails = rest;
        let uids = self.reader.set(window.iter().map(|(uid, _)| *uid));
        let most = self.config.max_message + 1;
        let room = most.max(self.config.batch_bytes);
        (!uids.is_empty()).then_some(Window { uids, most, room })
    }

    fn take(&mut self, mails: Vec<Mail>, _most: usize) {
        self.reader.take_whole(mails);
    }
}
