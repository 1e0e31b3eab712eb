//! Connecting within a deadline: names are looked up and addresses tried here, because Python can't be hurried.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// Connects to the first address of the host that answers.
pub(crate) fn dial(host: &str, port: u16, deadline: Deadline, action: &str) -> Result<TcpStream> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => deadline.error(action).with_source(error),
        _ => Error::new(ErrorKind::Connect, format!("{action}: {error}")).with_source(error),
    };
    let addresses = look_up(host, port, deadline).map_err(failed)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (at, address) in addresses.iter().enumerate() {
        // Each address that is still to be tried has the same part of what is left.
        let others = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let patience = deadline.left() / others;
        if patience.is_zero() {
            return Err(deadline.error(action));
        }
        match TcpStream::connect_timeout(address, patience.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// The host's addresses. A resolver that does not answer keeps a thread waiting, not the caller.
fn look_up(host: &str, port: u16, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (found, answer) = mpsc::channel();
    let name = host.to_owned();
    let resolve = move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        let _ = found.send(addresses); // nobody listens any more when it took too long
    };
    thread::Builder::new().name("pymail-resolver".into()).spawn(resolve)?;
    answer.recv_timeout(deadline.left()).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn dialled(host: &str, port: u16, within: Duration) -> Result<TcpStream> {
        dial(host, port, Deadline::after(within), "connecting")
    }

    #[test]
    fn a_name_leads_to_whichever_of_its_addresses_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // localhost is ::1 first, where it is both.
        dialled("localhost", port, Duration::from_secs(60)).unwrap();
        dialled("127.0.0.1", port, Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_closed_port_and_an_unknown_name_are_connect_errors() {
        for host in ["127.0.0.1", "no-such-host.invalid"] {
            let error = dialled(host, 1, Duration::from_secs(60)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
        }
    }

    #[test]
    fn a_port_that_takes_no_connection_costs_one_deadline() {
        // A full backlog: the kernel answers nobody any more.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let short = Duration::from_millis(100);
        let waiting: Vec<_> =
            std::iter::from_fn(|| TcpStream::connect_timeout(&address, short).ok()).collect();
        let error = dialled("127.0.0.1", address.port(), short).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}, behind {} others", waiting.len());
    }
}
