//! Sending and receiving, at the same time.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pymail::{Imap, Receipt, Smtp};

use crate::Result;
use crate::ledger::Ledger;
use crate::mail::Plan;

/// What came of sending the message with this number.
type Outcome = (usize, pymail::Result<Receipt>);

/// Sent by one call; the bar moves after each.
const CHUNK_MESSAGES: usize = 20;
const CHUNK_BYTES: usize = 4 << 20;

/// How long to wait for what is still on its way, without any news.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Sends in one thread and receives in this one; the seconds from the first send to the last acknowledgement.
pub(crate) fn run(smtp: &Smtp, imap: &Imap, ledger: &mut Ledger) -> Result<f64> {
    let plan = ledger.plan.clone();
    let bars = MultiProgress::new();
    let [sent, received] = ["sent", "received"].map(|name| bars.add(bar(name, plan.messages)));
    let (report, outcomes) = mpsc::channel();
    let start = Instant::now();
    let last_ack = thread::scope(|scope| {
        scope.spawn(move || send(smtp, &plan, &report, &sent));
        let last_ack = receive(imap, &outcomes, ledger, &received);
        drop(outcomes); // which ends the sender
        last_ack
    });
    if !bars.is_hidden() {
        eprintln!(); // indicatif leaves the cursor behind the last bar
    }
    Ok(last_ack?.duration_since(start).as_secs_f64())
}

/// Ends early when nobody wants to know about it any more.
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

/// On the bar, or as a line; one line for an error that repeats.
fn show(index: usize, outcome: &pymail::Result<Receipt>, bar: &ProgressBar, last_error: &mut String) {
    let Err(error) = outcome else { return bar.inc(1) };
    let text = error.to_string();
    if text != *last_error {
        bar.suspend(|| eprintln!("message {index}: {text}"));
        *last_error = text;
    }
}

/// Receives until nothing more is to come; when the last acknowledgement was.
fn receive(
    imap: &Imap,
    outcomes: &Receiver<Outcome>,
    ledger: &mut Ledger,
    bar: &ProgressBar,
) -> Result<Instant> {
    let (mut news, mut pause) = (Instant::now(), SHORTEST_PAUSE);
    let mut last_ack = news;
    loop {
        if let Some(first) = take(imap, ledger)? {
            last_ack = Instant::now();
            (news, pause) = (last_ack, SHORTEST_PAUSE);
            bar.inc(first);
        } else if ledger.is_complete() || (ledger.is_sent() && news.elapsed() > PATIENCE) {
            bar.abandon();
            return Ok(last_ack);
        } else if wait(outcomes, pause, ledger) {
            (news, pause) = (Instant::now(), SHORTEST_PAUSE);
        } else {
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

/// Fetches, compares and acknowledges; how many came for the first time, or `None` when nothing waits.
fn take(imap: &Imap, ledger: &mut Ledger) -> Result<Option<u64>> {
    let batch = imap.fetch()?;
    if batch.is_empty() {
        return Ok(None);
    }
    let first = batch.iter().filter(|delivery| ledger.delivered(delivery)).count();
    batch.ack()?;
    Ok(Some(first as u64))
}

/// Waits for news of the sender, or as long as the pause; whether there was any.
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

/// Hidden unless stderr is a terminal.
fn bar(name: &'static str, messages: usize) -> ProgressBar {
    let template = "{prefix:>8} [{wide_bar}] {pos}/{len} ({per_sec}, {elapsed})";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(messages as u64).with_style(style).with_prefix(name)
}
