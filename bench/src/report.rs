//! The report: JSON lines for machines, two Markdown tables for people.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::cases::{Case, Target};
use crate::job::{Outcome, Result, System};

/// The medians of one contestant in one case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    case: &'static str,
    system: &'static str,
    n: usize,
    size: usize,
    rtt_ms: u64,
    per_s: f64,
    mb_per_s: f64,
    client_cpu_us: f64,
    peak_rss_mb: f64,
    pss_mb: f64,
}

impl Row {
    /// Take the median of each number, over all turns.
    pub fn new(case: &Case, system: System, outcomes: &[Outcome]) -> Self {
        let n = f64::from(u32::try_from(case.n).unwrap_or(u32::MAX));
        let size = f64::from(u32::try_from(case.size).unwrap_or(u32::MAX));
        let per_s = n / median(outcomes, |outcome| outcome.seconds);
        Self {
            case: case.name,
            system: system.name(),
            n: case.n,
            size: case.size,
            rtt_ms: case.rtt_ms,
            per_s: rounded(per_s),
            mb_per_s: rounded(per_s * size / 1e6),
            client_cpu_us: rounded(median(outcomes, |outcome| outcome.cpu_us) / n),
            peak_rss_mb: rounded(median(outcomes, |outcome| outcome.peak_rss_mb)),
            pss_mb: rounded(median(outcomes, |outcome| outcome.pss_mb)),
        }
    }
}

fn median(outcomes: &[Outcome], number: impl Fn(&Outcome) -> f64) -> f64 {
    let mut numbers: Vec<_> = outcomes.iter().map(number).collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
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

/// Everything that was measured, as a Markdown table.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| case | system | n | bytes | RTT ms | per s | MB/s | CPU us each | peak RSS MB | PSS MB |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let Row { case, system, n, size, rtt_ms, per_s, mb_per_s, client_cpu_us, peak_rss_mb, pss_mb } = row;
        let counts = format!("| {case} | {system} | {n} | {size} | {rtt_ms} ");
        let speeds = format!("| {per_s:.1} | {mb_per_s:.2} | {client_cpu_us:.0} ");
        // Writing to a string can't fail.
        let _ = writeln!(text, "{counts}{speeds}| {peak_rss_mb:.1} | {pss_mb:.1} |");
    }
    text
}

/// pymail against the subprocess version, as a Markdown table: `rows` has one, then the other, for each case.
pub fn ratios(cases: &[Case], rows: &[Row]) -> String {
    let mut text = String::from(
        "| case | of | pymail / subprocess | target | met |\n| --- | --- | ---: | ---: | --- |\n",
    );
    for (case, pair) in cases.iter().zip(rows.chunks_exact(System::ALL.len())) {
        let (ratio, what, sign, target, met) = judge(case.target, &pair[0], &pair[1]);
        let met = if met { "yes" } else { "**no**" };
        let name = describe(case);
        // Writing to a string can't fail.
        let _ = writeln!(text, "| {name} | {what} | {ratio:.2} | {sign} {target} | {met} |");
    }
    text
}

fn judge(target: Target, base: &Row, ours: &Row) -> (f64, &'static str, char, f64, bool) {
    match target {
        Target::Rate(least) => {
            let ratio = ours.per_s / base.per_s;
            (ratio, "rate", '≥', least, ratio >= least)
        }
        Target::Time(most) => {
            let ratio = base.per_s / ours.per_s;
            (ratio, "time", '≤', most, ratio <= most)
        }
        Target::Memory(most) => {
            let ratio = ours.peak_rss_mb / base.peak_rss_mb;
            (ratio, "peak RSS", '≤', most, ratio <= most)
        }
    }
}

/// The case in a few words.
pub fn describe(case: &Case) -> String {
    let Case { name, n, size, rtt_ms, .. } = case;
    let size = if *size == 0 { String::new() } else { format!(" x {size} B") };
    let rtt = if *rtt_ms == 0 { String::new() } else { format!(", {rtt_ms} ms away") };
    format!("{name} {n}{size}{rtt}")
}
