//! A client and its server: what each has said, in the order in which the proxy asks for it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use super::super::fault_proxy::pieces::{Cutter, Piece, literal_after};
use super::super::fault_proxy::side::Side;
use super::{PATIENCE, spawn};

/// Both ends of a connection. A thread for each end reads, so that a wait for either is possible.
pub(super) struct Link {
    pub(super) client: Arc<Side>,
    pub(super) server: Arc<Side>,
    octets: Receiver<(End, Vec<u8>)>,
    from_client: Heard,
    from_server: Heard,
}

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

/// The octets of one end that are not used yet.
#[derive(Default)]
struct Heard {
    cutter: Cutter,
    ended: bool,
    /// A response that goes on behind a literal.
    response: Vec<u8>,
}

/// The next thing that happens.
pub(super) enum Next {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Time,
}

impl Link {
    pub(super) fn new(client: Arc<Side>, server: Arc<Side>) -> Self {
        let (sender, octets) = channel();
        read(End::Client, Arc::clone(&client), sender.clone());
        read(End::Server, Arc::clone(&server), sender);
        Self { client, server, octets, from_client: Heard::default(), from_server: Heard::default() }
    }

    /// Returns the next line of the client.
    pub(super) fn client_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(piece) = self.from_client.cutter.next() {
                return Ok(piece.octets().to_vec());
            }
            self.receive(None)?;
        }
    }

    /// Returns the next octets of the client, a literal.
    pub(super) fn client_octets(&mut self, length: usize) -> io::Result<Vec<u8>> {
        self.from_client.cutter.expect(length);
        self.client_line()
    }

    /// Returns the next response of the server, with its literals.
    pub(super) fn response(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(response) = self.from_server.response() {
                return Ok(response);
            }
            self.receive(Some(Instant::now() + PATIENCE))?;
        }
    }

    /// Returns the next line of either end.
    pub(super) fn next(&mut self, deadline: Option<Instant>) -> io::Result<Next> {
        loop {
            if let Some(response) = self.from_server.response() {
                return Ok(Next::Server(response));
            }
            if let Some(piece) = self.from_client.cutter.next() {
                return Ok(Next::Client(piece.octets().to_vec()));
            }
            if !self.receive(deadline)? {
                return Ok(Next::Time);
            }
        }
    }

    /// Takes octets of either end; returns `false` at the deadline.
    fn receive(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        if self.from_client.ended || self.from_server.ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let received = match deadline {
            None => self.octets.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => self.octets.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        };
        let (end, octets) = match received {
            Ok(received) => received,
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let heard = if end == End::Client { &mut self.from_client } else { &mut self.from_server };
        heard.ended = octets.is_empty();
        heard.cutter.feed(&octets);
        Ok(true)
    }

    pub(super) fn to_client(&self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.client.write(text.as_ref())
    }

    pub(super) fn to_server(&self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.server.write(text.as_ref())
    }
}

impl Drop for Link {
    /// Ends both ends, so that the threads that read them end.
    fn drop(&mut self) {
        self.client.finish();
        self.server.close();
        self.client.close();
    }
}

impl Heard {
    /// Returns the next whole response.
    fn response(&mut self) -> Option<Vec<u8>> {
        while let Some(piece) = self.cutter.next() {
            self.response.extend_from_slice(piece.octets());
            match piece {
                Piece::Literal(_) => {}
                Piece::Line(line) => match literal_after(&line) {
                    Some(length) => self.cutter.expect(length),
                    None => return Some(std::mem::take(&mut self.response)),
                },
            }
        }
        None
    }
}

/// Reads one end until it ends, whose sign is an empty piece.
fn read(end: End, side: Arc<Side>, octets: Sender<(End, Vec<u8>)>) {
    spawn("dialect-read", move || {
        loop {
            let read = side.read().unwrap_or_default();
            let ended = read.is_empty();
            if octets.send((end, read)).is_err() || ended {
                return;
            }
        }
    });
}
