//! Hostile servers: tables of bad responses, and the allowed results of each.
//!
//! A process of its own runs a part of a table, so that its memory is measured alone, a panic in any of its threads
//! is seen, and a crash belongs to a row with a name.

mod checker;
mod imap;
mod imap_archiving;
mod imap_claims;
mod imap_connecting;
mod imap_everywhere;
mod imap_fetching;
mod imap_idling;
mod imap_searching;
mod row;
mod smtp;
mod smtp_connecting;
mod smtp_sending;

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::panic;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use self::checker::{Cost, Findings};
use self::row::Row;
use crate::scripted;
use crate::support::process::started;
use crate::support::script::Script;

/// The function that runs a row.
type Meet = fn(&Row, &Findings);

/// A table's name, its rows, and the function that runs them.
type Table = (&'static str, fn() -> Vec<Row>, Meet);

const TABLES: &[Table] = &[
    ("imap late, login", || imap_everywhere::late("LOGIN"), imap::meet),
    ("imap late, select", || imap_everywhere::late("SELECT"), imap::meet),
    ("imap late, search", || imap_everywhere::late("UID SEARCH UNDELETED"), imap::meet),
    ("imap late, fetch", || imap_everywhere::late("UID FETCH"), imap::meet),
    ("imap late, copy", || imap_everywhere::late("UID COPY"), imap::meet),
    ("imap bad, login", || imap_everywhere::prompt("LOGIN"), imap::meet),
    ("imap bad, select", || imap_everywhere::prompt("SELECT"), imap::meet),
    ("imap bad, search", || imap_everywhere::prompt("UID SEARCH UNDELETED"), imap::meet),
    ("imap bad, fetch", || imap_everywhere::prompt("UID FETCH"), imap::meet),
    ("imap bad, copy", || imap_everywhere::prompt("UID COPY"), imap::meet),
    ("imap connecting", imap_connecting::rows, imap::meet),
    ("imap searching", imap_searching::rows, imap::meet),
    ("imap fetching", imap_fetching::rows, imap::meet),
    ("imap archiving", imap_archiving::rows, imap::meet),
    ("imap claims", imap_claims::rows, imap_claims::meet),
    ("imap idling", imap_idling::rows, imap_idling::meet),
    ("smtp connecting", smtp_connecting::rows, smtp::meet),
    ("smtp sending", smtp_sending::rows, smtp::meet),
    ("smtp pipelining", smtp_sending::pipelined, smtp::meet_pipelined),
];

/// The variable by which one row of so many is run in each table, for a system where all take long.
const ONE_ROW_OF: &str = "HOSTILE_ONE_ROW_OF";

/// The smallest number of rows in all tables.
const FEWEST: usize = 600;

/// The number of processes at a time: they mostly wait.
const AT_ONCE: usize = 16;

/// The number of processes at a time that try a row again.
const AGAIN_AT_ONCE: usize = 4;

/// The number of rows for each process, which begins with Python's start.
const ROWS: usize = 32;

/// The factor of the timeout when a row with a finding is tried again, in a process of its own: a busy machine is no
/// fault of server or client. The cost of a row is measured each time.
const AGAIN: [u32; 3] = [1, 6, 30];

#[test]
fn whatever_a_server_answers_ends_in_time_within_memory_with_a_clear_error_and_harms_no_mail() {
    let found = gather(AT_ONCE, TABLES.iter().flat_map(parts), |part| part.report(1));
    // Not before the end of the others, which keep the machine busy.
    let failures = gather(AGAIN_AT_ONCE, found.into_iter(), |finding| {
        finding.is_found_again().then(|| finding.to_string()).into_iter().collect()
    });
    let all: usize = TABLES.iter().map(|table| rows(table).len()).sum();
    assert!(failures.is_empty(), "{} findings in {all} rows:\n{}", failures.len(), failures.join("\n"));
    assert!(all * one_row_of() >= FEWEST, "{all} rows");
}

/// Does work with all items, so many at a time, and returns all of its results.
fn gather<I: Send, R: Send>(
    at_once: usize,
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) -> Vec<R> + Sync,
) -> Vec<R> {
    let (items, gathered) = (Mutex::new(items), Mutex::new(Vec::new()));
    let next = || items.lock().unwrap().next();
    let work_on = || {
        while let Some(item) = next() {
            let results = work(item); // before the lock, which would keep all others waiting
            gathered.lock().unwrap().extend(results);
        }
    };
    thread::scope(|threads| (0..at_once).for_each(|_| drop(threads.spawn(work_on))));
    gathered.into_inner().unwrap()
}

/// Some rows of a table, for one process.
#[derive(Clone)]
struct Part {
    table: &'static str,
    rows: Range<usize>,
}

fn parts(table: &'static Table) -> impl Iterator<Item = Part> {
    let all = rows(table).len();
    (0..all).step_by(ROWS).map(move |from| Part { table: table.0, rows: from..all.min(from + ROWS) })
}

/// Returns the rows of a table, as many as [`ONE_ROW_OF`] says: others in each table, since some share their rows.
fn rows((name, rows, _): &Table) -> Vec<Row> {
    let one_of = one_row_of();
    let place = TABLES.iter().position(|(table, _, _)| table == name).unwrap();
    rows().into_iter().skip(place % one_of).step_by(one_of).collect()
}

fn one_row_of() -> usize {
    std::env::var(ONE_ROW_OF).map_or(1, |number| number.parse().unwrap())
}

/// A finding and its row; `None` when the whole process fails.
struct Finding {
    part: Part,
    row: Option<String>,
    text: String,
}

impl Finding {
    /// Returns `true` if a row has the finding each time that it runs alone.
    fn is_found_again(&self) -> bool {
        self.row.is_none() || AGAIN.iter().all(|&deadlines| !self.part.report(deadlines).is_empty())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.part.table, self.row.as_deref().unwrap_or_default(), self.text)
    }
}

impl Part {
    fn child(&self, deadlines: u32) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "hostile::goes_through_a_table", "--nocapture"]);
        // Freed memory returns to the system at once, so that each row's peak begins at the level of the process.
        child
            .env("MALLOC_TRIM_THRESHOLD_", "0")
            .env("MALLOC_MMAP_THRESHOLD_", "65536")
            .env("MALLOC_ARENA_MAX", "1");
        let Range { start, end } = self.rows;
        child.env("CHILD_TABLE", self.table).env("CHILD_ROWS", format!("{start} {end}"));
        child.env("CHILD_DEADLINES", deadlines.to_string());
        started(|| child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()).unwrap()
    }

    /// Parses a process's report of its rows; a crash is a finding about its row.
    fn report(&self, deadlines: u32) -> Vec<Finding> {
        let mut child = self.child(deadlines);
        let stderr = child.stderr.take().unwrap();
        let noise =
            thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).collect::<Vec<_>>());
        let (mut failures, mut begun, mut ended) = (Vec::new(), Vec::new(), 0);
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(row) = line.strip_prefix("BEGIN ") {
                begun.push(row.to_owned());
            } else if line.starts_with("END ") {
                ended += 1;
                println!("{}: {line}", self.table); // shown when the test fails
            } else if let Some(text) = line.strip_prefix("FINDING ") {
                let at = self.rows.start + begun.len().saturating_sub(1);
                let part = Self { rows: at..at + 1, ..self.clone() };
                failures.push(Finding { part, row: begun.last().cloned(), text: text.to_owned() });
            }
        }
        let status = child.wait().unwrap();
        if ended != self.rows.len() || !status.success() {
            let noise = noise.join().unwrap().join("\n");
            let text = format!("ended with {status} in row {:?} of {:?}: {noise}", begun.last(), self.rows);
            failures.push(Finding { part: self.clone(), row: None, text });
        }
        failures
    }
}

/// Starts the interpreter outside of any row's time and memory.
fn warm_up() {
    let (imap, smtp) = (Script::imap(&[]).start(), Script::smtp(&[]).start());
    drop((scripted::imap(&imap), scripted::smtp(&smtp)));
}

#[test]
#[ignore = "runs in child processes of the test above"]
fn goes_through_a_table() {
    let wanted = std::env::var("CHILD_TABLE").unwrap();
    let asked = std::env::var("CHILD_ROWS").unwrap();
    let (from, to) = asked.split_once(' ').unwrap();
    let findings = Arc::<Findings>::default();
    let panics = Arc::clone(&findings);
    panic::set_hook(Box::new(move |panic| {
        eprintln!("{panic}"); // for one outside of the rows
        panics.add(format!("a panic: {panic}"));
    }));
    let table = TABLES.iter().find(|(table, _, _)| *table == wanted).unwrap();
    let meet = table.2;
    warm_up();
    for row in &rows(table)[from.parse().unwrap()..to.parse().unwrap()] {
        let name = format!("{} at {}", row.name, row.at);
        println!("\nBEGIN {name}");
        let cost = Cost::watch();
        // A panic here is a finding already.
        let _ = panic::catch_unwind(|| meet(row, &findings));
        let cost = cost.check(row, &findings);
        for finding in findings.take() {
            println!("FINDING {}", finding.replace('\n', " "));
        }
        println!("END {name}: {cost}");
    }
}
