//! pymail beside its peers, on a private Dovecot, Postfix and `smtp-sink`.
//!
//! ```text
//! cargo run --release -p pymail-bench -- [--quick] [--case NAME]... [--system NAME]... [--n N]... [--turns N]
//! cargo run --release -p pymail-bench -- [--quick] --report
//! ```
//!
//! Each system takes its turn in a fresh process of this program (`client`), so that CPU and memory are those
//! of the client alone. The rows go to stdout, as a table, and to `target/bench/results.jsonl`, where they replace
//! older ones; `--report` writes `docs/performance.md` from that file. The results of `--quick` go to
//! `target/bench/quick`, with a report of their own.
//!
//! `PYMAIL_BENCH_WRAP="perf record --call-graph dwarf -o target/perf.data"` profiles each client, and
//! `CARGO_PROFILE_RELEASE_DEBUG=true` gives the profile its lines.

mod cases;
mod client;
mod fill;
mod job;
mod mails;
mod meter;
mod options;
mod proxy;
mod python;
mod report;
mod rest;
mod servers;
mod sink;
mod systems;
mod tls;
mod turn;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use cases::Case;
use job::{Outcome, Result};
use options::Options;
use pymail_test_support as support;
use report::{Machine, Results, Row};
use servers::Servers;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["client", work, system, params] => serve(work, system, params),
        ref options => Options::parse(options).and_then(|options| bench(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pymail-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs as the client of one turn.
fn serve(work: &str, system: &str, params: &str) -> Result<()> {
    let (work, system) = (serde_json::from_value(work.into())?, serde_json::from_value(system.into())?);
    client::run(work, system, &serde_json::from_str(params)?)
}

/// Returns the folder of results and report, for quick or full runs.
fn places(quick: bool) -> (PathBuf, PathBuf) {
    let folder = Path::new(CRATE).join("../target/bench");
    if quick {
        (folder.join("quick/results.jsonl"), folder.join("quick/performance.md"))
    } else {
        (folder.join("results.jsonl"), Path::new(CRATE).join("../docs/performance.md"))
    }
}

fn bench(options: &Options) -> Result<()> {
    let (results, report) = places(options.quick);
    if options.report {
        return write(&Results::load(&results)?, &report);
    }
    let ran = run(options, &results)?;
    if options.quick { write(&ran, &report) } else { Ok(()) }
}

fn write(results: &Results, path: &Path) -> Result<()> {
    let notes = fs::read_to_string(Path::new(CRATE).join("notes.md"))?;
    report::write(results, path, &notes)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// Runs the chosen cases, and saves the rows of each case at its end.
fn run(options: &Options, path: &Path) -> Result<Results> {
    let python = python::clean(&Path::new(CRATE).join("../target/bench/python"))?;
    eprintln!("starting Dovecot; Python is {python}");
    let (servers, machine) = (Servers::start(&python)?, Machine::this(&python)?);
    let older = Results::load(path).ok().filter(|it| it.machine == machine && !options.is_everything());
    let mut results = older.unwrap_or_else(|| Results::new(machine));
    let (begun, mut rows) = (SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(), Vec::new());
    for case in options.cases()? {
        for row in compare(&servers, &case, &python, begun)? {
            results.put(row.clone());
            rows.push(row);
        }
        results.save(path)?;
    }
    println!("{}\n{}", report::table(&rows), report::figures(&results));
    Ok(results)
}

/// Runs the systems in turns, so that a slow minute of the machine hits all of them.
fn compare(servers: &Servers, case: &Case, python: &str, begun: u64) -> Result<Vec<Row>> {
    let mut outcomes = vec![Vec::<Outcome>::new(); case.systems.len()];
    for turn in 1..=case.turns {
        for (&(system, n), outcomes) in case.systems.iter().zip(&mut outcomes) {
            let name = format!("{} {n} {} {turn}/{}", case.name, system.name(), case.turns);
            let outcome = turn::take(servers, case, system, n, python);
            let outcome = outcome.map_err(|error| format!("{name}: {error}"))?;
            eprintln!("{name}: {:.4} s, {:.4} s of CPU", outcome.seconds, outcome.cpu_s);
            outcomes.push(outcome);
        }
    }
    let rows = case.systems.iter().zip(&outcomes);
    Ok(rows.map(|(&(system, n), outcomes)| Row::new(begun, case, system, n, outcomes)).collect())
}
