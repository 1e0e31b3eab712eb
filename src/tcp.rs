//! TCP connections within a deadline. Python's resolver and connect take no deadline over several addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// Resolves the host and connects to the first of its addresses that accepts.
///
/// # Errors
/// `Timeout` after the deadline, else `Connect`; `action` begins the text.
pub(crate) fn connect(host: &str, port: u16, deadline: Deadline, action: &str) -> Result<TcpStream> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => deadline.error(action).with_source(error),
        _ => Error::new(ErrorKind::Connect, format!("{action} failed")).with_source(error),
    };
    let addresses = resolve(host, port, deadline).map_err(failed)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for (at, address) in addresses.iter().enumerate() {
        // The remaining addresses share the remaining time.
        let remaining = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let timeout = deadline.left() / remaining;
        if timeout.is_zero() {
            return Err(deadline.error(action));
        }
        match TcpStream::connect_timeout(address, timeout.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Returns the host's addresses. The system's resolver runs on a thread of its own, which alone waits when it hangs.
fn resolve(host: &str, port: u16, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    let look_up = move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        let _ = sender.send(addresses); // The receiver is gone after the deadline.
    };
    thread::Builder::new().name("pymail-resolver".into()).spawn(look_up)?;
    receiver.recv_timeout(deadline.left()).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn connected(host: &str, port: u16, within: Duration) -> Result<TcpStream> {
        connect(host, port, Deadline::after(within), "connecting")
    }

    #[test]
    fn a_name_leads_to_the_first_of_its_addresses_that_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // localhost is ::1 first, where it is both.
        connected("localhost", port, Duration::from_secs(60)).unwrap();
        connected("127.0.0.1", port, Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_closed_port_and_an_unknown_name_are_connect_errors() {
        for host in ["127.0.0.1", "no-such-host.invalid"] {
            let error = connected(host, 1, Duration::from_secs(60)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
        }
    }

    #[test]
    fn a_port_that_takes_no_connection_costs_one_deadline() {
        // With a full backlog, the kernel answers no further SYN.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let short = Duration::from_millis(100);
        let waiting: Vec<_> =
            std::iter::from_fn(|| TcpStream::connect_timeout(&address, short).ok()).collect();
        let error = connected("127.0.0.1", address.port(), short).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}, behind {} others", waiting.len());
    }
}
