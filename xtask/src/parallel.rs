//! Steps in parallel: the tests wait for servers and for time to pass most of the time.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Instant;

use super::left_out::{self, Failure};
use super::{Outcome, line_of, root, step};

/// Test threads for each CPU.
const THREADS_A_CPU: usize = 4;

/// Runs commands in parallel, and prints each command, its output and its time at its end.
///
/// # Errors
///
/// A command has failed, not only by tests that this machine can't run; the others run to their ends.
pub(super) fn run(commands: Vec<Command>) -> Outcome {
    run_rows(commands.into_iter().map(|command| vec![command]).collect())
}

/// Runs rows of commands in parallel, those of a row one after the other.
///
/// # Errors
///
/// As of [`run`]; the failure of a command ends its row.
pub(super) fn run_rows(rows: Vec<Vec<Command>>) -> Outcome {
    for command in rows.iter().flatten() {
        eprintln!("\n$ {} &", line_of(command));
    }
    let failed: Vec<String> = thread::scope(|threads| {
        let in_turn = |n, row: Vec<Command>| row.into_iter().try_for_each(|command| one(n, command));
        let numbered = rows.into_iter().enumerate();
        let running: Vec<_> = numbered.map(|(n, row)| threads.spawn(move || in_turn(n, row))).collect();
        let ended = running.into_iter().map(|it| it.join().unwrap_or_else(|_| Err("a step panicked".into())));
        ended.filter_map(Result::err).collect()
    });
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Runs a command with its output to a file, so that outputs are not mixed.
fn one(number: usize, command: Command) -> Outcome {
    let (line, start) = (line_of(&command), Instant::now());
    // 256 open files are the limit in a terminal of macOS, and too few for so many tests at a time.
    let mut command = if cfg!(target_os = "macos") { with_more_files(&command) } else { command };
    let failed = |error: io::Error| format!("{line}: {error}");
    let log = log(number).map_err(failed)?;
    let output = File::create(&log).map_err(failed)?;
    let errors = output.try_clone().map_err(failed)?;
    let status = command.stdout(output).stderr(errors).status().map_err(failed)?;
    let said = fs::read(&log).map_err(failed)?;
    let said = String::from_utf8_lossy(&said);
    let failure = (!status.success()).then(|| Failure::read(status.code(), &said));
    let shown = failure.as_ref().map_or(said.as_ref(), |failure| &failure.shown);
    eprintln!("\n$ {line}\n{shown}({:.1} s)", start.elapsed().as_secs_f64());
    failure.iter().flat_map(|failure| &failure.needs).for_each(|need| left_out::count(need));
    if failure.is_some_and(|failure| failure.is_real) { Err(format!("{line}: {status}")) } else { Ok(()) }
}

/// Returns the command with a higher limit of open files, as Unix has one.
fn with_more_files(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"ulimit -n 4096 && exec "$0" "$@""#])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

fn log(number: usize) -> io::Result<PathBuf> {
    let folder = root().join("target/parallel");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{}-{number}", std::process::id())))
}

/// Returns a command that runs these tests, with more threads than CPUs.
pub(super) fn test(args: &[&str]) -> Command {
    let mut command = step("cargo", &[&["test", "--locked"], args].concat());
    use_more_threads(&mut command);
    command
}

/// Has tests run on more threads than there are CPUs.
pub(super) fn use_more_threads(tests: &mut Command) {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    tests.env("RUST_TEST_THREADS", (THREADS_A_CPU * cpus).to_string());
}

/// Returns a command for each test target of the library: the integration tests in Cargo.toml, the unit tests, and the
/// examples in the documentation. The last two also with all features, whose integration tests name what they need.
pub(super) fn every_test() -> Result<Vec<Command>, String> {
    let manifest =
        fs::read_to_string(root().join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
    let integration = integration_tests(&manifest);
    let integration = integration.iter().map(|(name, features)| {
        let features: &[&str] = if *features { &["--all-features"] } else { &[] };
        test(&[&["--test", name], features].concat())
    });
    let others = [&["--lib"][..], &["--lib", "--all-features"], &["--doc", "--all-features"]];
    Ok(integration.chain(others.map(test)).collect())
}

/// Returns the names of the integration tests in a manifest, and `true` for those that need features.
fn integration_tests(manifest: &str) -> Vec<(String, bool)> {
    let tests = manifest.split("\n[[test]]\n").skip(1).filter_map(|test| test.split("\n[").next());
    let name = |test: &str| {
        let line = test.lines().find_map(|line| line.strip_prefix("name = \""));
        line.and_then(|rest| rest.split('"').next()).map(str::to_owned)
    };
    tests.filter_map(|test| Some((name(test)?, test.contains("\nrequired-features = ")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_of_the_manifest_is_named() {
        let manifest = "[package]\nname = \"p\"\n\n[[test]]\nname = \"all\"\npath = \"x\"\n\n[[test]]\n\
                        name = \"soak\" # of hours\nrequired-features = [\"x\"]\n\n[lints]\nname = \"none\"\n";
        assert_eq!(integration_tests(manifest), [("all".to_owned(), false), ("soak".to_owned(), true)]);
        let lines: Vec<String> = every_test().unwrap().iter().map(line_of).collect();
        for target in [
            "--test all",
            "--test asynchronous --all-features",
            "--test metrics --all-features",
            "--test oauth --all-features",
            "--test faults",
            "--test consumers",
            "--test soak",
            "--lib",
            "--lib --all-features",
            "--doc --all-features",
        ] {
            assert!(lines.contains(&format!("cargo test --locked {target}")), "{lines:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_command_with_more_files_keeps_its_arguments_variables_and_folder() {
        let mut command = step("sh", &["-c", r#"echo "$1 $NAME $(ulimit -n)"; pwd -P"#, "sh", "a b"]);
        let output = with_more_files(command.env("NAME", "x y")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("a b x y 4096\n{}\n", fs::canonicalize(root()).unwrap().display()));
    }

    #[test]
    fn all_run_to_their_ends_and_each_failure_is_reported() {
        let rustc = |option: &str| step("rustc", &[option]);
        assert_eq!(run(vec![rustc("--version"), rustc("--help")]), Ok(()));
        let failed = run(vec![rustc("--three"), rustc("--version"), rustc("--four")]).unwrap_err();
        assert_eq!(failed.lines().count(), 2, "{failed}");
        assert!(failed.contains("rustc --three: exit") && failed.contains("rustc --four: exit"), "{failed}");
    }
}
