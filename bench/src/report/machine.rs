//! The machine of the results, and the versions of all programs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::job::Result;
use crate::python;
use crate::support::process;

const LOCK: &str = include_str!("../../../Cargo.lock");

/// The crates of the lock file that the report names.
const CRATES: [&str; 13] = [
    "pymail",
    "pyo3",
    "mail-parser",
    "mail-builder",
    "imap",
    "async-imap",
    "io-imap",
    "lettre",
    "mail-send",
    "io-smtp",
    "tokio",
    "rustls",
    "ring",
];

/// A machine and the versions on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Names and values, in the order of the report.
    pub facts: Vec<(String, String)>,
}

impl Machine {
    /// Describes this machine.
    ///
    /// # Errors
    /// Python does not run.
    pub fn this(python: &str) -> Result<Self> {
        let script = "import platform, ssl; print(platform.python_version(), 'with', ssl.OPENSSL_VERSION)";
        let cores = thread::available_parallelism()?.to_string();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
        let profile = if cfg!(debug_assertions) { " (debug build)" } else { "" };
        let crates = CRATES.iter().filter_map(|name| Some(format!("{name} {}", locked(name)?)));
        let facts = [
            ("CPU", line_of("/proc/cpuinfo", "model name")),
            ("cores", cores),
            ("kernel", format!("Linux {kernel}")),
            ("system", line_of("/etc/os-release", "PRETTY_NAME").trim_matches('"').to_owned()),
            ("rustc", format!("{}{profile}", env!("PYMAIL_BENCH_RUSTC").trim_start_matches("rustc "))),
            ("CPython", python::evaluate(python, script)?),
            ("Dovecot", said_by("dovecot", &["--version"])),
            ("Postfix", said_by("postconf", &["-dh", "mail_version"])),
            ("crates", crates.collect::<Vec<_>>().join(", ")),
        ];
        Ok(Self { facts: facts.map(|(name, value)| (name.to_owned(), value)).to_vec() })
    }
}

fn said_by(program: &str, args: &[&str]) -> String {
    process::output(Command::new(process::program(program, "dovecot-imapd postfix")).args(args))
}

/// Returns the value behind a name and `:` or `=` in a file.
fn line_of(path: impl AsRef<Path>, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix([':', '=']));
    value.unwrap_or("unknown").trim().to_owned()
}

/// Returns a crate's version in the lock file.
fn locked(name: &str) -> Option<&'static str> {
    let (_, rest) = LOCK.split_once(&format!("\nname = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_that_the_report_names_is_locked() {
        assert!(CRATES.iter().all(|name| locked(name).is_some()));
    }
}
