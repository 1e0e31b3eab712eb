//! What is asked for on the command line.

use std::time::Duration;

use crate::server::Kind;

const USAGE: &str =
    "usage: cargo xtask consumers [--quick] [--server NAME]... [--messages N] [--processes N]";

/// How hard the consumers are tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers, one after the other.
    pub servers: Vec<Kind>,
    /// How many messages wait.
    pub messages: usize,
    /// How many processes share the mailbox at a time.
    pub processes: usize,
    /// How many of them are killed, one after the other, when crashes are what is tried.
    pub kills: usize,
    /// How many messages a consumer fetches at a time.
    pub batch: usize,
    /// The consumers' deadline.
    pub deadline: Duration,
    /// The consumers' lease: no healthy one may lose it, however busy the machine.
    pub lease: Duration,
}

impl Options {
    /// A part that takes seconds, on Dovecot.
    pub fn quick() -> Self {
        let (deadline, lease) = (Duration::from_secs(5), Duration::from_secs(10));
        let servers = vec![Kind::DovecotMaildir];
        Self { servers, messages: 150, processes: 3, kills: 3, batch: 5, deadline, lease }
    }

    /// All servers, at the size that the promise speaks of.
    fn full() -> Self {
        // Eight sessions at once wait for one another in Courier for up to 20 s.
        let (deadline, lease) = (Duration::from_secs(30), Duration::from_secs(60));
        let servers = Kind::ALL.to_vec();
        Self { servers, messages: 5_000, processes: 8, kills: 25, batch: 25, deadline, lease }
    }

    /// What the words say; by default everything in full.
    pub fn read(words: &[&str]) -> Result<Self, String> {
        let mut options = if words.contains(&"--quick") { Self::quick() } else { Self::full() };
        let mut named = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().ok_or(USAGE);
            match *word {
                "--quick" => {}
                "--server" => named.push(Kind::named(value()?)?),
                "--messages" => options.messages = number(value()?)?,
                "--processes" => options.processes = number(value()?)?,
                _ => return Err(USAGE.into()),
            }
        }
        options.servers = if named.is_empty() { Kind::ALL.to_vec() } else { named };
        Ok(options)
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().ok().filter(|&number| number > 0).ok_or_else(|| format!("{word} is no number of anything"))
}
