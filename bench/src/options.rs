//! What is asked for on the command line.

use std::str::FromStr;

use crate::cases::Case;
use crate::job::Result;

const USAGE: &str = "pymail-bench [--quick] [--case NAME]... [--system NAME]... [--n N]... [--turns N]
pymail-bench [--quick] --report";

/// Which cases to run, and how.
#[derive(Default)]
pub struct Options {
    /// Each case small, with one turn.
    pub quick: bool,
    /// Run nothing, but write the report of what was run.
    pub report: bool,
    cases: Vec<String>,
    systems: Vec<String>,
    numbers: Vec<usize>,
    turns: Option<usize>,
}

impl Options {
    /// Read the arguments.
    ///
    /// # Errors
    /// The usage, when they are wrong.
    pub fn parse(arguments: &[&str]) -> Result<Self> {
        let (mut options, mut arguments) = (Self::default(), arguments.iter().copied());
        while let Some(argument) = arguments.next() {
            match argument {
                "--quick" => options.quick = true,
                "--report" => options.report = true,
                "--case" => options.cases.push(value(arguments.next())?),
                "--system" => options.systems.push(value(arguments.next())?),
                "--n" => options.numbers.push(value(arguments.next())?),
                "--turns" => options.turns = Some(value(arguments.next())?),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }

    /// Whether all cases are run as they are: what was measured before is void.
    pub fn is_everything(&self) -> bool {
        self.cases.is_empty() && self.systems.is_empty() && self.numbers.is_empty() && self.turns.is_none()
    }

    /// The cases that are asked for; all of them when none is named.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let mut cases = Case::all(self.quick);
        cases.retain(|case| asked(&self.cases, case.name) && asked(&self.numbers, &case.n));
        for case in &mut cases {
            case.systems.retain(|(system, _)| asked(&self.systems, system.name()));
            case.turns = self.turns.unwrap_or(case.turns);
        }
        cases.retain(|case| !case.systems.is_empty());
        if cases.is_empty() { Err("there is no such case".into()) } else { Ok(cases) }
    }
}

fn value<T: FromStr>(argument: Option<&str>) -> Result<T> {
    argument.and_then(|argument| argument.parse().ok()).ok_or_else(|| USAGE.into())
}

/// Whether this is among what was named, if anything was.
fn asked<T: PartialEq<U>, U: ?Sized>(named: &[T], this: &U) -> bool {
    named.is_empty() || named.iter().any(|name| name == this)
}
