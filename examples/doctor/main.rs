//! Checks an account from the host name to a message's round trip, and says what is wrong and what to do.
//!
//! ```text
//! PYMAIL_PASSWORD=... cargo run --example doctor -- --user alice@example.org --imap imap.example.org
//! ```
//!
//! `--help` lists the options; docs/doctor.md explains the steps, with the output for broken accounts.
//!
//! It stores one message in the inbox and sends another one to the own address, both with the tag `__PYMAIL_DOCTOR__`,
//! and removes both at the end, as well as those of runs that were killed. The empty mailbox of that name stays: it is
//! the archive, which an app's handle creates, too.
//!
//! With `--json`, each line is an object with `service` (`imap`, `smtp` or `mail`), `step`, `outcome` (`passed`,
//! `failed` or `skipped`), `ms` (`null` if skipped), `text`, and `advice` (`null` unless failed). No output has a
//! password or a token in it.

mod advice;
mod calendar;
mod imap;
mod mail;
mod network;
mod options;
mod report;
mod smtp;
mod transcript;

use std::env;
use std::process::ExitCode;

use options::{Options, USAGE};
use report::Report;
use transcript::Transcript;

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)) {
        Ok(Some(options)) => examine(&options),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("doctor: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn examine(options: &Options) -> ExitCode {
    if options.transcript {
        // Fails only if there is another subscriber.
        let _ = tracing::subscriber::set_global_default(Transcript);
    }
    let mut report = Report::new(options.json);
    let imap = options.imap.as_ref().and_then(|at| imap::examine(&mut report, options, at));
    let smtp = options.smtp.as_ref().and_then(|at| smtp::examine(&mut report, options, at));
    mail::examine(&mut report, options, imap.as_ref(), smtp.as_ref());
    if report.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
