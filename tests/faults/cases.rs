//! The cases: every place of a dialogue, as clean runs have shown it, times each fault.

use crate::case::{Blow, Case, Spot};
use crate::idle;
use crate::scenario::{Scenario, Step, Verb};
use crate::support::fault_proxy::Protocol;

const ENDS: [Blow; 6] = [Blow::Close, Blow::Reset, Blow::Silence, Blow::Delay, Blow::Drip, Blow::Goodbye];

/// The most bytes of each command and of each response at which a fault strikes.
const BYTES: usize = 2;

/// One of so many octets is a reset of the connection, not an end.
const RESETS: usize = 5;

impl Scenario {
    /// Returns the cases for the dialogue of a clean run.
    pub fn cases(self, steps: &[Step]) -> Vec<Case> {
        let window = self.window(steps);
        if self.verb == Verb::Cut {
            return window.into_iter().flat_map(|step| self.octets(step)).collect();
        }
        if self.verb == Verb::Idle {
            return window.into_iter().flat_map(|step| idle::cases(self, step)).collect();
        }
        let mut cases = Vec::new();
        if self.verb == Verb::Connect {
            cases.extend(
                [Blow::Close, Blow::Reset, Blow::Silence]
                    .map(|blow| Case::new(self, Spot::Accept, "accept", blow)),
            );
        }
        if self.verb == Verb::Heartbeat {
            for (spot, name) in [
                (Spot::Beat { answer: false, at: 0 }, "noop-before"),
                (Spot::Beat { answer: true, at: 0 }, "noop-after"),
                (Spot::Beat { answer: true, at: 5 }, "noop-within"),
            ] {
                cases.extend(self.blows(spot).map(|blow| Case::new(self, spot, name, blow)));
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

    /// Returns the places before a command, after it, and in the middle of its response.
    fn boundaries(self, step: &Step) -> Vec<Case> {
        let number = step.number;
        let mut spots =
            vec![(Spot::Answer(number, 0), "after"), (Spot::Answer(number, step.down / 2), "within")];
        if step.number > 0 {
            spots.insert(0, (Spot::Command(number, 0), "before"));
        }
        let once = spots.iter().flat_map(|&(spot, place)| {
            let place = step.named(place);
            self.blows(spot).map(move |blow| Case::new(self, spot, &place, blow)).collect::<Vec<_>>()
        });
        let again = [Blow::Close, Blow::Silence].map(|blow| {
            let case = Case::new(self, Spot::Answer(number, 0), &step.named("after"), blow);
            Case { name: case.name + "-x3", times: 3, ..case }
        });
        let mut cases: Vec<Case> = once.chain(again).collect();
        // The responses to FETCH of flags and of sizes have no literal.
        if step.is(&["UID FETCH"]) && !matches!(self.verb, Verb::Reject | Verb::Redrive) {
            let spot = Spot::Answer(number, 0);
            cases.extend(
                [Blow::Cut, Blow::Lengthen].map(|blow| Case::new(self, spot, &step.named("literal"), blow)),
            );
        }
        cases
    }

    /// Returns the faults for a place.
    fn blows(self, spot: Spot) -> impl Iterator<Item = Blow> {
        // An unsolicited line is harmless in IMAP, and a false reply in SMTP.
        let between = !matches!(spot, Spot::Answer(_, at) | Spot::Beat { at, .. } if at > 0);
        let talks = self.kind.protocol() == Protocol::Imap && between && spot != Spot::Answer(0, 0);
        let more: &[Blow] = if talks { &[Blow::Chatter, Blow::Flags] } else { &[] };
        ENDS.into_iter().filter(move |&blow| between || blow != Blow::Goodbye).chain(more.iter().copied())
    }

    /// Ends the connection at every octet of a response; resets it at some.
    fn octets(self, step: &Step) -> Vec<Case> {
        let case = |at, blow| {
            Case::new(self, Spot::Answer(step.number, at), &step.named(&format!("octet-{at}")), blow)
        };
        let closes = (0..step.down).map(|at| case(at, Blow::Close));
        closes.chain((0..step.down).step_by(RESETS).map(|at| case(at, Blow::Reset))).collect()
    }

    /// Closes the connection at the bytes of a step, at some of them where the step is long.
    fn bytes(self, step: &Step) -> Vec<Case> {
        let some = |length: u64| (1..length).step_by(usize::try_from(length).map_or(1, |it| it / BYTES + 1));
        let up = some(step.up).map(|at| (Spot::Command(step.number, at), "up", at));
        let down = some(step.down).map(|at| (Spot::Answer(step.number, at), "down", at));
        up.chain(down)
            .map(|(spot, way, at)| Case::new(self, spot, &step.named(&format!("{way}-{at}")), Blow::Close))
            .collect()
    }
}

/// Returns a sample spread over all cases, the same each time.
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
