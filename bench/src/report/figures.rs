//! The figures to reach: pymail against another system, as a ratio or an absolute number, and the verdict.

use std::fmt::Write as _;

use crate::job::System;
use crate::report::{Results, Row};

use System::{AsyncImap, Floor, Imap, IoImap, IoSmtp, Lettre, MailSend, Pymail, SmtpSource, Subprocess};

/// The round trip of the cases with the proxy, in seconds.
const ROUND_TRIP: f64 = 0.05;

/// A bound to reach.
#[derive(Clone, Copy, Debug)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

use Target::{AtLeast, AtMost};

/// A row of the table.
struct Figure {
    case: String,
    what: &'static str,
    against: String,
    /// The measured value; `None` when it was not measured.
    value: Option<f64>,
    target: Target,
}

/// Returns the Markdown table of all figures.
pub fn table(results: &Results) -> String {
    let mut text = String::from("| case | what | against | pymail | to reach | reached |\n");
    text.push_str("| --- | --- | --- | ---: | ---: | --- |\n");
    for Figure { case, what, against, value, target } in all(results) {
        let (sign, bound) = match target {
            AtLeast(least) => ("at least", least),
            AtMost(most) => ("at most", most),
        };
        let value_text = value.map_or("-".into(), short);
        let reached =
            value.map_or("not measured", |value| if target.admits(value) { "yes" } else { "**no**" });
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "| {case} | {what} | {against} | {value_text} | {sign} {} | {reached} |",
            short(bound)
        );
    }
    text
}

/// Returns all figures, in the order of the cases.
fn all(results: &Results) -> Vec<Figure> {
    let comparison = Comparison { results };
    let mut figures = comparison.drains();
    figures.extend(comparison.sends());
    figures.extend(comparison.others());
    figures
}

/// Compares rows of one run.
struct Comparison<'a> {
    results: &'a Results,
}

impl Comparison<'_> {
    fn drains(&self) -> Vec<Figure> {
        let small = |others, least| self.rate("drain_small", 10_000, others, least);
        let big = |others, least| self.rate("drain_big", 40, others, least);
        let wan = |others, least| self.rate("drain_wan", 1_000, others, least);
        vec![
            small(&[Subprocess], 40.0),
            small(&[Imap, AsyncImap, IoImap], 1.05),
            small(&[Floor], 0.95),
            big(&[Subprocess], 1.5),
            big(&[Imap, AsyncImap, IoImap], 1.3),
            big(&[Floor], 0.95),
            wan(&[Subprocess], 120.0),
            wan(&[Imap, AsyncImap, IoImap], 1.3),
            self.round_trips_of_a_drain(),
            self.round_trips_of_a_batch(),
            self.cpu(&[Subprocess], 0.1),
            self.cpu(&[Imap, AsyncImap, IoImap], 1.0),
            self.growth(),
        ]
    }

    fn sends(&self) -> Vec<Figure> {
        let small = |others, least| self.rate("send_small", 3_000, others, least);
        let wan = |others, least| self.rate("send_wan", 100, others, least);
        vec![
            small(&[Subprocess], 2.2),
            small(&[Lettre], 20.0),
            small(&[MailSend, IoSmtp], 1.3),
            small(&[SmtpSource], 1.4),
            wan(&[Subprocess], 3.8),
            wan(&[Lettre], 4.0),
            self.round_trips_of_a_message(),
        ]
    }

    fn others(&self) -> Vec<Figure> {
        let (ours, theirs) = (self.row("start", Pymail, 1), self.row("start", Subprocess, 1));
        let start = ratio(ours, theirs, |row| Some(row.seconds));
        let mailboxes = self.row("mailboxes", Pymail, 1_000);
        let live = ("mailboxes", mailboxes);
        let processes = self.row("mailboxes", Subprocess, 1_000);
        let memory = ratio(mailboxes, processes, Row::kb_each);
        let at_rest = mailboxes.and_then(|row| row.rest_cores).map(|cores| cores * 100.0);
        let late = mailboxes.and_then(|row| row.late_s);
        vec![
            figure(("start", ours), "time", named(theirs), start, AtMost(0.5)),
            figure(live, "memory of each", named(processes), memory, AtMost(1.0 / 60.0)),
            figure(
                live,
                "memory of each, kB",
                String::new(),
                mailboxes.and_then(Row::kb_each),
                AtMost(250.0),
            ),
            figure(live, "percent of one core at rest", String::new(), at_rest, AtMost(3.0)),
            figure(live, "99 % of heartbeats late by, s", String::new(), late, AtMost(1.0)),
        ]
    }

    /// Returns the figure of pymail's rate over the best rate of others.
    fn rate(&self, case: &'static str, n: usize, others: &[System], least: f64) -> Figure {
        let ours = self.row(case, Pymail, n);
        let theirs = self.best(ours, others, |row| row.per_s);
        figure(
            (case, ours),
            "rate",
            named(theirs),
            ratio(ours, theirs, |row| Some(row.per_s)),
            AtLeast(least),
        )
    }

    fn cpu(&self, others: &[System], most: f64) -> Figure {
        let ours = self.row("drain_small", Pymail, 10_000);
        let theirs = self.best(ours, others, |row| -row.cpu_us_each);
        let value = ratio(ours, theirs, |row| Some(row.cpu_us_each));
        figure(("drain_small", ours), "client CPU a message", named(theirs), value, AtMost(most))
    }

    /// Returns the best of the others in the case of our row: the row with the same number or, of a slow system, its largest.
    fn best(&self, ours: Option<&Row>, others: &[System], merit: impl Fn(&Row) -> f64) -> Option<&Row> {
        let ours = ours?;
        let theirs = others.iter().filter_map(|&system| self.row(&ours.case, system, ours.n));
        theirs.max_by(|a, b| merit(a).total_cmp(&merit(b)))
    }

    fn growth(&self) -> Figure {
        let exactly = |n| self.row("drain_small", Pymail, n).filter(|row| row.n == n);
        let value = ratio(exactly(100_000), exactly(1_000), |row| Some(row.seconds / row.count()));
        figure(("growth", None), "time a message at 100,000", "pymail at 1,000".into(), value, AtMost(1.3))
    }

    /// Returns the round trips that the distance adds: the same drain without it is the transfer.
    fn round_trips_of_a_drain(&self) -> Figure {
        let far = self.row("drain_wan", Pymail, 1_000);
        let near = far.and_then(|far| self.row("drain_small", Pymail, far.n).filter(|near| near.n == far.n));
        let value = far.zip(near).map(|(far, near)| (far.seconds - near.seconds) / ROUND_TRIP);
        figure(
            ("drain_wan", far),
            "round trips beyond connect and transfer",
            String::new(),
            value,
            AtMost(2.0),
        )
    }

    /// Returns the round trips of a batch: the same drain without the distance is the transfer.
    fn round_trips_of_a_batch(&self) -> Figure {
        let (near, far) = (self.row("batches", Pymail, 10_000), self.row("batches_wan", Pymail, 10_000));
        let value = far.zip(near.filter(|near| near.count() >= 1_000.0));
        let value =
            value.map(|(far, near)| (far.seconds - near.seconds) / ROUND_TRIP / (far.count() / 100.0));
        figure(("batches_wan", far), "round trips a batch of 100", String::new(), value, AtMost(1.1))
    }

    /// Returns the round trips a message; the first envelope takes one more.
    fn round_trips_of_a_message(&self) -> Figure {
        let row = self.row("send_wan", Pymail, 100);
        let value = row.map(|row| row.seconds / ROUND_TRIP / (row.count() + 1.0));
        // A tenth is for the proxy's timer.
        figure(("send_wan", row), "round trips a message", String::new(), value, AtMost(1.1))
    }

    fn row(&self, case: &str, system: System, n: usize) -> Option<&Row> {
        self.results.find(case, system, n)
    }
}

impl Target {
    fn admits(self, value: f64) -> bool {
        match self {
            AtLeast(least) => value >= least,
            AtMost(most) => value <= most,
        }
    }
}

/// Makes a figure of a case, or of our row in it.
fn figure(
    (case, ours): (&str, Option<&Row>),
    what: &'static str,
    against: String,
    value: Option<f64>,
    target: Target,
) -> Figure {
    let case = ours.map_or(case.to_owned(), |row| format!("{case}, {}", row.n));
    Figure { case, what, against, value, target }
}

fn ratio(ours: Option<&Row>, theirs: Option<&Row>, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
    Some(of(ours?)? / of(theirs?)?)
}

/// Names the other system and its number.
fn named(row: Option<&Row>) -> String {
    row.map(|row| format!("{} ({})", row.system.name(), row.n)).unwrap_or_default()
}

/// Formats a number with three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Outcome;
    use crate::mails::Sizes;
    use crate::report::Machine;

    /// Makes a row of `drain_big` that took `seconds`.
    fn row(system: System, n: usize, seconds: f64) -> Row {
        let mut cases = crate::cases::Case::all(false);
        cases.retain(|case| case.name == "drain_big");
        assert_eq!(cases[0].sizes, Sizes::Fixed(5_000_000));
        Row::new(0, &cases[0], system, n, &[Outcome { seconds, ..Outcome::default() }])
    }

    fn lines(rows: Vec<Row>) -> Vec<String> {
        let table = table(&Results { machine: Machine { facts: Vec::new() }, rows });
        table.lines().filter(|line| line.contains("drain_big")).map(str::to_owned).collect()
    }

    #[test]
    fn pymail_is_compared_with_the_best_peer_and_by_rate() {
        let slow = [row(Subprocess, 10, 1.0), row(Imap, 40, 3.0)];
        let rows =
            [&slow[..], &[row(Pymail, 40, 1.0), row(AsyncImap, 40, 2.0), row(Floor, 40, 0.9)]].concat();
        assert_eq!(
            lines(rows),
            [
                "| drain_big, 40 | rate | subprocess (10) | 4.00 | at least 1.50 | yes |",
                "| drain_big, 40 | rate | async-imap (40) | 2.00 | at least 1.30 | yes |",
                "| drain_big, 40 | rate | floor (40) | 0.90 | at least 0.95 | **no** |",
            ]
        );
    }

    #[test]
    fn a_missing_measurement_is_shown_as_missing() {
        let lines = lines(vec![row(Pymail, 40, 1.0)]);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.ends_with("| not measured |")), "{lines:?}");
    }
}
