//! Durations, counted in a histogram.

use std::time::Duration;

use serde::Serialize;

/// The number of buckets; the last one has all durations over 13 s.
const BUCKETS: usize = 36;

/// The upper limit of the first bucket.
const FIRST: Duration = Duration::from_micros(100);

/// The times from announcements to deliveries, from [`Stats::push_latency`](crate::Stats::push_latency).
///
/// ```no_run
/// # fn show(imap: &pymail::Imap) {
/// let latency = imap.stats().push_latency;
/// println!("{} announcements, p50 {:?}, p99 {:?}", latency.count, latency.quantile(0.5), latency.quantile(0.99));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The number of durations.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
    /// The longest of them.
    pub max: Duration,
    /// The number of durations in each bucket: each limit is the square root of two times the one before.
    #[serde(skip)]
    buckets: [u64; BUCKETS],
}

impl Default for Latency {
    fn default() -> Self {
        Self { count: 0, sum: Duration::ZERO, max: Duration::ZERO, buckets: [0; BUCKETS] }
    }
}

impl Latency {
    /// Returns a limit that this share of all durations does not exceed: at most 42 % too long for durations from 0.1 ms
    /// to 13 s, and at most `max`. `None` before the first one.
    ///
    /// `0.5` is for the median, `0.99` for the duration that one in a hundred exceeds.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut below = 0;
        let limits =
            std::iter::successors(Some(FIRST), |limit| Some(limit.mul_f64(std::f64::consts::SQRT_2)));
        let mut buckets = self.buckets.iter().zip(limits).take(BUCKETS - 1);
        let bucket = buckets.find(|(times, _)| {
            below += **times;
            ratio(below, self.count) >= share.min(1.0)
        });
        let limit = bucket.map_or(self.max, |(_, limit)| limit.min(self.max));
        (self.count > 0).then_some(limit)
    }

    /// Returns the mean; `None` before the first duration.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| self.sum.div_f64(ratio(self.count, 1)))
    }

    /// Adds a duration.
    pub(super) fn add(&mut self, duration: Duration) {
        self.count += 1;
        self.sum = self.sum.saturating_add(duration);
        self.max = self.max.max(duration);
        let mut limit = FIRST;
        for (nth, bucket) in self.buckets.iter_mut().enumerate() {
            if duration <= limit || nth == BUCKETS - 1 {
                *bucket += 1;
                return;
            }
            limit = limit.mul_f64(std::f64::consts::SQRT_2);
        }
    }

    /// Returns the durations of both.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
        self.buckets.iter_mut().zip(other.buckets).for_each(|(ours, theirs)| *ours += theirs);
        self
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are out of reach")]
fn ratio(part: u64, all: u64) -> f64 {
    part as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        milliseconds.into_iter().for_each(|it| latency.add(Duration::from_millis(it)));
        latency
    }

    #[test]
    fn quantiles_are_at_most_42_percent_too_long_and_never_beyond_the_maximum() {
        let latency = of(1..=1_000);
        for (share, exact) in [(0.01, 10), (0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1_000)] {
            let (exact, told) = (Duration::from_millis(exact), latency.quantile(share).unwrap());
            assert!(told >= exact && told <= exact.mul_f64(1.42).min(latency.max), "{share}: {told:?}");
        }
        assert_eq!(latency.mean(), Some(Duration::from_micros(500_500)));
    }

    #[test]
    fn durations_below_and_above_all_limits_are_counted() {
        let latency = of([0, 86_400_000]);
        assert_eq!(latency.quantile(0.5), Some(FIRST));
        assert_eq!(latency.quantile(0.99), Some(Duration::from_secs(86_400)));
        assert_eq!((Latency::default().quantile(0.5), Latency::default().mean()), (None, None));
    }

    #[test]
    fn the_sum_of_two_is_that_of_all_durations() {
        assert_eq!(of([1, 2, 30]).and(of([400, 5])), of([5, 2, 400, 1, 30]));
    }
}
