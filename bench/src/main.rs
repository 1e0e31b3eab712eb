//! pymail against the subprocess version, on a private Dovecot, Postfix and `smtp-sink`.
//!
//! ```text
//! cargo run --release -p pymail-bench -- [--quick] [--only CASE]...
//! ```
//!
//! Each contestant takes its turn in a fresh process of this program (`client`), so that CPU and memory are those
//! of the client alone. The rows go to `target/bench/results.jsonl` and, as tables, to stdout.

mod cases;
mod client;
mod job;
mod lmtp;
mod meter;
mod proxy;
mod report;
mod servers;
mod sink;
mod subprocess;
mod support;
mod systems;
mod turn;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use cases::Case;
use job::{Outcome, Result, System};
use report::Row;
use servers::Servers;

const USAGE: &str = "pymail-bench [--quick] [--only CASE]...";
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

#[derive(Default)]
struct Options {
    quick: bool,
    only: Vec<String>,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self> {
        let (mut options, mut arguments) = (Self::default(), arguments.iter());
        while let Some(argument) = arguments.next() {
            match *argument {
                "--quick" => options.quick = true,
                "--only" => options.only.push((*arguments.next().ok_or(USAGE)?).to_owned()),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }

    fn cases(&self) -> Vec<Case> {
        let wanted = |case: &Case| self.only.is_empty() || self.only.iter().any(|name| name == case.name);
        Case::all(self.quick).into_iter().filter(wanted).collect()
    }
}

fn bench(options: &Options) -> Result<()> {
    let python = subprocess::clean_python(Path::new(PYTHON))?;
    eprintln!("starting Dovecot and Postfix; Python is {python}");
    let (servers, cases) = (Servers::start(&python)?, options.cases());
    let mut rows = Vec::new();
    for case in &cases {
        rows.extend(compare(&servers, case, &python)?);
    }
    report::save(Path::new(RESULTS), &rows)?;
    println!("{}\n{}", report::table(&rows), report::ratios(&cases, &rows));
    Ok(())
}

/// Let the contestants take turns, so that a slow minute of the machine hits both.
fn compare(servers: &Servers, case: &Case, python: &str) -> Result<Vec<Row>> {
    let mut outcomes = System::ALL.map(|system| (system, Vec::<Outcome>::new()));
    for turn in 1..=case.turns {
        for (system, outcomes) in &mut outcomes {
            let name = format!("{} {} {turn}/{}", report::describe(case), system.name(), case.turns);
            let outcome = turn::take(servers, case, *system, python);
            let outcome = outcome.map_err(|error| format!("{name}: {error}"))?;
            eprintln!("{name}: {:.4} s, {:.1} MB", outcome.seconds, outcome.peak_rss_mb);
            outcomes.push(outcome);
        }
    }
    Ok(outcomes.iter().map(|(system, outcomes)| Row::new(case, *system, outcomes)).collect())
}
