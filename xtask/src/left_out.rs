//! Tests that this machine can't run. `process::needs` of `tests/support` fails them, with words that are read here: a step
//! passes without them, and one line at the end tells how many there are, and how to have them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The words of a test that can't run; the thing that it needs follows, and in parentheses the remedy.
const NEEDS: &str = "this run needs ";

/// The exit code of a test program with failed tests, and of any program that has panicked.
const PANICKED: i32 = 101;

/// The number of tests that were left out, by their needs.
static LEFT_OUT: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// Counts a test, or another check, that is left out because of a need: a thing, and in parentheses the remedy.
pub(super) fn count(need: &str) {
    let mut left_out = LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    *left_out.entry(need.to_owned()).or_default() += 1;
}

/// Returns `true` on Linux; elsewhere counts a check that runs only there.
pub(super) fn is_linux(check: &str) -> bool {
    let is_linux = cfg!(target_os = "linux");
    if !is_linux {
        count(&format!("Linux ({check})"));
    }
    is_linux
}

/// Returns the line that tells what was left out; `None` if nothing was.
pub(super) fn line() -> Option<String> {
    let left_out = LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let tests: usize = left_out.values().sum();
    let needs: Vec<String> =
        left_out.iter().map(|(need, tests)| format!("{tests} for lack of {need}")).collect();
    let remedy = "as root on Debian 12, `cargo xtask test` runs them all";
    (tests > 0).then(|| format!("left out: {tests} tests, {}; {remedy}", needs.join(", ")))
}

/// The output of a step that has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The text to print: the output, without the failures of tests that are left out.
    pub(super) shown: String,
    /// The need of each test that is left out.
    pub(super) needs: Vec<String>,
    /// `true` if the step has failed for other reasons, too.
    pub(super) is_real: bool,
}

impl Failure {
    /// Reads the output of a step that has run one test program, or any other program.
    pub(super) fn read(code: Option<i32>, output: &str) -> Self {
        // Cargo says this of a program that a signal has ended, maybe in the middle of its tests.
        let has_crashed = output.contains("process didn't exit successfully");
        let read = || match output.rsplit_once("\ntest result: ") {
            Some((tests, result)) => Self::of_tests(tests, result),
            None => Self::of_program(output),
        };
        let read = if code == Some(PANICKED) && !has_crashed { read() } else { None };
        read.unwrap_or_else(|| Self { shown: output.to_owned(), needs: Vec::new(), is_real: true })
    }

    fn of_program(output: &str) -> Option<Self> {
        let need = need(output)?;
        Some(Self {
            shown: format!("left out: needs {need}\n"),
            needs: vec![need.to_owned()],
            is_real: false,
        })
    }

    /// Reads the output of a test program, before and after the beginning of its last line, the counts.
    fn of_tests(tests: &str, counts: &str) -> Option<Self> {
        // The last list of failed tests: before it, a test may have printed the output of another test program.
        let (tests, names) = tests.rsplit_once("\nfailures:\n")?;
        let failed: Vec<&str> = names.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        let (left_out, real): (Vec<_>, Vec<_>) =
            sections(tests, &failed).into_iter().partition(|(_, output)| need(output).is_some());
        let mut shown = tests.split("\nfailures:\n").next()?.to_owned() + "\n";
        for (name, _) in &left_out {
            shown = shown.replace(&format!("test {name} ... FAILED"), &format!("test {name} ... left out"));
        }
        shown.extend(real.iter().map(|(name, output)| format!("\n---- {name} ----\n{output}")));
        let is_real = failed.is_empty() || left_out.len() < failed.len();
        shown = shown + "\ntest result: " + &without(counts, left_out.len(), is_real)?;
        let needs = left_out.iter().filter_map(|(_, output)| need(output)).map(str::to_owned).collect();
        Some(Self { shown, needs, is_real })
    }
}

/// Returns the counts of a test program, which are followed by words of cargo, without tests that are left out.
fn without(counts: &str, left_out: usize, is_real: bool) -> Option<String> {
    let (before, after) = counts.split_once(" failed;")?;
    let (before, failed) = before.rsplit_once(' ')?;
    let failed = failed.parse::<usize>().ok()?.checked_sub(left_out)?;
    if is_real {
        return Some(format!("{before} {failed} failed; {left_out} left out;{after}"));
    }
    let before = before.replacen("FAILED", "ok", 1);
    Some(format!("{before} {failed} failed; {left_out} left out;{}\n", after.lines().next()?))
}

/// Returns the output of each failed test.
fn sections<'a>(tests: &'a str, failed: &[&'a str]) -> BTreeMap<&'a str, String> {
    let (mut sections, mut of) = (BTreeMap::<&str, String>::new(), None);
    for line in tests.split_inclusive('\n') {
        let name = line.trim_end().strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(name) = name.filter(|name| failed.contains(name)) {
            of = Some(name);
        } else if let Some(name) = of {
            *sections.entry(name).or_default() += line;
        }
    }
    sections
}

/// Returns the need that a text names: a thing, and in parentheses the remedy.
fn need(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(NEEDS)?;
    Some(&rest[..=rest.find(')')?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{root, step};
    use std::{env, fs};

    /// Compiles tests, runs them, and reads their output.
    fn read(name: &str, source: &str) -> Failure {
        let folder = root().join("target/left-out");
        let file = folder.join(name).with_extension("rs");
        let program = file.with_extension(env::consts::EXE_EXTENSION);
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, source).unwrap();
        let mut rustc = step("rustc", &["--test", "--edition", "2024", "-o"]);
        assert!(rustc.arg(&program).arg(&file).status().unwrap().success());
        let output = step(program.to_str().unwrap(), &[]).output().unwrap();
        Failure::read(output.status.code(), &String::from_utf8(output.stdout).unwrap())
    }

    const NEEDY: &str = r#"
        fn server() { std::thread::spawn(|| panic!("this run needs dovecot (apt install dovecot)")).join().unwrap() }
        #[test] fn passes() {}
        #[test] fn on_a_server() { server() }
        #[test] fn with_output_of_another() {
            println!("{}", "\nfailures:\n\n---- inner stdout ----\n\nfailures:\n    inner\n\ntest result: FAILED. 0");
            server()
        }
    "#;

    #[test]
    fn a_step_passes_without_the_tests_that_cannot_run() {
        let failure = read("needy", NEEDY);
        assert_eq!(failure.needs, ["dovecot (apt install dovecot)"; 2]);
        assert!(!failure.is_real);
        for text in
            ["test passes ... ok", "test on_a_server ... left out", "ok. 1 passed; 0 failed; 2 left out;"]
        {
            assert!(failure.shown.contains(text), "{}", failure.shown);
        }
        assert!(!failure.shown.contains("FAILED") && !failure.shown.contains(NEEDS), "{}", failure.shown);
    }

    #[test]
    fn another_failure_is_real_and_shown() {
        let failure = read("broken", &format!("{NEEDY} #[test] fn broken() {{ panic!(\"as it is\") }}"));
        assert!(failure.is_real && failure.needs.len() == 2);
        assert!(failure.shown.contains("---- broken ----") && failure.shown.contains("as it is"));
        assert!(
            !failure.shown.contains(NEEDS) && failure.shown.contains("1 failed; 2 left out;"),
            "{}",
            failure.shown
        );
    }

    #[test]
    fn a_program_without_tests_is_left_out_if_it_panics() {
        let output =
            "starting\nthread 'main' panicked at a.rs:1:2:\nthis run needs root (Postfix wants it)\n";
        let failure = Failure::read(Some(101), output);
        assert_eq!(
            (&failure.needs[..], failure.is_real),
            (&["root (Postfix wants it)".to_owned()][..], false)
        );
        for (code, output) in [
            (Some(1), output),
            (None, output),
            (Some(101), "thread 'main' panicked"),
            (
                Some(101),
                "this run needs root (x)\n  process didn't exit successfully: `a` (signal: 11, SIGSEGV)",
            ),
        ] {
            let whole = Failure { shown: output.to_owned(), needs: Vec::new(), is_real: true };
            assert_eq!(Failure::read(code, output), whole);
        }
    }
}
