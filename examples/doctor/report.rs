//! The steps and their outcomes, printed as they end.

use std::time::Instant;

use serde_json::json;

/// A failed step: the cause in words, and what to do about it.
pub(crate) struct Trouble {
    pub(crate) cause: String,
    pub(crate) advice: String,
}

impl Trouble {
    pub(crate) fn new(cause: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { cause: cause.into(), advice: advice.into() }
    }
}

/// A step's result: its words, and its value for later steps.
pub(crate) type Done<T> = Result<(String, T), Trouble>;

/// Prints each step, and remembers if one has failed.
pub(crate) struct Report {
    is_json: bool,
    pub(crate) is_well: bool,
}

impl Report {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json, is_well: true }
    }

    /// Runs a step, times it, and prints it; returns its value, or `None` if it has failed.
    pub(crate) fn step<T>(&mut self, service: &str, name: &str, run: impl FnOnce() -> Done<T>) -> Option<T> {
        let began = Instant::now();
        let done = run();
        let ms = began.elapsed().as_secs_f64() * 1e3;
        match done {
            Ok((words, value)) => {
                self.print(service, name, "passed", &words, None, Some(ms));
                Some(value)
            }
            Err(Trouble { cause, advice }) => {
                self.is_well = false;
                self.print(service, name, "failed", &cause, Some(&advice), Some(ms));
                None
            }
        }
    }

    /// Prints steps that can't run, and why.
    pub(crate) fn skip(&mut self, service: &str, names: &[&str], why: &str) {
        if !self.is_json {
            println!("{:<8}{service:<5}{}: {why}", "skipped", names.join(", "));
            return;
        }
        for name in names {
            self.print(service, name, "skipped", why, None, None);
        }
    }

    fn print(
        &self,
        service: &str,
        step: &str,
        outcome: &str,
        words: &str,
        advice: Option<&str>,
        ms: Option<f64>,
    ) {
        if self.is_json {
            let ms = ms.map(|ms| (ms * 10.0).round() / 10.0);
            println!(
                "{}",
                json!({
                    "service": service, "step": step, "outcome": outcome, "ms": ms, "text": words, "advice": advice,
                })
            );
            return;
        }
        let mark = if outcome == "failed" { "FAILED" } else { outcome };
        let time = ms.map(|ms| format!(" ({ms:.0} ms)")).unwrap_or_default();
        println!("{mark:<8}{service:<5}{step:<13}{words}{time}");
        if let Some(advice) = advice {
            println!("{:8}-> {advice}", "");
        }
    }
}
