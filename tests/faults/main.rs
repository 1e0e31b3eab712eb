//! The sweep: a fault at every place of every dialogue, on real servers, and a check of the mailboxes afterwards.
//!
//! Without arguments it runs a sample of the cases; `--sample N` another one, `--full` all, `--case NAME` one, or all
//! whose names begin with it. The last line of its output is the count of cases and of violations.
#![allow(unreachable_pub, reason = "a program, not a library")]

mod app;
mod case;
mod cases;
mod checker;
mod crew;
mod dead;
mod idle;
mod leaks;
mod report;
mod scenario;
mod witness;
mod worker;
mod world;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Mutex;

use pymail_test_support as support;

use crate::case::Case;
use crate::report::Report;
use crate::scenario::{Scenario, Step};
use crate::worker::{Answer, Task};
use crate::world::{Servers, World};

/// The number of cases of the quick sample.
const QUICK: usize = 320;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--worker"] => worker::run().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        [] | ["--quick"] => sweep(|cases| cases::some(cases, QUICK)),
        ["--sample", cases] => {
            let most = cases.parse().expect("the number of cases");
            sweep(|cases| cases::some(cases, most))
        }
        ["--full"] => sweep(|cases| cases),
        ["--case", name] => sweep(|cases| named(cases, name)),
        // Arguments such as a filter for tests of another binary.
        _ => ExitCode::SUCCESS,
    }
}

/// Returns the case of this name, or all whose names begin with it.
fn named(cases: Vec<Case>, name: &str) -> Vec<Case> {
    let exact = cases.iter().any(|case| case.name == name);
    cases
        .into_iter()
        .filter(|case| if exact { case.name == name } else { case.name.starts_with(name) })
        .collect()
}

fn sweep(choose: impl FnOnce(Vec<Case>) -> Vec<Case>) -> ExitCode {
    let servers = Servers::start();
    let world = servers.world();
    let mut report = Report::default();
    let cases = choose(learnt(&world, &mut report));
    if cases.is_empty() {
        eprintln!("there is no such case");
        return ExitCode::FAILURE;
    }
    report.run(&world, cases);
    report.end()
}

/// Returns all cases, by two clean runs of each scenario.
fn learnt(world: &World, report: &mut Report) -> Vec<Case> {
    let scenarios = Scenario::all();
    let mut learnt = HashMap::<Scenario, Vec<Step>>::new();
    let mut left = [&scenarios[..], &scenarios].concat();
    for tries in (0..crew::TRIES).rev() {
        let tasks = left.iter().map(|&scenario| (scenario, Task::Learn(scenario))).collect();
        let results = Mutex::new((&mut learnt, &mut *report, Vec::new()));
        crew::work(world, crew::FEW, tasks, |scenario, answer| {
            let (learnt, report, again) = &mut *results.lock().unwrap();
            if let Answer::Learnt(steps, verdict) = &answer {
                if tries > 0 && verdict.may_be_of_a_busy_machine() {
                    verdict.print_doubts(&Case::clean(scenario).name);
                    return again.push(scenario);
                }
                learn(learnt.entry(scenario).or_default(), steps);
            }
            report.take(&Case::clean(scenario).name, answer);
        });
        (_, _, left) = results.into_inner().unwrap();
    }
    scenarios.iter().filter_map(|scenario| Some(scenario.cases(learnt.get(scenario)?))).flatten().collect()
}

/// Merges another run's dialogue.
fn learn(known: &mut Vec<Step>, steps: &[Step]) {
    let merged = match known.as_slice() {
        [] => steps.to_vec(),
        known => known.iter().zip(steps).map(|(one, other)| one.clone().shorter(other)).collect(),
    };
    *known = merged;
}
