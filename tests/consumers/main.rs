//! Several consumers under load and crashes: processes share a mailbox, and a checker reads their records.
//!
//! `cargo xtask consumers` runs it in full; as one of the tests it runs its quick form. The same program is the checker
//! and, started again by it, each consumer.
#![allow(unreachable_pub, reason = "the fixtures are shared with the other tests")]

mod checker;
mod consumer;
mod options;
mod record;
mod report;
mod scenario;
mod server;
mod shift;

use std::env;
use std::process::ExitCode;

use pymail_test_support as support;

use self::options::Options;

/// The interval at which a shift's checker and consumers poll.
const A_MOMENT: std::time::Duration = std::time::Duration::from_millis(5);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["consumer", orders] => consumer::main(orders),
        ["run", ref options @ ..] => Options::read(options).map_or_else(refused, |it| checker::main(&it)),
        // The arguments of `cargo test`, such as the names of other tests.
        _ if words.iter().all(|word| word.starts_with('-') || "consumers".contains(word)) => {
            checker::main(&Options::quick())
        }
        _ => ExitCode::SUCCESS,
    }
}

fn refused(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
