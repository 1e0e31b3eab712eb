//! What goes wrong, where, and how often.

use std::time::Duration;

use super::dialogue::{Ledger, Part, Position};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What goes wrong from a [`Place`] on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's connection ends (FIN).
    Close,
    /// The client's connection is reset (RST).
    Reset,
    /// Nothing comes through any more, either way; the connection stays open (half-open).
    Silence,
    /// Everything is late by this, once.
    Delay(Duration),
    /// From here on, one byte at a time in this direction, each so long after the one before.
    Drip(Duration),
    /// The next literal (RFC 3501, section 4.3) has so many octets more, or fewer, than it should.
    Literal {
        /// How many more; less than zero for fewer.
        by: isize,
        /// Whether its announced length tells so.
        announced: bool,
    },
    /// The client is told this, which it has not asked for; then everything goes on.
    Inject(String),
    /// The client is told this instead, and the connection ends: `* BYE` or `421`.
    Say(String),
    /// From here on, one text in place of another in this direction's lines.
    Replace(String, String),
}

impl Fault {
    /// IMAP's goodbye.
    pub fn bye() -> Self {
        Self::Say("* BYE going down\r\n".into())
    }

    /// SMTP's goodbye.
    pub fn closing() -> Self {
        Self::Say("421 4.3.2 going down\r\n".into())
    }
}

/// Where a fault strikes: at a byte of a command, of an answer, or of the whole direction.
///
/// A command is an IMAP command with its literals and further lines, or an SMTP command; the end of SMTP data is
/// one as well, called `.`, to which the data belongs. Its answer is everything up to the tagged line, or the
/// whole reply. All are counted from 1 on each connection; the greeting is answer 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    spot: Spot,
    at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Spot {
    Accept,
    Stream(Direction),
    Nth(Direction, usize),
    Like(Direction, String, usize),
}

impl Place {
    /// When the connection is made, before the first byte, and before TLS if that is implicit.
    pub fn accept() -> Self {
        Self { spot: Spot::Accept, at: 0 }
    }

    /// Before this byte of a direction, from 0.
    pub fn byte(direction: Direction, at: u64) -> Self {
        Self { spot: Spot::Stream(direction), at }
    }

    /// Before the nth command reaches the server.
    pub fn command(nth: usize) -> Self {
        Self { spot: Spot::Nth(Direction::Up, nth), at: 0 }
    }

    /// After the nth command reached the server, before its answer reaches the client.
    pub fn answer(nth: usize) -> Self {
        Self { spot: Spot::Nth(Direction::Down, nth), at: 0 }
    }

    /// Before the first command that begins like this, without its tag, reaches the server.
    pub fn command_like(text: &str) -> Self {
        Self { spot: Spot::Like(Direction::Up, text.into(), 1), at: 0 }
    }

    /// Before the answer to the first command that begins like this, without its tag.
    pub fn answer_like(text: &str) -> Self {
        Self { spot: Spot::Like(Direction::Down, text.into(), 1), at: 0 }
    }

    /// The nth such command or answer of its connection, not the first.
    #[must_use]
    pub fn nth(mut self, nth: usize) -> Self {
        if let Spot::Like(_, _, which) = &mut self.spot {
            *which = nth;
        }
        self
    }

    /// Before this byte of the command or answer, not the first.
    #[must_use]
    pub fn at(mut self, at: u64) -> Self {
        self.at = at;
        self
    }

    /// How many bytes of this part come before the place, if it is in there.
    fn within(&self, part: &Part, position: Position, ledger: &Ledger) -> Option<usize> {
        let begin = match &self.spot {
            Spot::Stream(way) if *way == part.direction => position.in_stream,
            Spot::Nth(way, nth) if *way == part.direction && *nth == position.number => part.in_unit,
            Spot::Like(way, text, nth)
                if *way == part.direction && ledger.is_nth(position.number, text, *nth) =>
            {
                part.in_unit
            }
            _ => return None,
        };
        let offset = usize::try_from(self.at.checked_sub(begin)?).ok()?;
        (offset < part.length).then_some(offset)
    }
}

/// A fault, its place, and how often it strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    place: Place,
    pub(super) fault: Fault,
    pub(super) left: usize,
    connection: Option<usize>,
    over_all: bool,
}

impl Plan {
    /// Strikes once, on the first connection that comes to the place.
    pub fn new(place: Place, fault: Fault) -> Self {
        Self { place, fault, left: 1, connection: None, over_all: false }
    }

    /// Strikes on so many connections, and then no more. Default 1.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.left = times;
        self
    }

    /// Strikes on this connection only, from 1.
    #[must_use]
    pub fn on_connection(mut self, nth: usize) -> Self {
        self.connection = Some(nth);
        self
    }

    /// Commands, answers and bytes are counted over all connections, not on each anew.
    #[must_use]
    pub fn over_all(mut self) -> Self {
        self.over_all = true;
        self
    }

    /// Whether it strikes when this connection is made.
    pub(super) fn meets(&self, connection: usize) -> bool {
        self.is_for(connection) && self.place.spot == Spot::Accept
    }

    /// Where in this part it strikes, if it does.
    pub(super) fn strikes(
        &self,
        connection: usize,
        part: &Part,
        here: &Ledger,
        all: &Ledger,
    ) -> Option<usize> {
        let (position, ledger) = if self.over_all { (part.overall, all) } else { (part.here, here) };
        self.is_for(connection).then(|| self.place.within(part, position, ledger)).flatten()
    }

    fn is_for(&self, connection: usize) -> bool {
        self.left > 0 && self.connection.is_none_or(|nth| nth == connection)
    }
}
