//! Hours of use in minutes: many handles that send and receive all the time, while connections are cut, go silent, and
//! servers die; and at the end an account of every message.
//!
//! `cargo xtask soak` runs it in full; as one of the tests it runs for seconds. The handles are in a process of their
//! own, the same program started by the checker, so that memory and threads are theirs.
#![allow(unreachable_pub, reason = "the fixtures are shared with the other tests")]

mod checker;
mod plan;
mod storm;
mod watch;
mod worker;

use std::env;
use std::process::ExitCode;

use pymail_test_support as support;

use self::plan::Options;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["worker", plan] => worker::main(plan),
        ["run", ref options @ ..] => Options::read(options).map_or_else(refused, |it| checker::main(&it)),
        // The arguments of `cargo test`, such as the names of other tests.
        _ if words.iter().all(|word| word.starts_with('-') || "soak".contains(word)) => {
            checker::main(&Options { minutes: 0.3, handles: 15 })
        }
        _ => ExitCode::SUCCESS,
    }
}

fn refused(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Returns a random number below this one.
fn random(below: u64) -> u64 {
    getrandom::u64().unwrap_or(0) % below.max(1)
}
