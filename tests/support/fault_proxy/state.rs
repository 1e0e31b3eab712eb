//! The exchanges that the proxy has seen, and its plans.

use super::dialogue::{Dialogue, Ledger, Part};
use super::fault::{Direction, Fault, Plan};

/// A command and its response, as far as both have passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The number of the connection, from 1.
    pub connection: usize,
    /// The number of the command on the connection, from 1; 0 is the greeting.
    pub number: usize,
    /// The command without its tag, secrets and all; `.` for the end of SMTP data, empty for the greeting.
    pub command: String,
    /// `true` if the client's side was encrypted then.
    pub encrypted: bool,
    /// The number of the command's bytes, with literals, further lines or data.
    pub up: u64,
    /// The number of the response's bytes.
    pub down: u64,
}

/// The state of all connections.
#[derive(Default)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) plans: Vec<Plan>,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) connections: usize,
    pub(super) hits: usize,
}

impl State {
    /// Returns the fault that strikes at the start of this connection.
    pub(super) fn meets(&mut self, connection: usize) -> Option<Fault> {
        let plan = self.plans.iter_mut().find(|plan| plan.meets(connection))?;
        plan.left -= 1;
        self.hits += 1;
        Some(plan.fault.clone())
    }

    /// Returns the fault that strikes in this part, and the byte before which it does.
    pub(super) fn strikes(
        &mut self,
        connection: usize,
        part: &Part,
        dialogue: &Dialogue,
    ) -> Option<(usize, Fault)> {
        let ledger = &self.ledger;
        let (plan, offset) = self.plans.iter_mut().find_map(|plan| {
            let offset = plan.strikes(connection, part, &dialogue.here, ledger)?;
            Some((plan, offset))
        })?;
        plan.left -= 1;
        // These two faults have only begun: they count when they change something.
        self.hits += usize::from(!matches!(plan.fault, Fault::Literal { .. } | Fault::Replace(..)));
        Some((offset, plan.fault.clone()))
    }

    pub(super) fn record(&mut self, connection: usize, part: &Part, command: &str, encrypted: bool) {
        let number = part.here.number;
        let its = |it: &&mut Exchange| (it.connection, it.number) == (connection, number);
        let length = part.length as u64;
        let (up, down) = if part.direction == Direction::Up { (length, 0) } else { (0, length) };
        if let Some(exchange) = self.exchanges.iter_mut().rev().find(its) {
            exchange.up += up;
            exchange.down += down;
            return;
        }
        let command = command.to_owned();
        self.exchanges.push(Exchange { connection, number, command, encrypted, up, down });
    }
}
