//! The command line.

use std::str::FromStr;

use crate::cases::Case;
use crate::job::Result;

const USAGE: &str = "pymail-bench [--quick] [--case NAME]... [--system NAME]... [--n N]... [--turns N]
pymail-bench [--quick] --report";

/// The chosen cases, systems and numbers.
#[derive(Default)]
pub struct Options {
    /// `true` for small cases with one turn.
    pub quick: bool,
    /// `true` to write the report of earlier results and run nothing.
    pub report: bool,
    cases: Vec<String>,
    systems: Vec<String>,
    numbers: Vec<usize>,
    turns: Option<usize>,
}

impl Options {
    /// Parses the arguments.
    ///
    /// # Errors
    /// The usage, for arguments that are unknown or incomplete.
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

    /// Returns `true` if all cases run unchanged: earlier results are void then.
    pub fn is_everything(&self) -> bool {
        self.cases.is_empty() && self.systems.is_empty() && self.numbers.is_empty() && self.turns.is_none()
    }

    /// Returns the chosen cases; all when none is named.
    ///
    /// # Errors
    /// No case is left.
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

/// Returns `true` if no value was named, or this is one of the named.
fn asked<T: PartialEq<U>, U: ?Sized>(named: &[T], this: &U) -> bool {
    named.is_empty() || named.iter().any(|name| name == this)
}
