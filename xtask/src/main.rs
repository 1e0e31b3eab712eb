//! The chores of the project: `cargo xtask test`, `cargo xtask bench`.

mod servers;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test   install what the tests need, then check formatting, lints, tests and docs
  bench  run pymail and the subprocess version side by side [--quick]";

/// A chore's outcome: why it failed.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let outcome = match args.next().as_deref() {
        Some("test") => test(),
        Some("bench") => bench(&args.collect::<Vec<_>>()),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn test() -> Outcome {
    servers::install()?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"])?;
    // With no target named, it builds the examples too, which some tests run.
    cargo(&["test", "--locked"])?;
    cargo(&["test", "--locked", "--package", "xtask", "--package", "pymail-bench"])?;
    run(step("cargo", &["doc", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "--deny warnings"))
}

fn bench(args: &[String]) -> Outcome {
    servers::install()?;
    let fixed = ["run", "--release", "--locked", "--package", "pymail-bench", "--"];
    cargo(&fixed.into_iter().chain(args.iter().map(String::as_str)).collect::<Vec<_>>())
}

fn cargo(args: &[&str]) -> Outcome {
    run(&mut step("cargo", args))
}

/// A command that runs in the project's folder.
fn step(program: &str, args: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut command = Command::new(program);
    command.args(args).current_dir(root);
    command
}

/// Runs a command to its end, and says what it was and how long it took.
fn run(command: &mut Command) -> Outcome {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    eprintln!("\n$ {line}");
    let start = Instant::now();
    let status = command.status().map_err(|error| format!("{line}: {error}"))?;
    if !status.success() {
        return Err(format!("{line}: {status}"));
    }
    eprintln!("({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}
