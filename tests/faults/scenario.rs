//! The scenarios: an app, a server, a connection, and the dialogue of a clean run.

use serde::{Deserialize, Serialize};

use crate::support::fault_proxy::{Exchange, Security};
use crate::world::Kind;

/// The work of the app during the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    Connect,
    Fetch,
    /// A fetch of mail that needs a second FETCH.
    FetchLarge,
    /// A fetch of small mail, which is cut at every octet.
    Cut,
    Ack,
    FetchAndAck,
    /// Fetch and acknowledge message by message: each fetch is sent behind the acknowledgement before it.
    Loop,
    /// Fetch and acknowledge as one of several consumers.
    Share,
    /// Reject a message, and acknowledge the others.
    Reject,
    /// List the dead letters, move them back, and acknowledge them with the others.
    Redrive,
    Send,
    SendAll,
    /// The same, by a handle that sends messages of unknown delivery again.
    Resend,
    Heartbeat,
    /// Wait in IDLE for a message, handle and acknowledge it.
    Idle,
    Stop,
}

/// An app, a server, and the connection between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scenario {
    pub verb: Verb,
    pub kind: Kind,
    pub implicit_tls: bool,
}

/// One command and its response in the clean run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub number: usize,
    word: String,
    pub up: u64,
    pub down: u64,
}

/// The commands that take a message out of the inbox.
const ARCHIVING: [&str; 4] = ["UID MOVE", "UID COPY", "UID STORE", "UID EXPUNGE"];

impl Scenario {
    /// All scenarios.
    pub fn all() -> Vec<Self> {
        use Kind::{Move, NoMove, NoUidplus, OneByOne, Pipelining};
        use Verb::{
            Ack, Connect, Cut, Fetch, FetchAndAck, FetchLarge, Heartbeat, Idle, Loop, Redrive, Reject,
            Resend, Send, SendAll, Share, Stop,
        };
        let some = |kind, verbs: &[Verb]| {
            verbs.iter().map(|&verb| Self { verb, kind, implicit_tls: true }).collect::<Vec<_>>()
        };
        let starttls = |kind| vec![Self { verb: Connect, kind, implicit_tls: false }];
        [
            some(
                Move,
                &[Connect, Fetch, FetchLarge, Cut, Ack, FetchAndAck, Share, Reject, Redrive, Heartbeat],
            ),
            some(Move, &[Loop, Idle, Stop]),
            starttls(Move),
            some(NoMove, &[Ack, FetchAndAck, Share, Reject, Redrive]),
            some(NoUidplus, &[Ack, FetchAndAck, Reject, Redrive]),
            some(Pipelining, &[Connect, Send, SendAll, Resend, Heartbeat, Stop]),
            starttls(Pipelining),
            some(OneByOne, &[Send, SendAll]),
        ]
        .concat()
    }

    pub fn security(self) -> Security {
        if self.implicit_tls { Security::Tls } else { Security::StartTls }
    }

    pub fn name(self) -> String {
        let tls = if self.implicit_tls { "tls" } else { "starttls" };
        format!("{:?}-{:?}-{tls}", self.kind, self.verb).to_lowercase()
    }

    /// Returns the steps of this verb.
    pub fn window(self, steps: &[Step]) -> Vec<&Step> {
        let first = steps.iter().position(|step| step.is(&["NOOP", "MAIL"])).unwrap_or(steps.len());
        let (connecting, work) = steps.split_at(first);
        match self.verb {
            Verb::Connect => connecting.iter().collect(),
            Verb::Fetch => upto(work, |step| step.is(&["UID FETCH"]), 1),
            Verb::FetchLarge => upto(work, |step| step.is(&["UID FETCH"]), 2),
            Verb::Cut => only(work, &["UID FETCH"]).into_iter().take(1).collect(),
            Verb::Ack => only(work, &ARCHIVING),
            // Behind these there is a SEARCH in an inbox without any of ours, like the first one.
            Verb::FetchAndAck | Verb::Share => upto(work, |step| step.is(&ARCHIVING), usize::MAX),
            Verb::Loop => {
                let second = work.iter().filter(|step| step.is(&["UID MOVE"])).nth(1);
                let from = |step: &&Step| second.is_some_and(|second| step.number >= second.number);
                work.iter().filter(from).filter(|step| !step.is(&["LOGOUT"])).collect()
            }
            Verb::Reject => counting(upto(work, |step| step.is(&ARCHIVING), usize::MAX)),
            Verb::Idle => only(work, &["IDLE"]).into_iter().take(1).collect(),
            // The inbox is selected after the list, after the letters, and in the end, when it was left for the letters; where
            // copies are searched for, once more.
            Verb::Redrive => {
                let selects = if self.kind == Kind::Move { 4 } else { 5 };
                upto(work, |step| step.is(&["SELECT"]), selects)
            }
            Verb::Stop => only(work, &["LOGOUT", "QUIT"]),
            Verb::Resend => only(work, &["."]),
            Verb::Send | Verb::SendAll => upto(work, |step| step.is(&["."]), usize::MAX),
            Verb::Heartbeat => Vec::new(),
        }
    }
}

/// Returns the steps from the FETCH of delivery counts: the steps behind the last FETCH are those of other scenarios.
fn counting(mut steps: Vec<&Step>) -> Vec<&Step> {
    let last = steps.iter().rposition(|step| step.is(&["UID FETCH"])).unwrap_or(0);
    steps.split_off(last)
}

fn only<'a>(steps: &'a [Step], words: &[&str]) -> Vec<&'a Step> {
    steps.iter().filter(|step| step.is(words)).collect()
}

/// Returns the steps up to the nth of a kind, or to the last one where there are fewer.
fn upto(steps: &[Step], is_end: impl Fn(&Step) -> bool, nth: usize) -> Vec<&Step> {
    let end = steps.iter().filter(|step| is_end(step)).take(nth).map(|step| step.number).max();
    steps.iter().filter(|step| Some(step.number) <= end).collect()
}

impl Step {
    pub fn is(&self, words: &[&str]) -> bool {
        words.contains(&self.word.as_str())
    }

    /// Returns a command without its secrets.
    pub fn of(exchange: &Exchange) -> Self {
        let mut words = exchange.command.split([' ', ':']).map(str::to_uppercase);
        let mut word = words.next().unwrap_or_default();
        if word == "UID" {
            word.extend([" ".to_owned(), words.next().unwrap_or_default()]);
        }
        Self { number: exchange.number, word, up: exchange.up, down: exchange.down }
    }

    /// Keeps the shorter of two runs' responses: some include the time they took.
    pub fn shorter(self, other: &Self) -> Self {
        Self { down: self.down.min(other.down), ..self }
    }

    /// Returns a place's text for a case's name.
    pub fn named(&self, place: &str) -> String {
        let word = match self.word.as_str() {
            "" => "greeting",
            "." => "end-of-data",
            word => word,
        };
        format!("{:02}-{}-{place}", self.number, word.replace(' ', "-"))
    }
}
