//! The cases: what is measured, and what counts as done.

use std::time::Duration;

use crate::job::Work;

/// What is asked of pymail, as pymail's number over that of the subprocess version.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Rate, at least so many times that of the subprocess version.
    Rate(f64),
    /// Time, at most this part of the subprocess version's.
    Time(f64),
    /// Memory, at most this part of the subprocess version's.
    Memory(f64),
}

/// One line of the report, once for each contestant.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The name in the report.
    pub name: &'static str,
    /// What a client does.
    pub work: Work,
    /// How many messages, or mailboxes.
    pub n: usize,
    /// The body of a message, in bytes.
    pub size: usize,
    /// The round trip that the delay proxy makes; zero for none.
    pub rtt_ms: u64,
    /// Send to Postfix by STARTTLS and AUTH, not to `smtp-sink`.
    pub tls: bool,
    /// How many times each contestant takes its turn.
    pub turns: usize,
    /// What is asked of pymail.
    pub target: Target,
}

impl Case {
    const fn new(name: &'static str, work: Work, n: usize, target: Target) -> Self {
        Self { name, work, n, size: 1024, rtt_ms: 0, tls: false, turns: 1, target }
    }

    /// The cases of a full run or a quick one.
    pub fn all(quick: bool) -> Vec<Self> {
        let sent = if quick { 300 } else { 1000 };
        let mut cases = vec![
            Self::new("receive", Work::Receive, 1000, Target::Rate(20.0)),
            Self { rtt_ms: 20, ..Self::new("receive", Work::Receive, 50, Target::Rate(20.0)) },
            Self::new("send", Work::Send, sent, Target::Rate(1.0)),
            Self::new("send-all", Work::SendAll, sent, Target::Rate(1.0)),
            Self { tls: true, ..Self::new("send-tls", Work::Send, 300, Target::Rate(1.0)) },
            Self { tls: true, ..Self::new("send-all-tls", Work::SendAll, 300, Target::Rate(1.0)) },
            Self { size: 0, tls: true, ..Self::new("start", Work::Start, 1, Target::Time(0.6)) },
            Self { size: 0, ..Self::new("memory", Work::Memory, 10, Target::Memory(0.2)) },
        ];
        if !quick {
            let large = Self::new("receive", Work::Receive, 40, Target::Rate(1.0));
            cases.insert(1, Self { size: 1_000_000, ..large });
        }
        for case in &mut cases {
            case.turns = case.turns_of(quick);
        }
        cases
    }

    fn turns_of(&self, quick: bool) -> usize {
        let turns = if quick { 1 } else { 3 };
        // A start is short, and at the mercy of the scheduler.
        if self.work == Work::Start { 3 * turns } else { turns }
    }

    /// The round trip that the delay proxy makes.
    pub fn rtt(&self) -> Duration {
        Duration::from_millis(self.rtt_ms)
    }
}
