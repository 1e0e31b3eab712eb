//! The command line.

use std::time::Duration;

use crate::scenario::Scenario;
use crate::server::Kind;

const USAGE: &str = "usage: cargo xtask consumers [--quick] [--server NAME]... [--scenario NAME]... [--messages N] [--processes N]";

/// The size of the test.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers, one after the other.
    pub servers: Vec<Kind>,
    /// The scenarios, in parallel.
    pub scenarios: Vec<Scenario>,
    /// The number of waiting messages.
    pub messages: usize,
    /// The number of processes that share the mailbox at a time.
    pub processes: usize,
    /// The number of processes that are killed, one after the other, in the part with crashes.
    pub kills: usize,
    /// The batch size of a consumer.
    pub batch: usize,
    /// The consumers' timeout.
    pub deadline: Duration,
    /// The consumers' lease: no healthy consumer may lose it, however busy the machine.
    pub lease: Duration,
    /// The consumers' lease in scenarios, short for many renewals.
    pub short_lease: Duration,
    /// The time that idle consumers hold a message.
    pub idle: Duration,
}

impl Options {
    /// Returns a quick test of seconds, on Dovecot.
    pub fn quick() -> Self {
        let (deadline, lease) = (Duration::from_secs(5), Duration::from_secs(10));
        let (short_lease, idle) = (Duration::from_secs(4), Duration::from_secs(4));
        let (servers, scenarios) = (vec![Kind::DovecotMaildir], Scenario::ALL.to_vec());
        Self {
            servers,
            scenarios,
            messages: 150,
            processes: 3,
            kills: 3,
            batch: 5,
            deadline,
            lease,
            short_lease,
            idle,
        }
    }

    /// Returns the full test, on all servers.
    fn full() -> Self {
        // Eight sessions on Courier wait for one another for up to 20 s.
        let (deadline, lease) = (Duration::from_secs(30), Duration::from_secs(60));
        let (short_lease, idle) = (Duration::from_secs(4), Duration::from_secs(60));
        let (servers, scenarios) = (Kind::ALL.to_vec(), Scenario::ALL.to_vec());
        Self {
            servers,
            scenarios,
            messages: 5_000,
            processes: 8,
            kills: 25,
            batch: 25,
            deadline,
            lease,
            short_lease,
            idle,
        }
    }

    /// Parses the arguments; by default everything in full, and when servers or scenarios are named, only these.
    pub fn read(words: &[&str]) -> Result<Self, String> {
        let mut options = if words.contains(&"--quick") { Self::quick() } else { Self::full() };
        let (mut servers, mut scenarios) = (Vec::new(), Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().ok_or(USAGE);
            match *word {
                "--quick" => {}
                "--server" => servers.push(Kind::named(value()?)?),
                "--scenario" => scenarios.push(Scenario::named(value()?)?),
                "--messages" => options.messages = number(value()?)?,
                "--processes" => options.processes = number(value()?)?,
                _ => return Err(USAGE.into()),
            }
        }
        if servers.is_empty() && scenarios.is_empty() {
            options.servers = Kind::ALL.to_vec();
        } else {
            (options.servers, options.scenarios) = (servers, scenarios);
        }
        Ok(options)
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().ok().filter(|&number| number > 0).ok_or_else(|| format!("{word} is no number of anything"))
}
