//! A round trip: sends tagged messages, receives and archives them, and counts the results.
//!
//! ```text
//! cargo run --release --example roundtrip [-- OPTIONS]
//!
//!   --messages N            how many messages (default 100)
//!   --size BYTES            the size of each body (default 1024)
//!   --imap HOST[:PORT]      a real account's IMAP: implicit TLS (993), STARTTLS on port 143
//!   --smtp HOST[:PORT]      a real account's SMTP: STARTTLS (587), implicit TLS on port 465
//!   --user USER             who logs in to both, with the password in PYMAIL_PASSWORD
//!   --address ADDRESS       sender and recipient, when the user name is no address
//!   --ca FILE               certificates (PEM) to trust as well
//! ```
//!
//! Without `--imap` it starts an embedded mail server (pymap and aiosmtpd) in a process of its own; the first
//! run installs it under `target/`. `smtplib` and `imaplib` run in this process, in two threads.
//!
//! Before that, another client on the same account appends foreign mail to INBOX: with subjects that resemble
//! ours, and some of it flagged `\Deleted`. Afterwards the same client reads INBOX and the archive. The last line
//! of output is a JSON object:
//!
//! ```json
//! {"sent":100,"received":100,"lost":0,"duplicates":0,"altered":0,"foreign_touched":0,"seconds":0.512}
//! ```
//!
//! `lost` counts messages that were not received or are not in the archive; `duplicates` counts surplus copies;
//! `altered` counts messages that arrived, or were archived, with another id, sender or body; `foreign_touched`
//! counts foreign mail in INBOX that is missing, or has changed flags or content; `seconds` is the time from the
//! first send to the last acknowledgement. The exit status is 0 if these four counts are 0, 1 if one is not or the
//! run failed, 2 for invalid options.
//!
//! Use a test account that has no other clients meanwhile: the run reads all of INBOX, before and after. The run
//! has a tag of its own, and deletes its mail and its mailbox in the end. It also reads the whole archive, which
//! takes about ten bytes of memory for each byte sent.

#[path = "../common/account.rs"]
mod account;
#[path = "../common/arguments.rs"]
mod arguments;
mod exchange;
mod ledger;
mod mail;
mod options;
mod witness;

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::hash::{BuildHasher as _, RandomState};
use std::process::ExitCode;

use account::Account;
use ledger::{Figures, Ledger};
use mail::Plan;
use options::{Options, USAGE};
use pymail::{Imap, Smtp};
use pymail_test_support as support;
use support::embedded::Embedded;
use witness::Witness;

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The mails in INBOX up to which a run starts: the other client reads all of them.
const LARGEST_INBOX: usize = 2_000;

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)) {
        Ok(Some(options)) => roundtrip(&options),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("roundtrip: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn roundtrip(options: &Options) -> ExitCode {
    match run(options).and_then(|figures| Ok((serde_json::to_string(&figures)?, figures.are_good()))) {
        Ok((line, good)) => {
            println!("{line}");
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("roundtrip: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Figures> {
    if let Some(account) = &options.account {
        return between(account, options);
    }
    let server = Embedded::start()?;
    eprintln!("started an embedded mail server (pymap and aiosmtpd)");
    between(&Account::from(&server), options)
}

/// Runs on an account, and restores it afterwards, also after an error.
fn between(account: &Account, options: &Options) -> Result<Figures> {
    let tag = format!("__ROUNDTRIP_{:016x}__", RandomState::new().hash_one(()));
    eprintln!("{account}: {} messages of {} bytes, tagged {tag}", options.messages, options.size);
    let smtp = Smtp::connect(account.smtp(&tag))?;
    let imap = Imap::connect(account.imap(&tag))?;
    let client = witness::connect(account);
    let client = client.map_err(|error| format!("{error} (the empty mailbox {tag} is left)"))?;
    let mut witness = Witness::new(client, &tag, &account.address);
    let Options { messages, size, .. } = *options;
    let ledger = Ledger::new(Plan { messages, size, address: account.address.clone() });
    let figures = observed(&smtp, &imap, &mut witness, ledger);
    warn(smtp.close());
    warn(imap.close());
    warn(witness.clean());
    figures
}

fn observed(smtp: &Smtp, imap: &Imap, witness: &mut Witness, mut ledger: Ledger) -> Result<Figures> {
    let mails = imap.search("ALL")?.len();
    if mails > LARGEST_INBOX {
        return Err(
            format!("INBOX holds {mails} mails, and all would be read: take an account for tests").into()
        );
    }
    witness.plant()?;
    let seconds = exchange::run(smtp, imap, &mut ledger)?;
    let foreign_touched = witness.read_back(&mut ledger)?;
    Ok(ledger.figures(foreign_touched, seconds))
}

/// Prints an error of the clean-up, which changes no figure.
fn warn<E: Display>(outcome: std::result::Result<(), E>) {
    outcome.unwrap_or_else(|error| eprintln!("roundtrip, leaving: {error}"));
}
