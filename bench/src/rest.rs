//! Mailboxes at rest: no traffic but heartbeats.

use std::thread;
use std::time::{Duration, Instant};

use crate::job::{Params, Result};
use crate::meter::Meter;
use crate::systems::Mailbox;

/// The number of heartbeats that CPU is measured over.
const BEATS: u32 = 2;
const GLANCE: Duration = Duration::from_millis(20);

type Mailboxes = [Box<dyn Mailbox>];

/// Returns all processes of these mailboxes, each once.
pub fn processes(mailboxes: &Mailboxes) -> Vec<u32> {
    let mut processes: Vec<_> = mailboxes.iter().flat_map(|mailbox| mailbox.processes()).collect();
    processes.sort_unstable();
    processes.dedup();
    processes
}

/// Measures the share of one core that the mailboxes take. Sends the heartbeats of mailboxes without their own.
///
/// # Errors
/// A connection is lost.
pub fn cores(mailboxes: &mut Mailboxes, processes: Vec<u32>, params: &Params) -> Result<f64> {
    let meter = Meter::start(processes)?;
    for _ in 0..BEATS {
        thread::sleep(heartbeat(params));
        for mailbox in mailboxes.iter_mut().filter(|mailbox| !mailbox.has_heartbeat()) {
            mailbox.noop()?;
        }
    }
    let outcome = meter.stop()?;
    Ok(outcome.cpu_s / outcome.seconds)
}

/// Measures how late heartbeats are: the 99th percentile of the time beyond the interval, where heartbeats can be
/// counted.
pub fn lateness(mailboxes: &Mailboxes, params: &Params) -> Option<f64> {
    let begin = Instant::now();
    let mut pulses: Vec<_> =
        mailboxes.iter().map(|it| Some((it.commands()?, None))).collect::<Option<_>>()?;
    let mut late = Vec::new();
    // Long enough for two or three heartbeats of each.
    while begin.elapsed() < heartbeat(params) * 5 / 2 {
        thread::sleep(GLANCE);
        for (mailbox, (commands, last)) in mailboxes.iter().zip(&mut pulses) {
            let now = mailbox.commands()?;
            if now != *commands {
                let before = last.replace(Instant::now());
                late.extend(before.map(|before: Instant| before.elapsed().saturating_sub(heartbeat(params))));
                *commands = now;
            }
        }
    }
    // A missing heartbeat is late by the whole wait.
    let waited = pulses.iter().map(|(_, last)| last.unwrap_or(begin).elapsed());
    let missing = waited.filter_map(|waited| waited.checked_sub(heartbeat(params)));
    late.extend(missing);
    late.sort_unstable();
    late.get((late.len() * 99).div_ceil(100).saturating_sub(1)).map(Duration::as_secs_f64)
}

fn heartbeat(params: &Params) -> Duration {
    Duration::from_millis(params.heartbeat_ms)
}
