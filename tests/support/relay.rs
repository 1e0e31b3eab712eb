//! A TCP relay on another loopback address: the same server under a name that its certificate does not have.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

/// Passes connections on until the process ends.
pub struct Relay {
    port: u16,
}

impl Relay {
    /// Where relays listen.
    pub const HOST: &'static str = "127.0.0.2";

    /// Starts a relay to a port on `127.0.0.1`.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Self::HOST, 0)).expect("a port for the relay");
        let own = listener.local_addr().expect("the relay's port").port();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    both_ways(client, server);
                }
            }
        });
        Self { port: own }
    }

    /// Its port on [`HOST`](Self::HOST).
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn both_ways(client: TcpStream, server: TcpStream) {
    if let (Ok(reader), Ok(writer)) = (client.try_clone(), server.try_clone()) {
        thread::spawn(move || pass(reader, writer));
        thread::spawn(move || pass(server, client));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
