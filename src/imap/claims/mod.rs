//! Several consumers of one mailbox: a message is handed to whoever has claimed it first, in a log that all share.

mod log;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::log::{Consumer, Entry, Line, Ownership, Word, obsolete, read, write};
use super::Imap;
use super::known::Settled;
use crate::error::{Error, ErrorKind, Result};
use crate::link::Session as _;
use crate::message::is_ours;
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// How much longer than a lease somebody's silence is waited for: clocks do not run alike.
const MARGIN: Duration = Duration::from_secs(1);

/// How often a handle that lost a race runs another one before it says that there is nothing for it.
const MOST_RACES: usize = 20;

/// The name of the log, within the archive.
const LOG: &str = "claims";

/// One handle's part in sharing a mailbox.
#[derive(Debug)]
pub(super) struct Claims {
    me: Consumer,
    lease: Duration,
    view: Mutex<View>,
}

/// The log as it was read last, which may be old: it guides, and what is decided is read again.
#[derive(Debug, Default)]
struct View {
    entries: Vec<Entry>,
    /// What the inbox had when it was searched, if that was after these entries were read.
    present: Option<UidSet>,
    /// Entries about an earlier life of the inbox.
    outlived: Vec<Uid>,
    ownership: Ownership,
    read: Option<Instant>,
    /// Each consumer's last word, and since when it has been the last.
    heard: HashMap<Consumer, (Uid, Instant)>,
    /// Just before this handle's last word was said.
    renewed: Option<Instant>,
}

impl Claims {
    pub(super) fn new(lease: Duration) -> Result<Self> {
        let mut bits = [0; 16];
        let random = getrandom::fill(&mut bits);
        random.map_err(|e| Error::new(ErrorKind::Runtime, "no random numbers").with_source(e))?;
        Ok(Self { me: Consumer(u128::from_be_bytes(bits)), lease, view: Mutex::default() })
    }

    /// The messages among the candidates that this handle has, after claiming some if it has less than a batch;
    /// and whether there are more.
    ///
    /// The inbox was selected anew after the claim was read: what another consumer has acknowledged before is
    /// gone from it.
    pub(super) fn claim(
        &self,
        session: &mut ImapSession,
        wanted: &UidSet,
        present: &UidSet,
        imap: &Imap,
    ) -> Result<(UidSet, bool)> {
        let mut view = self.view.lock();
        let most = imap.config.batch;
        view.present = Some(present.clone());
        let is_old = view.read.is_none_or(|read| read.elapsed() > self.lease / 10);
        if is_old && !wanted.is_empty() {
            read_log(session, &mut view)?;
        }
        for _ in 0..MOST_RACES {
            let (mine, more) = view.of(self.me, wanted).first(most);
            let Some(word) = self.next_word(session, &mut view, wanted, most - mine.len(), imap)? else {
                self.stay(session, &mut view)?;
                let (mine, more) = view.of(self.me, wanted).first(most);
                return Ok((mine, more));
            };
            self.say(session, &mut view, &word)?;
            read_log(session, &mut view)?;
            let (now_mine, _) = view.of(self.me, wanted).first(most);
            if !now_mine.is_empty() {
                let more = more || wanted.len() > now_mine.len();
                return Ok((now_mine, more));
            }
        }
        Ok((UidSet::none(wanted.validity()), false))
    }

    /// What to say in order to have this many more messages; nothing when there is nothing to be had.
    fn next_word(
        &self,
        session: &mut ImapSession,
        view: &mut View,
        wanted: &UidSet,
        room: usize,
        imap: &Imap,
    ) -> Result<Option<Word>> {
        let mut left = wanted.clone();
        loop {
            let free = view.some_free(self.me, &left, room);
            if free.is_empty() {
                break;
            }
            let ours = ours_of(session, &free, imap)?;
            if !ours.is_empty() {
                return Ok(Some(Word::Claim(ours)));
            }
            left.retain(|uid| !free.contains(uid));
        }
        let silence = self.lease + MARGIN;
        Ok(if room == 0 { None } else { view.left_behind(self.me, wanted, room, silence) })
    }

    /// That this handle still has these messages; lets nobody be in doubt about it.
    pub(super) fn assure(&self, session: &mut ImapSession, uids: &UidSet) -> Result<()> {
        let mut view = self.view.lock();
        if uids.validity() != session.validity() {
            return Ok(()); // They are other mails now, and found by their Message-IDs or not at all.
        }
        self.stay(session, &mut view)?;
        let lost = uids.iter().filter(|uid| view.ownership.owner(*uid) != Some(self.me)).count();
        if lost == 0 {
            return Ok(());
        }
        let text = format!("the lease ran out, and {lost} of {} messages are another consumer's", uids.len());
        Err(Error::new(ErrorKind::Refused, text).with_code(Some("LEASE".into())))
    }

    /// These have left the inbox.
    pub(super) fn release(&self, uids: &UidSet) {
        self.view.lock().ownership.forget(uids);
    }

    /// A sign of life: to the other consumers too, as long as this one has messages.
    pub(super) fn beat(&self, session: &mut ImapSession) -> Result<()> {
        let mut view = self.view.lock();
        let is_due = view.renewed.is_none_or(|renewed| renewed.elapsed() > self.lease / 5);
        if is_due && view.ownership.has_any(self.me) {
            return self.say(session, &mut view, &Word::Hold);
        }
        session.noop()
    }

    /// Lets go of everything, so that nobody has to wait for the lease.
    pub(super) fn farewell(&self, session: &mut ImapSession) {
        let mut view = self.view.lock();
        if view.ownership.has_any(self.me)
            && let Err(error) = self.say(session, &mut view, &Word::Bye)
        {
            tracing::warn!(%error, "unacknowledged messages are held until the lease is over");
        }
    }

    /// Renews the lease in time; when it is over, looks what is left.
    fn stay(&self, session: &mut ImapSession, view: &mut View) -> Result<()> {
        let age = view.renewed.map_or(Duration::MAX, |renewed| renewed.elapsed());
        if age < self.lease / 3 || !view.ownership.has_any(self.me) {
            return Ok(());
        }
        self.say(session, view, &Word::Hold)?;
        // Nobody takes from whoever was silent for less than a lease.
        if age < self.lease { Ok(()) } else { read_log(session, view) }
    }

    fn say(&self, session: &mut ImapSession, view: &mut View, word: &Word) -> Result<()> {
        let text = write(self.me, session.validity(), word);
        let mail = format!("Subject: pymail claims\r\nFrom: pymail@localhost\r\n\r\n{text}\r\n");
        let now = Instant::now();
        session.append(&session.beside_the_archive(LOG), mail.as_bytes())?;
        view.renewed = Some(now);
        Ok(())
    }
}

/// Reads the log, and removes from it what means nothing any more.
fn read_log(session: &mut ImapSession, view: &mut View) -> Result<()> {
    let drop = view.meaningless();
    let texts = session.log(&session.beside_the_archive(LOG), &drop)?;
    let mut entries = Vec::new();
    for (at, text) in texts {
        match read(at, &String::from_utf8_lossy(&text), session.validity()) {
            Line::Entry(entry) => entries.push(entry),
            Line::Outlived => view.outlived.push(at),
            Line::Other => {}
        }
    }
    view.take_in(entries);
    Ok(())
}

/// Those of them that are ours by their headers; the others are not for us to claim.
fn ours_of(session: &mut ImapSession, uids: &UidSet, imap: &Imap) -> Result<UidSet> {
    let mut ours = Vec::new();
    for chunk in uids.chunks() {
        for (uid, headers) in session.identities(&chunk)? {
            if is_ours(&headers, &imap.config.common.tag) {
                ours.push(uid);
            } else if !headers.is_empty() {
                imap.known.lock().settle(uids.validity(), uid, Settled::Foreign);
            }
        }
    }
    Ok(UidSet::new(uids.validity(), ours))
}

impl View {
    /// The entries that mean nothing any more.
    ///
    /// An entry that was read after the search may be about a message that came after it, and is not there to be
    /// found: of such ones nothing is said before the next search.
    fn meaningless(&mut self) -> Vec<Uid> {
        let present = self.present.take();
        let mut entries = present.map(|present| obsolete(&self.entries, &present)).unwrap_or_default();
        entries.append(&mut self.outlived);
        entries
    }

    fn take_in(&mut self, mut entries: Vec<Entry>) {
        let now = Instant::now();
        entries.sort_by_key(|entry| entry.at);
        self.ownership = Ownership::of(&entries);
        self.entries = entries;
        self.present = None;
        self.read = Some(now);
        let before = std::mem::take(&mut self.heard);
        self.heard = self
            .ownership
            .newest()
            .map(|(consumer, at)| {
                let same = before.get(&consumer).filter(|(last, _)| *last == at);
                (consumer, *same.unwrap_or(&(at, now)))
            })
            .collect();
    }

    /// The messages that somebody has.
    fn of(&self, consumer: Consumer, wanted: &UidSet) -> UidSet {
        self.that(wanted, |owner| owner == Some(consumer))
    }

    /// Messages that nobody has: the oldest, or some of them when others are after them too.
    fn some_free(&self, me: Consumer, wanted: &UidSet, room: usize) -> UidSet {
        let free = self.that(wanted, |owner| owner.is_none());
        let is_alone = self.heard.keys().all(|consumer| *consumer == me);
        let spare = free.len().saturating_sub(room);
        let random = getrandom::u32().unwrap_or(0) as usize;
        let skipped = if is_alone || room == 0 { 0 } else { random % (spare / room.max(1) + 1) * room };
        UidSet::new(free.validity(), free.iter().skip(skipped).take(room))
    }

    /// How to take messages from a consumer that nobody has heard of for that long.
    fn left_behind(&self, me: Consumer, wanted: &UidSet, room: usize, silence: Duration) -> Option<Word> {
        let silent = self.heard.iter().filter(|(who, (_, since))| **who != me && since.elapsed() > silence);
        silent.into_iter().find_map(|(from, (last_seen, _))| {
            let (uids, _) = self.of(*from, wanted).first(room);
            (!uids.is_empty()).then_some(Word::Take { from: *from, last_seen: *last_seen, uids })
        })
    }

    fn that(&self, wanted: &UidSet, is_so: impl Fn(Option<Consumer>) -> bool) -> UidSet {
        let mut uids = wanted.clone();
        uids.retain(|uid| is_so(self.ownership.owner(uid)));
        uids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uid::UidValidity;

    fn uids(numbers: &[u32]) -> UidSet {
        UidSet::new(UidValidity::new(7, "inbox"), numbers.iter().filter_map(|&n| Uid::new(n)))
    }

    #[test]
    fn a_claim_to_a_message_that_came_after_the_search_is_kept() {
        let claim = |at, numbers: &[u32]| {
            let (at, word) = (Uid::new(at).unwrap(), Word::Claim(uids(numbers)));
            Entry { at, by: Consumer(at.get().into()), word }
        };
        let mut view = View::default();
        view.take_in(vec![claim(1, &[1]), claim(2, &[2])]);
        view.present = Some(uids(&[2]));
        assert_eq!(view.meaningless(), [Uid::new(1).unwrap()]);
        view.take_in(vec![claim(2, &[2]), claim(3, &[3])]);
        assert_eq!(view.meaningless(), [], "3 came after the search");
        view.present = Some(uids(&[2, 3]));
        assert_eq!(view.meaningless(), []);
    }
}
