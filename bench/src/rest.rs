//! Mailboxes at rest: nothing happens but heartbeats.

use std::thread;
use std::time::{Duration, Instant};

use crate::job::{Params, Result};
use crate::meter::Meter;
use crate::systems::Mailbox;

/// How many heartbeats CPU is measured over.
const BEATS: u32 = 2;
const GLANCE: Duration = Duration::from_millis(20);

type Mailboxes = [Box<dyn Mailbox>];

/// All processes that these mailboxes have, each once.
pub fn processes(mailboxes: &Mailboxes) -> Vec<u32> {
    let mut processes: Vec<_> = mailboxes.iter().flat_map(|mailbox| mailbox.processes()).collect();
    processes.sort_unstable();
    processes.dedup();
    processes
}

/// Which part of one core they take, heartbeats included: those of mailboxes that have none are made here.
///
/// # Errors
/// When a connection is lost.
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

/// By how much the time from one heartbeat to the next exceeds what was asked for, at most, 99 times of 100; where
/// that can be seen.
pub fn lateness(mailboxes: &Mailboxes, params: &Params) -> Option<f64> {
    let begin = Instant::now();
    let mut pulses: Vec<_> =
        mailboxes.iter().map(|it| Some((it.commands()?, None))).collect::<Option<_>>()?;
    let mut late = Vec::new();
    // Long enough for two of each, or three.
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
    // Who did not come any more is late for as long as it was waited for.
    let waited = pulses.iter().map(|(_, last)| last.unwrap_or(begin).elapsed());
    let missing = waited.filter_map(|waited| waited.checked_sub(heartbeat(params)));
    late.extend(missing);
    late.sort_unstable();
    late.get((late.len() * 99).div_ceil(100).saturating_sub(1)).map(Duration::as_secs_f64)
}

fn heartbeat(params: &Params) -> Duration {
    Duration::from_millis(params.heartbeat_ms)
}
