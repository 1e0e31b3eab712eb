//! The command line, and the handles of each account.

use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: cargo xtask soak --minutes M [--handles N]";

/// The number of handles that share a mailbox.
const SHARERS: usize = 4;

/// The options of the command line.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The time of load.
    pub minutes: f64,
    /// The number of handles of both kinds.
    pub handles: usize,
}

impl Options {
    /// Parses the arguments.
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

/// One mail account, which sends to itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Account {
    /// The user.
    pub user: String,
    /// The port of the handle that sends.
    pub smtp: u16,
    /// The ports of the handles that receive: several share the mailbox.
    pub imaps: Vec<u16>,
}

/// The parameters of the process with the handles.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// The servers' authority.
    pub ca_pem: String,
}

/// Returns the number of receiving handles for each account: of 25 handles, 5 are one account's, the others are pairs.
pub fn receivers(handles: usize) -> Vec<usize> {
    let shared = (handles + 10) / 25;
    let pairs = (handles - shared * (SHARERS + 1)) / 2;
    [vec![SHARERS; shared], vec![1; pairs]].concat()
}
