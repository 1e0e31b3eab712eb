//! The results, one JSON line for each system in each case.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::job::{Outcome, Result, System};

/// The medians of one system in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The case's name.
    pub case: String,
    /// Who it was.
    pub system: System,
    /// How many messages, mailboxes or calls.
    pub n: usize,
    /// The bytes of a body, or their median.
    pub size: usize,
    /// The round trip that the proxy made.
    pub rtt_ms: u64,
    /// How many turns the medians are over.
    pub turns: usize,
    /// Wall clock.
    pub seconds: f64,
    /// How many a second.
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
    /// Part of one core at rest.
    pub rest_cores: Option<f64>,
    /// How late heartbeats were, at most, 99 of 100.
    pub late_s: Option<f64>,
}

impl Row {
    /// Take the median of each number, over all turns.
    pub fn new(case: &Case, system: System, n: usize, outcomes: &[Outcome]) -> Self {
        let each = f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let seconds = median(outcomes, |it| Some(it.seconds)).unwrap_or_default();
        let cpu_s = median(outcomes, |it| Some(it.cpu_s)).unwrap_or_default();
        Self {
            case: case.name.into(),
            system,
            n,
            size: case.sizes.typical(),
            rtt_ms: case.rtt_ms,
            turns: outcomes.len(),
            seconds,
            per_s: rounded(each / seconds),
            cpu_s,
            cpu_us_each: rounded(cpu_s * 1e6 / each),
            peak_rss_mb: median(outcomes, |it| it.peak_rss_mb),
            rss_mb: median(outcomes, |it| it.rss_mb),
            pss_mb: median(outcomes, |it| it.pss_mb),
            rest_cores: median(outcomes, |it| it.rest_cores),
            late_s: median(outcomes, |it| it.late_s),
        }
    }
}

/// The middle one, and of two in the middle the better.
fn median(outcomes: &[Outcome], number: impl Fn(&Outcome) -> Option<f64>) -> Option<f64> {
    let mut numbers: Vec<_> = outcomes.iter().filter_map(number).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied()
}

/// Three decimals: more would claim what was not measured.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Write one JSON line a row.
///
/// # Errors
/// When the file can't be written.
pub fn save(path: &Path, rows: &[Row]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::new(File::create(path)?);
    for row in rows {
        serde_json::to_writer(&mut file, row)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
