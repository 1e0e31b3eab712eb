//! The cases: their work, their systems, and the number of turns.

use std::time::Duration;

use crate::job::{System, Work};
use crate::mails::Sizes;

use System::{
    AsyncImap, Floor, Imap, IoImap, IoSmtp, Lettre, MailSend, Pymail, Python, SmtpSource, Subprocess,
};

const KB: Sizes = Sizes::Fixed(1024);
const BIG: Sizes = Sizes::Fixed(5_000_000);
const NOTHING: Sizes = Sizes::Fixed(0);
const RTT_MS: u64 = 50;

/// Mailboxes that idle in one process. Each has two descriptors, of the 20,000 that a process may have here.
const MANY: usize = 9_900;

const RECEIVERS: [System; 7] = [Pymail, Subprocess, Imap, AsyncImap, IoImap, Python, Floor];
const SENDERS: [System; 7] = [Pymail, Subprocess, Lettre, MailSend, IoSmtp, Python, SmtpSource];

/// A case: one row of the report for each system.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name on the command line and in the report.
    pub name: &'static str,
    /// The client's work.
    pub work: Work,
    /// Number of messages, mailboxes or calls, for systems without a number of their own.
    pub n: usize,
    /// The bodies of the messages.
    pub sizes: Sizes,
    /// The round trip through the delay proxy; zero without the proxy.
    pub rtt_ms: u64,
    /// Interval of the heartbeat; mailboxes are watched for several intervals.
    pub heartbeat_ms: u64,
    /// The most messages that are received and archived at a time.
    pub batch: usize,
    /// Number of turns of each system.
    pub turns: usize,
    /// The systems in the order of their turns, each with its number of messages, mailboxes or calls.
    pub systems: Vec<(System, usize)>,
}

impl Case {
    fn new(name: &'static str, work: Work, n: usize, systems: &[System]) -> Self {
        let systems = systems.iter().map(|&system| (system, n)).collect();
        Self { name, work, n, sizes: KB, rtt_ms: 0, heartbeat_ms: 10_000, batch: 10_000, turns: 5, systems }
    }

    /// The limit for slow systems.
    fn at_most(mut self, most: usize, system: System) -> Self {
        for (_, n) in self.systems.iter_mut().filter(|(it, _)| *it == system) {
            *n = (*n).min(most);
        }
        self
    }

    /// Returns the cases of a full run, or of a quick run: one turn at small numbers.
    pub fn all(quick: bool) -> Vec<Self> {
        let mut cases = drains_small(quick);
        cases.extend(drains(quick));
        cases.extend(sends(quick));
        cases.extend(calls(quick));
        cases.extend(mailboxes(quick));
        cases.extend(pushes(quick));
        for case in cases.iter_mut().filter(|_| quick) {
            (case.turns, case.heartbeat_ms) = (1, 1_000);
        }
        cases
    }

    /// Sets the round trip through the delay proxy.
    pub fn rtt(&self) -> Duration {
        Duration::from_millis(self.rtt_ms)
    }
}

fn drains_small(quick: bool) -> Vec<Case> {
    let numbers: &[usize] = if quick { &[1, 100, 300] } else { &[1, 100, 1_000, 10_000, 100_000] };
    numbers.iter().map(|&n| Case::new("drain_small", Work::Drain, n, receivers_of(n))).collect()
}

/// Returns the systems that drain `n` messages: with large numbers only pymail, the Rust peers and the floor.
fn receivers_of(n: usize) -> &'static [System] {
    match n {
        0..=1_000 => &RECEIVERS,
        1_001..=10_000 => &[Pymail, Imap, AsyncImap, IoImap, Python, Floor],
        _ => &[Pymail, Imap, AsyncImap, IoImap, Floor],
    }
}

fn drains(quick: bool) -> [Case; 5] {
    let big = Case::new("drain_big", Work::Drain, if quick { 3 } else { 40 }, &RECEIVERS);
    let mixed = Case::new("drain_mixed", Work::Drain, if quick { 50 } else { 1_000 }, &RECEIVERS);
    let wan = Case::new("drain_wan", Work::Drain, if quick { 50 } else { 1_000 }, &RECEIVERS);
    let batches = |name| {
        let case = Case::new(name, Work::Drain, if quick { 50 } else { 10_000 }, &[Pymail, AsyncImap]);
        Case { batch: if quick { 10 } else { 100 }, turns: 3, ..case }
    };
    [
        Case { sizes: BIG, ..big },
        batches("batches"),
        Case { rtt_ms: RTT_MS, ..batches("batches_wan") },
        Case { sizes: Sizes::LogNormal(8 * 1024), ..mixed },
        Case { rtt_ms: RTT_MS, ..wan }.at_most(if quick { 5 } else { 100 }, Subprocess),
    ]
}

fn sends(quick: bool) -> [Case; 3] {
    let small = Case::new("send_small", Work::Send, if quick { 300 } else { 3_000 }, &SENDERS);
    let big = Case::new("send_big", Work::Send, if quick { 1 } else { 5 }, &SENDERS);
    let wan = Case::new("send_wan", Work::Send, if quick { 10 } else { 100 }, &SENDERS);
    [
        small.at_most(if quick { 20 } else { 200 }, Lettre),
        Case { sizes: BIG, ..big },
        Case { rtt_ms: RTT_MS, ..wan }.at_most(if quick { 3 } else { 100 }, Lettre),
    ]
}

/// Cases that send nothing: they are short, so the scheduler's noise is large.
fn calls(quick: bool) -> [Case; 2] {
    let start = Case::new("start", Work::Start, 1, &[Pymail, Subprocess]);
    let calls = Case::new("noop", Work::Noop, if quick { 50 } else { 2_000 }, &RECEIVERS);
    [Case { sizes: NOTHING, turns: 15, ..start }, Case { sizes: NOTHING, ..calls }]
}

fn mailboxes(quick: bool) -> Vec<Case> {
    let numbers: &[usize] = if quick { &[1, 5] } else { &[1, 10, 100, 1_000] };
    let systems: fn(usize) -> &'static [System] = |n| match n {
        ..=10 => &[Pymail, Subprocess, Imap, AsyncImap, IoImap],
        _ => &[Pymail, Imap, AsyncImap, IoImap],
    };
    let case = |n| Case { sizes: NOTHING, ..Case::new("mailboxes", Work::Mailboxes, n, systems(n)) };
    numbers.iter().map(|&n| case(n)).collect()
}

/// Cases of announced mail. Dovecot announces it half a second after its delivery.
fn pushes(quick: bool) -> [Case; 4] {
    let n = if quick { 3 } else { 40 };
    let near = Case::new("push_latency", Work::Push, n, &[Pymail, AsyncImap, IoImap, Floor]);
    let far = Case::new("push_wan", Work::Push, n, &[Pymail, AsyncImap, IoImap, Floor]);
    let idle = Case::new("idle", Work::Idle, if quick { 5 } else { 1_000 }, &[Pymail]);
    let many = Case::new("idle_many", Work::IdleScripted, if quick { 20 } else { MANY }, &[Pymail]);
    [
        Case { turns: 3, ..near },
        Case { turns: 3, rtt_ms: RTT_MS, ..far },
        Case { sizes: NOTHING, ..idle },
        Case { sizes: NOTHING, turns: 1, ..many },
    ]
}
