//! All measurements as tables.

use std::fmt::Write as _;

use crate::report::Row;

const HEAD: [&str; 16] = [
    "case",
    "system",
    "n",
    "bytes",
    "s",
    "from - to",
    "per s",
    "CPU us each",
    "peak RSS MB",
    "RSS MB",
    "PSS MB",
    "% of a core at rest",
    "99 % late by ms",
    "stopped in s",
    "p50 ms",
    "p99 ms",
];

/// The number of text columns, from the left.
const WORDS: usize = 2;

/// Returns a Markdown table of all rows, aligned for reading as text.
pub fn table<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let lines: Vec<_> = rows.into_iter().map(cells).collect();
    aligned(&lines)
}

/// Returns a table for each case, in the order of their first runs.
pub fn tables(rows: &[Row]) -> String {
    let mut cases: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        match cases.iter_mut().find(|case| case[0].case == row.case) {
            Some(case) => case.push(row),
            None => cases.push(vec![row]),
        }
    }
    let titled = cases.iter().map(|rows| format!("### {}\n\n{}", rows[0].case, table(rows.iter().copied())));
    titled.collect::<Vec<_>>().join("\n")
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    let shown = |value: Option<f64>, digits| value.map_or("-".into(), |it| format!("{it:.digits$}"));
    [
        row.case.clone(),
        row.system.name().into(),
        row.n.to_string(),
        if row.size == 0 { "-".into() } else { row.size.to_string() },
        format!("{:.4}", row.seconds),
        if row.turns > 1 { format!("{:.4} - {:.4}", row.fastest, row.slowest) } else { "-".into() },
        format!("{:.1}", row.per_s),
        format!("{:.1}", row.cpu_us_each),
        shown(row.peak_rss_mb, 1),
        shown(row.rss_mb, 1),
        shown(row.pss_mb, 1),
        shown(row.rest_cores.map(|cores| cores * 100.0), 3),
        shown(row.late_s.map(|late| late * 1e3), 1),
        shown(row.stop_s, 2),
        shown(row.p50_ms, 1),
        shown(row.p99_ms, 1),
    ]
}

/// Pads the columns to their contents; drops columns without any value.
fn aligned(lines: &[[String; HEAD.len()]]) -> String {
    let used = |column: &usize| lines.iter().any(|line| line[*column] != "-");
    let columns: Vec<_> = (0..HEAD.len()).filter(used).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = columns.iter().map(|&column| width(column).max(HEAD[column].len()).max(3)).collect();
    let head = HEAD.map(str::to_owned);
    let mut text = line(&head, &columns, &widths);
    for (&column, &width) in columns.iter().zip(&widths) {
        let rule = "-".repeat(width - usize::from(column >= WORDS));
        // Writing to a string can't fail.
        let _ = write!(text, "| {rule}{} ", if column >= WORDS { ":" } else { "" });
    }
    text.push_str("|\n");
    lines.iter().fold(text, |text, cells| text + &line(cells, &columns, &widths))
}

fn line(cells: &[String; HEAD.len()], columns: &[usize], widths: &[usize]) -> String {
    let mut text = String::new();
    for (&column, &width) in columns.iter().zip(widths) {
        let cell = &cells[column];
        // Writing to a string can't fail.
        let _ = if column < WORDS {
            write!(text, "| {cell:<width$} ")
        } else {
            write!(text, "| {cell:>width$} ")
        };
    }
    text + "|\n"
}
