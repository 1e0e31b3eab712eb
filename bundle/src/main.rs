//! Makes a folder that runs on a machine without Python, from an app that links pymail.
//!
//! ```text
//! pymail-bundle --binary target/release/app --out dist [--python /usr/bin/python3]
//! ```
//!
//! The folder has the app in `bin`, libpython and what else it links in `lib`, the part of the standard library that
//! pymail needs in `lib/python3.X`, compiled, and the licences of all that in `licences`. It works from any place.

mod linux;
mod report;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use self::report::Report;

const USAGE: &str = "usage: pymail-bundle --binary PATH --out DIR [--python PATH]";

/// A result whose error is one sentence.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match options(env::args().skip(1)).and_then(|options| bundle(&options)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    binary: PathBuf,
    out: PathBuf,
    python: Option<PathBuf>,
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let (mut binary, mut out, mut python) = (None, None, None);
    while let Some(flag) = args.next() {
        let place = match flag.as_str() {
            "--binary" => &mut binary,
            "--out" => &mut out,
            "--python" => &mut python,
            _ => return Err(USAGE.into()),
        };
        *place = Some(PathBuf::from(args.next().ok_or(USAGE)?));
    }
    let (binary, out) = binary.zip(out).ok_or(USAGE)?;
    Ok(Options { binary, out, python })
}

/// Makes the bundle; removes it after a failure.
fn bundle(options: &Options) -> Result<Report> {
    let out = &options.out;
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{} is not empty", out.display()));
    }
    linux::fill(options).inspect_err(|_| drop(fs::remove_dir_all(out)))
}

/// Copies a file, following links, and makes its folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().map_or(Ok(()), fs::create_dir_all);
    let copied = folder.and_then(|()| fs::copy(from, to));
    copied.map(drop).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

/// Returns a program's output.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{name}: {}: {}", output.status, text.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
