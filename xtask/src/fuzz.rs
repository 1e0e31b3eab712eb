//! The fuzz targets of `fuzz/`, each for some time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Outcome, provide, root, run, step};

const TARGETS: [&str; 5] = ["mail", "imap", "smtp", "values", "codes"];

/// Ends a run at an input that takes this long, or this much memory, as at one that panics.
const LIMITS: [&str; 3] = ["-timeout=20", "-rss_limit_mb=1024", "-max_len=65536"];

/// Runs the targets one after the other, and says at the end how many have found something.
pub(super) fn run_targets(args: impl Iterator<Item = String>) -> Outcome {
    let (minutes, targets) = options(args)?;
    provide("fuzz", "*")?;
    run(&mut cargo_fuzz(&["build"]))?;
    seed()?;
    let found: Vec<&str> = targets.iter().copied().filter(|target| finds(target, minutes)).collect();
    let (targets, findings) = (targets.len(), found.len());
    println!(r#"{{"targets":{targets},"minutes":{minutes},"findings":{findings}}}"#);
    if found.is_empty() { Ok(()) } else { Err(format!("see fuzz/artifacts: {}", found.join(", "))) }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<(u32, Vec<&'static str>), String> {
    let (mut minutes, mut targets) = (10, TARGETS.to_vec());
    while let Some(option) = args.next() {
        let value = args.next().ok_or(format!("{option} needs a value"))?;
        match option.as_str() {
            "--minutes" => minutes = value.parse().map_err(|_| format!("{value} is no number of minutes"))?,
            "--target" => targets.retain(|target| *target == value),
            _ => return Err(format!("{option} is unknown; there are --minutes and --target")),
        }
    }
    if targets.is_empty() || minutes == 0 {
        return Err(format!("a minute or more, and one of the targets {}", TARGETS.join(", ")));
    }
    Ok((minutes, targets))
}

/// cargo-fuzz with the compiler that builds everything else here.
///
/// Its instrumentation is behind unstable flags, which a stable compiler takes only when told that it may, and a
/// nightly one beside it would be one more thing to install. No sanitizer: what is ours and what parses is safe
/// Rust, and libpython would not be looked into.
fn cargo_fuzz(words: &[&str]) -> Command {
    let mut command = step("cargo", &[&["fuzz", words[0], "--sanitizer", "none"], &words[1..]].concat());
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

/// The corpus of the tests is where the target for mail begins.
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

/// Whether the target comes to a bad end within this time.
fn finds(target: &str, minutes: u32) -> bool {
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
