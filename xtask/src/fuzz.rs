//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Outcome, provide, root, run, step};

const TARGETS: [&str; 5] = ["mail", "imap", "smtp", "values", "codes"];

/// libFuzzer options: an input that exceeds the time or the memory is a finding, as a panic is.
const LIMITS: [&str; 3] = ["-timeout=20", "-rss_limit_mb=1024", "-max_len=65536"];

/// Runs the targets one after the other, and prints the number of targets with findings.
pub(super) fn run_targets(args: impl Iterator<Item = String>) -> Outcome {
    let (minutes, targets) = options(args)?;
    provide("fuzz", "*")?;
    run(&mut cargo_fuzz(&["build"]))?;
    seed()?;
    let found: Vec<&str> = targets.iter().copied().filter(|target| has_finding(target, minutes)).collect();
    let (targets, findings) = (targets.len(), found.len());
    println!(r#"{{"targets":{targets},"minutes":{minutes},"findings":{findings}}}"#);
    if found.is_empty() { Ok(()) } else { Err(format!("see fuzz/artifacts: {}", found.join(", "))) }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<(u32, Vec<&'static str>), String> {
    let (mut minutes, mut targets) = (10, TARGETS.to_vec());
    while let Some(option) = args.next() {
        let value = args.next().ok_or(format!("{option} needs a value"))?;
        match option.as_str() {
            "--minutes" => {
                minutes = value.parse().map_err(|_| format!("{value} is not a number of minutes"))?;
            }
            "--target" => targets.retain(|target| *target == value),
            _ => return Err(format!("unknown option {option}; the options are --minutes and --target")),
        }
    }
    if targets.is_empty() || minutes == 0 {
        return Err(format!("--minutes must be at least 1, and --target one of {}", TARGETS.join(", ")));
    }
    Ok((minutes, targets))
}

/// Returns a cargo-fuzz command that uses the project's stable compiler.
///
/// Its instrumentation needs unstable flags, which a stable compiler accepts with `RUSTC_BOOTSTRAP`; a nightly
/// compiler would be one more thing to install. No sanitizer: our code and the parsers are safe Rust, and libpython
/// would not be instrumented.
fn cargo_fuzz(words: &[&str]) -> Command {
    let mut command = step("cargo", &[&["fuzz", words[0], "--sanitizer", "none"], &words[1..]].concat());
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

/// Copies the mails of `tests/corpus` into the corpus of the target `mail`.
fn seed() -> Outcome {
    let failed = |error: std::io::Error| format!("seeding the corpus: {error}");
    for target in TARGETS {
        fs::create_dir_all(root().join("fuzz/corpus").join(target)).map_err(failed)?;
    }
    for (number, mail) in mails(&root().join("tests/corpus")).iter().enumerate() {
        fs::copy(mail, root().join(format!("fuzz/corpus/mail/seed-{number}"))).map_err(failed)?;
    }
    Ok(())
}

fn mails(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let within = entries.iter().filter(|path| path.is_dir()).flat_map(|folder| mails(folder));
    let here = entries.iter().filter(|path| path.extension().is_some_and(|it| it == "eml")).cloned();
    here.chain(within).collect()
}

/// Runs a target for this time; returns `true` if it has a finding.
fn has_finding(target: &str, minutes: u32) -> bool {
    let corpora = [format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}")];
    let there = corpora.iter().filter(|folder| root().join(folder).is_dir()).map(String::as_str);
    let mut words = ["run", target].into_iter().chain(there).chain(["--"]).collect::<Vec<_>>();
    let time = format!("-max_total_time={}", minutes * 60);
    let dictionary = format!("-dict=fuzz/{target}.dict");
    words.extend(LIMITS);
    words.push(&time);
    if root().join(format!("fuzz/{target}.dict")).exists() {
        words.push(&dictionary);
    }
    run(&mut cargo_fuzz(&words)).inspect_err(|why| eprintln!("{why}")).is_err()
}
