//! `cargo xtask test --windows`: the library and its tests for Windows, built here and run under Wine, with Windows' own
//! `CPython` embedded.

mod certificates;
mod extension;
mod layouts;
mod python;
mod servers;
mod ship;
mod wine;

use std::path::{Path, PathBuf};
use std::process::Command;

use self::certificates::Certificates;
use self::python::Python;
use self::servers::Servers;
pub(super) use self::wine::run_program;
use super::toolchain::Toolchain;
use super::{Outcome, debian, line_of, parallel, run, target_folder, this};

const TARGETS: &[&str] = &["x86_64-pc-windows-gnu"];

/// The compiler of the programs' C parts, and Wine.
const PACKAGES: [&str; 2] = ["gcc-mingw-w64-x86-64-win32", "wine64"];
const FILES: [&str; 2] = ["/usr/bin/x86_64-w64-mingw32-gcc", "/usr/lib/wine/wine64"];

/// A script that shows that a Python runs under Wine, with all that pymail imports.
const ABOUT: &str = "import sys, ssl, imaplib, smtplib; print(sys.version, ssl.OPENSSL_VERSION)";

/// Tests that are not run, by the beginnings of their names, with the reasons.
const SKIPPED: [(&str, &str); 1] = [(
    "python::modules::tests::bytecode_",
    "Python files are compiled here only if this system has a Python of the same version",
)];

/// The most important integration tests, by parts of their names.
const QUICK: &[&str] = &[
    "dovecot_and_postfix",
    "case_02_embedded",
    "promises::tls::",
    "promises::client_certificates::",
    "line_protocol::",
    "hostile::",
    "checkers::",
    "bad_input::",
    "host_process::",
];

/// The examples that these tests and round trips run.
const OF_QUICK: &[&str] = &["--example", "roundtrip", "--example", "stdio"];

/// The tests on scripted servers, but for a twentieth of them, which takes half of the time.
const SCRIPTED: &[&str] = &[
    "scripted::",
    "--skip=imap_ends::a_connection_that_ends_is_noticed_at_once_at_every_octet",
    "--skip=imap_redrive::a_redrive_that_",
    "--skip=imap_limits::everything_is_delivered_and_archived_once_in_portions",
    "--skip=smtp::messages_that_are_not_sent_by_the_deadline_name_sending",
    "--skip=smtp_time::a_server_that_reads_a_large_message_slowly",
];

/// Unit tests that take a third of the time of all, and have nothing to do with the version of Python.
const SLOWEST: &[&str] = &[
    "--skip=claims::tests::consumers_that_remove_entries_at_the_same_time_",
    "--skip=python::tests::callers_attached_or_not_on_many_threads_",
];

/// Variables for fewer hostile servers, and fewer cases of properties that no operating system decides.
const FEWER: &[(&str, &str)] = &[("HOSTILE_ONE_ROW_OF", "4"), ("PROPTEST_CASES", "16")];
const FEWEST: &[(&str, &str)] = &[("HOSTILE_ONE_ROW_OF", "8")];

/// The integration tests of the features.
const FEATURES: &[&str] =
    &["--all-features", "--test", "asynchronous", "--test", "metrics", "--test", "oauth"];

const UNIT: &[&str] = &["--lib"];
const INTEGRATION: &[&str] = &["--test", "all"];

/// Tests to run on a Python.
struct Tests {
    /// The options of cargo, for each run of it.
    runs: &'static [&'static [&'static str]],
    /// The options that select unit tests, such as parts of their names; none for all of them.
    unit: &'static [&'static str],
    /// The same for integration tests.
    integration: Vec<&'static str>,
    /// The options that select the examples to build.
    examples: &'static [&'static str],
    /// The number of cases of the sweep of faults, by itself: it judges how late a call ends.
    cases_of_sweep: Option<&'static str>,
    /// Environment variables.
    variables: &'static [(&'static str, &'static str)],
}

/// Runs all tests on the default Windows Python; the unit tests, those on scripted servers and the most important others on
/// all others; and ships an app.
pub(super) fn test() -> Outcome {
    let on_default = Tests {
        runs: &[UNIT, INTEGRATION, FEATURES],
        unit: &[],
        integration: Vec::new(),
        examples: &["--examples"],
        cases_of_sweep: Some("320"),
        variables: &[],
    };
    let on_others = || Tests {
        runs: &[UNIT, INTEGRATION],
        unit: &[],
        integration: [QUICK, &["scripted::"]].concat(),
        examples: OF_QUICK,
        cases_of_sweep: None,
        variables: &[],
    };
    ship::test(&test_on(&python::ALL, &on_default, on_others)?)
}

/// Runs the unit tests, those on scripted servers and the most important others on the default Python, the oldest and the
/// newest; for the last two there may be time for round trips only.
pub(super) fn test_quickly(is_time_left: impl Fn() -> bool) -> Outcome {
    let integration = [QUICK, SCRIPTED].concat();
    let on_default = Tests {
        runs: &[UNIT, INTEGRATION],
        unit: &[],
        integration: integration.clone(),
        examples: OF_QUICK,
        cases_of_sweep: Some("160"),
        variables: FEWER,
    };
    let on_others = || Tests {
        runs: if is_time_left() { &[UNIT, INTEGRATION] } else { &[] },
        unit: SLOWEST,
        integration: integration.clone(),
        examples: OF_QUICK,
        cases_of_sweep: None,
        variables: FEWEST,
    };
    test_on(&python::ALL[..python::QUICK], &on_default, on_others)?;
    Ok(())
}

/// Runs tests on these Pythons. Returns the compiler.
fn test_on(
    pythons: &[Python],
    on_default: &Tests,
    on_others: impl Fn() -> Tests,
) -> Result<Toolchain, String> {
    let toolchain = provide(pythons)?;
    for (name, reason) in SKIPPED {
        eprintln!("not run: {name}: {reason}");
    }
    let _certificates = Certificates::keep()?;
    let servers = Servers::start()?;
    for python in pythons {
        if python.minor == python::DEFAULT {
            test_on_one(&toolchain, python, &servers, on_default)?;
        } else {
            test_on_one(&toolchain, python, &servers, &on_others())?;
        }
    }
    Ok(toolchain)
}

/// Installs what [`test_quickly`] needs.
pub(super) fn provide_quick() -> Outcome {
    provide(&python::ALL[..python::QUICK]).map(drop)
}

/// Installs what is missing, and shows that each Python that was missing runs.
fn provide(pythons: &[Python]) -> Result<Toolchain, String> {
    install()?;
    let toolchain = Toolchain::provide(TARGETS, "build")?;
    wine::provide()?;
    for python in pythons {
        if python.provide()? {
            eprintln!("{}", wine::python_output(python, ABOUT)?);
        }
    }
    Ok(toolchain)
}

/// Runs round trips, with Python in several places; tests, if there are any, with an extension module; a sweep of faults.
///
/// `PyO3` links each version by another name, so its dependents are built for each.
fn test_on_one(toolchain: &Toolchain, python: &Python, servers: &Servers, tests: &Tests) -> Outcome {
    eprintln!("\nWindows Python {}", python.minor);
    let command = |args: &[&str]| cargo(toolchain, python, servers, args);
    // One build for the tests with default features, and one for those with all.
    let of = |all_features| tests.runs.iter().filter(move |run| (**run == FEATURES) == all_features);
    for runs in [of(false), of(true)] {
        let options: Vec<&str> = runs.flat_map(|run| run.iter().copied()).collect();
        if !options.is_empty() {
            run(&mut command(&[&["test", "--no-run"], &options[..]].concat())?)?;
        }
    }
    run(&mut command(&[&["build"], tests.examples].concat())?)?;
    // First in its row: a build keeps others of cargo's commands from starting their programs.
    let mut row = vec![command(&["run", "--example", "roundtrip", "--", "--messages", "200"])?];
    if !tests.runs.is_empty() {
        row.extend(extension::test(command)?);
    }
    if tests.cases_of_sweep.is_some() {
        row.push(command(&["test", "--no-run", "--test", "faults"])?);
    }
    let mut rows = Vec::new();
    for run_of_cargo in tests.runs {
        let mut step =
            command(&[&["test"], *run_of_cargo, &["--"], &*options(run_of_cargo, tests)].concat())?;
        step.envs(tests.variables.iter().copied());
        // After the builds: three programs at once take longer than one after the other.
        if *run_of_cargo == UNIT { row.push(step) } else { rows.push(vec![step]) }
    }
    rows.push(row);
    parallel::run_rows(rows)?;
    layouts::test(python.minor, &servers.address)?;
    if let Some(cases) = tests.cases_of_sweep {
        run(&mut command(&["test", "--test", "faults", "--", "--sample", cases])?)?;
    }
    Ok(())
}

/// Returns the options of a test program: the tests that it leaves out, and those that it selects.
fn options(run_of_cargo: &[&str], tests: &Tests) -> Vec<&'static str> {
    let filters = if run_of_cargo == UNIT { tests.unit } else { &tests.integration };
    SKIPPED.iter().flat_map(|(name, _)| ["--skip", name]).chain(filters.iter().copied()).collect()
}

/// Returns a cargo command that builds for Windows and a Python, and runs programs under Wine.
fn cargo(
    toolchain: &Toolchain,
    python: &Python,
    servers: &Servers,
    args: &[&str],
) -> Result<Command, String> {
    let this = this(&["wine"])?;
    let mut command = toolchain.cargo(args[0], &[&["--locked"], &args[1..]].concat());
    command.env("PYO3_CROSS_PYTHON_VERSION", python.minor);
    command.env("CARGO_PROFILE_DEV_DEBUG", "0"); // smaller, and sooner linked
    command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", line_of(&this));
    command.env(servers::ADDRESS, &servers.address);
    parallel::use_more_threads(&mut command);
    Ok(command)
}

/// Returns the folder of all that only this command needs.
fn folder() -> PathBuf {
    target_folder().join("windows")
}

/// Installs Wine and a C compiler for Windows if they are missing.
fn install() -> Outcome {
    if FILES.iter().all(|file| Path::new(file).exists()) {
        return Ok(());
    }
    if !debian::is_root() {
        return Err(format!(
            "--windows needs Wine and mingw, and on Debian as root, it installs them: {}",
            PACKAGES.join(" ")
        ));
    }
    eprintln!("installing Wine and a C compiler for Windows (once)");
    debian::install(&PACKAGES)
}
