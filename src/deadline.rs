//! The deadline of a call, by the wall clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// The moment by which a call returns, however many commands and connections it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    timeout: Duration,
    /// The number of the call.
    call: u64,
}

/// The number of calls so far.
static CALLS: AtomicU64 = AtomicU64::new(0);

impl Deadline {
    /// Returns the deadline of a call that begins now.
    pub(crate) fn after(timeout: Duration) -> Self {
        Self::since(Instant::now(), timeout)
    }

    fn since(began: Instant, timeout: Duration) -> Self {
        Self { at: began + timeout, timeout, call: CALLS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Returns the deadline of the call on this thread. The first one of an asynchronous call counts from its first poll.
    pub(crate) fn of_call(timeout: Duration) -> Self {
        #[cfg(feature = "async")]
        if let Some(began) = BEGAN.take() {
            return Self::since(began, timeout);
        }
        Self::after(timeout)
    }

    /// Returns the moment.
    pub(crate) fn at(self) -> Instant {
        self.at
    }

    /// Returns the time left; zero after the deadline.
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Returns a deadline for a part of the work: `1 / shares` of the whole timeout, and not later than this one.
    pub(crate) fn share(self, shares: u32) -> Self {
        let timeout = (self.timeout / shares).min(self.left());
        Self { at: Instant::now() + timeout, timeout, call: self.call }
    }

    /// Returns this deadline, moved to another moment.
    pub(crate) fn moved_to(self, at: Instant) -> Self {
        Self { at, ..self }
    }

    /// Returns `true` if both are of the same call: steps of one verb, which share its deadline.
    pub(crate) fn is_of_same_call(self, other: Self) -> bool {
        self.call == other.call
    }

    /// # Errors
    /// `Timeout` when no time is left for `action`.
    pub(crate) fn check(self, action: &str) -> Result<()> {
        if self.left().is_zero() { Err(self.error(action)) } else { Ok(()) }
    }

    /// Returns the error for an action that this deadline has ended.
    pub(crate) fn error(self, action: &str) -> Error {
        Error::new(ErrorKind::Timeout, format!("{action} timed out after {}", seconds(self.timeout)))
    }
}

/// Formats a duration in seconds, without trailing zeros: `60 s`, `0.3 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(feature = "async")]
thread_local! {
    /// The begin of the asynchronous call on this thread, until its deadline is set.
    static BEGAN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// Runs a call whose time began before, while it waited for its turn.
#[cfg(feature = "async")]
pub(crate) fn since<T>(began: Instant, call: impl FnOnce() -> T) -> T {
    BEGAN.set(Some(began));
    let done = call();
    BEGAN.set(None);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_a_call_are_told_from_those_of_the_next() {
        let call = Deadline::after(Duration::from_secs(60));
        assert!(call.is_of_same_call(call.share(2)) && call.share(2).is_of_same_call(call.share(3)));
        assert!(!call.is_of_same_call(Deadline::after(Duration::from_secs(60))));
    }

    #[test]
    fn the_error_names_the_action_and_the_timeout() {
        let text = |timeout| Deadline::after(timeout).error("SEARCH").to_string();
        assert_eq!(text(Duration::from_secs(60)), "SEARCH timed out after 60 s");
        assert_eq!(text(Duration::from_millis(300)), "SEARCH timed out after 0.3 s");
    }
}
