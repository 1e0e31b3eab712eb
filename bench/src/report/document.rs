//! The report as a document: `docs/performance.md`, and its plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::job::Result;
use crate::report::plots::PLOTS;
use crate::report::{Results, figures, table};

const INTRODUCTION: &str = include_str!("introduction.md");

/// Writes the report and its plots; `notes` is the text below them.
///
/// # Errors
/// A file can't be written.
pub fn write(results: &Results, path: &Path, notes: &str) -> Result<()> {
    let plots = plots(results, path)?;
    let rows = &results.rows;
    let text = [
        INTRODUCTION.trim_end(),
        &machine(results),
        "## Figures to reach",
        "The figures that were asked for, as ratios within one run. In brackets is the number of messages, or \
         mailboxes, of the other system: slow ones get fewer, and are compared by rate.",
        &figures::table(results),
        "## Plots",
        &plots,
        notes.trim_end(),
        "## All numbers",
        &table::tables(rows),
    ];
    Ok(fs::write(path, text.map(str::trim_end).join("\n\n") + "\n")?)
}

fn machine(results: &Results) -> String {
    let mut runs: Vec<_> = results.rows.iter().map(|row| row.run).collect();
    runs.sort_unstable();
    runs.dedup();
    let runs = match runs.len() {
        1 => "one run".to_owned(),
        several => format!("{several} runs"),
    };
    let turns = results.rows.iter().map(|row| row.turns);
    let (least, most) = (turns.clone().min().unwrap_or(0), turns.max().unwrap_or(0));
    let mut text = format!(
        "## The machine\n\nAll numbers are from {runs} on this machine, the medians of {least} to {most} turns.\n\n\
         | | |\n| --- | --- |\n"
    );
    for (name, value) in &results.machine.facts {
        // Writing to a string can't fail.
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

/// Draws the plots that have rows, into a folder named like the report; returns their Markdown.
fn plots(results: &Results, path: &Path) -> Result<String> {
    let folder = path.with_extension("");
    let name = folder.file_name().ok_or("a report without a name")?.to_string_lossy();
    let mut text = String::new();
    for plot in &PLOTS {
        if plot.draw(results, &folder)? {
            // Writing to a string can't fail.
            let _ = writeln!(text, "![{}]({name}/{}.svg)\n", plot.title, plot.name);
        }
    }
    Ok(text)
}
