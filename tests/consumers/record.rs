//! The record of the consumers' actions, in their order: a file that all consumers write and the checker reads.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::verdict::{Event, What};

/// The consumer's end: a line outlives its process, because it is written at once.
pub struct Record {
    file: File,
    consumer: usize,
}

impl Record {
    /// Opens the file that the checker has made.
    pub fn open(path: &Path, consumer: usize) -> io::Result<Self> {
        Ok(Self { file: File::options().append(true).open(path)?, consumer })
    }

    /// Writes a line for each of these messages.
    pub fn write(&self, what: What, about: &[impl fmt::Display]) -> io::Result<()> {
        let (at, pid, consumer) = (now(), std::process::id(), self.consumer);
        let line = |about| format!("{at} {consumer} {pid} {what:?} {about}\n");
        (&self.file).write_all(about.iter().map(line).collect::<String>().as_bytes())
    }
}

/// The checker's end.
pub struct Reader {
    file: File,
    rest: String,
}

impl Reader {
    /// Makes the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        Ok(Self { file: File::open(path)?, rest: String::new() })
    }

    /// Returns the entries since the last call.
    pub fn news(&mut self) -> io::Result<Vec<Event>> {
        self.file.read_to_string(&mut self.rest)?;
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.rest.drain(..whole).collect();
        let event = |line: &str| event(line).ok_or_else(|| io::Error::other(format!("record: {line:?}")));
        lines.lines().map(event).collect()
    }
}

fn event(line: &str) -> Option<Event> {
    let mut words = line.splitn(5, ' ');
    let at = words.next()?.parse().ok()?;
    let consumer = words.next()?.parse().ok()?;
    let pid = words.next()?.parse().ok()?;
    let what = What::ALL.into_iter().find(|what| Some(&*format!("{what:?}")) == words.clone().next())?;
    let about = words.nth(1)?;
    let message = if what.is_about_a_message() { Some(about.parse().ok()?) } else { None };
    Some(Event { at, consumer, pid, what, message, text: about.to_owned() })
}

/// Returns milliseconds by the clock that all processes of a machine share.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
