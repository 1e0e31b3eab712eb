//! pymail beside its peers, on a private Dovecot, Postfix and `smtp-sink`.
//!
//! ```text
//! cargo run --release -p pymail-bench -- [--quick] [--case NAME]... [--system NAME]... [--n N]... [--turns N]
//! ```
//!
//! Each contestant takes its turn in a fresh process of this program (`client`), so that CPU and memory are those
//! of the client alone. The rows go to `target/bench/results.jsonl` and, as a table, to stdout.

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
mod support;
mod systems;
mod tls;
mod turn;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use cases::Case;
use job::{Outcome, Result};
use options::Options;
use report::Row;
use servers::Servers;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/python");
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/results.jsonl");

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

/// Be the client of one turn.
fn serve(work: &str, system: &str, params: &str) -> Result<()> {
    let (work, system) = (serde_json::from_value(work.into())?, serde_json::from_value(system.into())?);
    client::run(work, system, &serde_json::from_str(params)?)
}

fn bench(options: &Options) -> Result<()> {
    let python = python::clean(Path::new(PYTHON))?;
    eprintln!("starting Dovecot; Python is {python}");
    let servers = Servers::start(&python)?;
    let mut rows = Vec::new();
    for case in options.cases()? {
        rows.extend(compare(&servers, &case, &python)?);
        report::save(Path::new(RESULTS), &rows)?;
    }
    println!("{}", report::table(&rows));
    Ok(())
}

/// Let the contestants take turns, so that a slow minute of the machine hits all of them.
fn compare(servers: &Servers, case: &Case, python: &str) -> Result<Vec<Row>> {
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
    Ok(rows.map(|(&(system, n), outcomes)| Row::new(case, system, n, outcomes)).collect())
}
