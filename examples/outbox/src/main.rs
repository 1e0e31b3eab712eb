//! Reads messages from stdin into a durable outbox, and sends them.
//!
//! ```text
//! outbox FILE HOST PORT [USER]
//! ```
//!
//! Each line on stdin is a message as JSON, `{"Id","SentBy","SentTo","MessageId","Body"}`. When it is durable in the SQLite
//! database FILE, its Message-ID is printed on a line. At the end of stdin, the program sends the remaining messages and ends.
//!
//! A program that is killed, at any point, is started again; a line whose Message-ID was not printed is written again. Each
//! message then arrives exactly once, at a receiver that drops duplicates by Message-ID.
//!
//! With USER, the connection is encrypted by STARTTLS, and the password is in `OUTBOX_PASSWORD`. Without, it is not encrypted,
//! which pymail allows on the loopback only. The tag is `OUTBOX_TAG`, by default pymail's.

use std::env;
use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use outbox::{Outbox, Step};
use pymail::{Credentials, DEFAULT_TAG, Message, Server, Smtp, SmtpConfig};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "usage: outbox FILE HOST PORT [USER]";

/// The longest wait for a message that another process queues.
const POLL: Duration = Duration::from_secs(10);
/// The wait before another attempt to connect, if the server names none.
const RETRY: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

/// Prints an error and its causes.
fn report(error: &dyn Error) {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    let text: String = causes.map(|cause| format!(": {cause}")).collect();
    eprintln!("outbox: {error}{text}");
}

fn run(args: &[String]) -> Result {
    let [file, host, port, user @ ..] = args else { return Err(USAGE.into()) };
    let tag = env::var("OUTBOX_TAG").unwrap_or_else(|_| DEFAULT_TAG.into());
    let config = match user {
        [] => SmtpConfig::new(Server::unencrypted(host).port(port.parse()?), Credentials::none()),
        [user] => {
            let credentials = Credentials::new(user, env::var("OUTBOX_PASSWORD")?);
            SmtpConfig::new(Server::starttls(host).port(port.parse()?), credentials)
        }
        _ => return Err(USAGE.into()),
    };
    let (queued, news) = channel();
    let mut queue = open(file)?;
    let sending = open(file)?;
    let sender = thread::spawn(move || {
        if let Err(error) = send(sending, &config.tag(tag), &news) {
            // The messages are durable: the next process sends them.
            report(&*error);
            std::process::exit(1);
        }
    });
    for line in io::stdin().lock().lines() {
        let message: Message = serde_json::from_str(&line?)?;
        queue.queue(&message)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", message.message_id().as_str())?;
        out.flush()?;
        queued.send(())?;
    }
    drop(queued);
    sender.join().map_err(|_| "the sender panicked".into())
}

/// Sends messages as they are queued; ends when no more are coming and all are sent.
fn send(mut outbox: Outbox, config: &SmtpConfig, news: &Receiver<()>) -> Result {
    let smtp = connect(config)?;
    let mut is_ended = false;
    loop {
        outbox.flush(&smtp)?;
        let wait = match outbox.next_due()? {
            None if is_ended => return Ok(()),
            due => due.unwrap_or(POLL).clamp(Duration::from_millis(100), POLL),
        };
        if is_ended {
            thread::sleep(wait);
        } else if news.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            is_ended = true;
        } else {
            news.try_iter().for_each(drop);
        }
    }
}

/// Connects; retries until the server can be reached.
fn connect(config: &SmtpConfig) -> Result<Smtp> {
    loop {
        match Smtp::connect(config.clone()) {
            Err(error) if error.is_transient() => {
                report(&error);
                thread::sleep(error.retry_after().unwrap_or(RETRY));
            }
            result => return Ok(result?),
        }
    }
}

/// Opens the outbox; for the test, kills this process at a step: `OUTBOX_KILL=Sent:2` at the second `Sent`.
fn open(file: &str) -> Result<Outbox> {
    let outbox = Outbox::open(file)?;
    let Ok(kill) = env::var("OUTBOX_KILL") else { return Ok(outbox) };
    let (name, nth) = kill.split_once(':').ok_or("OUTBOX_KILL is STEP:NUMBER")?;
    let (name, nth, count) = (name.to_owned(), nth.parse::<usize>()?, AtomicUsize::new(0));
    Ok(outbox.on_step(move |step: Step| {
        if format!("{step:?}") == name && count.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            kill_self();
        }
    }))
}

/// Ends this process by SIGKILL, as a crash does: without any clean-up.
fn kill_self() {
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-KILL", &pid]).status();
    thread::park(); // until the signal is here
}
