//! A case: its fault, its place, and its plan for the proxy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, Verb};
use crate::support::fault_proxy::{Fault, Place, Plan, Protocol};

/// The responses of a flood: less than a megabyte.
const FLOOD: usize = 20_000;

/// The place of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spot {
    Accept,
    Command(usize, u64),
    Answer(usize, u64),
    /// Before the nth NOOP of a heartbeat, or its response.
    Beat {
        answer: bool,
        at: u64,
    },
    /// Within the first IDLE with its DONE, or within what the server says until it has ended.
    Idle {
        answer: bool,
        at: u64,
    },
}

/// The fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blow {
    Close,
    Reset,
    Silence,
    Delay,
    Drip,
    Goodbye,
    Chatter,
    Flags,
    Cut,
    Lengthen,
    /// The server tells of a message that is gone.
    Expunge,
    /// The server tells of flags many times.
    Flood,
    /// IDLE begins without a `+`.
    NoPlus,
}

/// A fault at a place in a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    pub scenario: Scenario,
    pub spot: Spot,
    pub blow: Blow,
    /// The number of connections on which it strikes.
    pub times: usize,
}

impl Case {
    pub fn new(scenario: Scenario, spot: Spot, place: &str, blow: Blow) -> Self {
        let name = format!("{}/{place}/{blow:?}", scenario.name()).to_lowercase();
        Self { name, scenario, spot, blow, times: 1 }
    }

    /// Returns a run without a fault.
    pub fn clean(scenario: Scenario) -> Self {
        Self { times: 0, ..Self::new(scenario, Spot::Accept, "clean", Blow::Close) }
    }

    /// Returns the proxy's plan; `None` for a clean run.
    pub fn plan(&self, deadline: Duration) -> Plan {
        let place = match self.spot {
            Spot::Accept => Place::accept(),
            Spot::Command(nth, at) => Place::command(nth).at(at),
            Spot::Answer(nth, at) => Place::answer(nth).at(at),
            Spot::Beat { answer: false, at } => Place::command_like("NOOP").nth(2).at(at),
            Spot::Beat { answer: true, at } => Place::answer_like("NOOP").nth(2).at(at),
            Spot::Idle { answer: false, at } => Place::command_like("IDLE").at(at),
            Spot::Idle { answer: true, at } => Place::answer_like("IDLE").at(at),
        };
        let plan = Plan::new(place, self.fault(deadline)).times(self.times);
        if self.times == 1 { plan.on_connection(1) } else { plan }
    }

    fn fault(&self, deadline: Duration) -> Fault {
        match self.blow {
            Blow::Close => Fault::Close,
            Blow::Reset => Fault::Reset,
            Blow::Silence => Fault::Silence,
            Blow::Delay => Fault::Delay(deadline / 4),
            // Each byte arrives in time, all of them never do.
            Blow::Drip => Fault::Drip(deadline / 8),
            Blow::Goodbye if self.scenario.kind.protocol() == Protocol::Imap => Fault::bye(),
            Blow::Goodbye => Fault::closing(),
            Blow::Chatter => Fault::Inject("* OK [ALERT] dinner is ready\r\n".into()),
            Blow::Flags => Fault::Inject("* 3 FETCH (FLAGS ())\r\n".into()),
            Blow::Cut => Fault::Literal { by: -7, announced: false },
            Blow::Lengthen => Fault::Literal { by: 7, announced: false },
            Blow::Expunge => Fault::Inject("* 1 EXPUNGE\r\n".into()),
            Blow::Flood => Fault::Inject("* 3 FETCH (FLAGS (\\Seen))\r\n".repeat(FLOOD)),
            Blow::NoPlus => Fault::Replace("+ idling".into(), "* OK idling".into()),
        }
    }

    /// Returns `true` if the fault is the end of a connection, which is noticed at once.
    pub fn ends(&self) -> bool {
        self.times > 0 && matches!(self.blow, Blow::Close | Blow::Reset | Blow::Goodbye)
    }

    /// Returns `true` if a message may have a duplicate for the receiver to drop: the handle sends messages of unknown
    /// delivery again, or the server denied by a 421 to a message's end that it has accepted the message.
    pub fn may_copy(&self) -> bool {
        let lie = self.blow == Blow::Goodbye && matches!(self.spot, Spot::Answer(..));
        lie || self.scenario.verb == Verb::Resend
    }
}
