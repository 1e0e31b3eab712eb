//! The chores of the project: `cargo xtask test`, `cargo xtask bench`, and the judges of faults and load.

mod fuzz;
mod guards;
mod msrv;
mod pythons;
mod servers;
mod ship;
mod side_by_side;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test       install what the tests need, then check formatting, lints, tests and docs
             [--all-servers: keep the promises on Cyrus, Courier, OpenSMTPD and Exim, too, and on the oldest and
             the newest Python that are found]
             [--python PATH: only run the tests, with this Python; --all-pythons: with each that is found]
  bundle     make a folder that runs on a machine without Python --binary PATH --out DIR [--python PATH]
  ship       bundle the example, follow docs/shipping.md, and run what comes out in an empty root; run in an
             extension module of Python
  guards     see what builds say that can't work, that the public API names nothing of PyO3, and that no
             dependency wants a newer Rust
  deny       look whether what we build on has a licence, a source or a known defect that we don't accept
             [--offline: but for the defects, whose list is fetched]
  bench      run pymail beside its peers [--quick] [--case NAME] [--system NAME] [--n N] [--turns N]
             [--report: write docs/performance.md of what was run]
  faults     have every fault strike at every place, and look what the servers hold then [--quick] [--case NAME]
  consumers  let processes share a mailbox, kill some, and look who had what, on each server
             [--quick] [--server NAME]... [--scenario NAME]... [--messages N] [--processes N]
  soak       use many handles for minutes while everything fails, and account for each message
             --minutes M [--handles N]
  fuzz       run each fuzz target for ten minutes [--minutes M] [--target NAME]";

/// The names of the tests' cases on the servers that are here with `--all-servers` only.
const ON_ALL_SERVERS: [&str; 4] = ["on_cyrus", "on_courier", "by_opensmtpd", "by_exim"];

/// After so long there is no time left for other Pythons: CI ends what takes twice as long.
const TIME_FOR_OTHERS: Duration = Duration::from_secs(20 * 60);

/// A chore's outcome: why it failed.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let outcome = match args.next().as_deref() {
        Some("test") => test(&args.collect::<Vec<_>>()),
        Some("consumers") => consumers(&args.collect::<Vec<_>>()),
        Some("soak") => soak(&args.collect::<Vec<_>>()),
        Some("bundle") => ship::bundle(&args.collect::<Vec<_>>()),
        Some("ship") => ship(),
        Some("guards") => guards(),
        Some("deny") => deny(&args.collect::<Vec<_>>()),
        Some("bench") => bench(&args.collect::<Vec<_>>()),
        Some("faults") => faults(&args.collect::<Vec<_>>()),
        Some("fuzz") => fuzz::run_targets(args),
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

fn test(args: &[String]) -> Outcome {
    let all_servers = match args {
        [] => false,
        [flag] if flag == "--all-servers" => true,
        [flag] if flag == "--all-pythons" => return test_pythons(&pythons::all()),
        [flag, path] if flag == "--python" => return test_python(Path::new(path)),
        _ => return Err(USAGE.to_owned()),
    };
    let start = Instant::now();
    servers::install()?;
    if all_servers {
        servers::unpack()?;
    }
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"])?;
    tests()?;
    if all_servers {
        on_all_servers()?;
    }
    guards()?;
    if all_servers {
        if is_there("deny") {
            deny(&["--offline".to_owned()])?;
        } else {
            eprintln!(
                "\ncargo deny is not installed, which takes minutes: `cargo xtask deny` does that, and looks"
            );
        }
        on_other_pythons(start.elapsed())?;
    }
    Ok(())
}

/// Every test, and each case of the bench once.
fn tests() -> Outcome {
    let members = ["--package", "xtask", "--package", "pymail-bench", "--package", "pymail-bundle"];
    let members = [&["test", "--locked"], &members[..]].concat();
    // Not as a release, which would build everything once more: nothing here depends on time.
    let bench = ["--locked", "--package", "pymail-bench"];
    // With no target named, it builds the examples too, which some tests run.
    cargo(&["test", "--locked", "--no-run"])?;
    cargo(&[&members[..], &["--no-run"]].concat())?;
    cargo(&[&["build"], &bench[..]].concat())?;
    let mut steps = side_by_side::every_test()?;
    steps.extend([
        step("cargo", &members),
        step("cargo", &[&["run"], &bench[..], &["--", "--quick"]].concat()),
    ]);
    side_by_side::run(steps)
}

fn on_other_pythons(taken: Duration) -> Outcome {
    if taken > TIME_FOR_OTHERS {
        let minutes = taken.as_secs() / 60;
        eprintln!(
            "\nnot tested on other Pythons, for it took {minutes} minutes: `cargo xtask test --all-pythons`"
        );
        return Ok(());
    }
    let pythons = pythons::test_ends()?;
    eprintln!("\n{pythons}");
    Ok(())
}

/// The promises on the other servers, and in the hosts that are slow to build.
fn on_all_servers() -> Outcome {
    let ignored = ["--test", "all", "--", "--include-ignored"];
    run(&mut side_by_side::test(&[&ignored[..], &ON_ALL_SERVERS[..]].concat()))?;
    // Courier is slow at this, and not the same each time: `cargo xtask consumers` has it.
    let quick = ["--quick", "--server", "dovecot-sdbox", "--server", "dovecot-mdbox", "--server", "cyrus"];
    consumers(&quick.map(str::to_owned))?;
    without_a_pool()?;
    ship()
}

/// What is let go without the interpreter would be a panic, where a host has `PyO3` built so.
fn without_a_pool() -> Outcome {
    let mut tests = step("cargo", &["test", "--locked", "--lib", "--target-dir", "target/without-a-pool"]);
    run(tests.env("RUSTFLAGS", "--cfg pyo3_disable_reference_pool"))
}

fn guards() -> Outcome {
    msrv::no_dependency_wants_a_newer_rust()?;
    run(step("cargo", &["doc", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "--deny warnings"))?;
    guards::api_names_no_pyo3()?;
    guards::docs_need_no_python()?;
    pythons::another_is_refused()?;
    guards::builds_speak()
}

/// By the rules of deny.toml, for the peers of the bench, too.
fn deny(args: &[String]) -> Outcome {
    let which: &[&str] = match args {
        [] => &["all"],
        [flag] if flag == "--offline" => &["bans", "licenses", "sources"],
        _ => return Err(USAGE.to_owned()),
    };
    provide("deny", "0.20.2")?;
    cargo(&[&["deny", "--locked", "--workspace", "check", "--hide-inclusion-graph"], which].concat())
}

fn test_python(program: &Path) -> Outcome {
    let python = pythons::Python::at(program);
    let none = || format!("{} is no CPython 3.9 to 3.15 with a shared library", program.display());
    test_pythons(&[python.ok_or_else(none)?])
}

fn test_pythons(pythons: &[pythons::Python]) -> Outcome {
    if pythons.is_empty() {
        return Err("no CPython 3.9 to 3.15 with a shared library is found".into());
    }
    servers::install()?;
    pythons.iter().try_for_each(pythons::Python::test)
}

fn ship() -> Outcome {
    servers::install()?;
    ship::example()?;
    ship::guide()?;
    ship::extension()
}

fn consumers(args: &[String]) -> Outcome {
    servers::install()?;
    servers::unpack()?;
    judged("consumers", args)
}

fn soak(args: &[String]) -> Outcome {
    servers::install()?;
    judged("soak", args)
}

/// Runs one of the tests that judge whole processes, not as a quick test, but as its options say.
fn judged(test: &str, args: &[String]) -> Outcome {
    let fixed = ["test", "--quiet", "--locked", "--test", test, "--", "run"];
    cargo(&fixed.into_iter().chain(args.iter().map(String::as_str)).collect::<Vec<_>>())
}

fn bench(args: &[String]) -> Outcome {
    servers::install()?;
    let fixed = ["run", "--release", "--locked", "--package", "pymail-bench", "--"];
    cargo(&fixed.into_iter().chain(args.iter().map(String::as_str)).collect::<Vec<_>>())
}

fn faults(args: &[String]) -> Outcome {
    servers::install()?;
    let all = ["--full".to_owned()];
    let args = if args.is_empty() { &all } else { args };
    let fixed = ["test", "--quiet", "--locked", "--test", "faults", "--"];
    cargo(&fixed.into_iter().chain(args.iter().map(String::as_str)).collect::<Vec<_>>())
}

fn cargo(args: &[&str]) -> Outcome {
    run(&mut step("cargo", args))
}

/// Installs a command of cargo's that is not there; the version, so that a newer one can't ask for a newer Rust.
fn provide(tool: &str, version: &str) -> Outcome {
    if is_there(tool) {
        return Ok(());
    }
    cargo(&["install", &format!("cargo-{tool}"), "--version", version, "--locked"])
}

fn is_there(tool: &str) -> bool {
    let asked = Command::new("cargo").args([tool, "--version"]).stderr(Stdio::null()).output();
    asked.is_ok_and(|output| output.status.success())
}

/// A command that runs in the project's folder.
fn step(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// The project's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Runs a command to its end, and says what it was and how long it took.
fn run(command: &mut Command) -> Outcome {
    let line = line_of(command);
    eprintln!("\n$ {line}");
    let start = Instant::now();
    let status = command.status().map_err(|error| format!("{line}: {error}"))?;
    if !status.success() {
        return Err(format!("{line}: {status}"));
    }
    eprintln!("({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}

/// A command as it is typed.
fn line_of(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
