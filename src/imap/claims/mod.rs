//! Several consumers of one mailbox: a message is handed to whoever has claimed it first, in a log that all share.

mod log;
mod ownership;
#[cfg(test)]
mod tests;
mod view;

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::log::{Consumer, Line, Word, read, write};
use self::view::View;
use super::Imap;
use super::headers::headers;
use super::known::Settled;
use crate::config::ImapConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::link::Session as _;
use crate::message::{Origin, origin};
use crate::python::ImapSession;
use crate::uid::UidSet;

/// How much longer than a lease somebody's silence is waited for: clocks do not run alike.
const MARGIN: Duration = Duration::from_secs(1);

/// How often a handle that lost a race runs another one before it says that there is nothing for it.
const MOST_RACES: usize = 20;

/// More claims to messages than this, no log has: what it says takes time and memory, and a server may say anything.
const MOST_CLAIMED: usize = 500_000;

/// So many messages are claimed at once at most, which an entry has room for.
const MOST_AT_ONCE: usize = 4_000;

/// One handle's part in sharing a mailbox.
#[derive(Debug)]
pub(super) struct Claims {
    me: Consumer,
    lease: Duration,
    /// The log's name, within the archive.
    log: String,
    view: Mutex<View>,
}

impl Claims {
    pub(super) fn new(lease: Duration, config: &ImapConfig) -> Result<Self> {
        let mut bits = [0; 16];
        let random = getrandom::fill(&mut bits);
        random.map_err(|e| Error::new(ErrorKind::Runtime, "no random numbers").with_source(e))?;
        let log = log::name(&config.inbox, &config.common.tag, config.archive_name());
        Ok(Self { me: Consumer(u128::from_be_bytes(bits)), lease, log, view: Mutex::default() })
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
            self.read_log(session, &mut view)?;
        }
        for _ in 0..MOST_RACES {
            let (mine, more) = view.of(self.me, wanted).first(most);
            let room = (most - mine.len()).min(MOST_AT_ONCE);
            let Some(word) = self.next_word(session, &mut view, wanted, room, imap)? else {
                self.stay(session, &mut view)?;
                let (mine, more) = view.of(self.me, wanted).first(most);
                return Ok((mine, more));
            };
            self.say(session, &mut view, &word)?;
            self.read_log(session, &mut view)?;
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
        let lost = uids.iter().filter(|uid| !view.is_had_by(self.me, uids.validity(), *uid)).count();
        if lost == 0 {
            return Ok(());
        }
        let text = format!("the lease ran out, and {lost} of {} messages are another consumer's", uids.len());
        Err(Error::new(ErrorKind::Refused, text).with_code(Some("LEASE".into())))
    }

    /// These have left the inbox.
    pub(super) fn release(&self, uids: &UidSet) {
        self.view.lock().release(uids);
    }

    /// A sign of life: to the other consumers too, as long as this one has messages.
    pub(super) fn beat(&self, session: &mut ImapSession) -> Result<()> {
        let mut view = self.view.lock();
        let is_due = view.renewed.is_none_or(|renewed| renewed.elapsed() > self.lease / 5);
        if is_due && view.ownership.has_any(self.me) {
            return self.hold(session, &mut view);
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

    /// Renews the lease in time.
    fn stay(&self, session: &mut ImapSession, view: &mut View) -> Result<()> {
        let age = view.renewed.map_or(Duration::MAX, |renewed| renewed.elapsed());
        if (age < self.lease / 3 && !view.is_in_doubt) || !view.ownership.has_any(self.me) {
            return Ok(());
        }
        self.hold(session, view)
    }

    /// Renews the lease; when it was over by then, looks what is left.
    fn hold(&self, session: &mut ImapSession, view: &mut View) -> Result<()> {
        self.say(session, view, &Word::Hold)?;
        if view.is_in_doubt { self.read_log(session, view) } else { Ok(()) }
    }

    fn say(&self, session: &mut ImapSession, view: &mut View, word: &Word) -> Result<()> {
        let text = write(self.me, session.validity(), word);
        let mail = format!("Subject: pymail claims\r\nFrom: pymail@localhost\r\n\r\n{text}\r\n");
        let now = Instant::now();
        session.append(&session.beside_the_archive(&self.log), mail.as_bytes())?;
        // Nobody takes from whoever was silent for less than a lease, by when the word has arrived.
        view.is_in_doubt |= view.renewed.is_some_and(|before| before.elapsed() >= self.lease);
        view.renewed = Some(now);
        Ok(())
    }

    /// Reads the log, and removes from it what means nothing any more.
    fn read_log(&self, session: &mut ImapSession, view: &mut View) -> Result<()> {
        let drop = view.meaningless();
        let texts = session.log(&session.beside_the_archive(&self.log), &drop)?;
        let mut entries = Vec::new();
        let mut claimed = 0;
        for (at, text) in texts {
            match read(at, &String::from_utf8_lossy(&text), session.validity()) {
                Line::Entry(entry) => {
                    claimed += entry.len();
                    if claimed > MOST_CLAIMED {
                        let text = format!("reading the log: it has more than {MOST_CLAIMED} claims");
                        return Err(Error::new(ErrorKind::Refused, text));
                    }
                    entries.push(entry);
                }
                Line::Outlived => view.outlived.push(at),
                Line::Other => {}
            }
        }
        view.take_in(entries);
        Ok(())
    }
}

/// Returns those of these messages that are not foreign by their headers. What the server does not tell of is claimed,
/// too, so that one consumer reports it.
fn ours_of(session: &mut ImapSession, uids: &UidSet, imap: &Imap) -> Result<UidSet> {
    let (mut ours, told) = (uids.clone(), headers(session, imap, uids)?);
    ours.retain(|uid| {
        let origin = told.get(&uid).map(|it| origin(&it.octets, it.are_cut, &imap.config.common.tag));
        let is_foreign = origin == Some(Origin::Foreign);
        if is_foreign {
            imap.known.lock().settle(uids.validity(), uid, Settled::Foreign);
        }
        !is_foreign
    });
    Ok(ours)
}
