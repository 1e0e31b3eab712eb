//! One end of a connection: a socket, with or without TLS around it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::Connection;
use socket2::SockRef;

/// The longest wait of a read on Windows before it looks if the side was closed.
const LONGEST_READ: Duration = Duration::from_millis(20);

/// The client's or the server's end. One thread reads, several may write.
pub(crate) struct Side {
    socket: TcpStream,
    /// Set when no more is read.
    is_closed: AtomicBool,
    tls: Mutex<Option<Connection>>,
}

impl Side {
    pub(crate) fn new(socket: TcpStream, tls: Option<Connection>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        // A shutdown does not wake a thread that reads there.
        socket.set_read_timeout(cfg!(windows).then_some(LONGEST_READ))?;
        let side = Self { socket, is_closed: AtomicBool::new(false), tls: Mutex::new(tls) };
        side.flush(&mut side.locked())?;
        Ok(side)
    }

    /// Reads the next bytes, out of TLS; empty at the end of the stream.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut raw = [0; 16 << 10];
        loop {
            let length = self.receive(&mut raw)?;
            if length == 0 {
                return Ok(Vec::new());
            }
            let plain = self.opened(&raw[..length])?;
            if !plain.is_empty() {
                return Ok(plain);
            }
        }
    }

    /// Reads the next bytes as they are; none at the end of the stream.
    fn receive(&self, raw: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.socket).read(raw) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    if self.is_closed.load(Ordering::SeqCst) {
                        return Ok(0);
                    }
                }
                read => return read,
            }
        }
    }

    fn opened(&self, mut raw: &[u8]) -> io::Result<Vec<u8>> {
        let mut tls = self.locked();
        let Some(connection) = tls.as_mut() else { return Ok(raw.to_vec()) };
        let mut plain = Vec::new();
        let mut outcome = Ok(());
        while !raw.is_empty() && outcome.is_ok() {
            connection.read_tls(&mut raw)?;
            outcome = take(connection, &mut plain);
        }
        // The handshake's messages, or the alert with the reason of a failure.
        self.flush(&mut tls)?;
        outcome.map(|()| plain)
    }

    pub(crate) fn write(&self, plain: &[u8]) -> io::Result<()> {
        self.write_into(&mut self.locked(), plain)
    }

    /// Writes the last bytes before TLS, and begins TLS before the other thread can read the bytes after them.
    pub(crate) fn write_then_secure(&self, plain: &[u8], connection: Connection) -> io::Result<()> {
        let mut tls = self.locked();
        self.write_into(&mut tls, plain)?;
        *tls = Some(connection);
        self.flush(&mut tls)
    }

    fn write_into(&self, tls: &mut Option<Connection>, plain: &[u8]) -> io::Result<()> {
        match tls {
            None => (&self.socket).write_all(plain),
            Some(connection) => {
                connection.set_buffer_limit(None);
                connection.writer().write_all(plain)?;
                self.flush(tls)
            }
        }
    }

    fn flush(&self, tls: &mut Option<Connection>) -> io::Result<()> {
        while let Some(connection) = tls.as_mut().filter(|connection| connection.wants_write()) {
            connection.write_tls(&mut &self.socket)?;
        }
        Ok(())
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.locked().as_ref().is_some_and(|connection| !connection.is_handshaking())
    }

    /// Ends writing; reading goes on.
    pub(crate) fn finish(&self) {
        // Fails if the other side has closed first.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Ends both directions; a thread that reads here wakes up.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Makes the last owner's drop reset the connection, and wakes a thread that reads here.
    pub(crate) fn reset(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    /// Reads and discards until the other side ends.
    pub(crate) fn drain(&self) {
        let mut raw = [0; 16 << 10];
        while self.receive(&mut raw).is_ok_and(|length| length > 0) {}
    }

    fn locked(&self) -> MutexGuard<'_, Option<Connection>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the bytes that have come through TLS since the last call.
fn take(connection: &mut Connection, plain: &mut Vec<u8>) -> io::Result<()> {
    let state = connection.process_new_packets().map_err(io::Error::other)?;
    let begin = plain.len();
    plain.resize(begin + state.plaintext_bytes_to_read(), 0);
    connection.reader().read_exact(&mut plain[begin..])
}
