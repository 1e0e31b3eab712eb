//! TCP connections within a deadline, to the first of several addresses that answers. Python's connect has neither.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result, bounded};

/// The time from the begin of one attempt to that of the next (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Resolves the host and connects to the first of its addresses that accepts.
///
/// # Errors
/// `Timeout` after the deadline, else `Connect`; `action` begins the text, and the cause names each address.
pub(crate) fn connect(host: &str, port: u16, deadline: Deadline, action: &str) -> Result<TcpStream> {
    deadline.check(action)?;
    let connected =
        resolve(host, port, deadline).and_then(|addresses| race(&addresses, ATTEMPT_DELAY, deadline));
    connected.map_err(|error| match deadline.check(action) {
        Err(timeout) => timeout.with_source(error),
        Ok(()) => Error::new(ErrorKind::Connect, format!("{action} failed")).with_source(error),
    })
}

/// The outcome of an attempt to connect to an address.
type Outcome = (SocketAddr, io::Result<TcpStream>);

/// Connects to the first address that accepts ("Happy Eyeballs", RFC 8305): another attempt begins after each
/// delay, and as soon as one fails.
///
/// Each attempt is a thread, since std has no connect that can be waited for beside others. Those that come too late
/// close their sockets; those without an answer end by the deadline.
fn race(addresses: &[SocketAddr], delay: Duration, deadline: Deadline) -> io::Result<TcpStream> {
    let (sender, outcomes) = mpsc::channel::<Outcome>();
    let mut waiting = interleaved(addresses);
    let (mut under_way, mut failures) = (Vec::new(), Vec::new());
    while !waiting.is_empty() || !under_way.is_empty() {
        if let Some(address) = waiting.pop_front() {
            under_way.push(address);
            attempt(address, deadline, &sender);
        }
        let left = deadline.left();
        let patience = if waiting.is_empty() { left } else { left.min(delay) };
        match outcomes.recv_timeout(patience) {
            Ok((_, Ok(socket))) => return Ok(socket),
            Ok((address, Err(error))) => {
                under_way.iter().position(|other| *other == address).map(|at| under_way.swap_remove(at));
                failures.push(format!("{address}: {error}"));
            }
            Err(_) if deadline.left().is_zero() => break,
            Err(_) => {}
        }
    }
    failures.extend(under_way.iter().map(|address| format!("{address}: no answer")));
    failures.extend(waiting.iter().map(|address| format!("{address}: no time left")));
    let text = if addresses.is_empty() { "the host name has no address".into() } else { failures.join("; ") };
    Err(io::Error::other(bounded(&text)))
}

/// Begins an attempt, which sends its outcome.
fn attempt(address: SocketAddr, deadline: Deadline, sender: &mpsc::Sender<Outcome>) {
    let answer = sender.clone();
    let connect = move || {
        let timeout = deadline.left().max(Duration::from_millis(1));
        // The receiver is gone when another attempt has won: the socket is closed.
        let _ = answer.send((address, TcpStream::connect_timeout(&address, timeout)));
    };
    if let Err(error) = thread::Builder::new().name("pymail-connect".into()).spawn(connect) {
        let _ = sender.send((address, Err(error)));
    }
}

/// Returns the addresses with the families by turns (RFC 8305, section 4). The resolver puts the better family first:
/// IPv6, but where this machine has no route for it, or is configured otherwise (RFC 6724).
fn interleaved(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first() else { return VecDeque::new() };
    let (one, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut all = VecDeque::with_capacity(addresses.len());
    while all.len() < addresses.len() {
        all.extend(one.next().into_iter().chain(other.next()));
    }
    all
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
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::time::Instant;

    use pymail_test_support::process::listen;

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

    /// A port that answers no further SYN: its backlog is full.
    struct Dead {
        listener: TcpListener,
        waiting: Vec<TcpStream>,
    }

    impl Dead {
        fn at(ip: &str) -> Self {
            let listener = listen(ip);
            let address = listener.local_addr().unwrap();
            let (mut waiting, mut failures) = (Vec::new(), 0);
            // On a busy machine, one attempt may fail before the backlog is full.
            while failures < 3 {
                match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
                    Ok(stream) => waiting.push(stream),
                    Err(_) => failures += 1,
                }
            }
            Self { listener, waiting }
        }

        fn address(&self) -> SocketAddr {
            self.listener.local_addr().unwrap()
        }
    }

    fn listening() -> (TcpListener, SocketAddr) {
        let listener = listen("127.0.0.3");
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Returns an address whose port is closed.
    fn closed() -> SocketAddr {
        listening().1
    }

    /// Returns the text of a refusal, which each system has in its own words.
    fn refusal(closed: SocketAddr) -> String {
        format!("{closed}: {}", TcpStream::connect(closed).unwrap_err())
    }

    const LONG: Duration = Duration::from_secs(120);

    #[test]
    fn a_port_that_takes_no_connection_costs_one_deadline() {
        let dead = Dead::at("127.0.0.1");
        let error = connected("127.0.0.1", dead.address().port(), Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}, behind {} others", dead.waiting.len());
        assert!(format!("{error:#}").contains(&dead.address().to_string()), "{error:#}");
    }

    #[test]
    fn dead_and_closed_addresses_cost_little_and_their_attempts_are_closed() {
        let (dead, (_listener, live)) = (Dead::at("127.0.0.2"), listening());
        let began = Instant::now();
        let socket =
            race(&[dead.address(), closed(), dead.address(), live], ATTEMPT_DELAY, Deadline::after(LONG))
                .unwrap();
        assert_eq!(socket.peer_addr().unwrap(), live);
        assert!(began.elapsed() < LONG / 4, "a share of the deadline was waited for");
        // The late attempts: the queue has room for them when the others are accepted.
        let Dead { listener, waiting } = dead;
        let late = waiting.len() + 2;
        drop(waiting);
        for _ in 0..late {
            let (mut accepted, _) = listener.accept().unwrap();
            accepted.set_read_timeout(Some(LONG)).unwrap();
            assert_eq!(accepted.read(&mut [0]).unwrap(), 0, "closed");
        }
    }

    #[test]
    fn the_first_address_wins_if_it_accepts_and_the_next_one_if_it_refuses() {
        let ((_one, first), (_other, second)) = (listening(), listening());
        for addresses in [[first, second, closed()], [closed(), first, second], [closed(), closed(), first]] {
            // With a delay of all the time, a refusal alone begins another attempt.
            let socket = race(&addresses, LONG, Deadline::after(LONG)).unwrap();
            assert_eq!(socket.peer_addr().unwrap(), first);
        }
    }

    #[test]
    fn the_errors_of_all_addresses_are_in_the_text() {
        let (one, other) = (closed(), closed());
        let error = race(&[one, other], LONG, Deadline::after(LONG)).unwrap_err().to_string();
        for address in [one, other] {
            assert!(error.contains(&refusal(address)), "{error}");
        }
        let many = vec![one; 30];
        assert!(race(&many, LONG, Deadline::after(LONG)).unwrap_err().to_string().len() < 1_000);
        assert_eq!(
            race(&[], LONG, Deadline::after(LONG)).unwrap_err().to_string(),
            "the host name has no address"
        );
    }

    #[test]
    fn addresses_without_an_answer_cost_one_deadline_together() {
        let (one, other, closed) = (Dead::at("127.0.0.2"), Dead::at("127.0.0.2"), closed());
        // Windows takes two seconds to believe a refusal.
        let seconds = if cfg!(windows) { 10 } else { 2 };
        let (delay, deadline) = (Duration::from_millis(1), Deadline::after(Duration::from_secs(seconds)));
        let error = race(&[one.address(), closed, other.address()], delay, deadline).unwrap_err().to_string();
        assert!(deadline.left().is_zero(), "{error}");
        assert!(error.contains(&refusal(closed)), "{error}");
        for dead in [one, other] {
            assert!(error.contains(&dead.address().to_string()), "{error}");
        }
    }

    #[test]
    fn the_families_take_turns_from_the_first_one_on() {
        let sorted = |addresses: &[&str]| -> Vec<String> {
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 1)).collect();
            interleaved(&addresses).iter().map(|address| address.ip().to_string()).collect()
        };
        assert_eq!(sorted(&["::1", "::2", "::3", "1.1.1.1"]), ["::1", "1.1.1.1", "::2", "::3"]);
        assert_eq!(sorted(&["::1", "1.1.1.1", "1.1.1.2", "::2"]), ["::1", "1.1.1.1", "::2", "1.1.1.2"]);
        assert_eq!(sorted(&["1.1.1.1", "1.1.1.2", "::1"]), ["1.1.1.1", "::1", "1.1.1.2"]);
        assert_eq!(sorted(&["1.1.1.1"]), ["1.1.1.1"]);
        assert!(sorted(&[]).is_empty());
    }
}
