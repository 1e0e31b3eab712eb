//! Everything that was measured, for people.

use std::fmt::Write as _;

use crate::report::Row;

const HEAD: [&str; 11] = [
    "case",
    "system",
    "n",
    "bytes",
    "RTT ms",
    "s",
    "per s",
    "CPU us each",
    "peak RSS MB",
    "RSS MB",
    "PSS MB",
];

/// A Markdown table of all rows, which is readable as text, too.
pub fn table(rows: &[Row]) -> String {
    let lines: Vec<_> = rows.iter().map(cells).collect();
    aligned(&HEAD.map(str::to_owned), &lines)
}

fn cells(row: &Row) -> [String; 11] {
    let memory = |megabytes: Option<f64>| megabytes.map_or("-".into(), |it| format!("{it:.1}"));
    [
        row.case.clone(),
        row.system.name().into(),
        row.n.to_string(),
        row.size.to_string(),
        row.rtt_ms.to_string(),
        format!("{:.4}", row.seconds),
        format!("{:.1}", row.per_s),
        format!("{:.1}", row.cpu_us_each),
        memory(row.peak_rss_mb),
        memory(row.rss_mb),
        memory(row.pss_mb),
    ]
}

/// A Markdown table with columns as wide as what is in them; the first two are words, the others numbers.
fn aligned<const N: usize>(head: &[String; N], lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().chain([head]).map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let rule: [String; N] = std::array::from_fn(|column| {
        if column < 2 { "-".repeat(widths[column]) } else { format!("{}:", "-".repeat(widths[column] - 1)) }
    });
    let mut text = String::new();
    for line in [head, &rule].into_iter().chain(lines) {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            // Writing to a string can't fail.
            let _ = if column < 2 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
    }
    text
}
