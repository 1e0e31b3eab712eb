//! What is asked for, and who uses which handles.

use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: cargo xtask soak --minutes M [--handles N]";

/// How many handles receive in a mailbox that is shared.
const SHARERS: usize = 4;

/// What is asked for on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long there is load.
    pub minutes: f64,
    /// How many handles there are, of both kinds together.
    pub handles: usize,
}

impl Options {
    /// What the words say.
    pub fn read(words: &[&str]) -> Result<Self, String> {
        let (mut minutes, mut handles) = (None, 50);
        for pair in words.chunks(2) {
            match *pair {
                ["--minutes", word] => minutes = word.parse().ok().filter(|minutes| *minutes > 0.0),
                ["--handles", word] => handles = word.parse().ok().filter(|&it| it >= 2).ok_or(USAGE)?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(Self { minutes: minutes.ok_or(USAGE)?, handles })
    }
}

/// One mail account: who sends sends to itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Account {
    /// The user.
    pub user: String,
    /// The port of the handle that sends.
    pub smtp: u16,
    /// The ports of those that receive: if several, they share the mailbox.
    pub imaps: Vec<u16>,
}

/// What the process with the handles has to know.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    /// Who uses them.
    pub accounts: Vec<Account>,
    /// The servers' authority.
    pub ca_pem: String,
}

/// How many handles receive on each account: of any 25 handles, 5 are one account's, the others are pairs.
pub fn receivers(handles: usize) -> Vec<usize> {
    let shared = (handles + 10) / 25;
    let pairs = (handles - shared * (SHARERS + 1)) / 2;
    [vec![SHARERS; shared], vec![1; pairs]].concat()
}
