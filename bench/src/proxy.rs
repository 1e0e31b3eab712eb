//! A TCP proxy that makes a round trip longer: it delays every chunk, without limiting the bandwidth.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// A chunk and the time when it is due; `None` at the end of the stream.
type Chunk = (Instant, Vec<u8>);

/// Listens on a free port of 127.0.0.1 and passes everything on to `upstream`, `rtt / 2` later, until this process
/// ends.
///
/// # Errors
/// No port can be bound.
pub fn start(upstream: u16, rtt: Duration) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    named("accept", move || {
        for client in listener.incoming().flatten() {
            if let Err(error) = join(client, upstream, rtt / 2) {
                eprintln!("proxy: {error}");
            }
        }
    })?;
    Ok(port)
}

fn join(client: TcpStream, upstream: u16, delay: Duration) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", upstream))?;
    pump(client.try_clone()?, server.try_clone()?, delay)?;
    pump(server, client, delay)
}

/// Starts the two threads of one direction: one stamps each chunk, one sends it when it is due.
fn pump(from: TcpStream, to: TcpStream, delay: Duration) -> io::Result<()> {
    to.set_nodelay(true)?;
    let (sender, receiver) = mpsc::channel();
    named("hold", move || hold(from, &sender, delay))?;
    named("release", move || release(to, &receiver))
}

fn hold(mut from: TcpStream, chunks: &Sender<Chunk>, delay: Duration) {
    let mut buffer = vec![0; 1 << 18];
    loop {
        // A reset ends the stream like any other end: the other side sees a close.
        let length = from.read(&mut buffer).unwrap_or(0);
        let sent = chunks.send((Instant::now() + delay, buffer[..length].to_vec()));
        if length == 0 || sent.is_err() {
            return;
        }
    }
}

fn release(mut to: TcpStream, chunks: &Receiver<Chunk>) {
    while let Ok((due, chunk)) = chunks.recv() {
        while let Some(early) = due.checked_duration_since(Instant::now()).filter(|early| !early.is_zero()) {
            thread::park_timeout(early);
        }
        if chunk.is_empty() || to.write_all(&chunk).is_err() {
            break;
        }
    }
    // Fails when the peer has closed both ways already.
    let _ = to.shutdown(Shutdown::Write);
}

fn named(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(format!("proxy-{name}")).spawn(body).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_that_long_and_loses_nothing() {
        let echo = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (upstream, rtt) = (echo.local_addr().unwrap().port(), Duration::from_secs(1));
        let server = thread::spawn(move || {
            let (stream, _) = echo.accept().unwrap();
            io::copy(&mut &stream, &mut &stream).unwrap()
        });
        let client = TcpStream::connect(("127.0.0.1", start(upstream, rtt).unwrap())).unwrap();
        let (sent, begin) = (vec![7; 4 << 20], Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| {
                (&client).write_all(&sent).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            (&client).read_to_end(&mut received).unwrap();
            assert!(received == sent);
        });
        // If chunks were delayed one after the other, sixteen would take sixteen times as long.
        assert!((rtt..rtt * 8).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        assert_eq!(server.join().unwrap(), 4 << 20);
    }
}
