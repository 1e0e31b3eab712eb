//! One result: a system in a case.

use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::job::{Outcome, System};

/// The medians of one system in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The case's name.
    pub case: String,
    /// The system.
    pub system: System,
    /// The number of messages, mailboxes or calls.
    pub n: usize,
    /// The bytes of a body, or their median.
    pub size: usize,
    /// The bytes of all bodies.
    pub bytes: usize,
    /// The round trip through the delay proxy.
    pub rtt_ms: u64,
    /// The number of turns.
    pub turns: usize,
    /// The start of the run, in seconds since 1970.
    pub run: u64,
    /// Median of the wall clock.
    pub seconds: f64,
    /// The fastest turn's.
    pub fastest: f64,
    /// The slowest turn's.
    pub slowest: f64,
    /// Messages, mailboxes or calls a second.
    pub per_s: f64,
    /// User and system time of its processes.
    pub cpu_s: f64,
    /// The same for each message, mailbox or call, in microseconds.
    pub cpu_us_each: f64,
    /// Peak resident memory.
    pub peak_rss_mb: Option<f64>,
    /// Resident memory at the end.
    pub rss_mb: Option<f64>,
    /// Proportional memory at the end.
    pub pss_mb: Option<f64>,
    /// Share of one core at rest.
    pub rest_cores: Option<f64>,
    /// The 99th percentile of how late heartbeats are, in seconds.
    pub late_s: Option<f64>,
    /// Seconds to close all mailboxes, one after the other.
    pub stop_s: Option<f64>,
    /// Median of the time from a message's delivery until it is handled.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of that time.
    pub p99_ms: Option<f64>,
}

impl Row {
    /// The key of a row: two rows differ in it.
    pub fn key(&self) -> (&str, System, usize, u64) {
        (&self.case, self.system, self.n, self.rtt_ms)
    }

    /// Returns the resident memory of each mailbox, in kB.
    pub fn kb_each(&self) -> Option<f64> {
        Some(self.rss_mb? * 1e3 / self.count())
    }

    /// Returns the megabytes of bodies a second.
    pub fn mb_per_s(&self) -> f64 {
        number(self.bytes) / 1e6 / self.seconds
    }

    /// Returns the number as a float.
    pub fn count(&self) -> f64 {
        number(self.n)
    }

    /// Takes the median of each number over all turns.
    pub fn new(run: u64, case: &Case, system: System, n: usize, outcomes: &[Outcome]) -> Self {
        let each = number(n);
        let seconds = median(outcomes, |it| Some(it.seconds)).unwrap_or_default();
        let cpu_s = median(outcomes, |it| Some(it.cpu_s)).unwrap_or_default();
        Self {
            case: case.name.into(),
            system,
            n,
            size: case.sizes.typical(),
            bytes: case.sizes.list(n).iter().sum(),
            rtt_ms: case.rtt_ms,
            turns: outcomes.len(),
            run,
            seconds,
            fastest: outcomes.iter().map(|it| it.seconds).fold(f64::INFINITY, f64::min),
            slowest: outcomes.iter().map(|it| it.seconds).fold(0.0, f64::max),
            per_s: rounded(each / seconds),
            cpu_s,
            cpu_us_each: rounded(cpu_s * 1e6 / each),
            peak_rss_mb: median(outcomes, |it| it.peak_rss_mb),
            rss_mb: median(outcomes, |it| it.rss_mb),
            pss_mb: median(outcomes, |it| it.pss_mb),
            rest_cores: median(outcomes, |it| it.rest_cores),
            late_s: median(outcomes, |it| it.late_s),
            stop_s: median(outcomes, |it| it.stop_s),
            p50_ms: median(outcomes, |it| it.p50_ms),
            p99_ms: median(outcomes, |it| it.p99_ms),
        }
    }
}

/// The numbers are below 52 bits.
#[allow(clippy::cast_precision_loss)]
fn number(count: usize) -> f64 {
    count as f64
}

/// Returns the median; of two in the middle, the better one.
fn median(outcomes: &[Outcome], number: impl Fn(&Outcome) -> Option<f64>) -> Option<f64> {
    let mut numbers: Vec<_> = outcomes.iter().filter_map(number).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied()
}

/// Rounds to three decimals, which is as precise as the measurement.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
