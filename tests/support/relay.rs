//! A TCP relay on the loopback: the same server under another address, with connections that can be cut or stalled.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::listening::connections;
use crate::process::listen;

/// A relay that runs until the process ends.
pub struct Relay {
    port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
    gate: Arc<Gate>,
}

/// The end of the stall.
#[derive(Default)]
pub(crate) struct Gate(Mutex<Option<Instant>>);

impl Relay {
    /// A loopback address that no certificate names.
    pub const ELSEWHERE: &'static str = "127.0.0.2";

    /// Starts a relay from an address to a port on `127.0.0.1`.
    pub fn start(host: &str, to: u16) -> Self {
        let listener = listen(host);
        let port = listener.local_addr().expect("the relay's port").port();
        let (open, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Gate::default()));
        let relay = Self { port, open: Arc::clone(&open), gate: Arc::clone(&gate) };
        thread::spawn(move || {
            for client in connections(&listener) {
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) {
                    both_ways(client, server, &open, &gate);
                }
            }
        });
        relay
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection, without a goodbye; new connections are accepted.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stalls all traffic for this long; connections stay open, and new ones are accepted.
    pub fn stall(&self, long: Duration) {
        *self.gate.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + long);
    }
}

impl Gate {
    fn pass(&self) {
        while let Some(left) = self.left() {
            thread::park_timeout(left);
        }
    }

    fn left(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// Passes octets both ways, until both sides have closed.
pub fn pass_both_ways(client: TcpStream, server: TcpStream) {
    both_ways(client, server, &Mutex::default(), &Arc::default());
}

/// Passes octets both ways, on threads.
pub(crate) fn both_ways(
    client: TcpStream,
    server: TcpStream,
    open: &Mutex<Vec<TcpStream>>,
    gate: &Arc<Gate>,
) {
    let (Ok(reader), Ok(writer)) = (client.try_clone(), server.try_clone()) else { return };
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    open.extend([client.try_clone(), server.try_clone()].into_iter().flatten());
    let (one, other) = (Arc::clone(gate), Arc::clone(gate));
    thread::spawn(move || pass(reader, writer, &one));
    thread::spawn(move || pass(server, client, &other));
}

fn pass(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut octets = vec![0; 16 << 10];
    let mut one = || -> io::Result<bool> {
        let length = from.read(&mut octets)?;
        gate.pass();
        to.write_all(&octets[..length])?;
        Ok(length > 0)
    };
    while one().unwrap_or(false) {}
    let _ = to.shutdown(Shutdown::Write);
}
