//! Connects to servers through proxies: SOCKS5 and HTTP CONNECT.
//!
//! A proxy may send the server's first octets right behind its own last one. Those are Python's, which gets the socket:
//! so no octet is received that is not the proxy's.

mod http;
mod socks5;
#[cfg(test)]
mod tests;

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::config::{Proxy, ProxyProtocol};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::tcp;

/// The wait after a refused login: many refusals could lock the account.
const LOGIN_WAIT: Duration = Duration::from_secs(60);

/// Connects to a server's host and port through the proxy, by which a name is resolved.
///
/// # Errors
/// `Timeout` after the deadline; `Config` for a host that the proxy can't take; else `Connect`, with a wait after a
/// refused login. `action` begins the text.
pub(crate) fn connect(
    proxy: &Proxy,
    (host, port): (&str, u16),
    deadline: Deadline,
    action: &str,
) -> Result<TcpStream> {
    let socket = tcp::connect(&proxy.host, proxy.port, deadline, action)?;
    let dialogue = Dialogue { socket: &socket, deadline, action };
    match proxy.protocol {
        ProxyProtocol::Socks5 => socks5::open(&dialogue, proxy.login.as_ref(), host, port),
        ProxyProtocol::Http => http::open(&dialogue, proxy.login.as_ref(), host, port),
    }?;
    Ok(socket)
}

/// The dialogue with a proxy on a new connection, up to the deadline.
struct Dialogue<'a> {
    socket: &'a TcpStream,
    deadline: Deadline,
    action: &'a str,
}

impl Dialogue<'_> {
    /// Sends a request, which is short.
    fn send(&self, octets: &[u8]) -> Result<()> {
        self.deadline.check(self.action)?;
        let mut socket = self.socket;
        let sent = socket.set_write_timeout(Some(self.left())).and_then(|()| socket.write_all(octets));
        sent.map_err(|error| self.lost(error))
    }

    /// Receives so many octets and no more.
    fn receive<const LENGTH: usize>(&self) -> Result<[u8; LENGTH]> {
        let mut octets = [0; LENGTH];
        let mut filled = 0;
        while filled < LENGTH {
            // Each time anew: a proxy may send an octet now and then.
            self.deadline.check(self.action).map_err(|error| error.with_source(silent()))?;
            let mut socket = self.socket;
            let timeout = socket.set_read_timeout(Some(self.left()));
            match timeout.and_then(|()| socket.read(&mut octets[filled..])) {
                Ok(0) => return Err(self.refused("the proxy closed the connection")),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(octets)
    }

    /// Returns the time left, which is not zero: that would mean no timeout.
    fn left(&self) -> Duration {
        self.deadline.left().max(Duration::from_millis(1))
    }

    /// Returns the error for a failure of the socket.
    fn lost(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                self.deadline.error(self.action).with_source(silent())
            }
            _ => self.refused("the connection to the proxy was lost").with_source(error),
        }
    }

    /// Returns the error for a reason of the proxy.
    fn refused(&self, reason: &str) -> Error {
        Error::during(ErrorKind::Connect, self.action, reason)
    }

    /// Returns the error for a login that the proxy has refused.
    fn refused_login(&self, reason: &str) -> Error {
        self.refused(reason).with_retry_after(Some(LOGIN_WAIT))
    }
}

/// Returns the cause of a timeout.
fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the proxy has not answered")
}
