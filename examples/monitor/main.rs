//! Consumes messages, and shows the connection, the counts and the latency of push.
//!
//! ```text
//! cargo run --example monitor [-- OPTIONS]
//!
//!   --for SECONDS           sends nothing after that time, and ends once its messages are handled, 30 s later at most
//!                           (default: runs until Ctrl-C)
//!   --every MS              sends a message to the own address each MS milliseconds; 0: never
//!                           (default 200; with --imap, 0)
//!   --tag TAG               the tag of the messages (default __MONITOR__)
//!   --imap HOST[:PORT]      a real account's IMAP: implicit TLS (993), STARTTLS on port 143
//!   --smtp HOST[:PORT]      a real account's SMTP: STARTTLS (587), implicit TLS on port 465
//!   --user USER             who logs in to both, with the password in PYMAIL_PASSWORD
//!   --address ADDRESS       sender and recipient, when the user name is no address
//!   --ca FILE               certificates (PEM) to trust as well
//! ```
//!
//! Without `--imap` it starts an embedded mail server (pymap and aiosmtpd) in a process of its own; the first
//! run installs it under `target/`.
//!
//! **All messages with the tag are consumed and acknowledged**: they move from INBOX to the mailbox of that name. So take
//! no tag that an app uses. Of the messages that it sends, some come twice, some are returned once, and some are rejected
//! until they are dead letters, for something to see in each count.
//!
//! Where stdout is no terminal, each second has a line of text. With `--for`, the last line of output is a JSON object, with the fields of
//! `Imap::status` and `Imap::stats`, the number of messages sent, and the latency of push in milliseconds:
//!
//! ```json
//! {"status":{"state":"Connected"},"stats":{"received":9,"acknowledged":9},"sent":9,"p50_ms":3.2,"p99_ms":6.4}
//! ```
//!
//! Nothing of a message is printed: no id, address or text. The exit status is 0 at the end of the time, 1 if a
//! handle could not connect at the start or the consumer failed for good, 2 for invalid options.

#[path = "../common/account.rs"]
mod account;
#[path = "../common/arguments.rs"]
mod arguments;
mod mail;
mod options;
mod view;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use account::Account;
use options::{Options, USAGE};
use pymail::{Imap, Smtp};
use pymail_test_support::embedded::Embedded;
use view::View;

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The failed deliveries after which a message goes to the dead letters.
const MOST_FAILURES: u32 = 3;

/// The longest wait for the messages that are under way when the time is over.
const LAST_MESSAGES: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)) {
        Ok(Some(options)) => monitor(&options),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("monitor: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn monitor(options: &Options) -> ExitCode {
    match run(options) {
        Ok(last) => {
            println!("{last}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("monitor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the last line of output.
fn run(options: &Options) -> Result<String> {
    if let Some(account) = &options.account {
        return watch(account, options);
    }
    let server = Embedded::start()?;
    eprintln!("started an embedded mail server (pymap and aiosmtpd)");
    watch(&Account::from(&server), options)
}

/// Consumes and sends in two threads, and shows the counts in this one.
fn watch(account: &Account, options: &Options) -> Result<String> {
    let imap = Imap::connect(account.imap(&options.tag).dead_letters(MOST_FAILURES))?;
    let smtp = &Smtp::connect(account.smtp(&options.tag))?;
    let mut view = View::new(&imap, smtp);
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel();
        let deliveries = imap.consume(); // made here, so that `drain` ends it in any case
        let consumer = scope.spawn(|| mail::consume(&imap, deliveries));
        let send = |every| scope.spawn(move || mail::send(smtp, &account.address, every, &stopped));
        let sender = options.every.map(send);
        let end = options.time.map(|time| Instant::now() + time);
        let mut shown = Ok(());
        while shown.is_ok() && end.is_none_or(|end| Instant::now() < end) && !consumer.is_finished() {
            shown = view.show();
        }
        drop(stop);
        let _ = sender.map(thread::ScopedJoinHandle::join); // a panic shows on stderr
        let latest = Instant::now() + LAST_MESSAGES;
        let waits = || Instant::now() < latest && imap.depth().is_ok_and(|depth| depth.waiting > 0);
        while shown.is_ok() && !consumer.is_finished() && waits() {
            shown = view.show();
        }
        let last = view.last();
        let _ = imap.drain(Duration::ZERO); // ends the consumer
        consumer.join().map_err(|_| "the consumer panicked")??;
        shown?;
        last
    })
}
