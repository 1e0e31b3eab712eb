//! A durable outbox: messages are kept in SQLite until the server has accepted them.
//!
//! A message is queued together with its Message-ID, and deleted after the server's final reply. A process that is killed in
//! between leaves the message in the outbox, and the next process sends it again under the same Message-ID. If the server had
//! accepted it before, that is a duplicate, which a receiver such as [`pymail::Imap`] drops: every message arrives exactly
//! once.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pymail::{Answer, ErrorKind, Message, Receipt, Smtp};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

/// The result of all calls in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The messages that are sent in one go.
const BATCH: i64 = 100;
/// The delay after the first failed attempt, which doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(3_600);

// `synchronous = FULL`: a committed transaction survives a power failure, too.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS outbox (
        number INTEGER PRIMARY KEY,        -- the order of sending
        message_id TEXT NOT NULL UNIQUE,
        message TEXT NOT NULL,             -- JSON, with the Message-ID
        attempts INTEGER NOT NULL DEFAULT 0,
        due INTEGER NOT NULL DEFAULT 0     -- the time of the next attempt, in seconds of Unix time
    ) STRICT;
    CREATE TABLE IF NOT EXISTS failed (
        message_id TEXT NOT NULL,
        recipients TEXT NOT NULL,          -- JSON
        message TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
";

/// A failure of the database, or of the connection to the server.
#[derive(Debug)]
pub enum Error {
    /// SQLite failed.
    Database(rusqlite::Error),
    /// A message in the database is not valid JSON.
    Message(serde_json::Error),
    /// The server can't be used, for a reason that concerns no single message.
    Server(pymail::Error),
}

/// A step of the outbox. The process may be killed before, within or after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message was inserted, but not committed.
    Inserted,
    /// A message was committed: from here on, it will be sent.
    Queued,
    /// Due messages were read, to be sent.
    Taken,
    /// The server has replied to these messages, but the database does not know.
    Sent,
    /// The messages' outcomes were written, but not committed.
    Recorded,
    /// The messages' outcomes were committed.
    Settled,
}

/// The number of messages of one [`flush`](Outbox::flush), by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Accepted for all recipients, and deleted.
    pub sent: usize,
    /// Kept for another attempt, for all or some of the recipients.
    pub kept: usize,
    /// Refused for good, for all or some of the recipients, and moved to the table `failed`.
    pub failed: usize,
}

/// A queue of messages in a database file. Several processes and threads may open the same file, of which one should send.
pub struct Outbox {
    database: Connection,
    on_step: Box<dyn Fn(Step) + Send>,
}

impl Outbox {
    /// Opens the database; creates it if it does not exist.
    ///
    /// # Errors
    /// `Database` when the file can't be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let database = Connection::open(path)?;
        database.busy_timeout(Duration::from_secs(60))?;
        database.execute_batch(SCHEMA)?;
        Ok(Self { database, on_step: Box::new(|_| ()) })
    }

    /// Calls a function at each [`Step`], by which a test kills the process there.
    #[must_use]
    pub fn on_step(mut self, call: impl Fn(Step) + Send + 'static) -> Self {
        self.on_step = Box::new(call);
        self
    }

    /// Queues a message; it is durable when this returns. A message whose Message-ID is in the outbox already is ignored.
    ///
    /// After a crash, an app that does not know if a message was queued queues the same [`Message`] again.
    ///
    /// # Errors
    /// `Database` when the message could not be stored.
    pub fn queue(&mut self, message: &Message) -> Result<()> {
        let transaction = self.database.transaction()?;
        insert(&transaction, message)?;
        (self.on_step)(Step::Inserted);
        transaction.commit()?;
        (self.on_step)(Step::Queued);
        Ok(())
    }

    /// Sends due messages, and records the outcome of each; returns when none is due.
    ///
    /// # Errors
    /// `Server` when no message can be sent, such as after a refused login; all messages are kept. `Database` when the outcomes
    /// could not be recorded: the messages will be sent again, under the same Message-IDs.
    pub fn flush(&mut self, smtp: &Smtp) -> Result<Flushed> {
        let mut flushed = Flushed::default();
        loop {
            let due = self.due()?;
            if due.is_empty() {
                return Ok(flushed);
            }
            (self.on_step)(Step::Taken);
            let messages: Vec<Message> = due.iter().map(|entry| entry.message.clone()).collect();
            let outcomes = smtp.send_all(&messages);
            (self.on_step)(Step::Sent);
            let fatal = outcomes
                .iter()
                .filter_map(|outcome| outcome.as_ref().err())
                .find(|error| is_fatal(error))
                .cloned();
            let transaction = self.database.transaction()?;
            for (entry, outcome) in due.iter().zip(outcomes) {
                record(&transaction, entry, outcome, &mut flushed)?;
            }
            (self.on_step)(Step::Recorded);
            transaction.commit()?;
            (self.on_step)(Step::Settled);
            if let Some(error) = fatal {
                return Err(Error::Server(error));
            }
        }
    }

    /// Returns the number of messages in the outbox.
    ///
    /// # Errors
    /// `Database` when they can't be counted.
    pub fn len(&self) -> Result<usize> {
        let count: i64 = self.database.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
        Ok(count.try_into().unwrap_or_default())
    }

    /// Returns `true` if all messages are sent or failed.
    ///
    /// # Errors
    /// As [`len`](Outbox::len).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Returns the time until the next message is due; `None` for an empty outbox.
    ///
    /// # Errors
    /// As [`len`](Outbox::len).
    pub fn next_due(&self) -> Result<Option<Duration>> {
        let due: Option<i64> = self
            .database
            .query_row("SELECT min(due) FROM outbox", [], |row| row.get(0))
            .optional()?
            .flatten();
        Ok(due.map(|due| Duration::from_secs(due.saturating_sub(now()).try_into().unwrap_or_default())))
    }

    /// Returns the oldest messages that are due.
    fn due(&self) -> Result<Vec<Entry>> {
        let query = "SELECT number, attempts, message FROM outbox WHERE due <= ?1 ORDER BY number LIMIT ?2";
        let mut statement = self.database.prepare(query)?;
        let rows = statement.query_map(params![now(), BATCH], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| {
            let (number, attempts, message) = row?;
            Ok(Entry { number, attempts, message: serde_json::from_str(&message)? })
        })
        .collect()
    }
}

/// A message in the outbox.
struct Entry {
    number: i64,
    /// The number of failed attempts.
    attempts: u32,
    message: Message,
}

/// Adds a message within a transaction of the app: it is sent if, and only if, that transaction is committed.
///
/// # Errors
/// `Database` when the message could not be stored.
pub fn insert(transaction: &Transaction<'_>, message: &Message) -> Result<()> {
    let json = serde_json::to_string(message)?;
    let insert = "INSERT OR IGNORE INTO outbox (message_id, message) VALUES (?1, ?2)";
    transaction.execute(insert, params![message.message_id().as_str(), json])?;
    Ok(())
}

/// Deletes a message that was sent, moves a refused one to `failed`, and keeps any other for another attempt.
fn record(
    transaction: &Transaction<'_>,
    entry: &Entry,
    outcome: pymail::Result<Receipt>,
    flushed: &mut Flushed,
) -> Result<()> {
    match outcome {
        Ok(receipt) => record_receipt(transaction, entry, &receipt, flushed),
        Err(error) if is_final(&error) => {
            flushed.failed += 1;
            fail(transaction, &entry.message, &entry.message.sent_to, &error.to_string())?;
            delete(transaction, entry)
        }
        // It was not sent, or may have arrived: the receiver drops the duplicate.
        Err(error) => {
            flushed.kept += 1;
            keep(transaction, entry, &entry.message, error.retry_after())
        }
    }
}

/// Deletes a message, unless it has recipients that the server refused for now: these stay.
fn record_receipt(
    transaction: &Transaction<'_>,
    entry: &Entry,
    receipt: &Receipt,
    flushed: &mut Flushed,
) -> Result<()> {
    let is_transient = |answer: &&Answer| answer.result().is_err_and(|error| error.is_transient());
    let (later, never): (Vec<&Answer>, Vec<&Answer>) = receipt.refused().partition(is_transient);
    for answer in &never {
        let reason = format!("{} {}", answer.code, answer.text);
        fail(transaction, &entry.message, std::slice::from_ref(&answer.recipient), &reason)?;
    }
    flushed.failed += usize::from(!never.is_empty());
    flushed.sent += usize::from(later.is_empty() && never.is_empty());
    if later.is_empty() {
        return delete(transaction, entry);
    }
    flushed.kept += 1;
    let wait = later.iter().filter_map(|answer| answer.result().err()?.retry_after()).max();
    let mut message = entry.message.clone();
    message.sent_to = later.iter().map(|answer| answer.recipient.clone()).collect();
    keep(transaction, entry, &message, wait)
}

fn delete(transaction: &Transaction<'_>, entry: &Entry) -> Result<()> {
    transaction.execute("DELETE FROM outbox WHERE number = ?1", [entry.number])?;
    Ok(())
}

/// Keeps a message, perhaps for fewer recipients, until the server's wait or the next delay is over.
fn keep(
    transaction: &Transaction<'_>,
    entry: &Entry,
    message: &Message,
    wait: Option<Duration>,
) -> Result<()> {
    let delay = FIRST_DELAY.saturating_mul(1 << entry.attempts.min(16)).min(MAX_DELAY);
    let wait = wait.unwrap_or(delay).as_secs().max(1);
    let due = now().saturating_add(wait.try_into().unwrap_or(i64::MAX));
    let update = "UPDATE outbox SET attempts = attempts + 1, due = ?2, message = ?3 WHERE number = ?1";
    transaction.execute(update, params![entry.number, due, serde_json::to_string(message)?])?;
    Ok(())
}

fn fail(transaction: &Transaction<'_>, message: &Message, recipients: &[String], reason: &str) -> Result<()> {
    let insert = "INSERT INTO failed (message_id, recipients, message, reason) VALUES (?1, ?2, ?3, ?4)";
    let (recipients, json) = (serde_json::to_string(recipients)?, serde_json::to_string(message)?);
    let message_id = message.message_id().as_str();
    transaction.execute(insert, params![message_id, recipients, json, reason])?;
    Ok(())
}

/// Returns `true` for an error of one message that another attempt would not change.
fn is_final(error: &pymail::Error) -> bool {
    use ErrorKind::{InvalidInput, Message, Refused, TooLarge};
    matches!(error.kind(), Refused | Message | TooLarge | InvalidInput) && error.is_permanent()
}

/// Returns `true` for an error that ends the handle, or that needs a change by its user.
fn is_fatal(error: &pymail::Error) -> bool {
    let may_pass = error.is_transient() || error.kind() == ErrorKind::OutcomeUnknown;
    !may_pass && !is_final(error)
}

/// Returns the Unix time in seconds.
fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Database(_) => "the outbox's database failed",
            Self::Message(_) => "a message in the outbox is not valid JSON",
            Self::Server(_) => "the server can't be used",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error) => Some(error),
            Self::Message(error) => Some(error),
            Self::Server(error) => Some(error),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Message(error)
    }
}
