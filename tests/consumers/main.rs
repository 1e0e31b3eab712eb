//! Promise 5 under load and crashes: processes share a mailbox, and a judge that is none of them reads what they did.
//!
//! `cargo xtask consumers` runs it in full; as one of the tests it runs its quick form. The same program is the judge
//! and, started again by it, each consumer.
#![allow(unreachable_pub, reason = "the fixtures are shared with the other tests")]

mod consumer;
mod judge;
mod options;
mod record;
mod report;
mod scenario;
mod server;
mod shift;
#[path = "../support/mod.rs"]
mod support;
mod verdict;

use std::env;
use std::process::ExitCode;

use self::options::Options;

/// How long a shift's judge and consumers look away between two looks.
const A_MOMENT: std::time::Duration = std::time::Duration::from_millis(5);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["consumer", orders] => consumer::main(orders),
        ["run", ref options @ ..] => Options::read(options).map_or_else(refused, |it| judge::main(&it)),
        // As `cargo test` calls it, perhaps with the names of other tests.
        _ if words.iter().all(|word| word.starts_with('-') || "consumers".contains(word)) => {
            judge::main(&Options::quick())
        }
        _ => ExitCode::SUCCESS,
    }
}

fn refused(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
