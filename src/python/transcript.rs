//! The transcript of a connection: each line as an event of `tracing`, at the level `TRACE`, with the target
//! `pymail::wire`.
//!
//! Python passes lines on, while attached, to a function that notes them without their secrets. The events are emitted
//! after the call, when no lock is held and the interpreter is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyTuple};

use super::errors::{CallContext, Phase};
use crate::events;
use crate::transcript::{ImapLines, Lines, SmtpLines, counted};

/// The lines of one call that are kept; more are counted.
const MOST_LINES: usize = 2_000;

/// The transcript of one connection.
pub(super) struct Transcript {
    protocol: &'static str,
    /// The number of the connection in this process, from 1.
    connection: u64,
    began: Instant,
    secrets: Vec<String>,
    noted: Mutex<Noted>,
}

/// The lines that have no event yet.
struct Noted {
    lines: Lines,
    waiting: Vec<Line>,
    left_out: usize,
}

struct Line {
    is_sent: bool,
    at: Instant,
    text: String,
}

impl Transcript {
    /// Returns a transcript for a new connection, if a subscriber wants it.
    pub(super) fn begin(protocol: &'static str, secrets: &[String]) -> Option<Arc<Self>> {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        if !tracing::enabled!(target: "pymail::wire", tracing::Level::TRACE) {
            return None;
        }
        let lines = match protocol {
            "SMTP" => Lines::Smtp(SmtpLines::default()),
            _ => Lines::Imap(ImapLines::default()),
        };
        Some(Arc::new(Self {
            protocol,
            connection: CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1,
            began: Instant::now(),
            secrets: secrets.to_vec(),
            noted: Mutex::new(Noted { lines, waiting: Vec::new(), left_out: 0 }),
        }))
    }

    /// Returns the function that Python calls for each line: `Wire` in `py/_pymail_transport.py`.
    pub(super) fn function<'py>(self: &Arc<Self>, py: Python<'py>) -> PyResult<Bound<'py, PyCFunction>> {
        let this = Arc::clone(self);
        PyCFunction::new_closure(py, Some(c"wire"), None, move |args: &Bound<'_, PyTuple>, _| {
            let (is_sent, line, further) = args.extract::<(bool, Bound<'_, PyBytes>, usize)>()?;
            this.note(is_sent, line.as_bytes(), further);
            Ok::<_, PyErr>(())
        })
    }

    /// Notes octets that Python has handed over, in which Rust finds the FETCH responses.
    pub(super) fn note_handed_over(&self, octets: usize) {
        if octets > 0 {
            self.note(false, b"", octets);
        }
    }

    /// Notes whole lines, and a count of further octets.
    fn note(&self, is_sent: bool, octets: &[u8], further: usize) {
        let at = Instant::now();
        let context = CallContext { phase: Phase::Command, action: "", secrets: &self.secrets };
        let mut noted = self.noted.lock();
        let mut texts = match (octets.is_empty(), is_sent) {
            (true, _) => Vec::new(),
            (false, true) => noted.lines.sent(octets),
            (false, false) => noted.lines.received(octets),
        };
        if further > 0 {
            texts.push(counted(further));
        }
        for text in texts {
            if noted.waiting.len() < MOST_LINES {
                noted.waiting.push(Line { is_sent, at, text: context.hide(text) });
            } else {
                noted.left_out += 1;
            }
        }
    }

    /// Emits the events of the lines so far. Called detached, and under the locks of a call: events wait for their
    /// release.
    pub(super) fn emit(&self) {
        let (waiting, left_out) = {
            let mut noted = self.noted.lock();
            (std::mem::take(&mut noted.waiting), std::mem::take(&mut noted.left_out))
        };
        let (protocol, connection, began) = (self.protocol, self.connection, self.began);
        for Line { is_sent, at, text } in waiting {
            let at_ms = ((at - began).as_secs_f64() * 1e4).round() / 10.0;
            events::emit(move || {
                tracing::trace!(target: "pymail::wire", protocol, connection, sent = is_sent, at_ms, "{text}");
            });
        }
        if left_out > 0 {
            events::emit(move || {
                tracing::trace!(target: "pymail::wire", protocol, connection, "{left_out} lines were left out");
            });
        }
    }
}
