//! When the next connection may be tried: not too many a minute, not sooner than the server wants it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Upkeep;
use crate::error::{Error, ErrorKind, Result};

const MINUTE: Duration = Duration::from_secs(60);

/// The attempts of one handle to connect.
pub(super) struct Pace {
    upkeep: Upkeep,
    recent: VecDeque<Instant>,
    failures: u32,
    /// Until when the server asked to be left alone, and how it said so.
    throttled: Option<(Instant, Error)>,
}

impl Pace {
    pub(super) fn new(upkeep: Upkeep) -> Self {
        Self { upkeep, recent: VecDeque::new(), failures: 0, throttled: None }
    }

    /// Counts an attempt that is going to be made now, or says why there mustn't be one.
    pub(super) fn admit(&mut self, now: Instant) -> Result<()> {
        if let Some((until, error)) = &self.throttled
            && *until > now
        {
            let text = format!("the server asked to wait: {error}");
            let error = Error::new(error.kind(), text).with_code(error.code().map(str::to_owned));
            return Err(error.with_retry_after(Some(*until - now)));
        }
        self.throttled = None;
        while self.recent.front().is_some_and(|attempt| now.duration_since(*attempt) >= MINUTE) {
            self.recent.pop_front();
        }
        if let Some(wait) = self.full(now) {
            let text =
                format!("{} connections were made within a minute, no more for now", self.recent.len());
            return Err(Error::new(ErrorKind::Connect, text).with_retry_after(Some(wait)));
        }
        self.recent.push_back(now);
        Ok(())
    }

    /// How long until another attempt, when as many as there may be were made within the last minute.
    fn full(&self, now: Instant) -> Option<Duration> {
        let first = *self.recent.front()?;
        let full = self.recent.len() >= self.upkeep.connects_a_minute as usize;
        full.then(|| MINUTE.saturating_sub(now.duration_since(first)))
    }

    /// Whether a connection may be made that could wait: one that leaves others for when they are needed.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let recent = self.recent.iter().filter(|attempt| now.duration_since(**attempt) < MINUTE).count();
        recent < self.upkeep.connects_a_minute.div_ceil(2) as usize && !self.is_throttled()
    }

    pub(super) fn connected(&mut self) {
        self.failures = 0;
    }

    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The server's word on when to come again.
    pub(super) fn heed(&mut self, error: &Error, now: Instant) {
        if let Some(wait) = error.retry_after() {
            self.throttled = Some((now + wait, error.clone()));
        }
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.throttled.as_ref().is_some_and(|(until, _)| *until > Instant::now())
    }

    /// How long the background waits before it tries again: 1 s, 2 s, 4 s, ... 5 min by default.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let (first, most) = self.upkeep.backoff;
        let whole = first.saturating_mul(1 << self.failures.min(20)).min(most);
        // A part of up to a quarter is taken off, so that many clients do not come back as one.
        let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
        let asked = self.throttled.as_ref().map_or(Duration::ZERO, |(until, _)| until.duration_since(now));
        whole.mul_f64(1.0 - random / 4.0).max(asked).max(self.full(now).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(connects_a_minute: u32) -> Pace {
        Pace::new(Upkeep { connects_a_minute, ..Upkeep::default() })
    }

    #[test]
    fn backoff_grows_to_five_minutes_and_no_further() {
        let mut pace = pace(1_000);
        for failures in 0..40 {
            let wait = pace.wait(Instant::now()).as_secs_f64();
            let whole = f64::from(1_u32 << failures.min(9)).min(300.0);
            assert!((whole * 0.75..=whole).contains(&wait), "{failures}: {wait}");
            pace.failed();
        }
        pace.connected();
        assert!(pace.wait(Instant::now()) <= Duration::from_secs(1));
    }

    #[test]
    fn within_any_minute_there_are_no_more_connections_than_configured() {
        let (mut pace, began) = (pace(3), Instant::now());
        for second in 0..3 {
            pace.admit(began + Duration::from_secs(second)).unwrap();
        }
        let error = pace.admit(began + Duration::from_secs(10)).unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Connect, true));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(50)));
        assert!(
            pace.wait(began + Duration::from_secs(10)) >= Duration::from_secs(50),
            "in the background too"
        );
        pace.admit(began + MINUTE).unwrap();
        pace.admit(began + MINUTE).unwrap_err();
    }

    #[test]
    fn a_connection_that_could_wait_leaves_half_of_them_for_others() {
        let (mut pace, now) = (pace(3), Instant::now());
        for _ in 0..2 {
            assert!(pace.has_room(now));
            pace.admit(now).unwrap();
        }
        assert!(!pace.has_room(now));
        pace.admit(now).unwrap();
        assert!(pace.has_room(now + MINUTE));
    }

    #[test]
    fn a_server_that_asks_to_wait_is_left_alone_until_then() {
        let (mut pace, now) = (pace(30), Instant::now());
        let busy = Error::new(ErrorKind::Refused, "busy").with_code(Some("LIMIT".into()));
        pace.heed(&busy.with_retry_after(Some(Duration::from_secs(600))), now);
        let error = pace.admit(now + Duration::from_secs(100)).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("LIMIT")));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(500)));
        assert_eq!(pace.wait(now), Duration::from_secs(600));
        pace.admit(now + Duration::from_secs(600)).unwrap();
    }
}
