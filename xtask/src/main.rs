//! The commands of the project, `cargo xtask COMMAND`: tests, checks, benchmarks, bundles.

mod debian;
mod fuzz;
mod guards;
mod left_out;
mod msrv;
mod parallel;
mod pythons;
mod servers;
mod ship;
mod systems;
mod toolchain;
mod windows;
mod words;
mod workflows;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test       check formatting, lints, tests and docs; first, as root on Debian, install the mail servers of the tests,
             and elsewhere leave out the tests that need them
             [--all-servers: also on Cyrus, Courier, OpenSMTPD and Exim, by access tokens, on some providers' dialects; then,
             until 24 minutes are over, --windows --quick]
             [--python PATH: only run the tests, with this Python, or some of them with --quick; --all-pythons: with each
             that is found; --newer-pythons: with CPython 3.14 and 3.15 of a newer Debian, where this one has neither]
             [--windows: install Wine, and run the tests that need no other program of this system as Windows programs, on
             Windows' own Pythons, or some of them with --quick; --provide: only install what --quick needs]
  wine       run a Windows program as these tests do: EXE ARGS; PYO3_CROSS_PYTHON_VERSION names its Python
  dialects   run the promise tests on the dialect of each provider, most of which --all-servers leaves out
  bundle     make a folder that runs on a machine without Python, for Linux or Windows
             --binary PATH --out DIR [--python PATH: for Windows, the zip of Python's embeddable package]
  ship       bundle the example, follow docs/shipping.md, and run the result in an empty root; run in an
             extension module of Python
  systems    check that the sources compile for macOS and, with Visual Studio, for Windows
  workflows  check the files of GitHub Actions, where npm is installed
  guards     check the errors of builds that can't work, the public API for types of PyO3, the dependencies for
             a newer Rust, and the words of names and comments
  deny       check the licences, sources and known defects of all dependencies
             [--offline: without the defects, whose list is fetched]
  bench      run pymail beside its peers [--quick] [--case NAME] [--system NAME] [--n N] [--turns N]
             [--report: write docs/performance.md from the results]
  faults     inject every fault at every place, and check the mailboxes afterwards [--quick] [--case NAME]
  consumers  share a mailbox among processes, kill some, and check that no message is lost or handed out twice,
             on each server [--quick] [--server NAME]... [--scenario NAME]... [--messages N] [--processes N]
  soak       use many handles for minutes while everything fails, and account for each message
             --minutes M [--handles N]
  fuzz       run each fuzz target for ten minutes [--minutes M] [--target NAME]";

/// The names of the test cases on servers, or by logins, that only `--all-servers` has.
const ON_ALL_SERVERS: [&str; 8] = [
    "on_cyrus",
    "on_courier",
    "by_opensmtpd",
    "by_exim",
    "with_tokens",
    "on_microsoft",
    "on_netease",
    "on_proton",
];

/// The names of the test cases on the other dialects, which differ less from those above. That of Gmail always runs.
const ON_OTHER_DIALECTS: [&str; 7] =
    ["on_icloud", "on_yahoo", "on_qq", "on_gmx", "on_yandex", "on_zoho", "on_fastmail"];

/// All packages; the benchmark, which reads `/proc`, on Linux only.
const WORKSPACE: &[&str] =
    if cfg!(target_os = "linux") { &["--workspace"] } else { &["--workspace", "--exclude", "pymail-bench"] };

/// The time after which Windows is left out: `.ci/run` has to end within 40 minutes, and Windows takes 15 of them.
const TIME_FOR_WINDOWS: Duration = Duration::from_secs(24 * 60);

/// The time after which the tests on a further Windows Python, which take five minutes, are left out but for round trips.
const TIME_FOR_ANOTHER: Duration = Duration::from_secs(34 * 60);

/// The outcome of a command: an error says why it failed.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let outcome = match args.next().as_deref() {
        Some("test") => test(&args.collect::<Vec<_>>()),
        Some("consumers") => consumers(&args.collect::<Vec<_>>()),
        Some("soak") => soak(&args.collect::<Vec<_>>()),
        Some("dialects") => dialects(),
        Some("bundle") => ship::bundle(&args.collect::<Vec<_>>()),
        Some("ship") => ship(),
        Some("wine") => windows::run_program(&args.collect::<Vec<_>>()),
        Some("systems") => systems::check(),
        Some("workflows") => workflows::check(),
        Some("guards") => guards(),
        Some("deny") => deny(&args.collect::<Vec<_>>()),
        Some("bench") => bench(&args.collect::<Vec<_>>()),
        Some("faults") => faults(&args.collect::<Vec<_>>()),
        Some("fuzz") => fuzz::run_targets(args),
        _ => Err(USAGE.to_owned()),
    };
    if let Err(why) = &outcome {
        eprintln!("{why}");
    }
    if let Some(left_out) = left_out::line() {
        eprintln!("\n{left_out}");
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn test(args: &[String]) -> Outcome {
    let all_servers = match args {
        [] => false,
        [flag] if flag == "--all-servers" => true,
        [flag] if flag == "--windows" => return windows::test(),
        [flag, quick] if flag == "--windows" && quick == "--quick" => return windows::test_quickly(|| true),
        [flag, provide] if flag == "--windows" && provide == "--provide" => return windows::provide_quick(),
        [flag] if flag == "--all-pythons" => return test_pythons(&pythons::all()),
        [flag, options @ ..] if flag == "--newer-pythons" => return test_newer_pythons(options),
        [flag, path] if flag == "--python" => return test_pythons(&[python(path)?]),
        [flag, path, quick] if flag == "--python" && quick == "--quick" => {
            return python(path)?.test_quickly();
        }
        _ => return Err(USAGE.to_owned()),
    };
    let start = Instant::now();
    servers::install_if_possible()?;
    if all_servers {
        servers::unpack()?;
    }
    cargo(&["fmt", "--all", "--check"])?;
    for features in [&[][..], &["--all-features"]] {
        let clippy = ["clippy", "--all-targets", "--locked"];
        cargo(&[&clippy[..], WORKSPACE, features, &["--", "--deny", "warnings"]].concat())?;
    }
    tests(all_servers)?;
    if all_servers {
        on_all_servers()?;
        left_out::line().map_or(Ok(()), |_| Err("--all-servers leaves nothing out".to_owned()))?;
    }
    guards()?;
    if all_servers {
        workflows::check()?;
        if is_installed("deny") {
            deny(&["--offline".to_owned()])?;
        } else {
            eprintln!(
                "\ncargo deny is not installed; `cargo xtask deny` installs it, which takes minutes, and runs it"
            );
        }
        if is_time_left(start, TIME_FOR_WINDOWS, "`cargo xtask test --windows --quick`") {
            windows::test_quickly(|| {
                is_time_left(start, TIME_FOR_ANOTHER, "tests on another Windows Python")
            })?;
        }
    }
    Ok(())
}

/// Runs every test, and each case of the bench once; without the unit tests with default features, if
/// [`on_all_servers`] comes next, which runs them in its own way.
fn tests(all_servers: bool) -> Outcome {
    // Without a named target, cargo also builds the examples, which some tests run.
    cargo(&["test", "--locked", "--no-run"])?;
    let of_features = ["--lib", "--test", "asynchronous", "--test", "metrics", "--test", "oauth"];
    cargo(&[&["test", "--locked", "--no-run", "--all-features"], &of_features[..]].concat())?;
    let mut steps = parallel::every_test()?;
    steps.retain(|step| !(all_servers && line_of(step).ends_with("--lib")));
    let mut members = vec!["xtask", "pymail-bundle"];
    if left_out::is_linux("the benchmark") {
        members.push("pymail-bench");
        // Not a release build, which would build everything once more: no test depends on its speed.
        let bench = ["--locked", "--package", "pymail-bench"];
        cargo(&[&["build"], &bench[..]].concat())?;
        steps.push(step("cargo", &[&["run"], &bench[..], &["--", "--quick"]].concat()));
    }
    for member in members {
        let test = ["test", "--locked", "--package", member];
        cargo(&[&test[..], &["--no-run"]].concat())?;
        steps.push(step("cargo", &test));
    }
    parallel::run(steps)
}

/// Returns `true` until a time is over; then says which tests are left out.
fn is_time_left(start: Instant, time: Duration, tests: &str) -> bool {
    let taken = start.elapsed();
    if taken > time {
        eprintln!("\nleft out after {} minutes: {tests}", taken.as_secs() / 60);
    }
    taken <= time
}

/// Runs the promise tests on the other servers, the tests of hosts that are slow to build, and the checks for other systems.
fn on_all_servers() -> Outcome {
    // Futures on one runtime: a server's behaviour does not depend on it. `cargo xtask dialects` uses both.
    let mut steps = promise_tests(&[&ON_ALL_SERVERS[..], &["--skip", "Runtime__Smol"]].concat());
    run(&mut without_a_pool(&["--no-run"]))?;
    steps.push(without_a_pool(&[]));
    parallel::run(steps)?;
    // Without Courier, which is slow at this, and varies: `cargo xtask consumers` includes it.
    let quick = ["--quick", "--server", "dovecot-sdbox", "--server", "dovecot-mdbox", "--server", "cyrus"];
    // The consumers wait for leases to end, most of the time. The others unpack the same compiler: not at the same time.
    let builds = vec![this(&["test", "--windows", "--provide"])?, this(&["systems"])?];
    parallel::run_rows(vec![vec![this(&[&["consumers"], &quick[..]].concat())?], builds])?;
    outbox()?;
    ship()
}

/// Returns a command that runs a command of this program.
fn this(args: &[&str]) -> Result<Command, String> {
    let program = env::current_exe().map_err(|error| format!("the path of xtask: {error}"))?;
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    Ok(command)
}

/// Returns commands that run all promise tests with these options, such as the names of cases.
fn promise_tests(options: &[&str]) -> Vec<Command> {
    let all = [&["--test", "all"][..], &["--test", "asynchronous", "--all-features"]];
    all.map(|tests| parallel::test(&[tests, &["--", "--include-ignored"], options].concat())).into()
}

/// Runs the promise tests on the dialect of each provider.
fn dialects() -> Outcome {
    servers::install()?;
    let on_dialects = ON_ALL_SERVERS.iter().filter(|name| !matches!(**name, "on_cyrus" | "on_courier"));
    let on_dialects = on_dialects.filter(|name| name.starts_with("on_")).chain(&ON_OTHER_DIALECTS);
    let cases: Vec<&str> = on_dialects.chain(&["on_gmail", "dialects::"]).copied().collect();
    parallel::run(promise_tests(&cases))
}

/// Checks the example that is a workspace of its own, and kills it 100 times.
fn outbox() -> Outcome {
    let of_it = ["--manifest-path", "examples/outbox/Cargo.toml"];
    cargo(&[&["fmt"], &of_it[..], &["--check"]].concat())?;
    let lints = ["--all-targets", "--locked", "--", "--deny", "warnings"];
    run(&mut as_here(&[&["clippy"], &of_it[..], &lints].concat()))?;
    run(&mut as_here(&[&["test", "--locked"], &of_it[..]].concat()))
}

/// Returns a command that runs the unit tests with a `PyO3` that aborts when an object is dropped without the GIL, as a host
/// may build it.
///
/// By a wrapper of the compiler, not by RUSTFLAGS, which would build every dependency again. The profile of its own keeps
/// this `PyO3` beside the usual one.
fn without_a_pool(options: &[&str]) -> Command {
    let lib = ["--lib", "--config", "profile.dev.package.pyo3.codegen-units=15"];
    let mut tests = parallel::test(&[&lib, options].concat());
    tests.env("RUSTC_WRAPPER", root().join("xtask/src/without-a-pool.sh")).env("WITHOUT_A_POOL", "1");
    tests
}

fn guards() -> Outcome {
    words::check()?;
    msrv::no_dependency_requires_a_newer_rust()?;
    run(step("cargo", &["doc", "--no-deps", "--locked", "--all-features"])
        .env("RUSTDOCFLAGS", "--deny warnings"))?;
    guards::api_names_no_pyo3()?;
    guards::docs_need_no_python()?;
    if left_out::is_linux("errors of builds and programs with an unfit Python") {
        pythons::another_is_refused()?;
        guards::build_errors_name_the_remedy()?;
    }
    Ok(())
}

/// Checks the dependencies by the rules of deny.toml, also those of the bench.
fn deny(args: &[String]) -> Outcome {
    let which: &[&str] = match args {
        [] => &["all"],
        [flag] if flag == "--offline" => &["bans", "licenses", "sources"],
        _ => return Err(USAGE.to_owned()),
    };
    provide("deny", "0.20.2")?;
    cargo(&[&["deny", "--locked", "--workspace", "check", "--hide-inclusion-graph"], which].concat())
}

fn python(path: &str) -> Result<pythons::Python, String> {
    let python = pythons::Python::at(Path::new(path));
    python.ok_or_else(|| format!("{path} is not a CPython 3.9 to 3.15 with a shared library"))
}

fn test_pythons(pythons: &[pythons::Python]) -> Outcome {
    if pythons.is_empty() {
        return Err("no CPython 3.9 to 3.15 with a shared library found".into());
    }
    servers::install_if_possible()?;
    pythons.iter().try_for_each(pythons::Python::test)
}

fn test_newer_pythons(options: &[String]) -> Outcome {
    servers::install()?;
    pythons::newer::test(&pythons::newer::missing(), options)
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
    run_checker("consumers", args)
}

fn soak(args: &[String]) -> Outcome {
    servers::install()?;
    run_checker("soak", args)
}

/// Runs one of the tests of whole processes, in full or as its options say.
fn run_checker(test: &str, args: &[String]) -> Outcome {
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

/// Returns a cargo command for a workspace of its own, into the target folder and with the profile of this one: what both
/// build, pymail among it, is built once.
fn as_here(args: &[&str]) -> Command {
    let mut cargo = step("cargo", &args[..1]);
    cargo.arg("--target-dir").arg(target_folder()).args(&args[1..]);
    // CI's own, if it has set one.
    if env::var_os("CARGO_PROFILE_DEV_DEBUG").is_none() {
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    }
    cargo
}

/// Installs a cargo command if it is missing; the version is fixed because a newer one may require a newer Rust.
fn provide(tool: &str, version: &str) -> Outcome {
    if is_installed(tool) {
        return Ok(());
    }
    cargo(&["install", &format!("cargo-{tool}"), "--version", version, "--locked"])
}

/// Returns `true` if a cargo command is installed.
fn is_installed(tool: &str) -> bool {
    let asked = Command::new("cargo").args([tool, "--version"]).stderr(Stdio::null()).output();
    asked.is_ok_and(|output| output.status.success())
}

/// Returns a command that runs in the project's folder.
fn step(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Returns the project's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Returns the folder of all that is built or unpacked.
fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Makes a symbolic link to a file.
fn symlink(file: &Path, link: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::symlink(file, link);
    #[cfg(windows)]
    return std::os::windows::fs::symlink_file(file, link);
}

/// Runs a command to its end, and prints it and its time.
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

/// Returns the standard output of a command.
fn output_of(program: &str, args: &[&str]) -> Result<String, String> {
    let line = format!("{program} {}", args.join(" "));
    let output = step(program, args).output().map_err(|error| format!("{line}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{line}: {error}"))
}

/// Returns a command as it is typed.
fn line_of(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
