//! Waiting for mail: the server announces it (IDLE), or is asked for it at each heartbeat.
//!
//! ```text
//!  a caller waits ─▶ beat ─▶ IDLE ─▶ parked at the waiter, no thread, no interpreter
//!                                      ├─ octets ─▶ beat: hear ─▶ announce, or parked again
//!                                      ├─ renewal due ─▶ beat: DONE, IDLE
//!                                      └─ a call ─▶ DONE, within a limit, and the call's commands
//!  a call ends while a caller waits ─▶ beat
//! ```

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::arrivals::Wait;
use super::session::Session;
use super::{Connection, Push, SessionSlot, Shared, State, Woken, closed};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events;
use crate::waiter::{Beat, slack};

/// The longest that IDLE may take to begin, and DONE to be answered: after that, the connection counts as lost. DONE has
/// a quarter of the call's time at most.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time after which IDLE that a caller waits in is renewed for the first time: a look for messages that arrived
/// between NOOP and IDLE. Some servers announce only what comes once IDLE has begun (pymap).
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// A connection that was heard of so recently is alive: DONE's response is not waited for by itself.
const RECENTLY: Duration = Duration::from_secs(5);

impl<S: Session> Connection<S> {
    /// Waits until the server announces mail, at most until a time; without a time, until the next recheck. Does not
    /// begin to wait if `is_over`, which is asked once an end of the waits can't be missed.
    ///
    /// # Errors
    /// `Closed`; `Auth` after the credentials were refused for good; `SignInNeeded`; `Runtime` in a forked child. A lost
    /// connection is no error: it is replaced in the background.
    pub(crate) fn wait(
        &self,
        until: Option<Instant>,
        is_over: impl FnOnce() -> bool + Send,
    ) -> Result<Woken> {
        let shared = &self.0.shared;
        let woken = S::detached(|| Ok(shared.arrivals.block(&self.begin_wait(until, is_over)?)))?;
        shared.check_awaitable().map(|()| woken)
    }

    /// Begins a wait as [`wait`](Self::wait) does.
    ///
    /// # Errors
    /// `Runtime` in a forked child.
    pub(super) fn begin_wait(&self, until: Option<Instant>, is_over: impl FnOnce() -> bool) -> Result<Wait> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        let shared = &self.0.shared;
        let every = (shared.options.recheck, shared.options.heartbeat);
        Ok(shared.arrivals.begin_wait(until, every, || {
            self.wake_heartbeat();
            shared.check_awaitable().is_err() || is_over()
        }))
    }

    /// Returns the time of the announcement that has ended the last wait: for one by IDLE, when its first octets were
    /// there. `None` if this process has ended it.
    pub(crate) fn announced_at(&self) -> Option<Instant> {
        self.0.shared.arrivals.announced_at()
    }

    /// Waits for this time, or until the connection ends for good, or `is_over`.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), but for `SignInNeeded`, which may pass meanwhile.
    pub(crate) fn pause(&self, time: Duration, is_over: impl FnOnce() -> bool + Send) -> Result<()> {
        let shared = &self.0.shared;
        S::detached(|| Ok(shared.arrivals.block(&self.begin_pause(time, is_over)?)))?;
        shared.check_open()
    }

    /// Begins a pause as [`pause`](Self::pause) does.
    ///
    /// # Errors
    /// `Runtime` in a forked child.
    pub(super) fn begin_pause(&self, time: Duration, is_over: impl FnOnce() -> bool) -> Result<Wait> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        let shared = &self.0.shared;
        Ok(shared.arrivals.begin_pause(time, || shared.check_open().is_err() || is_over()))
    }

    /// Returns `true` if the server does not announce all mail.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.0.shared.arrivals.is_distrusted()
    }

    /// Returns `true` while a caller waits for mail.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.shared.arrivals.is_awaited()
    }

    /// Ends the waits and pauses that are under way.
    pub(crate) fn end_waits(&self) {
        self.0.shared.arrivals.end();
    }

    /// Ends the waits that are under way, not the pauses: a message is available again.
    pub(crate) fn wake_waits(&self) {
        self.0.shared.arrivals.announce(None);
    }

    /// Records a search of the inbox, and whether it found new mail.
    pub(crate) fn searched(&self, has_found: bool) {
        if self.0.shared.arrivals.searched(has_found) {
            self.0.shared.status.lock().push = Some(Push::Distrusted);
            let text = "the server does not announce all mail: the inbox is searched more often";
            events::emit(move || tracing::warn!("{text}"));
        }
    }

    /// Records that SEARCH has not found so many messages with the tag.
    pub(crate) fn report_unreliable_search(&self, missed: usize) {
        self.0.shared.status.lock().reads_subjects = true;
        let text = "SEARCH does not find all tagged mail: the Subjects are read in its place";
        events::emit(move || tracing::warn!(missed, "{text}"));
    }

    /// Has the heartbeat beat now.
    pub(super) fn wake_heartbeat(&self) {
        if let Some(heartbeat) = &*self.0.heartbeat.lock() {
            heartbeat.wake();
        }
    }
}

impl<S: Session> Shared<S> {
    /// Returns the error that ended the handle for good.
    pub(super) fn check_open(&self) -> Result<()> {
        let status = self.status.lock();
        match (status.state, &status.last_error) {
            (State::Closed, _) => Err(closed()),
            (State::AuthFailed, Some(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Returns the error for which no mail is waited for.
    pub(super) fn check_awaitable(&self) -> Result<()> {
        self.check_open()?;
        let status = self.status.lock();
        match (status.state, &status.last_error) {
            (State::SignInNeeded, Some(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Returns `true` if the session should listen for mail.
    pub(super) fn wants_mail(&self, slot: &SessionSlot<S>) -> bool {
        self.arrivals.is_awaited() || slot.session.as_ref().is_some_and(S::is_listening)
    }

    /// Has the server announce mail, or hears what it has announced. Returns the wait until the next beat.
    pub(super) fn listen(&self, mut slot: MutexGuard<'_, SessionSlot<S>>, beat: Beat) -> Duration {
        let woken_at = Instant::now();
        let deadline = Deadline::after(IDLE_TIMEOUT.min(self.options.timeout));
        let renewal = self.renewal(&slot);
        let is_due = slot.listening_since.elapsed() + slack(renewal) >= renewal;
        let is_listening = slot.session.as_ref().is_some_and(S::is_listening);
        let news = if is_listening && !is_due {
            self.run(&mut slot, deadline, S::hear)
        } else if !self.arrivals.is_awaited() {
            return self.noop(slot); // IDLE ends with its renewal when none waits.
        } else {
            let idle_time = slot.last_noop.max(slot.last_call).elapsed();
            let may_ask = idle_time + slack(self.options.heartbeat) >= self.options.heartbeat;
            let now = Instant::now();
            slot.listening_since = now;
            slot.needs_second_look = !is_listening;
            if may_ask {
                slot.last_noop = now;
            }
            self.stop_listening(&mut slot, deadline);
            self.run(&mut slot, deadline, |session| session.listen(may_ask))
        };
        let has_mail = matches!(news, Ok(true));
        self.announce(&slot, news, is_listening.then_some(woken_at));
        let parked = slot.session.as_ref().filter(|session| session.is_listening()).map(|it| it.park(beat));
        match parked {
            Some(Ok(())) => self.renewal(&slot).saturating_sub(slot.listening_since.elapsed()),
            Some(Err(error)) => {
                self.lose(&mut slot, &error);
                self.until_next(&slot)
            }
            None if slot.session.is_some() && !has_mail => {
                let idle_time = slot.last_noop.max(slot.last_call).elapsed();
                self.options.heartbeat.saturating_sub(idle_time)
            }
            None => self.until_next(&slot),
        }
    }

    /// Returns the time from the begin of IDLE to its renewal.
    fn renewal(&self, slot: &SessionSlot<S>) -> Duration {
        let renewal = self.options.idle_renewal;
        let looks_soon = slot.needs_second_look && self.arrivals.is_awaited();
        if looks_soon { SECOND_LOOK.min(renewal) } else { renewal }
    }

    /// Wakes the callers that wait for mail, if there are news; records how the server announces mail. `by_idle` is when
    /// the server sent something in IDLE.
    fn announce(&self, slot: &SessionSlot<S>, news: Result<bool>, by_idle: Option<Instant>) {
        match news {
            Ok(has_mail) => {
                if has_mail && by_idle.is_some() {
                    self.arrivals.is_reliable();
                }
                let listens = slot.session.as_ref().is_some_and(S::can_listen);
                self.status.lock().push = Some(match () {
                    () if !listens => Push::Polling,
                    () if self.arrivals.is_distrusted() => Push::Distrusted,
                    () => Push::Idle,
                });
                if has_mail {
                    self.arrivals.announce(Some(by_idle.unwrap_or_else(Instant::now)));
                }
            }
            Err(error) => self.note(&error),
        }
    }

    /// Ends IDLE before other commands, within a limit of its own; drops the session if the server does not answer.
    /// Returns `true` if the session listened.
    ///
    /// The response is not waited for by itself while the connection is known to be alive.
    pub(super) fn stop_listening(&self, slot: &mut SessionSlot<S>, deadline: Deadline) -> bool {
        if self.closing.load(Ordering::SeqCst) {
            return false; // No further command is sent.
        }
        let Some(mut session) = slot.session.take_if(|session| session.is_listening()) else { return false };
        session.unpark();
        let limit = Deadline::after(IDLE_TIMEOUT.min(deadline.share(4).left()));
        let guard = session.watch(limit);
        let waits = slot.last_heard.elapsed() > RECENTLY;
        let stopped = guard.map_timeout(session.stop_listening(waits), "DONE");
        let stopped = if guard.has_timed_out() { stopped.and(Err(limit.error("DONE"))) } else { stopped };
        match stopped {
            Ok(()) => slot.session = Some(session),
            Err(error) => self.lose(slot, &error),
        }
        true
    }
}
