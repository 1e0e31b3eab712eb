//! A consumer: one of the processes that share the mailbox; it handles its messages, and records its actions.

use std::error::Error;
use std::io::Read as _;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pymail::{Credentials, Delivery, Imap, ImapConfig, Server};
use serde::{Deserialize, Serialize};

use crate::A_MOMENT;
use crate::record::Record;
use crate::server;
use crate::support::verdict::What;

/// The parameters of a consumer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Orders {
    /// The number of the consumer.
    pub number: usize,
    /// The server's port.
    pub port: u16,
    /// The server's authority.
    pub ca_pem: String,
    /// The user of the inbox.
    pub user: String,
    /// The path of the record.
    pub record: PathBuf,
    /// The batch size.
    pub batch: usize,
    /// The timeout of a call.
    pub deadline: Duration,
    /// The lease.
    pub lease: Duration,
    /// The time to handle a message.
    pub work: Duration,
    /// `true` if it asks for batches again and again, in place of waiting for each message.
    pub polls: bool,
    /// The port of another server, which is silent: the consumer has [`SILENT`] handles on it.
    pub silent: Option<u16>,
}

/// More handles than there are threads for heartbeats.
pub const SILENT: usize = 150;

type Outcome = Result<(), Box<dyn Error>>;

/// Consumes until standard input ends and no message is left.
pub fn main(orders: &str) -> ExitCode {
    let outcome = serde_json::from_str(orders).map_err(Into::into).and_then(|orders| consume(&orders));
    outcome.map_or_else(|error| crate::refused(format!("consumer: {error}")), |()| ExitCode::SUCCESS)
}

fn consume(orders: &Orders) -> Outcome {
    let record = Record::open(&orders.record, orders.number)?;
    let config = server::config(orders.port, &orders.user, &orders.ca_pem);
    let config = config.batch(orders.batch).timeout(orders.deadline).shared(orders.lease);
    // As many as a batch: the others are left to the other consumers.
    let config = config.max_in_flight(orders.batch);
    let imap = retried(&record, || Imap::connect(config.clone()))?;
    // Closing each handle would wait for the response to its NOOP; the end of the process ends them.
    let _silent = orders.silent.map(handles_on).transpose()?.map(ManuallyDrop::new);
    let end = end_of_input();
    if orders.polls { poll(&record, &imap, orders, &end) } else { wait(&record, &imap, orders, end) }
}

/// Handles batches until standard input ends.
fn poll(record: &Record, imap: &Imap, orders: &Orders, end: &Receiver<()>) -> Outcome {
    loop {
        let batch = retried(record, || imap.fetch())?;
        if !batch.is_empty() {
            handle(record, &batch, orders.work, || batch.ack())?;
            continue;
        }
        // Duplicates leave the inbox with any acknowledgement, also that of an empty batch.
        retried(record, || batch.ack())?;
        if end.recv_timeout(A_MOMENT * 10) == Err(RecvTimeoutError::Disconnected) {
            return close(record, imap);
        }
    }
}

/// Handles messages as they arrive, until standard input ends.
fn wait(record: &Record, imap: &Imap, orders: &Orders, end: Receiver<()>) -> Outcome {
    let messages = imap.consume();
    let other = imap.clone();
    thread::spawn(move || {
        while end.recv_timeout(A_MOMENT * 10) == Err(RecvTimeoutError::Timeout) {
            // Duplicates leave the inbox with any acknowledgement. A failure comes again at the next one.
            let _ = other.ack(std::iter::empty());
        }
        let _ = other.drain(Duration::ZERO);
    });
    for delivery in messages {
        match delivery {
            Err(error) if is_passing(&error) => note(record, &error),
            delivery => {
                let delivery = delivery?;
                handle(record, [&delivery], orders.work, || imap.ack([&delivery]))?;
            }
        }
    }
    close(record, imap)
}

/// Closes the handle; that the server's goodbye comes too late is no failure of the consumer.
fn close(record: &Record, imap: &Imap) -> Outcome {
    match imap.close() {
        Err(error) if is_passing(&error) => note(record, &error),
        closed => closed?,
    }
    Ok(())
}

/// Connects handles whose heartbeats wait for a response from the first one on.
fn handles_on(port: u16) -> pymail::Result<Vec<Imap>> {
    let server = || Server::unencrypted("localhost").port(port);
    let account = |n: usize| Credentials::new(format!("{}-{n}", std::process::id()), "secret");
    let config = |n| ImapConfig::new(server(), account(n)).heartbeat(Duration::from_secs(1));
    (0..SILENT).map(|n| Imap::connect(config(n))).collect()
}

fn handle<'a>(
    record: &Record,
    deliveries: impl IntoIterator<Item = &'a Delivery>,
    work: Duration,
    acknowledge: impl Fn() -> pymail::Result<()>,
) -> Outcome {
    let mut numbers = Vec::new();
    for delivery in deliveries {
        let message = match delivery.message() {
            // It stays in the inbox, and comes later.
            Err(error) if error.is_transient() => {
                record.write(What::Trouble, &[error.to_string().replace('\n', " ")])?;
                continue;
            }
            message => message?,
        };
        record.write(What::Handed, &[&message.id])?;
        if message.text_lossy().trim_end() != format!("message {}", message.id) {
            return Err(format!("message {} says {:?}", message.id, message.text_lossy()).into());
        }
        let until = Instant::now() + work;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            thread::park_timeout(left); // It may return early.
        }
        numbers.push(message.id.clone());
    }
    match retried(record, acknowledge) {
        Err(error) if error.kind() == pymail::ErrorKind::LeaseLost => {
            Ok(record.write(What::Evicted, &numbers)?)
        }
        // UIDVALIDITY changed while the response to a MOVE was lost: they are in the archive, or are fetched again.
        Err(error) if error.kind() == pymail::ErrorKind::StaleUids => {
            Ok(record.write(What::Trouble, &[error.to_string()])?)
        }
        acknowledged => Ok(acknowledged.map(|()| record.write(What::Handled, &numbers))??),
    }
}

/// Repeats a call after transient failures, as any user would.
fn retried<T>(record: &Record, ask: impl Fn() -> pymail::Result<T>) -> pymail::Result<T> {
    loop {
        match ask() {
            Err(error) if is_passing(&error) => note(record, &error),
            answer => return answer,
        }
    }
}

/// Returns `true` for a failure that passes; a full mailbox does, too.
fn is_passing(error: &pymail::Error) -> bool {
    error.is_transient() || error.code() == Some("OVERQUOTA")
}

/// Records a failure, and waits a moment.
fn note(record: &Record, error: &pymail::Error) {
    // A record that can't be written shows by its missing entries.
    let _ = record.write(What::Trouble, &[error.to_string().replace('\n', " ")]);
    thread::park_timeout(error.retry_after().map_or(A_MOMENT, |wait| wait.min(A_MOMENT * 20)));
}

/// Waits without output, and returns when the checker closes standard input or has ended.
fn end_of_input() -> Receiver<()> {
    let (sender, end) = mpsc::channel();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(sender);
    });
    end
}
