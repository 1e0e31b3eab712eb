//! Servers that answer badly: tables of bad answers, and what may come of each.
//!
//! Each table is gone through by a process of its own, so that its memory is its own, a panic in any of its threads
//! is seen, and a crash is one of a row with a name.

mod imap;
mod imap_archiving;
mod imap_claims;
mod imap_connecting;
mod imap_everywhere;
mod imap_fetching;
mod imap_searching;
mod judge;
mod row;
mod smtp;
mod smtp_connecting;
mod smtp_sending;

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::panic;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use self::judge::{Findings, Memory};
use self::row::Row;
use crate::support::script::Script;

/// What a row's answer is met with.
type Meet = fn(&Row, &Findings);

/// A table's name, its rows, and what they are met with.
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
    ("smtp connecting", smtp_connecting::rows, smtp::meet),
    ("smtp sending", smtp_sending::rows, smtp::meet),
    ("smtp pipelining", smtp_sending::pipelined, smtp::meet_pipelined),
];

/// The part of the issue that these tables are the answer to asks for as many.
const FEWEST: usize = 150;

/// So many processes at a time: they wait most of the time, but more would make each other late.
const AT_ONCE: usize = 6;

#[test]
fn whatever_a_server_answers_ends_in_time_within_memory_with_a_clear_error_and_harms_no_mail() {
    let waiting = Mutex::new(TABLES.iter());
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some((table, rows, _)) = next(&waiting) {
            let found = report(table, rows().len(), child(table, ""));
            failures
                .lock()
                .unwrap()
                .extend(found.into_iter().filter(|finding| is_found_again(table, finding)));
        }
    };
    thread::scope(|threads| (0..AT_ONCE).for_each(|_| drop(threads.spawn(work))));
    let all: usize = TABLES.iter().map(|(_, rows, _)| rows().len()).sum();
    let failures: Vec<String> = failures.into_inner().unwrap().iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{} findings in {all} rows:\n{}", failures.len(), failures.join("\n"));
    assert!(all >= FEWEST, "{all} rows");
}

fn next(waiting: &Mutex<std::slice::Iter<'static, Table>>) -> Option<&'static Table> {
    waiting.lock().unwrap().next()
}

/// Whether a row that was late is late again: a busy machine is no server's fault, and no client's.
fn is_found_again(table: &str, finding: &Finding) -> bool {
    finding.row.is_empty() || !report(table, 1, child(table, &finding.row)).is_empty()
}

/// What is wrong, in which row; in none when it is the whole process.
struct Finding {
    table: String,
    row: String,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.table, self.row, self.text)
    }
}

fn child(table: &str, row: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "scripted::hostile::goes_through_a_table", "--nocapture"]);
    // What is let go goes back at once: the next row's peak begins where this one's began.
    child
        .env("MALLOC_TRIM_THRESHOLD_", "0")
        .env("MALLOC_MMAP_THRESHOLD_", "65536")
        .env("MALLOC_ARENA_MAX", "1");
    child.env("CHILD_TABLE", table).env("CHILD_ROW", row);
    child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a child says of its rows; a crash is a finding about the row that it happened in.
fn report(table: &str, rows: usize, mut child: Child) -> Vec<Finding> {
    let finding = |row: &str, text: &str| {
        let (table, row, text) = (table.to_owned(), row.to_owned(), text.to_owned());
        Finding { table, row, text }
    };
    let stderr = child.stderr.take().unwrap();
    let noise =
        thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).collect::<Vec<_>>());
    let (mut failures, mut begun, mut ended) = (Vec::new(), Vec::new(), 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some(row) = line.strip_prefix("BEGIN ") {
            begun.push(row.to_owned());
        } else if line.starts_with("END ") {
            ended += 1;
            println!("{table}: {line}"); // shown when the test fails
        } else if let Some(text) = line.strip_prefix("FINDING ") {
            failures.push(finding(begun.last().map_or("", String::as_str), text));
        }
    }
    let status = child.wait().unwrap();
    if ended != rows || !status.success() {
        let noise = noise.join().unwrap().join("\n");
        let text = format!("ended with {status} in row {:?} of {rows}: {noise}", begun.last());
        failures.push(finding("", &text));
    }
    failures
}

/// The interpreter's start is no row's time and no row's memory.
fn warm_up() {
    let (imap, smtp) = (Script::imap(&[]).start(), Script::smtp(&[]).start());
    drop((super::imap(&imap), super::smtp(&smtp)));
}

#[test]
#[ignore = "runs in child processes of the test above"]
fn goes_through_a_table() {
    let wanted = std::env::var("CHILD_TABLE").unwrap();
    let only = std::env::var("CHILD_ROW").unwrap_or_default();
    let findings = Arc::<Findings>::default();
    let panics = Arc::clone(&findings);
    panic::set_hook(Box::new(move |panic| panics.add(format!("a panic: {panic}"))));
    let (_, rows, meet) = TABLES.iter().find(|(table, _, _)| *table == wanted).unwrap();
    warm_up();
    for row in &rows() {
        let name = format!("{} at {}", row.name, row.at);
        if !only.is_empty() && name != only {
            continue;
        }
        println!("\nBEGIN {name}");
        let memory = Memory::watch();
        let began = std::time::Instant::now();
        // What panics here is a finding already.
        let _ = panic::catch_unwind(|| meet(row, &findings));
        let grown = memory.judge(&findings);
        for finding in findings.take() {
            println!("FINDING {}", finding.replace('\n', " "));
        }
        println!("END {name}: {} MiB, {:?}", grown >> 20, began.elapsed());
    }
}
