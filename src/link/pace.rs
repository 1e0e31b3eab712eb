//! When the next connection may be tried: not too many a minute and the last ones of them spaced, not sooner than the server wants it,
//! and seldom where a login was refused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Upkeep;
use crate::error::{Error, ErrorKind, Result};

const MINUTE: Duration = Duration::from_secs(60);

/// The first wait after a login that was refused without a clear reason, and the longest: some servers lock an account out
/// after a few wrong passwords (fail2ban's default is five within ten minutes).
const UNCLEAR_LOGIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

/// A login that the server puts off is tried again after the first wait between two attempts, times this.
const LOGIN_PUT_OFF: u32 = 10;

/// The attempts of one handle to connect.
pub(super) struct Pace {
    upkeep: Upkeep,
    recent: VecDeque<Instant>,
    /// Attempts that failed since the last one that did not, and the last error.
    failures: u32,
    failed_with: Option<Error>,
    failed_logins: u32,
    /// Until when no attempt is made, and why.
    throttled: Option<(Instant, Error)>,
}

impl Pace {
    pub(super) fn new(upkeep: Upkeep) -> Self {
        let recent = VecDeque::new();
        Self { upkeep, recent, failures: 0, failed_with: None, failed_logins: 0, throttled: None }
    }

    /// Counts an attempt that is going to be made now, or says why there mustn't be one.
    pub(super) fn admit(&mut self, now: Instant) -> Result<()> {
        if let Some((until, error)) = &self.throttled
            && *until > now
        {
            return Err(again(error, "no connection for now", *until - now));
        }
        self.throttled = None;
        while self.recent.front().is_some_and(|attempt| now.duration_since(*attempt) >= MINUTE) {
            self.recent.pop_front();
        }
        let wait = self.gap(now);
        if !wait.is_zero() {
            if let Some(error) = &self.failed_with {
                return Err(again(error, "the last attempt failed", wait));
            }
            let text = format!("connection rate limit: {} connections within a minute", self.recent.len());
            return Err(Error::new(ErrorKind::Connect, text).with_retry_after(Some(wait)));
        }
        self.recent.push_back(now);
        Ok(())
    }

    /// How long until another attempt may be made.
    ///
    /// A quarter of a minute's attempts may fail, or three quarters succeed, one after the other. The others are spread over
    /// the time until there are more, so that a handle is never locked out for long.
    fn gap(&self, now: Instant) -> Duration {
        let recent = || self.recent.iter().filter(|attempt| now.duration_since(**attempt) < MINUTE);
        let (Some(first), Some(last)) = (recent().next(), recent().next_back()) else {
            return Duration::ZERO;
        };
        let most = self.upkeep.connects_a_minute;
        let count = u32::try_from(recent().count()).unwrap_or(u32::MAX);
        let at_once = if self.failures == 0 { most - most / 4 } else { most.div_ceil(4) };
        if count < at_once {
            return Duration::ZERO;
        }
        let Some(left) = most.checked_sub(count).filter(|left| *left > 0) else {
            return MINUTE.saturating_sub(now.duration_since(*first));
        };
        let spread = MINUTE.saturating_sub(last.duration_since(*first)) / (left + 1);
        spread.saturating_sub(now.duration_since(*last))
    }

    fn backoff(&self, failures: u32) -> Duration {
        let (first, most) = self.upkeep.backoff;
        first.saturating_mul(1 << failures.min(20)).min(most)
    }

    /// Whether a connection may be made that could wait: one that leaves others for when they are needed.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let recent = self.recent.iter().filter(|attempt| now.duration_since(**attempt) < MINUTE).count();
        recent < self.upkeep.connects_a_minute.div_ceil(2) as usize && !self.is_throttled()
    }

    pub(super) fn connected(&mut self) {
        (self.failures, self.failed_with, self.failed_logins) = (0, None, 0);
    }

    /// Takes in why an attempt failed; returns the error with the wait until the next one.
    pub(super) fn failed(&mut self, error: Error, now: Instant) -> Error {
        self.failures = self.failures.saturating_add(1);
        let wait = self.after_login(&error);
        let error = if error.retry_after() < wait { error.with_retry_after(wait) } else { error };
        self.failed_with = Some(error.clone());
        self.heed(&error, now);
        error
    }

    /// How long no login is tried after one that failed: asking often would be guessing passwords.
    fn after_login(&mut self, error: &Error) -> Option<Duration> {
        let (first, most) = self.upkeep.backoff;
        let before = self.failed_logins;
        let (unclear, longest) = UNCLEAR_LOGIN;
        let (first, most, doublings) = match error.kind() {
            _ if error.condemns_credentials() => return None,
            ErrorKind::Auth if !error.is_transient() => (unclear, longest, before),
            // It may be about the mailbox, which does not lock an account.
            ErrorKind::Refused if !error.is_transient() => (unclear, most, before),
            ErrorKind::Auth | ErrorKind::Refused => (first.saturating_mul(LOGIN_PUT_OFF), most, before),
            // The server was there and hung up, or lost its backend, which may be once.
            ErrorKind::Disconnected => (first, most, before.saturating_sub(1)),
            _ => return None,
        };
        self.failed_logins = before.saturating_add(1);
        let is_once = error.kind() == ErrorKind::Disconnected && before == 0;
        (!is_once).then(|| first.saturating_mul(1 << doublings.min(20)).min(most))
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
        let whole = self.backoff(self.failures);
        // A part of up to a quarter is taken off, so that many clients do not come back as one.
        let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
        let asked = self.throttled.as_ref().map_or(Duration::ZERO, |(until, _)| until.duration_since(now));
        whole.mul_f64(1.0 - random / 4.0).max(asked).max(self.gap(now))
    }
}

/// The last error, for an attempt that was not made.
fn again(error: &Error, why: &str, wait: Duration) -> Error {
    let again =
        Error::new(error.kind(), format!("{why}: {error}")).with_code(error.code().map(str::to_owned));
    again.with_retry_after(Some(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(connects_a_minute: u32) -> Pace {
        Pace::new(Upkeep { connects_a_minute, ..Upkeep::default() })
    }

    fn refused() -> Error {
        Error::new(ErrorKind::Connect, "connection refused")
    }

    /// Tries as soon as it may, for so many seconds; the waits between two attempts.
    fn waits_of_a_poller(
        pace: &mut Pace,
        seconds: u64,
        mut fail: impl FnMut(&mut Pace, Instant),
    ) -> Vec<f64> {
        let began = Instant::now();
        let tries = (0..seconds * 10).map(|tenth| began + Duration::from_millis(tenth * 100));
        let mut admitted = Vec::new();
        for now in tries {
            if pace.admit(now).is_ok() {
                admitted.push(now);
                fail(pace, now);
            }
        }
        admitted.windows(2).map(|two| two[1].duration_since(two[0]).as_secs_f64()).collect()
    }

    #[test]
    fn backoff_grows_to_five_minutes_and_no_further() {
        let mut pace = pace(1_000);
        for failures in 0..40 {
            let wait = pace.wait(Instant::now()).as_secs_f64();
            let whole = f64::from(1_u32 << failures.min(9)).min(300.0);
            assert!((whole * 0.75..=whole).contains(&wait), "{failures}: {wait}");
            pace.failed(refused(), Instant::now());
        }
        pace.connected();
        assert!(pace.wait(Instant::now()) <= Duration::from_secs(1));
    }

    #[test]
    fn within_any_minute_there_are_no_more_connections_than_configured() {
        let (mut pace, began) = (pace(4), Instant::now());
        let at = |second| began + Duration::from_secs(second);
        for second in [0, 1, 2, 32] {
            assert!(pace.admit(at(second)).is_ok(), "the connection after {second} s");
        }
        let error = pace.admit(at(35)).unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Connect, true));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(25)));
        assert!(pace.wait(at(35)) >= Duration::from_secs(25), "in the background too");
        pace.admit(at(60)).unwrap();
        pace.admit(at(60)).unwrap_err();
    }

    #[test]
    fn a_polling_handle_tries_every_few_seconds_however_long_the_outage_is() {
        let mut pace = pace(30);
        let waits = waits_of_a_poller(&mut pace, 600, |pace, now| drop(pace.failed(refused(), now)));
        assert!(waits.len() > 200, "{}", waits.len());
        assert!(waits.iter().all(|wait| *wait < 3.0), "{waits:?}");
        let error = pace.admit(Instant::now() + Duration::from_secs(599)).unwrap_err();
        assert!(error.to_string().contains("connection refused"), "{error}");
    }

    #[test]
    fn a_server_that_accepts_and_drops_locks_no_polling_handle_out() {
        let mut pace = pace(30);
        let waits = waits_of_a_poller(&mut pace, 600, |pace, _| pace.connected());
        assert!(waits.iter().all(|wait| *wait < 9.0), "{waits:?}");
        assert!(waits.windows(30).all(|minute| minute.iter().sum::<f64>() > 55.0), "{waits:?}");
    }

    #[test]
    fn an_outage_after_many_connections_locks_no_polling_handle_out() {
        let mut pace = pace(30);
        let mut drops = 20;
        let waits = waits_of_a_poller(&mut pace, 300, |pace, now| {
            if drops > 0 {
                drops -= 1;
                return pace.connected();
            }
            pace.failed(refused(), now);
        });
        assert!(waits.iter().all(|wait| *wait < 9.0), "{waits:?}");
    }

    /// fail2ban's defaults ban an address after five refusals within ten minutes.
    #[test]
    fn a_login_refused_without_a_clear_reason_is_tried_seldom() {
        let (mut pace, mut errors) = (pace(30), Vec::new());
        let waits = waits_of_a_poller(&mut pace, 4 * 3_600, |pace, now| {
            errors.push(pace.failed(Error::new(ErrorKind::Auth, "NO Login failed."), now));
        });
        let minutes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0];
        let is_as = |(wait, minutes): (&f64, &f64)| (wait - minutes * 60.0).abs() < 1.0;
        assert!(waits.len() == minutes.len() && waits.iter().zip(&minutes).all(is_as), "{waits:?}");
        assert_eq!(errors[0].retry_after(), Some(MINUTE));
        assert!(errors.iter().all(Error::is_transient));
    }

    #[test]
    fn a_login_that_the_server_puts_off_is_tried_again_after_ten_seconds_and_more() {
        let (mut pace, now) = (pace(30), Instant::now());
        let busy = || Error::new(ErrorKind::Refused, "busy").passing(true);
        let waits = [10, 20, 40, 80, 160, 300, 300].map(Duration::from_secs);
        assert_eq!(waits.map(|_| pace.failed(busy(), now).retry_after().unwrap()), waits);
        let error = pace.admit(now + Duration::from_secs(299)).unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Refused, Some(Duration::from_secs(1))));
        pace.connected();
        assert_eq!(pace.failed(busy(), now).retry_after(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_server_that_hangs_up_at_the_login_sees_another_one_at_once_and_then_fewer_and_fewer() {
        let (mut pace, now) = (pace(30), Instant::now());
        let lost = || Error::new(ErrorKind::Disconnected, "lost");
        let waits: Vec<_> = (0..12).map(|_| pace.failed(lost(), now).retry_after()).collect();
        let seconds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map(|it| Some(Duration::from_secs(it)));
        assert_eq!((waits[0], &waits[1..]), (None, &seconds[..]));
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
