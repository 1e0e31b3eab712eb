//! The callers that wait for mail, threads and futures alike, and the signal that ends their waits.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::signal::Signal;

/// After so many rechecks in a row that found mail, the server's announcements count as unreliable. A single one may
/// have found mail that the server was about to announce.
const MAX_MISSED: u32 = 2;

/// The announcements of one connection, and those who wait for them.
#[derive(Debug)]
pub(super) struct Arrivals {
    state: Mutex<State>,
    changed: Signal,
}

#[derive(Debug)]
struct State {
    /// Grows with each announcement.
    announced: u64,
    /// The time of the last announcement by the server; `None` if the waits were ended by this process.
    announced_at: Option<Instant>,
    /// Grows when waits are to end: the connection ends for good, or the consumers do.
    ended: u64,
    /// The callers that wait for mail, and have not been told of any.
    waiting: usize,
    /// The last time that the inbox was searched, or a wait ended for it to be searched.
    looked: Instant,
    /// `true` if the last wait ended for a recheck: what the next search finds was not announced.
    is_recheck: bool,
    /// The rechecks in a row that found mail.
    missed: u32,
}

/// The reason why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The server has announced mail; or the connection has ended for good.
    Announced,
    /// The inbox was not searched for so long that it should be.
    Recheck,
    /// The time is up.
    Timeout,
}

/// The wait of one caller.
#[derive(Debug)]
pub(super) struct Wait {
    goal: Goal,
    /// The announcements before it, or the ends before a pause.
    before: u64,
    /// The time at which it ends by itself.
    at: Instant,
}

/// The purpose of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Mail, until the caller's time is up.
    Mail,
    /// Mail, until the inbox should be searched in any case. Mail that is found then was missed if the wait took as long
    /// as this: while no caller waited, the server was not asked to announce it.
    MailOrRecheck { since: Instant, missed_after: Duration },
    /// To let time pass.
    Pause,
}

#[cfg(feature = "async")]
impl Wait {
    /// Returns `true` for a pause, which does not wait for mail.
    pub(super) fn is_pause(&self) -> bool {
        self.goal == Goal::Pause
    }
}

impl Arrivals {
    pub(super) fn new() -> Self {
        let state = State {
            announced: 0,
            announced_at: None,
            ended: 0,
            waiting: 0,
            looked: Instant::now(),
            is_recheck: false,
            missed: 0,
        };
        Self { state: Mutex::new(state), changed: Signal::default() }
    }

    /// Ends all waits: the server has announced mail at this time, or, without a time, this process has news.
    pub(super) fn announce(&self, at: Option<Instant>) {
        self.state.lock().announce(at);
        self.changed.notify_all();
    }

    /// Returns the time of the announcement that has ended the waits; `None` if this process has.
    pub(super) fn announced_at(&self) -> Option<Instant> {
        self.state.lock().announced_at
    }

    /// Ends all waits and pauses.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.announce(None);
        state.ended += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Begins a wait for this time, or until all waits end. `begin` returns `true` if they have ended already.
    pub(super) fn begin_pause(&self, time: Duration, begin: impl FnOnce() -> bool) -> Wait {
        let at = Instant::now() + time;
        let before = self.state.lock().ended;
        let at = if begin() { Instant::now() } else { at };
        Wait { goal: Goal::Pause, before, at }
    }

    /// Records that the server has announced mail by itself, so that its announcements count as reliable again.
    pub(super) fn is_reliable(&self) {
        self.state.lock().missed = 0;
    }

    /// Returns `true` while a caller waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.state.lock().waiting > 0
    }

    /// Returns `true` if the server does not announce all mail.
    pub(super) fn is_distrusted(&self) -> bool {
        self.state.lock().missed >= MAX_MISSED
    }

    /// Records a search of the inbox, and whether it found new mail. Returns `true` if the server turns out unreliable.
    pub(super) fn searched(&self, has_found: bool) -> bool {
        let mut state = self.state.lock();
        state.looked = Instant::now();
        if std::mem::take(&mut state.is_recheck) && has_found {
            state.missed += 1;
            return state.missed == MAX_MISSED;
        }
        false
    }

    /// Begins a wait for an announcement until a time. `begin` is called once this caller counts as waiting; it returns
    /// `true` if there is nothing to wait for.
    ///
    /// A wait ends for a recheck after `every` without a search, and after `soon` if the last recheck found mail.
    pub(super) fn begin_wait(
        &self,
        until: Option<Instant>,
        (every, soon): (Duration, Duration),
        begin: impl FnOnce() -> bool,
    ) -> Wait {
        let since = Instant::now();
        let before = {
            let mut state = self.state.lock();
            state.waiting += 1;
            state.announced
        };
        if begin() {
            return Wait { goal: Goal::Mail, before, at: Instant::now() };
        }
        let state = self.state.lock();
        let recheck = state.looked + if state.missed > 0 { soon.min(every) } else { every };
        match until {
            Some(at) if at < recheck => Wait { goal: Goal::Mail, before, at },
            _ => {
                let goal = Goal::MailOrRecheck { since, missed_after: soon.min(every) / 2 };
                Wait { goal, before, at: recheck }
            }
        }
    }

    /// Blocks this thread until a wait ends.
    pub(super) fn block(&self, wait: &Wait) -> Woken {
        let mut state = self.state.lock();
        loop {
            if let Some(woken) = state.end_of(wait) {
                return woken;
            }
            self.changed.wait_until(&mut state, wait.at);
        }
    }
}

impl State {
    /// Ends the waits for mail.
    fn announce(&mut self, at: Option<Instant>) {
        (self.announced, self.announced_at, self.waiting) = (self.announced + 1, at, 0);
    }

    /// Returns the reason for which a wait has ended; the caller does not count as waiting any more.
    fn end_of(&mut self, wait: &Wait) -> Option<Woken> {
        let now = if wait.goal == Goal::Pause { self.ended } else { self.announced };
        let woken = match wait.goal {
            _ if now != wait.before => Woken::Announced,
            _ if Instant::now() < wait.at => return None,
            Goal::MailOrRecheck { since, missed_after } => {
                (self.looked, self.is_recheck) = (Instant::now(), since.elapsed() >= missed_after);
                Woken::Recheck
            }
            Goal::Mail | Goal::Pause => Woken::Timeout,
        };
        self.forget(wait);
        Some(woken)
    }

    /// Does not count the caller as waiting any more.
    fn forget(&mut self, wait: &Wait) {
        if wait.goal != Goal::Pause && wait.before == self.announced {
            self.waiting -= 1;
        }
    }
}

/// Waits that block no thread.
#[cfg(feature = "async")]
mod futures {
    use std::task::Waker;
    use std::time::Instant;

    use super::{Arrivals, Wait, Woken};
    use crate::signal::Registration;

    impl Arrivals {
        /// Returns a place for a future that waits.
        pub(in super::super) fn registration(&self) -> Registration {
            self.changed.registration()
        }

        /// Returns the reason for which a wait has ended; else has its end wake the future.
        ///
        /// # Errors
        /// The time at which the wait ends by itself.
        pub(in super::super) fn poll(
            &self,
            wait: &Wait,
            place: &Registration,
            waker: &Waker,
        ) -> Result<Woken, Instant> {
            let _former; // Dropped after the lock.
            let waker = waker.clone(); // Before the lock: it is code of the app's runtime.
            let mut state = self.state.lock();
            if let Some(woken) = state.end_of(wait) {
                return Ok(woken);
            }
            _former = place.set(waker);
            Err(wait.at)
        }

        /// Gives a wait up that has not ended.
        pub(in super::super) fn give_up(&self, wait: &Wait) {
            self.state.lock().forget(wait);
        }
    }
}
