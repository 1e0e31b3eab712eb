//! A look at the inbox: some messages that were chosen, and what becomes of each.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::asking::{Asked, Trouble, Wanted, has_lost_enough, obtain};
use super::batch::Fate;
use super::cursor::Cursor;
use super::doubts::Doubt;
use super::headers::headers_of_one;
use super::known::{Settled, Waiting};
use super::reader::{Reader, too_large};
use super::windows::{FirstLooks, WholeMails, read_while_they_come};
use super::{Delivery, Imap};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Origin, origin};
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet, UidValidity};

/// The time for a message that is asked for alone, where it has kept a whole deadline waiting: this share, and twice as
/// much each time it fails.
const SHARES: u32 = 8;

/// What is left when a look has ended.
pub(super) struct Seen {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) more: bool,
}

/// Messages that were chosen, on whatever connections they come.
pub(super) struct Look<'a> {
    imap: &'a Imap,
    pub(super) validity: UidValidity,
    reader: Reader<'a>,
    /// Those of which nothing is known.
    small: UidSet,
    /// Those to be fetched whole, once that is known.
    large: Option<Vec<Waiting>>,
    /// Asked for, and the server has nothing of them.
    absent: BTreeSet<Uid>,
    /// Failed when they were asked for alone.
    withheld: Vec<(Uid, Error)>,
    /// All that were chosen.
    chosen: BTreeSet<Uid>,
    /// Whether others wait.
    more: bool,
    /// Whether the archive was looked into, or was not to be.
    is_recalled: bool,
}

impl<'a> Look<'a> {
    /// At new messages that have been read in one flight.
    pub(super) fn at_new(imap: &'a Imap, new: UidSet, reader: Reader<'a>) -> Self {
        let chosen = new.iter().collect();
        Self { is_recalled: true, ..Self::new(imap, new.validity(), reader, (new, chosen), false) }
    }

    /// At these messages.
    pub(super) fn at(imap: &'a Imap, validity: UidValidity, chosen: &[Waiting], more: bool) -> Self {
        let (mut small, mut large, mut aside) = (Vec::new(), Vec::new(), Vec::new());
        let mut known = imap.known.lock();
        for &(uid, size) in chosen {
            match (known.doubts().get(uid), size) {
                (Some(doubt), _) if doubt.is_due() => {}
                (Some(doubt), _) => aside.push((uid, doubt.error.clone())),
                (None, Some(size)) => large.push((uid, size)),
                (None, None) => small.push(uid),
            }
        }
        drop(known);
        let mut reader = Reader::new(imap, validity, large);
        // The error of the last time stands in place of what is not to be tried again yet.
        aside
            .into_iter()
            .for_each(|(uid, error)| reader.deliver_error(uid, withheld(uid, error), Fate::Stay));
        let uids = chosen.iter().map(|(uid, _)| *uid).collect();
        Self::new(imap, validity, reader, (UidSet::new(validity, small), uids), more)
    }

    fn new(
        imap: &'a Imap,
        validity: UidValidity,
        reader: Reader<'a>,
        (small, chosen): (UidSet, BTreeSet<Uid>),
        more: bool,
    ) -> Self {
        Self {
            imap,
            validity,
            reader,
            small,
            large: None,
            absent: BTreeSet::new(),
            withheld: Vec::new(),
            chosen,
            more,
            is_recalled: false,
        }
    }

    /// Returns whether the archive should be looked into first; says so once.
    pub(super) fn asks_for_recall(&mut self) -> bool {
        !self.chosen.is_empty() && !std::mem::replace(&mut self.is_recalled, true)
    }

    /// Asks for all that are not doubtful.
    pub(super) fn fetch(&mut self, session: &mut ImapSession, trouble: &mut Trouble) -> Result<()> {
        let imap = self.imap;
        obtain(session, imap, trouble, &mut Firsts(self))?;
        if self.large.is_none() {
            let large = self.reader.large().into_iter().map(|(uid, size)| (uid, Some(size)));
            self.large = Some(large.collect());
        }
        obtain(session, imap, trouble, &mut Wholes(self))?;
        if trouble.stopped.is_none() {
            self.look_for_absent(session)?;
        }
        if !trouble.has_refusals() && !self.chosen.is_empty() {
            imap.known.lock().is_put_off(false);
        }
        Ok(())
    }

    /// A server that has nothing of a message, and finds it when it is searched for, does not tell all.
    fn look_for_absent(&mut self, session: &mut ImapSession) -> Result<()> {
        let absent = UidSet::new(self.validity, std::mem::take(&mut self.absent));
        for part in absent.chunks() {
            let present = session.search(&format!("UID {part}"))?;
            let mut known = self.imap.known.lock();
            for uid in part.iter() {
                if present.contains(uid) {
                    known.doubts().suspect(uid, &nothing_came());
                } else {
                    self.absent.insert(uid);
                }
            }
        }
        Ok(())
    }

    /// Returns whether there is anything to deliver.
    pub(super) fn has_any(&self) -> bool {
        self.reader.has_any()
    }

    /// Chooses nothing any more: the inbox was made anew.
    pub(super) fn is_over(&mut self) {
        self.chosen.clear();
        self.more = true;
    }

    /// Asks for each of the doubtful ones alone, each with a connection of its own if need be.
    pub(super) fn try_alone(&mut self, trouble: &mut Trouble, deadline: Deadline) {
        for uid in self.doubtful() {
            if self.reader.has_read(uid) {
                self.imap.known.lock().doubts().acquit(uid);
            } else if trouble.stopped.is_none() && !self.reader.is_full() && !deadline.left().is_zero() {
                self.try_one(uid, trouble, deadline);
            }
        }
    }

    fn doubtful(&self) -> Vec<Uid> {
        let mut known = self.imap.known.lock();
        let doubts = known.doubts();
        let is_to_be_tried = |uid: &Uid| doubts.get(*uid).is_some_and(Doubt::is_due);
        self.chosen.iter().copied().filter(is_to_be_tried).collect()
    }

    fn try_one(&mut self, uid: Uid, trouble: &mut Trouble, deadline: Deadline) {
        let imap = self.imap;
        let doubt = imap.known.lock().doubts().get(uid).cloned();
        if doubt.as_ref().is_some_and(|doubt| doubt.failures > 0) && has_lost_enough(imap) {
            return;
        }
        let slow = doubt.filter(|doubt| doubt.error.is_timeout());
        let limit = slow.map_or(deadline, |doubt| deadline.share((SHARES >> doubt.failures.min(3)).max(1)));
        let (began, mut is_asked) = (Instant::now(), false);
        let answer = imap.link.once(limit, |session| {
            is_asked = true;
            self.ask_alone(session, uid)
        });
        let error = match answer {
            Ok(Alone::Came) => {
                trouble.came();
                return imap.known.lock().doubts().acquit(uid);
            }
            Ok(Alone::Gone) => {
                self.absent.insert(uid);
                return;
            }
            Ok(Alone::Failed(error)) => {
                trouble.refused(imap, &error, false);
                error
            }
            Err(error) if is_asked && is_about_the_message(&error) => {
                trouble.lost(imap, &error, false);
                error
            }
            Err(error) => return trouble.stop(error),
        };
        let backoff = imap.config.common.upkeep.backoff;
        imap.known.lock().doubts().withhold(uid, &error, began.elapsed(), backoff);
        self.withheld.push((uid, error));
    }

    fn ask_alone(&mut self, session: &mut ImapSession, uid: Uid) -> Result<Alone> {
        if session.validity() != self.validity {
            return Ok(Alone::Gone);
        }
        let one = UidSet::new(self.validity, [uid]);
        let mut failure = Firsts(self).ask(session, &one)?.failure;
        if failure.is_none()
            && let Some((uid, size)) = self.reader.take_large(uid)
        {
            failure = self.fetch_whole(session, &[(uid, size)])?.failure;
        }
        Ok(match failure {
            Some(failure) if failure.error.ends_connection() => return Err(failure.error),
            Some(failure) => Alone::Failed(failure.error),
            None if self.reader.has_read(uid) => Alone::Came,
            None if session.search(&format!("UID {uid}"))?.contains(uid) => Alone::Failed(nothing_came()),
            None => Alone::Gone,
        })
    }

    /// Puts errors in place of those that can't be had, unless they turn out to be foreign.
    ///
    /// When nothing at all has come, of several messages, it is the server that is to blame. A walk goes on all the same.
    pub(super) fn report(&mut self, is_a_walk: bool, trouble: &mut Trouble, deadline: Deadline) {
        let mut reported = Vec::new();
        let (mut is_well, has_given_up) = (self.reader.came() > 0, trouble.stopped.is_some());
        for (uid, error) in std::mem::take(&mut self.withheld) {
            let origin = self.origin_of(uid, trouble, deadline);
            is_well |= origin.is_some();
            reported.push((uid, origin, error));
        }
        if !is_well && (reported.len() > 1 || has_given_up) && !is_a_walk {
            for (uid, _, error) in reported {
                self.imap.known.lock().doubts().retry_soon(uid, &error);
                trouble.stop(error);
            }
            return;
        }
        let others_came = self.reader.came() > 0;
        for (uid, origin, error) in reported {
            let origin = origin.unwrap_or(Origin::Undecided);
            let error =
                if origin == Origin::Ours { self.too_large(uid, error, trouble, deadline) } else { error };
            self.report_one(uid, origin, error, others_came);
        }
        for (uid, error) in self.reader.take_unjudged() {
            let origin = self.origin_of(uid, trouble, deadline).unwrap_or(Origin::Undecided);
            self.report_unjudged(uid, origin, error);
        }
    }

    /// Whose a message is by its headers; nothing where the server does not tell.
    fn origin_of(&mut self, uid: Uid, trouble: &mut Trouble, deadline: Deadline) -> Option<Origin> {
        let doubt = self.imap.known.lock().doubts().get(uid).cloned();
        if doubt.is_some_and(|doubt| doubt.is_ours) {
            return Some(Origin::Ours);
        }
        let headers = self.ask_about(uid, trouble, deadline, headers_of_one)??;
        Some(origin(&headers.octets, headers.are_cut, &self.imap.config.common.tag))
    }

    /// What there is to be known about a message without fetching it.
    fn ask_about<T: Send>(
        &self,
        uid: Uid,
        trouble: &mut Trouble,
        deadline: Deadline,
        ask: impl FnOnce(&mut ImapSession, Uid) -> Result<T> + Send,
    ) -> Option<T> {
        if trouble.stopped.is_some() || deadline.left().is_zero() {
            return None;
        }
        let mut is_asked = false;
        let answer = self.imap.link.once(deadline.share(SHARES), |session| {
            session.check(&UidSet::none(self.validity))?;
            is_asked = true;
            ask(session, uid)
        });
        let error = match answer {
            Ok(answer) => return Some(answer),
            Err(error) => error,
        };
        if is_asked && is_about_the_message(&error) {
            trouble.lost(self.imap, &error, false);
        }
        None
    }

    /// A message that the server can't be kept from sending whole may be too large.
    fn too_large(&self, uid: Uid, error: Error, trouble: &mut Trouble, deadline: Deadline) -> Error {
        if error.kind() != ErrorKind::Disconnected {
            return error;
        }
        let limit = self.imap.config.max_message;
        let one = UidSet::new(self.validity, [uid]);
        let sizes = self.ask_about(uid, trouble, deadline, |session, _| session.sizes(&one));
        let size = sizes.iter().flatten().find(|(_, size)| *size > limit as u64);
        size.map_or(error, |(_, size)| too_large(uid, *size, limit))
    }

    fn report_one(&mut self, uid: Uid, origin: Origin, error: Error, others_came: bool) {
        match origin {
            Origin::Foreign => self.imap.known.lock().settle(self.validity, uid, Settled::Foreign),
            Origin::Ours => {
                self.imap.known.lock().doubts().get_mut(uid).into_iter().for_each(|it| it.is_ours = true);
                let fate = if self.is_dead(uid, &error, others_came) { Fate::Bury } else { Fate::Stay };
                self.withhold(uid, error, fate);
            }
            Origin::Undecided => self.withhold(uid, error, Fate::Stay),
        }
    }

    /// What is too large is withheld only where nothing shows that it is ours.
    fn report_unjudged(&mut self, uid: Uid, origin: Origin, error: Error) {
        match origin {
            Origin::Foreign => self.imap.known.lock().settle(self.validity, uid, Settled::Foreign),
            Origin::Ours => self.reader.deliver_error(uid, error, Fate::Archive),
            Origin::Undecided => {
                let backoff = self.imap.config.common.upkeep.backoff;
                self.imap.known.lock().doubts().withhold(uid, &error, Duration::ZERO, backoff);
                self.withhold(uid, error, Fate::Stay);
            }
        }
    }

    /// Returns whether a message goes to the dead letters: when others came and this one is no passing matter, or when it
    /// has failed often enough.
    fn is_dead(&self, uid: Uid, error: &Error, others_came: bool) -> bool {
        let failures = self.imap.known.lock().doubts().get(uid).map_or(0, |doubt| doubt.failures);
        let is_passing = error.is_timeout() || (error.kind() == ErrorKind::Refused && error.is_transient());
        let most = self.imap.config.dead_letters;
        most.is_some_and(|most| failures >= most || (others_came && !is_passing))
    }

    fn withhold(&mut self, uid: Uid, error: Error, fate: Fate) {
        let error = withheld(uid, error);
        self.imap.known.lock().doubts().get_mut(uid).into_iter().for_each(|it| it.is_reported = true);
        tracing::warn!(%uid, %error, "the server does not give out a message");
        self.imap.link.count(|counts| counts.withheld += 1);
        self.reader.deliver_error(uid, error, fate);
    }

    /// Ends the look: what is settled, what is left behind by the cursor, and what is delivered.
    pub(super) fn end(self, cursor: &mut Cursor) -> Seen {
        let last = self.reader.last().max(cursor.at(self.validity).1);
        let is_open = |uid: &Uid| !self.reader.has_read(*uid) && !self.absent.contains(uid);
        let open: Vec<Uid> = self.chosen.iter().copied().filter(is_open).collect();
        let more = self.more || self.reader.is_full() || !open.is_empty();
        let gone = self.absent.iter().chain(self.reader.deleted());
        let mut known = self.imap.known.lock();
        known.gone(&UidSet::new(self.validity, gone.copied()));
        drop(known);
        for uid in self.reader.spent() {
            tracing::info!(%uid, "a second copy of an acknowledged message is not delivered");
        }
        cursor.go_to(self.validity, last, open.into_iter().filter(|uid| Some(*uid) <= last).collect());
        Seen { deliveries: self.reader.deliveries(), more }
    }

    fn fetch_whole(&mut self, session: &mut ImapSession, mails: &[(Uid, u64)]) -> Result<Asked> {
        let mut whole = WholeMails { validity: self.validity, mails, config: &self.imap.config };
        let reader = &mut self.reader;
        let failure =
            read_while_they_come(session, None, &mut whole, |mails, most| reader.take_whole(mails, most))?;
        let unasked = UidSet::new(self.validity, whole.mails.iter().map(|(uid, _)| *uid));
        Ok(Asked { failure, unasked })
    }
}

/// The outcome of asking for one message.
enum Alone {
    Came,
    /// It has left the inbox.
    Gone,
    Failed(Error),
}

/// Returns whether an error while a message was asked for alone may be its fault.
fn is_about_the_message(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout)
}

/// Says which message the server does not give out.
fn withheld(uid: Uid, error: Error) -> Error {
    if error.kind() == ErrorKind::TooLarge {
        return error;
    }
    let text = format!("message UID {uid} is not given out: {error}");
    let named = Error::new(error.kind(), text).with_code(error.code().map(str::to_owned));
    named.with_retry_after(error.retry_after()).with_source(error)
}

fn nothing_came() -> Error {
    Error::message("FETCH: the server sends nothing of it, and finds it")
}

/// First looks at those of which nothing is known.
struct Firsts<'l, 'a>(&'l mut Look<'a>);

impl Wanted for Firsts<'_, '_> {
    fn missing(&self) -> UidSet {
        let mut missing = self.0.reader.unseen(self.0.small.clone());
        missing.retain(|uid| !self.0.absent.contains(&uid));
        missing
    }

    fn ask(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Asked> {
        let Look { imap, reader, .. } = &mut *self.0;
        let sizes = *imap.known.lock().sizes();
        let mut looks = FirstLooks::new(part, sizes, reader.room(), &imap.config);
        let failure =
            read_while_they_come(session, None, &mut looks, |mails, most| reader.take(mails, most))?;
        *imap.known.lock().sizes() = looks.sizes();
        Ok(Asked { failure, unasked: looks.unasked() })
    }

    fn came(&self) -> usize {
        self.0.reader.came()
    }

    /// What there was no room for has come, too.
    fn are_absent(&mut self, uids: &UidSet) {
        if !self.0.reader.is_full() {
            self.0.absent.extend(uids.iter());
        }
    }
}

/// Those that are fetched whole.
struct Wholes<'l, 'a>(&'l mut Look<'a>);

impl Wanted for Wholes<'_, '_> {
    fn missing(&self) -> UidSet {
        let large = self.0.large.iter().flatten().map(|(uid, _)| *uid);
        let is_open = |uid: &Uid| !self.0.reader.has_read(*uid) && !self.0.absent.contains(uid);
        UidSet::new(self.0.validity, large.filter(is_open))
    }

    fn ask(&mut self, session: &mut ImapSession, part: &UidSet) -> Result<Asked> {
        let large = self.0.large.iter().flatten().filter(|(uid, _)| part.contains(*uid));
        let mails: Vec<(Uid, u64)> = large.filter_map(|(uid, size)| Some((*uid, (*size)?))).collect();
        self.0.fetch_whole(session, &mails)
    }

    fn came(&self) -> usize {
        self.0.reader.came()
    }

    fn are_absent(&mut self, uids: &UidSet) {
        self.0.absent.extend(uids.iter());
    }
}
