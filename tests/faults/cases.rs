//! The cases: every place of a dialogue, as one clean run has shown it, times each fault.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::support::fault_proxy::{Exchange, Fault, Place, Plan, Protocol, Security};
use crate::world::Kind;

/// What the app is doing when it's struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    Connect,
    Fetch,
    /// A fetch of mail that takes a second look.
    FetchLarge,
    Ack,
    Drain,
    Send,
    SendAll,
    /// The same, by a handle that sends again what has an unknown outcome.
    Resend,
    Heartbeat,
    Stop,
}

/// An app, a server, and the way between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scenario {
    pub verb: Verb,
    pub kind: Kind,
    pub implicit_tls: bool,
}

/// One command and its answer, as the clean run had them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    number: usize,
    word: String,
    up: u64,
    down: u64,
}

/// Where it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spot {
    Accept,
    Command(usize, u64),
    Answer(usize, u64),
    /// Before the nth NOOP of a heartbeat, or its answer.
    Beat {
        answer: bool,
        at: u64,
    },
}

/// What strikes.
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
}

/// A fault at a place in a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    pub scenario: Scenario,
    pub spot: Spot,
    pub blow: Blow,
    /// On how many connections it strikes.
    pub times: usize,
}

const ENDS: [Blow; 6] = [Blow::Close, Blow::Reset, Blow::Silence, Blow::Delay, Blow::Drip, Blow::Goodbye];

/// At how many bytes of each command and of each answer it strikes, at most.
const BYTES: usize = 6;

impl Scenario {
    /// All of them.
    pub fn all() -> Vec<Self> {
        use Kind::{Move, NoMove, NoUidplus, OneByOne, Pipelining};
        use Verb::{Ack, Connect, Drain, Fetch, FetchLarge, Heartbeat, Resend, Send, SendAll, Stop};
        let some = |kind, verbs: &[Verb]| {
            verbs.iter().map(|&verb| Self { verb, kind, implicit_tls: true }).collect::<Vec<_>>()
        };
        let starttls = |kind| vec![Self { verb: Connect, kind, implicit_tls: false }];
        [
            some(Move, &[Connect, Fetch, FetchLarge, Ack, Drain, Heartbeat, Stop]),
            starttls(Move),
            some(NoMove, &[Ack, Drain]),
            some(NoUidplus, &[Ack, Drain]),
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

    /// The steps that are this verb's.
    fn window(self, steps: &[Step]) -> Vec<&Step> {
        let is = |step: &&Step, words: &[&str]| words.contains(&step.word.as_str());
        let first = steps.iter().position(|step| is(&step, &["NOOP", "MAIL"])).unwrap_or(steps.len());
        let (connecting, work) = steps.split_at(first);
        let work = work.iter();
        match self.verb {
            Verb::Connect => connecting.iter().collect(),
            Verb::Fetch | Verb::FetchLarge => {
                let fetches = if self.verb == Verb::Fetch { 1 } else { 2 };
                let end = work.clone().filter(|step| step.word == "UID FETCH").nth(fetches - 1);
                let end = end.map_or(0, |step| step.number);
                work.filter(|step| step.number <= end).collect()
            }
            Verb::Ack => {
                work.filter(|it| is(it, &["UID MOVE", "UID COPY", "UID STORE", "UID EXPUNGE"])).collect()
            }
            Verb::Stop => work.filter(|step| is(step, &["LOGOUT", "QUIT"])).collect(),
            Verb::Drain | Verb::Send | Verb::SendAll | Verb::Resend => {
                work.filter(|step| !is(step, &["LOGOUT", "QUIT"])).collect()
            }
            Verb::Heartbeat => Vec::new(),
        }
    }

    /// The cases, by what a clean run has shown.
    pub fn cases(self, steps: &[Step]) -> Vec<Case> {
        let window = self.window(steps);
        let mut cases = Vec::new();
        if self.verb == Verb::Connect {
            cases.extend(
                [Blow::Close, Blow::Reset, Blow::Silence].map(|blow| self.case(Spot::Accept, "accept", blow)),
            );
        }
        if self.verb == Verb::Heartbeat {
            for (spot, name) in [
                (Spot::Beat { answer: false, at: 0 }, "noop-before"),
                (Spot::Beat { answer: true, at: 0 }, "noop-after"),
                (Spot::Beat { answer: true, at: 5 }, "noop-within"),
            ] {
                cases.extend(self.blows(spot).map(|blow| self.case(spot, name, blow)));
            }
        }
        for step in &window {
            cases.extend(self.boundaries(step));
        }
        for step in window {
            cases.extend(self.bytes(step));
        }
        cases
    }

    /// Before the command, after it, and in the middle of its answer.
    fn boundaries(self, step: &Step) -> Vec<Case> {
        let number = step.number;
        let mut spots =
            vec![(Spot::Answer(number, 0), "after"), (Spot::Answer(number, step.down / 2), "within")];
        if step.number > 0 {
            spots.insert(0, (Spot::Command(number, 0), "before"));
        }
        let once = spots.iter().flat_map(|&(spot, place)| {
            let place = step.named(place);
            self.blows(spot).map(move |blow| self.case(spot, &place, blow)).collect::<Vec<_>>()
        });
        let again = spots.iter().flat_map(|&(spot, place)| {
            [Blow::Close, Blow::Silence].map(|blow| {
                let case = self.case(spot, &step.named(place), blow);
                Case { name: case.name + "-x3", times: 3, ..case }
            })
        });
        let mut cases: Vec<Case> = once.chain(again).collect();
        if step.word == "UID FETCH" && self.verb != Verb::Ack {
            let spot = Spot::Answer(number, 0);
            cases.extend(
                [Blow::Cut, Blow::Lengthen].map(|blow| self.case(spot, &step.named("literal"), blow)),
            );
        }
        cases
    }

    /// What can strike there.
    fn blows(self, spot: Spot) -> impl Iterator<Item = Blow> {
        // What comes unasked between two lines is harmless in IMAP, and a lie in SMTP.
        let between = !matches!(spot, Spot::Answer(_, at) | Spot::Beat { at, .. } if at > 0);
        let talks = self.kind.protocol() == Protocol::Imap && between && spot != Spot::Answer(0, 0);
        let more: &[Blow] = if talks { &[Blow::Chatter, Blow::Flags] } else { &[] };
        ENDS.into_iter().filter(move |&blow| between || blow != Blow::Goodbye).chain(more.iter().copied())
    }

    /// A close at the bytes of a step, some of them where it's long.
    fn bytes(self, step: &Step) -> Vec<Case> {
        let some = |length: u64| (1..length).step_by(usize::try_from(length).map_or(1, |it| it / BYTES + 1));
        let up = some(step.up).map(|at| (Spot::Command(step.number, at), "up", at));
        let down = some(step.down).map(|at| (Spot::Answer(step.number, at), "down", at));
        up.chain(down)
            .map(|(spot, way, at)| self.case(spot, &step.named(&format!("{way}-{at}")), Blow::Close))
            .collect()
    }

    fn case(self, spot: Spot, place: &str, blow: Blow) -> Case {
        let name = format!("{}/{place}/{blow:?}", self.name()).to_lowercase();
        Case { name, scenario: self, spot, blow, times: 1 }
    }
}

impl Step {
    /// Shows of a command what is no secret.
    pub fn of(exchange: &Exchange) -> Self {
        let mut words = exchange.command.split([' ', ':']).map(str::to_uppercase);
        let mut word = words.next().unwrap_or_default();
        if word == "UID" {
            word.extend([" ".to_owned(), words.next().unwrap_or_default()]);
        }
        Self { number: exchange.number, word, up: exchange.up, down: exchange.down }
    }

    /// The shorter of two runs' answers: how long they take is written in some.
    pub fn shorter(self, other: &Self) -> Self {
        Self { down: self.down.min(other.down), ..self }
    }

    fn named(&self, place: &str) -> String {
        let word = match self.word.as_str() {
            "" => "greeting",
            "." => "end-of-data",
            word => word,
        };
        format!("{:02}-{}-{place}", self.number, word.replace(' ', "-"))
    }
}

impl Case {
    /// A run where nothing goes wrong.
    pub fn clean(scenario: Scenario) -> Self {
        Self { times: 0, ..scenario.case(Spot::Accept, "clean", Blow::Close) }
    }

    /// What the proxy has to do; nothing in a clean run.
    pub fn plan(&self, deadline: Duration) -> Plan {
        let place = match self.spot {
            Spot::Accept => Place::accept(),
            Spot::Command(nth, at) => Place::command(nth).at(at),
            Spot::Answer(nth, at) => Place::answer(nth).at(at),
            Spot::Beat { answer: false, at } => Place::command_like("NOOP").nth(2).at(at),
            Spot::Beat { answer: true, at } => Place::answer_like("NOOP").nth(2).at(at),
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
            // Each byte in time, the whole of them never.
            Blow::Drip => Fault::Drip(deadline / 8),
            Blow::Goodbye if self.scenario.kind.protocol() == Protocol::Imap => Fault::bye(),
            Blow::Goodbye => Fault::closing(),
            Blow::Chatter => Fault::Inject("* OK [ALERT] dinner is ready\r\n".into()),
            Blow::Flags => Fault::Inject("* 3 FETCH (FLAGS ())\r\n".into()),
            Blow::Cut => Fault::Literal { by: -7, announced: false },
            Blow::Lengthen => Fault::Literal { by: 7, announced: false },
        }
    }

    /// Whether a message may be there twice, for the receiver to drop the second copy: the handle sends again what
    /// has an unknown outcome, or the server said that it hasn't done what it has done, by a 421 to a message's end.
    pub fn may_copy(&self) -> bool {
        let lie = self.blow == Blow::Goodbye && matches!(self.spot, Spot::Answer(..));
        lie || self.scenario.verb == Verb::Resend
    }
}

/// Of many, so many that are spread over all of them; the same ones each time.
pub fn some(mut cases: Vec<Case>, most: usize) -> Vec<Case> {
    let hash = |name: &str| {
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    cases.sort_by_key(|case| hash(&case.name));
    cases.truncate(most);
    cases
}
