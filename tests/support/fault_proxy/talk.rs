//! One connection: a thread for each direction, and its faults.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::process::PATIENCE;
use super::dialogue::{Dialogue, Part};
use super::fault::{Direction, Fault};
use super::pieces::{Cutter, Piece, announcing, replaced};
use super::side::Side;
use super::{Shared, locked};

/// The time for which a silent connection stays open after the client has ended it: a peer that is gone does not answer
/// that either. On Windows, an answer would wake a client's thread that still reads.
const UNANSWERED: Duration = Duration::from_secs(5);

/// A client, its server, and their dialogue so far.
pub(super) struct Talk {
    number: usize,
    shared: Arc<Shared>,
    /// Taken out by a fault that ends it, so that the socket is closed then, not only when the server has ended too.
    client: Mutex<Option<Arc<Side>>>,
    server: Side,
    dialogue: Mutex<Dialogue>,
    silent: AtomicBool,
}

/// One direction's bytes in transit, and the faults that last.
struct Stream {
    direction: Direction,
    cutter: Cutter,
    out: Vec<u8>,
    drip: Option<Duration>,
    /// The change of the next literal's length, and whether its announcement changes, too.
    literal: Option<(isize, bool)>,
    stretch: Option<isize>,
    replace: Vec<(String, String)>,
}

impl Talk {
    pub(super) fn new(number: usize, shared: Arc<Shared>, client: Arc<Side>, server: Side) -> Self {
        let dialogue = Mutex::new(Dialogue::new(shared.protocol()));
        let client = Mutex::new(Some(client));
        Self { number, shared, client, server, dialogue, silent: AtomicBool::new(false) }
    }

    /// Passes from the client to the server, until either ends.
    pub(super) fn run_up(&self, client: &Side) {
        let met = self.shared.state().meets(self.number).map_or(Ok(()), |fault| self.strike(fault, None));
        // In any case the server sees an end, and the client has been told or doesn't listen.
        let _ = met.and_then(|()| self.pump(Direction::Up, || client.read()));
        if self.silent.load(Ordering::SeqCst) {
            client.drain();
        }
        self.server.finish();
        if self.silent.load(Ordering::SeqCst) {
            let _ = self.shared.pause(UNANSWERED);
        }
    }

    /// Passes from the server to the client, until either ends.
    pub(super) fn run_down(&self) {
        let _ = self.pump(Direction::Down, || self.server.read());
        if !self.silent.load(Ordering::SeqCst) {
            self.client().inspect(|client| client.finish());
            self.server.finish();
        }
        // Only a server that has ended, too, has carried out all commands.
        self.server.drain();
    }

    /// Ends the client's connection at the end of the proxy.
    pub(super) fn end(&self) {
        self.client().inspect(|client| client.close());
    }

    /// Ends the server's connection, for a server that doesn't do so itself.
    pub(super) fn end_server(&self) {
        self.server.close();
    }

    fn pump(&self, direction: Direction, read: impl Fn() -> io::Result<Vec<u8>>) -> io::Result<()> {
        let mut stream = Stream::new(direction);
        loop {
            let octets = read()?;
            if self.silent.load(Ordering::SeqCst) {
                return Err(over());
            }
            let at_end = octets.is_empty();
            if direction == Direction::Up && locked(&self.dialogue).take_refused_literal() {
                stream.cutter.expect_none();
            }
            stream.cutter.feed(&octets);
            while let Some(piece) = stream.cutter.next() {
                self.pass(&mut stream, &piece)?;
            }
            if at_end {
                stream.out.extend(stream.cutter.rest());
            }
            self.flush(&mut stream)?;
            if at_end {
                return Ok(());
            }
        }
    }

    fn pass(&self, stream: &mut Stream, piece: &Piece) -> io::Result<()> {
        let (part, strike) = self.note(stream.direction, piece);
        if let Some((_, Fault::Say(_) | Fault::Inject(_))) = strike {
            self.flush(stream)?; // What came with it is not answered before it is sent.
            self.wait_for_answers_before(part.here.number)?;
        }
        if let Some(length) = part.literal {
            stream.cutter.expect(length);
        }
        match strike {
            None => self.append(stream, piece, &part),
            Some((_, Fault::Literal { by, announced })) => {
                stream.literal = Some((by, announced));
                self.append(stream, piece, &part);
            }
            Some((_, Fault::Replace(from, to))) => {
                stream.replace.push((from, to));
                self.append(stream, piece, &part);
            }
            Some((offset, fault)) => {
                stream.out.extend_from_slice(&piece.octets()[..offset]);
                self.flush(stream)?;
                self.strike(fault, Some(stream))?;
                stream.out.extend_from_slice(&piece.octets()[offset..]);
            }
        }
        if part.upgrades { self.upgrade(stream) } else { Ok(()) }
    }

    /// Waits for the responses before an injected one, also when commands are pipelined.
    fn wait_for_answers_before(&self, number: usize) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while locked(&self.dialogue).answering() < number && Instant::now() < deadline {
            self.shared.pause(Duration::from_millis(1))?;
        }
        Ok(())
    }

    fn note(&self, direction: Direction, piece: &Piece) -> (Part, Option<(usize, Fault)>) {
        let encrypted = self.client().is_some_and(|client| client.is_encrypted());
        let mut dialogue = locked(&self.dialogue);
        let mut state = self.shared.state();
        let part = dialogue.note(direction, piece, &mut state.ledger);
        state.record(self.number, &part, dialogue.text(part.here.number), encrypted);
        let strike = state.strikes(self.number, &part, &dialogue);
        (part, strike)
    }

    /// Appends a piece, changed by the lasting faults.
    fn append(&self, stream: &mut Stream, piece: &Piece, part: &Part) {
        let (octets, changes) = stream.changed(piece, part);
        stream.out.extend(octets);
        self.shared.state().hits += changes;
    }

    /// Makes a fault happen; an error ends this direction.
    fn strike(&self, fault: Fault, stream: Option<&mut Stream>) -> io::Result<()> {
        match fault {
            Fault::Delay(by) => return self.shared.pause(by),
            Fault::Inject(text) => return self.tell(&text),
            Fault::Drip(every) => {
                if let Some(stream) = stream {
                    stream.drip = Some(every);
                }
                return Ok(());
            }
            Fault::Literal { .. } | Fault::Replace(..) => return Ok(()),
            Fault::Silence => self.silent.store(true, Ordering::SeqCst),
            Fault::Say(text) => {
                self.tell(&text)?;
                self.take_client().inspect(|client| client.close());
            }
            Fault::Close => drop(self.take_client().inspect(|client| client.close())),
            Fault::Reset => drop(self.take_client().inspect(|client| client.reset())),
        }
        Err(over())
    }

    fn tell(&self, text: &str) -> io::Result<()> {
        self.client().ok_or_else(over)?.write(text.as_bytes())
    }

    /// Begins TLS on both ends. The server's end is first: the client's next command, which the other thread passes
    /// on as soon as the client has received the response, must find TLS there.
    fn upgrade(&self, stream: &mut Stream) -> io::Result<()> {
        let tls = self.shared.tls();
        let client = self.client().ok_or_else(over)?;
        self.server.write_then_secure(b"", tls.connect())?;
        client.write_then_secure(&std::mem::take(&mut stream.out), tls.accept())
    }

    fn flush(&self, stream: &mut Stream) -> io::Result<()> {
        let out = std::mem::take(&mut stream.out);
        let Some(every) = stream.drip else { return self.write(stream.direction, &out) };
        out.chunks(1).try_for_each(|octet| {
            self.write(stream.direction, octet)?;
            self.shared.pause(every)
        })
    }

    fn write(&self, direction: Direction, octets: &[u8]) -> io::Result<()> {
        match direction {
            _ if octets.is_empty() => Ok(()),
            Direction::Up => self.server.write(octets),
            Direction::Down => self.client().ok_or_else(over)?.write(octets),
        }
    }

    fn client(&self) -> Option<Arc<Side>> {
        locked(&self.client).clone()
    }

    fn take_client(&self) -> Option<Arc<Side>> {
        locked(&self.client).take()
    }
}

impl Stream {
    fn new(direction: Direction) -> Self {
        let (cutter, out, replace) = (Cutter::default(), Vec::new(), Vec::new());
        Self { direction, cutter, out, drip: None, literal: None, stretch: None, replace }
    }

    /// Returns the piece with its texts replaced and its literal cut or lengthened, and the number of changes.
    fn changed(&mut self, piece: &Piece, part: &Part) -> (Vec<u8>, usize) {
        let mut octets = piece.octets().to_vec();
        if let Piece::Literal(_) = piece {
            let by = self.stretch.take();
            octets.resize(octets.len().saturating_add_signed(by.unwrap_or(0)), b'x');
            return (octets, usize::from(by.is_some()));
        }
        if let Some((by, announced)) = self.literal.take_if(|_| part.literal.is_some()) {
            self.stretch = Some(by);
            let length = part.literal.unwrap_or(0).saturating_add_signed(by);
            octets = if announced { announcing(&octets, length) } else { octets };
        }
        let mut changes = 0;
        for (from, to) in &self.replace {
            let other = replaced(&octets, from, to);
            changes += usize::from(other.is_some());
            octets = other.unwrap_or(octets);
        }
        (octets, changes)
    }
}

/// Returns the error that ends a direction after a fault.
fn over() -> io::Error {
    io::Error::other("a fault ended it")
}
