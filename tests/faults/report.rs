//! The report: counts, violations, and progress.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use crate::case::Case;
use crate::checker::{Count, Verdict};
use crate::crew;
use crate::worker::{Answer, Task};
use crate::world::World;

/// The results of the sweep so far.
#[derive(Default)]
pub struct Report {
    count: Count,
    /// Cases whose fault was never reached, or that failed themselves.
    unreached: Vec<String>,
    broken: Vec<String>,
    notes: BTreeMap<String, Vec<String>>,
}

impl Report {
    /// Runs the cases.
    pub fn run(&mut self, world: &World, cases: Vec<Case>) {
        let (all, begin) = (cases.len(), Instant::now());
        let report = Mutex::new((self, 0, Vec::new()));
        let tasks = cases.into_iter().map(|case| (case.clone(), Task::Run(case))).collect();
        crew::work(world, crew::MANY, tasks, |case, answer| {
            let mut locked = report.lock().unwrap();
            let (report, done, again) = &mut *locked;
            match answer {
                Answer::Ran(Some(verdict)) if verdict.may_be_of_a_busy_machine() => {
                    verdict.print_doubts(&case.name);
                    again.push(case);
                }
                answer => report.take(&case.name, answer),
            }
            *done += 1;
            if *done % 100 == 0 || *done == all {
                eprintln!("{done} of {all} cases, {:.0} s", begin.elapsed().as_secs_f64());
            }
        });
        let (report, _, again) = report.into_inner().unwrap();
        report.run_alone(world, again, crew::TRIES - 1);
    }

    /// Repeats cases whose violations may be due to a busy machine, at most so many times.
    fn run_alone(&mut self, world: &World, cases: Vec<Case>, tries: usize) {
        if cases.is_empty() {
            return;
        }
        eprintln!("{} cases once more, one at a time", cases.len());
        let tasks = cases.into_iter().map(|case| (case.clone(), Task::Run(case))).collect();
        let report = Mutex::new((&mut *self, Vec::new()));
        crew::work(world, 1, tasks, |case, answer| {
            let (report, again) = &mut *report.lock().unwrap();
            match answer {
                Answer::Ran(Some(verdict)) if tries > 1 && verdict.may_be_of_a_busy_machine() => {
                    verdict.print_doubts(&case.name);
                    again.push(case);
                }
                answer => report.take(&case.name, answer),
            }
        });
        let (_, again) = report.into_inner().unwrap();
        self.run_alone(world, again, tries - 1);
    }

    /// Adds the outcome of a case, and prints its violations.
    pub fn take(&mut self, name: &str, answer: Answer) {
        match answer {
            Answer::Ran(Some(verdict)) => {
                self.add(name, verdict);
                self.count.cases += 1;
            }
            Answer::Ran(None) => self.unreached.push(name.to_owned()),
            Answer::Broken(why) => {
                println!("{name}: the case itself failed: {why}");
                self.broken.push(name.to_owned());
            }
            // A clean run is no case, but its violations count.
            Answer::Learnt(_, verdict) => self.add(name, verdict),
        }
    }

    fn add(&mut self, name: &str, verdict: Verdict) {
        let Verdict { count, violations, notes } = verdict;
        for violation in violations {
            println!("{name}: {violation}");
        }
        for why in notes {
            // Removes ports and the like, which differ for the same reason.
            let why = why.replace(|digit: char| digit.is_ascii_digit(), "#");
            self.notes.entry(why).or_default().push(name.to_owned());
        }
        let total = &mut self.count;
        total.lost += count.lost;
        total.altered += count.altered;
        total.foreign_touched += count.foreign_touched;
        total.wrongly_duplicated += count.wrongly_duplicated;
        total.late += count.late;
        total.leaked += count.leaked;
    }

    /// Prints the last line; returns `true` without violations.
    pub fn end(self) -> ExitCode {
        for (why, names) in &self.notes {
            eprintln!("noted in {} cases, such as {}: {why}", names.len(), names[0]);
        }
        for name in &self.unreached {
            eprintln!("{name}: not counted, the fault was never reached");
        }
        let Count { cases, lost, altered, foreign_touched, wrongly_duplicated, late, leaked } = self.count;
        let wrong = lost + altered + foreign_touched + wrongly_duplicated + late + leaked + self.broken.len();
        if wrong > 0 {
            println!("to run one case alone: cargo xtask faults --case NAME");
        }
        // Written by hand to keep the promised order of the members.
        println!(
            "{{\"cases\":{cases},\"lost\":{lost},\"altered\":{altered},\"foreign_touched\":{foreign_touched},\
             \"wrongly_duplicated\":{wrongly_duplicated},\"late\":{late},\"leaked\":{leaked}}}"
        );
        if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
