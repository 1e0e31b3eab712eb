//! The checks of every bad response: in time, within memory, with a clear error.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use pymail::{Error, Result};

use super::row::{May, Row};
use crate::mail_site::shown;
use crate::scripted::assert_hidden;
use crate::support::process::Stopwatch;
use crate::support::usage::{PeakMemory, cpu_time};

/// The timeout of every verb, for the first tries of a row.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// Returns the timeout of every verb in this process: on a busy machine a second may be too short even alone.
pub(super) fn deadline() -> Duration {
    let times = std::env::var("CHILD_DEADLINES").ok().and_then(|times| times.parse().ok());
    times.unwrap_or(1) * DEADLINE
}

/// Returns the tolerance of a verb's timeout; on Windows, whose [`Stopwatch`] counts the waits for a CPU, too, longer
/// for the tries that a busy machine needs.
fn grace() -> Duration {
    if cfg!(windows) { deadline().min(Duration::from_secs(5)) } else { Duration::from_secs(1) }
}

/// The limit of memory for a response beyond the settings: 16 MiB of lines, as Python's objects and once more as ours.
const MOST_MEMORY: usize = 48 << 20;

/// The limit of CPU time for a small response: including the script's, which runs in the same process.
const MOST_WORK: Duration = Duration::from_secs(2);

/// The limit of an error's text.
const LONGEST_TEXT: usize = 2_000;

/// The beginnings of errors, which name the action that failed.
const ACTIONS: &[&str] = &[
    "connecting",
    "logging in to ",
    "opening the mailboxes",
    "looking into the archive",
    "looking for copies",
    "reading the log",
    "claiming messages",
    "waiting for the server",
    "closing the connection",
    "SEARCH",
    "FETCH",
    "MOVE",
    "COPY",
    "STORE",
    "EXPUNGE",
    "NOOP",
    "LOGOUT",
    "CREATE",
    "QUIT",
    "reading SIZE",
    "sending",
    "MAIL was refused",
    "RCPT was refused",
    "the Subject can't be decoded",
    "the body can't be decoded",
    "the body's HTML ends",
    "DATA was refused",
    "delivery unknown: ",
    "the message has ",
    "message UID ",
    "mail UID ",
    "the server asked to wait",
    "the last command",
    "the mail ",
    "the body has ",
    "these UIDs are",
];

/// The violations of a row.
#[derive(Default)]
pub(super) struct Findings(Mutex<Vec<String>>);

impl Findings {
    pub(super) fn add(&self, finding: impl Into<String>) {
        self.0.lock().unwrap().push(finding.into());
    }

    pub(super) fn check(&self, so: bool, finding: impl FnOnce() -> String) {
        if !so {
            self.add(finding());
        }
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Calls a verb, and checks its time and its error.
    pub(super) fn timed<T>(&self, what: &str, verb: impl FnOnce() -> Result<T>) -> Result<T> {
        let watch = Stopwatch::start();
        let answer = verb();
        let took = watch.elapsed();
        self.check(took < deadline() + grace(), || format!("{what} took {took:?}"));
        if let Err(error) = &answer {
            self.clear(what, error);
        }
        answer
    }

    /// Checks that an error's text is fit for people and logs.
    pub(super) fn clear(&self, what: &str, error: &Error) {
        let text = error.to_string();
        let start: String = text.chars().take(200).collect();
        self.check(ACTIONS.iter().any(|action| text.starts_with(action)), || {
            format!("{what}: an error that names no action: {start:?}")
        });
        self.check(text.len() <= LONGEST_TEXT, || format!("{what}: an error of {} octets", text.len()));
        self.check(!text.contains(char::is_control), || format!("{what}: control characters: {start:?}"));
        self.check(!text.contains("Error: ") && !text.contains("object"), || {
            format!("{what}: it speaks of Python: {start:?}")
        });
        let all = shown(error).len();
        self.check(all <= 12 * LONGEST_TEXT, || format!("{what}: an error that shows {all} octets"));
        assert_hidden(error);
    }

    /// Checks that the row allows a failure.
    pub(super) fn allowed(&self, what: &str, row: &Row, error: &Error) {
        // A large response may end by its size or by the timeout, whichever is first.
        let late = row.answer.is_large() && error.is_timeout();
        self.check(late || row.may.contains(&May::Fail(error.kind())), || {
            format!("{what}: {:?} is none of {:?}: {}", error.kind(), row.may, brief(error))
        });
    }

    /// Checks that the row allows a success.
    pub(super) fn allows(&self, what: &str, row: &Row, outcome: May) {
        self.check(row.may.contains(&outcome), || format!("{what}: {outcome:?} is none of {:?}", row.may));
    }
}

/// Returns the beginning of an error, for a failure's report.
pub(super) fn brief(error: &Error) -> String {
    format!("{error:?}").chars().take(300).collect()
}

/// The cost of a row: the growth of the process's peak memory, and its time.
pub(super) struct Cost {
    memory: PeakMemory,
    busy: Duration,
    began: Instant,
}

impl Cost {
    pub(super) fn watch() -> Self {
        Self { memory: PeakMemory::watch(), busy: cpu_time(), began: Instant::now() }
    }

    /// Returns the cost in words; too much memory or work is a finding.
    pub(super) fn check(self, row: &Row, findings: &Findings) -> String {
        let grown = self.memory.growth();
        findings.check(grown <= MOST_MEMORY, || format!("it took {} MiB of memory", grown >> 20));
        let (busy, whole) = (cpu_time().saturating_sub(self.busy), self.began.elapsed());
        findings.check(busy <= MOST_WORK || row.answer.is_large(), || format!("it took {busy:?} of a CPU"));
        format!("{} MiB, {busy:?} of a CPU, {whole:?}", grown >> 20)
    }
}
