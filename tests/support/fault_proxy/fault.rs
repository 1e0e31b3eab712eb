//! Faults, their places, and their numbers.

use std::time::Duration;

use super::dialogue::{Ledger, Part, Position};

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// A fault from a [`Place`] on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's connection ends (FIN).
    Close,
    /// The client's connection is reset (RST).
    Reset,
    /// Both directions stall; the connection stays open (half-open).
    Silence,
    /// Everything is delayed by this time, once.
    Delay(Duration),
    /// From here on, this direction passes one byte at a time, with this pause between two.
    Drip(Duration),
    /// The next literal (RFC 3501, section 4.3) has more or fewer octets than it should.
    Literal {
        /// The number of additional octets; negative for fewer.
        by: isize,
        /// `true` if the announced length is the wrong one, too.
        announced: bool,
    },
    /// The client receives this unsolicited text; then everything goes on.
    Inject(String),
    /// The client receives this text instead, and the connection ends: `* BYE` or `421`.
    Say(String),
    /// From here on, this direction's lines have one text in place of another.
    Replace(String, String),
}

impl Fault {
    /// Returns IMAP's goodbye.
    pub fn bye() -> Self {
        Self::Say("* BYE going down\r\n".into())
    }

    /// Returns SMTP's goodbye.
    pub fn closing() -> Self {
        Self::Say("421 4.3.2 going down\r\n".into())
    }
}

/// The place of a fault: a byte of a command, of a response, or of the whole direction.
///
/// A command is an IMAP command with its literals and further lines, or an SMTP command. The end of SMTP data is
/// a command, too, called `.`, and includes the data. A response is everything up to the tagged line, or the whole
/// reply. Both are counted from 1 on each connection; the greeting is response 0.
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
    /// Makes the place at the start of the connection, before the first byte, and before implicit TLS.
    pub fn accept() -> Self {
        Self { spot: Spot::Accept, at: 0 }
    }

    /// Makes the place before this byte of a direction, from 0.
    pub fn byte(direction: Direction, at: u64) -> Self {
        Self { spot: Spot::Stream(direction), at }
    }

    /// Makes the place before the nth command reaches the server.
    pub fn command(nth: usize) -> Self {
        Self { spot: Spot::Nth(Direction::Up, nth), at: 0 }
    }

    /// Makes the place after the nth command reached the server, before its response reaches the client.
    pub fn answer(nth: usize) -> Self {
        Self { spot: Spot::Nth(Direction::Down, nth), at: 0 }
    }

    /// Makes the place before the first command with this prefix, without its tag, reaches the server.
    pub fn command_like(text: &str) -> Self {
        Self { spot: Spot::Like(Direction::Up, text.into(), 1), at: 0 }
    }

    /// Makes the place before the response to the first command with this prefix, without its tag.
    pub fn answer_like(text: &str) -> Self {
        Self { spot: Spot::Like(Direction::Down, text.into(), 1), at: 0 }
    }

    /// Chooses the nth such command or response of its connection instead of the first.
    #[must_use]
    pub fn nth(mut self, nth: usize) -> Self {
        if let Spot::Like(_, _, which) = &mut self.spot {
            *which = nth;
        }
        self
    }

    /// Chooses this byte of the command or response instead of the first.
    #[must_use]
    pub fn at(mut self, at: u64) -> Self {
        self.at = at;
        self
    }

    /// Returns the number of bytes of this part before the place, if the place is within it.
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

/// A fault, its place, and its number of strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    place: Place,
    pub(super) fault: Fault,
    pub(super) left: usize,
    connection: Option<usize>,
    over_all: bool,
}

impl Plan {
    /// Makes a plan that strikes once, on the first connection that comes to the place.
    pub fn new(place: Place, fault: Fault) -> Self {
        Self { place, fault, left: 1, connection: None, over_all: false }
    }

    /// Sets the number of connections to strike. Default 1.
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

    /// Counts commands, responses and bytes over all connections, not on each anew.
    #[must_use]
    pub fn over_all(mut self) -> Self {
        self.over_all = true;
        self
    }

    /// Returns `true` if the fault strikes at the start of this connection.
    pub(super) fn meets(&self, connection: usize) -> bool {
        self.is_for(connection) && self.place.spot == Spot::Accept
    }

    /// Returns the byte of this part at which the fault strikes, if it does.
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
