//! Limits on reconnecting: a rate per minute, the server's own wait, and a growing wait after refused logins.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::ConnectionOptions;
use crate::error::{Error, ErrorKind, Result};

/// The period of the rate limit.
const MINUTE: Duration = Duration::from_secs(60);

/// The first and the longest wait after a login that was refused without a clear reason: some servers lock an account
/// after a few wrong passwords (fail2ban bans after five within ten minutes by default).
const UNCLEAR_LOGIN_BACKOFF: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

/// The first wait after a transient login failure, in multiples of the first backoff.
const TRANSIENT_LOGIN_FACTOR: u32 = 10;

/// Decides when a handle may make its next connection.
///
/// Three rules apply together; the longest wait counts:
/// - the rate limit: so many attempts within any minute, of which the last ones are spread over it;
/// - the wait that the server asked for, or that follows a refused login;
/// - for the heartbeat alone, a backoff that doubles with each failure.
///
/// The waits after a failed attempt, by the default settings; each doubles up to the longest:
///
/// | failure | first | longest | for |
/// | --- | --- | --- | --- |
/// | connection lost, and then can't be made: unreachable, TLS, timeout | 1 s | 5 min | the heartbeat; calls have the rate limit |
/// | connection lost within the login | none, then 1 s | 5 min | both |
/// | login or mailbox refused for now | 10 s | 5 min | both |
/// | mailbox refused, or the login for a cause beside the credentials | 1 min | 5 min | both |
/// | login refused without a clear reason | 1 min | 1 h | both |
/// | access token refused, and the one in its place, too | 10 s | 5 min | both |
/// | access token refused, and no other in its place | 5 min | 5 min | both |
/// | credentials refused clearly | | | neither: the handle has ended |
///
/// A wait that the server names goes before these if it is longer, and is an hour at most.
pub(super) struct ReconnectLimiter {
    options: ConnectionOptions,
    /// The attempts of the last minute.
    recent: VecDeque<Instant>,
    /// Failed attempts since the last successful one, and the last error.
    failures: u32,
    last_error: Option<Error>,
    /// Those of them that came as far as the login, with which the waits after refused logins grow.
    failed_logins: u32,
    /// The moment before which no attempt is made, and the error that asked for the wait.
    throttled: Option<(Instant, Error)>,
}

impl ReconnectLimiter {
    /// Makes a limiter without attempts.
    pub(super) fn new(options: ConnectionOptions) -> Self {
        let recent = VecDeque::new();
        Self { options, recent, failures: 0, last_error: None, failed_logins: 0, throttled: None }
    }

    /// Counts an attempt that is made now.
    ///
    /// # Errors
    /// The last error again, with the wait until the next attempt, when none may be made now; `Connect` when there was
    /// none.
    pub(super) fn admit(&mut self, now: Instant) -> Result<()> {
        if let Some((until, error)) = &self.throttled
            && *until > now
        {
            return Err(postponed(error, "not connecting yet", *until - now));
        }
        self.throttled = None;
        while self.recent.front().is_some_and(|attempt| now.duration_since(*attempt) >= MINUTE) {
            self.recent.pop_front();
        }
        let wait = self.rate_limit_wait(now);
        if !wait.is_zero() {
            if let Some(error) = &self.last_error {
                return Err(postponed(error, "connection rate limit reached", wait));
            }
            let text = format!(
                "connection rate limit reached: {} within a minute (max_connects_per_minute)",
                self.recent.len()
            );
            return Err(Error::new(ErrorKind::Connect, text).with_retry_after(Some(wait)));
        }
        self.recent.push_back(now);
        Ok(())
    }

    /// Returns the wait that the rate limit demands.
    ///
    /// A quarter of a minute's attempts may fail back to back, or three quarters succeed. The rest are spread evenly
    /// over the remaining time, so that a handle is never locked out for long.
    fn rate_limit_wait(&self, now: Instant) -> Duration {
        let recent = || self.recent.iter().filter(|attempt| now.duration_since(**attempt) < MINUTE);
        let (Some(first), Some(last)) = (recent().next(), recent().next_back()) else {
            return Duration::ZERO;
        };
        let max = self.options.max_connects_per_minute;
        let count = u32::try_from(recent().count()).unwrap_or(u32::MAX);
        let burst = if self.failures == 0 { max - max / 4 } else { max.div_ceil(4) };
        if count < burst {
            return Duration::ZERO;
        }
        let Some(left) = max.checked_sub(count).filter(|left| *left > 0) else {
            return MINUTE.saturating_sub(now.duration_since(*first));
        };
        let spacing = MINUTE.saturating_sub(last.duration_since(*first)) / (left + 1);
        spacing.saturating_sub(now.duration_since(*last))
    }

    /// Returns the backoff after this many failures, without jitter.
    fn backoff(&self) -> Duration {
        let (first, longest) = self.options.backoff;
        doubled(first, self.failures).min(longest)
    }

    /// Returns `true` if a connection that is not urgent may be made, in place of a used-up session: half of a minute's
    /// attempts are kept for calls that have none.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let recent = self.recent.iter().filter(|attempt| now.duration_since(**attempt) < MINUTE).count();
        recent < self.options.max_connects_per_minute.div_ceil(2) as usize && !self.is_throttled()
    }

    /// Records a successful attempt.
    pub(super) fn connected(&mut self) {
        (self.failures, self.last_error, self.failed_logins) = (0, None, 0);
    }

    /// Records a failed attempt. Returns its error, with the wait until the next attempt where one is demanded.
    pub(super) fn failed(&mut self, error: Error, now: Instant) -> Error {
        self.failures = self.failures.saturating_add(1);
        let wait = self.login_backoff(&error);
        let error = if error.retry_after() < wait { error.with_retry_after(wait) } else { error };
        self.last_error = Some(error.clone());
        self.honor_retry_after(&error, now);
        error
    }

    /// Counts a failed login. Returns the wait before the next one: frequent attempts would look like guessing
    /// passwords.
    fn login_backoff(&mut self, error: &Error) -> Option<Duration> {
        let (first, longest) = self.options.backoff;
        let earlier = self.failed_logins;
        let (unclear_first, unclear_longest) = UNCLEAR_LOGIN_BACKOFF;
        let (first, longest, doublings) = match error.kind() {
            _ if error.is_wrong_credentials() => return None,
            ErrorKind::Auth if !error.is_transient() => (unclear_first, unclear_longest, earlier),
            // The refusal may be of the mailbox, which locks no account.
            ErrorKind::Refused if !error.is_transient() => (unclear_first, longest, earlier),
            ErrorKind::Auth | ErrorKind::Refused => {
                (first.saturating_mul(TRANSIENT_LOGIN_FACTOR), longest, earlier)
            }
            // The server answered and hung up, which may happen once.
            ErrorKind::Disconnected => (first, longest, earlier.saturating_sub(1)),
            _ => return None,
        };
        self.failed_logins = earlier.saturating_add(1);
        let is_first_loss = error.kind() == ErrorKind::Disconnected && earlier == 0;
        (!is_first_loss).then(|| doubled(first, doublings).min(longest))
    }

    /// Ends the wait after a refused login: the app has changed what is sent.
    pub(super) fn forgive_refused_login(&mut self) {
        if self.throttled.take_if(|(_, error)| error.kind() == ErrorKind::Auth).is_some() {
            (self.failures, self.failed_logins) = (0, 0);
        }
    }

    /// Postpones the next attempt until the time that the error names.
    pub(super) fn honor_retry_after(&mut self, error: &Error, now: Instant) {
        if let Some(wait) = error.retry_after() {
            self.throttled = Some((now + wait, error.clone()));
        }
    }

    /// Returns `true` while the time that an error has named is not over.
    pub(super) fn is_throttled(&self) -> bool {
        self.throttled.as_ref().is_some_and(|(until, _)| *until > Instant::now())
    }

    /// Returns the heartbeat's wait before its next attempt: by default 1 s, 2 s, 4 s, ... 5 min.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        // Jitter of up to a quarter, so that many clients do not return at the same moment.
        let jitter = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX) / 4.0;
        let asked = self.throttled.as_ref().map_or(Duration::ZERO, |(until, _)| until.duration_since(now));
        self.backoff().mul_f64(1.0 - jitter).max(asked).max(self.rate_limit_wait(now))
    }
}

/// Doubles a wait so many times, 20 at most: the factor stays within 32 bits.
fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(20))
}

/// Returns the last error anew, for an attempt that is not made before `wait` is over. Kind and code stay, so that a
/// caller sees why, also one that did not get the first error.
fn postponed(error: &Error, reason: &str, wait: Duration) -> Error {
    let kind = match error.kind() {
        // The outcome of the call that was not made is known.
        ErrorKind::OutcomeUnknown => ErrorKind::Disconnected,
        kind => kind,
    };
    let text = format!("{reason}; the last error: {error:#}");
    Error::new(kind, text).with_details_of(error).with_retry_after(Some(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(max_connects_per_minute: u32) -> ReconnectLimiter {
        ReconnectLimiter::new(ConnectionOptions { max_connects_per_minute, ..ConnectionOptions::default() })
    }

    fn refused() -> Error {
        Error::new(ErrorKind::Connect, "connection refused")
    }

    /// Attempts to connect as soon as possible, for this many seconds. Returns the waits between attempts.
    fn waits_between_attempts(
        limiter: &mut ReconnectLimiter,
        seconds: u64,
        mut fail: impl FnMut(&mut ReconnectLimiter, Instant),
    ) -> Vec<f64> {
        let began = Instant::now();
        let tries = (0..seconds * 10).map(|tenth| began + Duration::from_millis(tenth * 100));
        let mut admitted = Vec::new();
        for now in tries {
            if limiter.admit(now).is_ok() {
                admitted.push(now);
                fail(limiter, now);
            }
        }
        admitted.windows(2).map(|two| two[1].duration_since(two[0]).as_secs_f64()).collect()
    }

    #[test]
    fn backoff_grows_to_five_minutes_and_no_further() {
        let mut limiter = limiter(1_000);
        for failures in 0..40 {
            let wait = limiter.wait(Instant::now()).as_secs_f64();
            let whole = f64::from(1_u32 << failures.min(9)).min(300.0);
            assert!((whole * 0.75..=whole).contains(&wait), "{failures}: {wait}");
            limiter.failed(refused(), Instant::now());
        }
        limiter.connected();
        assert!(limiter.wait(Instant::now()) <= Duration::from_secs(1));
    }

    #[test]
    fn within_any_minute_there_are_no_more_connections_than_configured() {
        let (mut limiter, began) = (limiter(4), Instant::now());
        let at = |second| began + Duration::from_secs(second);
        for second in [0, 1, 2, 32] {
            assert!(limiter.admit(at(second)).is_ok(), "the connection after {second} s");
        }
        let error = limiter.admit(at(35)).unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Connect, true));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(25)));
        assert!(limiter.wait(at(35)) >= Duration::from_secs(25), "the heartbeat waits, too");
        limiter.admit(at(60)).unwrap();
        limiter.admit(at(60)).unwrap_err();
    }

    #[test]
    fn a_polling_handle_tries_every_few_seconds_however_long_the_outage_is() {
        let mut limiter = limiter(30);
        let waits =
            waits_between_attempts(&mut limiter, 600, |limiter, now| drop(limiter.failed(refused(), now)));
        assert!(waits.len() > 200, "{}", waits.len());
        assert!(waits.iter().all(|wait| *wait < 3.0), "{waits:?}");
        let soon_after = *limiter.recent.back().unwrap() + Duration::from_secs(1);
        let error = limiter.admit(soon_after).unwrap_err();
        assert!(error.to_string().contains("connection refused"), "{error}");
    }

    #[test]
    fn a_server_that_accepts_and_drops_locks_no_polling_handle_out() {
        let mut limiter = limiter(30);
        let waits = waits_between_attempts(&mut limiter, 600, |limiter, _| limiter.connected());
        assert!(waits.iter().all(|wait| *wait < 9.0), "{waits:?}");
        assert!(waits.windows(30).all(|minute| minute.iter().sum::<f64>() > 55.0), "{waits:?}");
    }

    #[test]
    fn an_outage_after_many_connections_locks_no_polling_handle_out() {
        let mut limiter = limiter(30);
        let mut drops = 20;
        let waits = waits_between_attempts(&mut limiter, 300, |limiter, now| {
            if drops > 0 {
                drops -= 1;
                return limiter.connected();
            }
            limiter.failed(refused(), now);
        });
        assert!(waits.iter().all(|wait| *wait < 9.0), "{waits:?}");
    }

    /// fail2ban's defaults ban an address after five refusals within ten minutes.
    #[test]
    fn a_login_refused_without_a_clear_reason_is_retried_seldom() {
        let (mut limiter, mut errors) = (limiter(30), Vec::new());
        let waits = waits_between_attempts(&mut limiter, 4 * 3_600, |limiter, now| {
            errors.push(limiter.failed(Error::new(ErrorKind::Auth, "NO Login failed."), now));
        });
        let minutes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0];
        let is_as = |(wait, minutes): (&f64, &f64)| (wait - minutes * 60.0).abs() < 1.0;
        assert!(waits.len() == minutes.len() && waits.iter().zip(&minutes).all(is_as), "{waits:?}");
        assert_eq!(errors[0].retry_after(), Some(MINUTE));
        assert!(errors.iter().all(Error::is_transient));
    }

    #[test]
    fn a_login_that_failed_transiently_is_retried_after_ten_seconds_and_more() {
        let (mut limiter, now) = (limiter(30), Instant::now());
        let busy = || Error::new(ErrorKind::Refused, "busy").mark_transient(true);
        let waits = [10, 20, 40, 80, 160, 300, 300].map(Duration::from_secs);
        assert_eq!(waits.map(|_| limiter.failed(busy(), now).retry_after().unwrap()), waits);
        let error = limiter.admit(now + Duration::from_secs(299)).unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Refused, Some(Duration::from_secs(1))));
        limiter.connected();
        assert_eq!(limiter.failed(busy(), now).retry_after(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_server_that_hangs_up_at_the_login_sees_another_one_at_once_and_then_fewer_and_fewer() {
        let (mut limiter, now) = (limiter(30), Instant::now());
        let lost = || Error::new(ErrorKind::Disconnected, "lost");
        let waits: Vec<_> = (0..12).map(|_| limiter.failed(lost(), now).retry_after()).collect();
        let seconds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map(|it| Some(Duration::from_secs(it)));
        assert_eq!((waits[0], &waits[1..]), (None, &seconds[..]));
    }

    #[test]
    fn a_connection_that_is_not_urgent_leaves_half_of_them_to_calls() {
        let (mut limiter, now) = (limiter(3), Instant::now());
        for _ in 0..2 {
            assert!(limiter.has_room(now));
            limiter.admit(now).unwrap();
        }
        assert!(!limiter.has_room(now));
        limiter.admit(now).unwrap();
        assert!(limiter.has_room(now + MINUTE));
    }

    #[test]
    fn a_call_that_is_not_made_has_no_unknown_outcome() {
        let (mut limiter, now) = (limiter(30), Instant::now());
        let unknown = Error::new(ErrorKind::OutcomeUnknown, "421 try again in 30 seconds");
        limiter.honor_retry_after(&unknown.with_retry_after(Some(Duration::from_secs(30))), now);
        let error = limiter.admit(now).unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::Disconnected, Some(Duration::from_secs(30)))
        );
    }

    #[test]
    fn a_server_that_asks_to_wait_is_left_alone_until_then() {
        let (mut limiter, now) = (limiter(30), Instant::now());
        let busy = Error::new(ErrorKind::Refused, "busy").with_code(Some("LIMIT".into()));
        limiter.honor_retry_after(&busy.with_retry_after(Some(Duration::from_secs(600))), now);
        let error = limiter.admit(now + Duration::from_secs(100)).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("LIMIT")));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(500)));
        assert_eq!(limiter.wait(now), Duration::from_secs(600));
        limiter.admit(now + Duration::from_secs(600)).unwrap();
    }
}
