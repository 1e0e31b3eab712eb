//! By when a verb has to be back, by the wall clock.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// The moment by which a verb has to be back, however many commands and connections it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    whole: Duration,
}

impl Deadline {
    pub(crate) fn after(whole: Duration) -> Self {
        Self { at: Instant::now() + whole, whole }
    }

    pub(crate) fn at(self) -> Instant {
        self.at
    }

    /// What is left of it; nothing when it is over.
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Returns a deadline for a part of the work: one such share of the whole, and not later than this one.
    pub(crate) fn share(self, shares: u32) -> Self {
        Self::after((self.whole / shares).min(self.left()))
    }

    /// Whether there is any time left.
    pub(crate) fn check(self, doing: &str) -> Result<()> {
        if self.left().is_zero() { Err(self.error(doing)) } else { Ok(()) }
    }

    /// What whoever overran it is told.
    pub(crate) fn error(self, doing: &str) -> Error {
        Error::new(ErrorKind::Timeout, format!("{doing}: not done within {:?}", self.whole))
    }
}
