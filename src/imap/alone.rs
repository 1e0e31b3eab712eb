//! Messages that failed together with others: each is asked for alone, and what fails then is an error in its place.

use std::time::{Duration, Instant};

use super::asking::{Trouble, Wanted as _, has_lost_enough, is_passing};
use super::batch::Fate;
use super::doubts::Doubt;
use super::headers::headers_of_one;
use super::known::Settled;
use super::look::{Firsts, Look};
use super::reader::too_large;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::message::{Origin, origin};
use crate::python::ImapSession;
use crate::uid::{Uid, UidSet};

/// The time for a message that is asked for alone, where it has kept a whole deadline waiting: this share, and twice as
/// much each time it fails.
const SHARES: u32 = 8;

impl Look<'_> {
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
        if let Some(doubt) = &doubt
            && doubt.failures > 0
            && has_lost_enough(imap)
        {
            return trouble.stop(doubt.error.clone());
        }
        let slow = doubt.filter(|doubt| doubt.error.is_timeout());
        let limit = slow.map_or(deadline, |doubt| deadline.share((SHARES >> doubt.failures.min(3)).max(1)));
        let (began, mut is_asked) = (Instant::now(), false);
        let answer = imap.connection.once(limit, |session| {
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
        let backoff = imap.config.common.options.backoff;
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
        let answer = self.imap.connection.once(deadline.share(SHARES), |session| {
            session.check(&UidSet::empty(self.validity))?;
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
                let backoff = self.imap.config.common.options.backoff;
                self.imap.known.lock().doubts().withhold(uid, &error, Duration::ZERO, backoff);
                self.withhold(uid, error, Fate::Stay);
            }
        }
    }

    /// Returns whether a message goes to the dead letters: when others came and this one is no passing matter, or when it
    /// has failed often enough.
    fn is_dead(&self, uid: Uid, error: &Error, others_came: bool) -> bool {
        let failures = self.imap.known.lock().doubts().get(uid).map_or(0, |doubt| doubt.failures);
        let is_passing = error.is_timeout() || (error.kind() == ErrorKind::Refused && is_passing(error));
        let most = self.imap.config.dead_letters;
        most.is_some_and(|most| failures >= most || (others_came && !is_passing))
    }

    fn withhold(&mut self, uid: Uid, error: Error, fate: Fate) {
        let error = withheld(uid, error);
        self.imap.known.lock().doubts().get_mut(uid).into_iter().for_each(|it| it.is_reported = true);
        let why = error.clone();
        events::emit(move || tracing::warn!(%uid, error = %why, "the server does not give out a message"));
        self.imap.connection.count(|counts| counts.withheld += 1);
        self.reader.deliver_error(uid, error, fate);
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
pub(super) fn withheld(uid: Uid, error: Error) -> Error {
    if error.kind() == ErrorKind::TooLarge {
        return error;
    }
    let text = format!("message UID {uid} is not given out: {error}");
    Error::new(error.kind(), text).caused_by(error)
}

pub(super) fn nothing_came() -> Error {
    Error::message("FETCH: the server sends nothing of it, and finds it")
}
