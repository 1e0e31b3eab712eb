//! The callers that wait for mail, and the signal that ends their wait.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// After so many rechecks in a row that found mail, the server's announcements count as unreliable. A single one may
/// have found mail that the server was about to announce.
const MAX_MISSED: u32 = 2;

/// The announcements of one connection, and those who wait for them.
#[derive(Debug)]
pub(super) struct Arrivals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Grows with each announcement.
    announced: u64,
    /// The time of the last announcement.
    announced_at: Instant,
    /// Grows when waits are to end: the connection ends for good, or the consumers do.
    ended: u64,
    /// The callers that wait.
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

impl Arrivals {
    pub(super) fn new() -> Self {
        let state = State {
            announced: 0,
            announced_at: Instant::now(),
            ended: 0,
            waiting: 0,
            looked: Instant::now(),
            is_recheck: false,
            missed: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Ends all waits: mail was announced at this time.
    pub(super) fn announce(&self, at: Instant) {
        let mut state = self.state.lock();
        (state.announced, state.announced_at) = (state.announced + 1, at);
        drop(state);
        self.changed.notify_all();
    }

    /// Returns the time of the last announcement.
    pub(super) fn announced_at(&self) -> Instant {
        self.state.lock().announced_at
    }

    /// Ends all waits and pauses.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        (state.announced, state.ended) = (state.announced + 1, state.ended + 1);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for this time, or until all waits end. `begin` returns `true` if they have ended already.
    pub(super) fn pause(&self, time: Duration, begin: impl FnOnce() -> bool) {
        let at = Instant::now() + time;
        let before = self.state.lock().ended;
        if begin() {
            return;
        }
        let mut state = self.state.lock();
        while state.ended == before && !self.changed.wait_until(&mut state, at).timed_out() {}
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

    /// Waits for an announcement until a time. `begin` is called once this caller counts as waiting; it returns `true`
    /// if there is nothing to wait for.
    ///
    /// A wait ends for a recheck after `every` without a search, and after `soon` if the last recheck found mail.
    pub(super) fn wait(
        &self,
        until: Option<Instant>,
        (every, soon): (Duration, Duration),
        begin: impl FnOnce() -> bool,
    ) -> Woken {
        let since = Instant::now();
        let before = {
            let mut state = self.state.lock();
            state.waiting += 1;
            state.announced
        };
        let is_over = begin();
        let mut state = self.state.lock();
        let recheck = state.looked + if state.missed > 0 { soon.min(every) } else { every };
        let at = until.map_or(recheck, |until| until.min(recheck));
        while !is_over && state.announced == before && Instant::now() < at {
            self.changed.wait_until(&mut state, at);
        }
        state.waiting -= 1;
        if state.announced != before {
            return Woken::Announced;
        }
        if is_over || at < recheck {
            return Woken::Timeout;
        }
        // Mail that came while no caller waited was not missed: the server was not asked to announce it.
        state.is_recheck = since.elapsed() >= soon.min(every) / 2;
        state.looked = Instant::now();
        Woken::Recheck
    }
}
