//! A TCP relay on the loopback: the same server under another address, and connections that can be cut.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Passes connections on until the process ends.
pub struct Relay {
    port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// An address of the loopback that no certificate is made for.
    pub const ELSEWHERE: &'static str = "127.0.0.2";

    /// Starts a relay from an address to a port on `127.0.0.1`.
    pub fn start(host: &str, to: u16) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port for the relay");
        let port = listener.local_addr().expect("the relay's port").port();
        let open = Arc::new(Mutex::new(Vec::new()));
        let relay = Self { port, open: Arc::clone(&open) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) {
                    both_ways(client, server, &open);
                }
            }
        });
        relay
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection, without a word to either side; new ones are welcome.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn both_ways(client: TcpStream, server: TcpStream, open: &Mutex<Vec<TcpStream>>) {
    let (Ok(reader), Ok(writer)) = (client.try_clone(), server.try_clone()) else { return };
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    open.extend([client.try_clone(), server.try_clone()].into_iter().flatten());
    thread::spawn(move || pass(reader, writer));
    thread::spawn(move || pass(server, client));
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
