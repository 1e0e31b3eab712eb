//! The delay before an attempt that failed is made again.

use std::time::Duration;

/// The least delay before a retry, as a multiple of the time that the failed attempt took.
///
/// So a bad message takes an eleventh of a handle's time at most, however slowly it fails.
const DELAY_FACTOR: u32 = 10;

/// Returns the delay before a retry: exponential backoff, and at least ten times as long as the failed attempt took.
///
/// `failures` counts the earlier failures; `backoff` has the least and the greatest delay.
pub(crate) fn retry_delay(failures: u32, took: Duration, backoff: (Duration, Duration)) -> Duration {
    let (least, most) = backoff;
    let delay = least.saturating_mul(1 << failures.min(20)).min(most);
    delay.max(took.saturating_mul(DELAY_FACTOR))
}
