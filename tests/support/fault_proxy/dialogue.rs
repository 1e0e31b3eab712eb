//! The command or response to which a piece belongs, in IMAP and in SMTP.

use super::fault::Direction;
use super::pieces::{Piece, chunk_after, literal_after};

/// The protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 3501.
    Imap,
    /// RFC 5321.
    Smtp,
}

/// The numbers of commands and bytes so far, of one connection or of all.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) commands: Vec<String>,
    bytes: [u64; 2],
}

/// The position of a part within its connection, or within all connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The number of the command, also of its response; the greeting is 0.
    pub(super) number: usize,
    /// The number of bytes before it in this direction.
    pub(super) in_stream: u64,
}

/// A piece, and the command or response that it is a part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) direction: Direction,
    pub(super) here: Position,
    pub(super) overall: Position,
    /// The number of bytes of its command or response before it.
    pub(super) in_unit: u64,
    pub(super) length: usize,
    /// The length of the literal that it announces.
    pub(super) literal: Option<usize>,
    /// `true` if TLS begins behind it.
    pub(super) upgrades: bool,
}

/// The state of one connection's dialogue.
pub(super) struct Dialogue {
    protocol: Protocol,
    pub(super) here: Ledger,
    /// The numbers of the commands among those of all connections.
    overall: Vec<usize>,
    up: Way,
    down: Way,
    /// `true` while lines are a message's, not commands.
    in_data: bool,
    announced: Announced,
    /// `true` if the next line is one that the server asked for: a response to AUTHENTICATE, or the end of IDLE.
    asked: bool,
}

/// The state of a literal that a command has announced: it follows if the server asks for it, and not after a NO.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Announced {
    Nothing,
    Awaited,
    Refused,
}

/// The command or response in progress in one direction.
#[derive(Default)]
struct Way {
    number: usize,
    begun: bool,
    /// `true` if a line goes on behind a literal.
    open: bool,
    in_unit: u64,
}

impl Dialogue {
    pub(super) fn new(protocol: Protocol) -> Self {
        let (here, overall) = (Ledger::default(), Vec::new());
        Self {
            protocol,
            here,
            overall,
            up: Way::default(),
            down: Way::default(),
            in_data: false,
            announced: Announced::Nothing,
            asked: false,
        }
    }

    /// Adds a piece.
    pub(super) fn note(&mut self, direction: Direction, piece: &Piece, all: &mut Ledger) -> Part {
        let literal = self.literal(direction, piece);
        let ends = match direction {
            Direction::Up => self.command(piece, literal.is_some(), all),
            Direction::Down => self.answer(piece, literal.is_some()),
        };
        let length = piece.octets().len();
        let way = if direction == Direction::Up { &mut self.up } else { &mut self.down };
        let (number, in_unit) = (way.number, way.in_unit);
        way.in_unit += length as u64;
        let upgrades = ends && direction == Direction::Down && self.is_upgrade(number, piece);
        if ends && direction == Direction::Down {
            self.refuse_literal(number);
            self.down = Way { number: number + 1, ..Way::default() };
        }
        Part {
            direction,
            here: Position { number, in_stream: self.here.take(direction, length) },
            overall: Position {
                number: self.overall.get(number.wrapping_sub(1)).copied().unwrap_or(0),
                in_stream: all.take(direction, length),
            },
            in_unit,
            length,
            literal,
            upgrades,
        }
    }

    /// Returns the number of the command whose response is in progress or comes next.
    pub(super) fn answering(&self) -> usize {
        self.down.number
    }

    /// Returns the command with this number; empty for the greeting and for unsolicited responses.
    pub(super) fn text(&self, number: usize) -> &str {
        number.checked_sub(1).and_then(|at| self.here.commands.get(at)).map_or("", String::as_str)
    }

    fn literal(&self, direction: Direction, piece: &Piece) -> Option<usize> {
        let Piece::Line(line) = piece else { return None };
        match self.protocol {
            Protocol::Imap => literal_after(line),
            Protocol::Smtp if direction == Direction::Up && !self.in_data => chunk_after(line),
            Protocol::Smtp => None,
        }
    }

    /// Adds a piece of a command; returns `true` if it is the last one.
    fn command(&mut self, piece: &Piece, more: bool, all: &mut Ledger) -> bool {
        let asked = std::mem::take(&mut self.asked);
        if !self.up.open && !asked {
            let text = if self.in_data { ".".to_owned() } else { self.named(piece) };
            self.here.commands.push(text.clone());
            all.commands.push(text);
            self.overall.push(all.commands.len());
            self.up = Way { number: self.up.number + 1, ..Way::default() };
        }
        let ends_data = piece.octets() == b".\r\n";
        self.up.open = match self.protocol {
            // The line of an IMAP command goes on behind its literal; an SMTP chunk has no further line.
            Protocol::Imap => more || matches!(piece, Piece::Literal(_)),
            Protocol::Smtp => more || (self.in_data && !ends_data),
        };
        self.in_data &= !ends_data;
        let waits = more && self.protocol == Protocol::Imap && !piece.octets().ends_with(b"+}\r\n");
        self.announced = if waits { Announced::Awaited } else { Announced::Nothing };
        !self.up.open
    }

    /// Ends a command that was answered without its literal.
    fn refuse_literal(&mut self, answered: usize) {
        if self.announced == Announced::Awaited && answered == self.up.number {
            (self.announced, self.up.open) = (Announced::Refused, false);
        }
    }

    /// Returns `true`, once, if the literal that was announced last will not follow.
    pub(super) fn take_refused_literal(&mut self) -> bool {
        let refused = self.announced == Announced::Refused;
        self.announced = if refused { Announced::Nothing } else { self.announced };
        refused
    }

    /// Adds a piece of a response; returns `true` if it is the last one.
    fn answer(&mut self, piece: &Piece, more: bool) -> bool {
        let goes_on = std::mem::replace(&mut self.down.open, more || matches!(piece, Piece::Literal(_)));
        let line = piece.octets();
        if self.protocol == Protocol::Smtp {
            let ends = line.get(3) != Some(&b'-');
            self.in_data |= ends && line.starts_with(b"354") && is(self.text(self.down.number), "DATA");
            return ends;
        }
        self.asked |= !goes_on && line.starts_with(b"+") && !self.up.open;
        let first = std::mem::replace(&mut self.down.begun, true);
        let greeting = self.down.number == 0 && !first;
        !goes_on && !self.down.open && (greeting || !line.starts_with(b"*") && !line.starts_with(b"+"))
    }

    /// Returns a command's line without its end, and without IMAP's tag.
    fn named(&self, piece: &Piece) -> String {
        let line = String::from_utf8_lossy(piece.octets());
        let line = line.trim_end_matches(['\r', '\n']);
        match self.protocol {
            Protocol::Imap => line.split_once(' ').map_or(line, |(_, command)| command).to_owned(),
            Protocol::Smtp => line.to_owned(),
        }
    }

    fn is_upgrade(&self, number: usize, piece: &Piece) -> bool {
        let line = piece.octets();
        let yes = match self.protocol {
            Protocol::Imap => line.split(|&octet| octet == b' ').nth(1).is_some_and(|word| word == b"OK"),
            Protocol::Smtp => line.starts_with(b"220"),
        };
        yes && is(self.text(number), "STARTTLS")
    }
}

impl Ledger {
    fn take(&mut self, direction: Direction, length: usize) -> u64 {
        let bytes = &mut self.bytes[usize::from(direction == Direction::Down)];
        let before = *bytes;
        *bytes += length as u64;
        before
    }

    /// Returns `true` if the command with this number is the nth with this prefix.
    pub(super) fn is_nth(&self, number: usize, text: &str, nth: usize) -> bool {
        let upto = self.commands.get(..number).unwrap_or_default();
        let alike = upto.iter().filter(|command| begins(command, text)).count();
        alike == nth && upto.last().is_some_and(|command| begins(command, text))
    }
}

fn is(command: &str, name: &str) -> bool {
    command.eq_ignore_ascii_case(name)
}

fn begins(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
