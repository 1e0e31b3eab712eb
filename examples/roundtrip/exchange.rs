//! Sends and receives at the same time.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pymail::{Imap, Receipt, Smtp};

use crate::Result;
use crate::ledger::Ledger;
use crate::mail::Plan;

/// The index of a message, and the result of sending it.
type Outcome = (usize, pymail::Result<Receipt>);

/// The messages of one `send_all`; the progress bar moves after each.
const CHUNK_MESSAGES: usize = 20;
const CHUNK_BYTES: usize = 4 << 20;

/// The time without any event after which messages in transit are given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Sends in a thread and receives in this one; returns the seconds from the first send to the last acknowledgement.
pub(crate) fn run(smtp: &Smtp, imap: &Imap, ledger: &mut Ledger) -> Result<f64> {
    let plan = ledger.plan.clone();
    let bars = MultiProgress::new();
    let [sent, received] = ["sent", "received"].map(|name| bars.add(bar(name, plan.messages)));
    let (report, outcomes) = mpsc::channel();
    let start = Instant::now();
    let last_ack = thread::scope(|scope| {
        scope.spawn(move || send(smtp, &plan, &report, &sent));
        let last_ack = receive(imap, &outcomes, ledger, &received);
        drop(outcomes); // ends the sender
        last_ack
    });
    if !bars.is_hidden() {
        eprintln!(); // indicatif leaves the cursor after the last bar
    }
    Ok(last_ack?.duration_since(start).as_secs_f64())
}

/// Sends all messages; ends early when the receiver of its reports is gone.
fn send(smtp: &Smtp, plan: &Plan, report: &Sender<Outcome>, bar: &ProgressBar) {
    let chunk = (CHUNK_BYTES / plan.size.max(1)).clamp(1, CHUNK_MESSAGES);
    let mut last_error = String::new();
    for first in (0..plan.messages).step_by(chunk) {
        let indices = first..plan.messages.min(first + chunk);
        let messages: Vec<_> = indices.clone().map(|index| plan.message(index)).collect();
        for (index, outcome) in indices.zip(smtp.send_all(&messages)) {
            show(index, &outcome, bar, &mut last_error);
            if report.send((index, outcome)).is_err() {
                return;
            }
        }
    }
    bar.abandon();
}

/// Advances the bar, or prints an error; a repeated error only once.
fn show(index: usize, outcome: &pymail::Result<Receipt>, bar: &ProgressBar, last_error: &mut String) {
    let Err(error) = outcome else { return bar.inc(1) };
    let text = error.to_string();
    if text != *last_error {
        bar.suspend(|| eprintln!("message {index}: {text}"));
        *last_error = text;
    }
}

/// Receives until all messages have arrived or are given up; returns the time of the last acknowledgement.
fn receive(
    imap: &Imap,
    outcomes: &Receiver<Outcome>,
    ledger: &mut Ledger,
    bar: &ProgressBar,
) -> Result<Instant> {
    let (mut last_event, mut pause) = (Instant::now(), SHORTEST_PAUSE);
    let mut last_ack = last_event;
    loop {
        if let Some(first) = take(imap, ledger)? {
            last_ack = Instant::now();
            (last_event, pause) = (last_ack, SHORTEST_PAUSE);
            bar.inc(first);
        } else if ledger.is_complete() || (ledger.is_sent() && last_event.elapsed() > GIVE_UP_AFTER) {
            bar.abandon();
            return Ok(last_ack);
        } else if wait(outcomes, pause, ledger) {
            (last_event, pause) = (Instant::now(), SHORTEST_PAUSE);
        } else {
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

/// Fetches, compares and acknowledges a batch; returns the number of new messages, or `None` for an empty batch.
fn take(imap: &Imap, ledger: &mut Ledger) -> Result<Option<u64>> {
    let batch = imap.fetch()?;
    if batch.is_empty() {
        return Ok(None);
    }
    let first = batch.iter().filter(|delivery| ledger.delivered(delivery)).count();
    batch.ack()?;
    Ok(Some(first as u64))
}

/// Waits for a report of the sender until the pause is over; returns `true` if there was one.
fn wait(outcomes: &Receiver<Outcome>, pause: Duration, ledger: &mut Ledger) -> bool {
    match outcomes.recv_timeout(pause) {
        Ok(first) => {
            let all = std::iter::once(first).chain(outcomes.try_iter());
            all.for_each(|(index, outcome)| ledger.sent(index, &outcome));
            true
        }
        Err(RecvTimeoutError::Timeout) => false,
        Err(RecvTimeoutError::Disconnected) => {
            ledger.no_more_is_sent();
            thread::park_timeout(pause);
            false
        }
    }
}

/// Creates a progress bar, which is hidden unless stderr is a terminal.
fn bar(name: &'static str, messages: usize) -> ProgressBar {
    let template = "{prefix:>8} [{wide_bar}] {pos}/{len} ({per_sec}, {elapsed})";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(messages as u64).with_style(style).with_prefix(name)
}
