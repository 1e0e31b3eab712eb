//! Waits that block no thread: a future is woken by an announcement, or by the waiter at the wait's end.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::arrivals::Wait;
use super::session::Session;
use super::{Connection, Shared, Woken};
use crate::error::{Error, Result};
use crate::signal::Registration;
use crate::waiter::Timer;

/// A wait for mail, or a pause. Its drop gives it up: the server need not announce mail for it any more.
pub(crate) struct Waiting<S: Session> {
    shared: Arc<Shared<S>>,
    /// `None` once it has ended.
    wait: Option<Wait>,
    place: Registration,
    timer: Timer,
}

impl<S: Session> Connection<S> {
    /// Begins what [`wait`](Self::wait) does.
    ///
    /// # Errors
    /// `Runtime` in a forked child, or when the waiter can't be started.
    pub(crate) fn waiting(
        &self,
        until: Option<Instant>,
        is_over: impl FnOnce() -> bool,
    ) -> Result<Waiting<S>> {
        self.await_end(self.begin_wait(until, is_over)?)
    }

    /// Begins what [`pause`](Self::pause) does.
    ///
    /// # Errors
    /// As [`waiting`](Self::waiting).
    pub(crate) fn pausing(&self, time: Duration, is_over: impl FnOnce() -> bool) -> Result<Waiting<S>> {
        self.await_end(self.begin_pause(time, is_over)?)
    }

    fn await_end(&self, wait: Wait) -> Result<Waiting<S>> {
        let shared = Arc::clone(&self.0.shared);
        match Timer::new() {
            Ok(timer) => {
                let place = shared.arrivals.registration();
                Ok(Waiting { shared, wait: Some(wait), place, timer })
            }
            Err(error) => {
                shared.arrivals.give_up(&wait);
                Err(error)
            }
        }
    }
}

impl<S: Session> Waiting<S> {
    /// Returns the reason for which the wait has ended; else has its end wake the future.
    ///
    /// # Errors
    /// `Closed`; `Auth` after the credentials were refused for good; `SignInNeeded` of a wait for mail.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<Woken>> {
        if S::is_forked() {
            return Poll::Ready(Err(Error::forked()));
        }
        if let Some(wait) = &self.wait {
            match self.shared.arrivals.poll(wait, &self.place, context.waker()) {
                Ok(woken) => {
                    let is_pause = wait.is_pause();
                    self.wait = None;
                    let shared = &self.shared;
                    let checked = if is_pause { shared.check_open() } else { shared.check_awaitable() };
                    return Poll::Ready(checked.map(|()| woken));
                }
                Err(at) => self.timer.set(at, context.waker()),
            }
        }
        Poll::Pending
    }
}

impl<S: Session> Drop for Waiting<S> {
    fn drop(&mut self) {
        if let Some(wait) = &self.wait {
            self.shared.arrivals.give_up(wait);
        }
    }
}
