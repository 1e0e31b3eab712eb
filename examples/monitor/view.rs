//! The view: lines that stay in their place on a terminal, else one line each second.

use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pymail::{Imap, Latency, Smtp, Stats, Status};
use serde_json::json;

use crate::Result;

/// The time between two pictures on a terminal.
const PICTURE: Duration = Duration::from_millis(100);

/// The time between two lines elsewhere, and that over which the rate is taken.
const LINE: Duration = Duration::from_secs(1);

/// The view of the two handles.
pub(crate) struct View<'a> {
    imap: &'a Imap,
    smtp: &'a Smtp,
    /// Hidden unless stdout is a terminal.
    bar: ProgressBar,
    /// The time at which the rate was taken, and the deliveries until then.
    before: (Instant, u64),
    /// Deliveries a second.
    rate: f64,
}

impl<'a> View<'a> {
    pub(crate) fn new(imap: &'a Imap, smtp: &'a Smtp) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template("{msg}");
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { imap, smtp, bar, before: (Instant::now(), 0), rate: 0.0 }
    }

    /// Shows the state and the counts, and waits until it is time for the next ones.
    ///
    /// # Errors
    ///
    /// Of writing to stdout, when its reader is gone.
    pub(crate) fn show(&mut self) -> io::Result<()> {
        let (status, counts) = (self.imap.status(), self.imap.stats());
        let elapsed = self.before.0.elapsed();
        if elapsed >= LINE {
            let new = u32::try_from(counts.received - self.before.1).unwrap_or(u32::MAX);
            self.rate = f64::from(new) / elapsed.as_secs_f64();
            self.before = (Instant::now(), counts.received);
            if self.bar.is_hidden() {
                writeln!(io::stdout(), "{}", self.parts(&status, &counts).join("  "))?;
            }
        }
        if !self.bar.is_hidden() {
            self.bar.set_message(self.parts(&status, &counts).join("\n"));
            self.bar.tick();
        }
        thread::sleep(PICTURE);
        Ok(())
    }

    /// Ends the view. Returns the last line of output.
    pub(crate) fn last(&self) -> Result<String> {
        let (status, counts) = (self.imap.status(), self.imap.stats());
        if !self.bar.is_hidden() {
            self.bar.abandon_with_message(self.parts(&status, &counts).join("\n"));
            println!();
        }
        let [p50, p99] = [0.5, 0.99].map(|share| milliseconds(&counts.push_latency, share));
        let sent = self.smtp.stats().sent;
        let last = json!({ "status": status, "stats": counts, "sent": sent, "p50_ms": p50, "p99_ms": p99 });
        Ok(serde_json::to_string(&last)?)
    }

    fn parts(&self, status: &Status, counts: &Stats) -> Vec<String> {
        let push = status.push.map_or_else(|| "not yet".to_owned(), |push| format!("{push:?}"));
        let heard = status.last_heard.and_then(|at| SystemTime::now().duration_since(at).ok());
        let heard = heard.unwrap_or_default().as_secs_f64();
        let depth = counts.depth.map_or_else(|| "not yet".to_owned(), |depth| depth.to_string());
        let [p50, p99] = [0.5, 0.99].map(|share| match milliseconds(&counts.push_latency, share) {
            Some(milliseconds) => format!("{milliseconds:.1} ms"),
            None => "not yet".to_owned(),
        });
        let Stats { received, redelivered, acknowledged, duplicates, dead_letters, refused, .. } = counts;
        let (smtp, rate) = (self.smtp.stats(), self.rate);
        vec![
            format!("imap {:?}, push {push}, heard {heard:.1} s ago", status.state),
            format!("smtp {:?}, sent {}, refused {}", self.smtp.status().state, smtp.sent, smtp.refused),
            format!("depth {depth}"),
            format!("received {received}, redelivered {redelivered}, acknowledged {acknowledged}"),
            format!("duplicates {duplicates}, dead letters {dead_letters}, refused {refused}"),
            format!("push latency p50 {p50}, p99 {p99}, of {}", counts.push_latency.count),
            format!("rate {rate:.1}/s"),
        ]
    }
}

fn milliseconds(latency: &Latency, share: f64) -> Option<f64> {
    latency.quantile(share).map(|duration| duration.as_secs_f64() * 1e3)
}
