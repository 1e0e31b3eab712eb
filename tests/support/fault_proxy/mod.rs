//! A proxy between a client and a real mail server that injects faults where a test wants them.
//!
//! It ends TLS and begins it again, implicit or by STARTTLS, with a certificate of the test's own authority. So it
//! parses IMAP and SMTP: commands, responses, literals, the end of data.

mod dialogue;
mod fault;
pub(crate) mod pieces;
pub(crate) mod side;
mod state;
mod talk;
pub(crate) mod tls;

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use self::dialogue::Protocol;
pub use self::fault::{Direction, Fault, Place, Plan};
use self::side::Side;
pub use self::state::Exchange;
use self::state::State;
use self::talk::Talk;
use self::tls::Tls;
use super::certs::Issued;
use super::listening::connections;
use super::process::PATIENCE;

/// The begin of TLS, on both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Before the first byte.
    Tls,
    /// After STARTTLS, if the client says it and the server agrees.
    StartTls,
}

/// The server, the protocol and the certificates.
pub struct Route<'a> {
    /// The protocol.
    pub protocol: Protocol,
    /// The begin of TLS.
    pub security: Security,
    /// The server's port on the loopback.
    pub to: u16,
    /// The certificate that the client sees.
    pub shown: &'a Issued,
    /// The authority of the server's certificate, as PEM.
    pub trusted_pem: &'a str,
}

/// A running proxy. A drop ends its connections, and returns when the servers have ended theirs: by then they have
/// carried out all commands that came through it.
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    protocol: Protocol,
    security: Security,
    to: u16,
    tls: Tls,
    state: Mutex<State>,
    talks: Mutex<Vec<Running>>,
    stopped: Mutex<bool>,
    wake: Condvar,
}

/// A connection and its threads.
type Running = (Weak<Talk>, [JoinHandle<()>; 2]);

impl FaultProxy {
    /// Listens on a loopback port, and passes everything on.
    pub fn start(route: &Route<'_>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the proxy");
        let port = listener.local_addr().expect("the proxy's port").port();
        let &Route { protocol, security, to, shown, trusted_pem } = route;
        let shared = Arc::new(Shared {
            protocol,
            security,
            to,
            tls: Tls::new(shown, trusted_pem),
            state: Mutex::default(),
            talks: Mutex::default(),
            stopped: Mutex::new(false),
            wake: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let accepting = spawn("proxy-accept", move || accept(&listener, &accepting));
        Self { port, shared, accepting: Some(accepting) }
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Adds a fault to the planned ones.
    pub fn plan(&self, plan: Plan) {
        self.shared.state().plans.push(plan);
    }

    /// Removes all plans; faults that last on a connection go on there.
    pub fn clear(&self) {
        self.shared.state().plans.clear();
    }

    /// Forgets the exchanges, for runs of hours; counts over all connections begin anew.
    pub fn forget(&self) {
        let mut state = self.shared.state();
        state.exchanges.clear();
        state.ledger = dialogue::Ledger::default();
    }

    /// Returns the number of strikes so far.
    pub fn hits(&self) -> usize {
        self.shared.state().hits
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Returns the number of connections that are open on either end.
    pub fn open(&self) -> usize {
        locked(&self.shared.talks).iter().filter(|(talk, _)| talk.strong_count() > 0).count()
    }

    /// Returns every command and its response so far, in order of the commands.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.state().exchanges.clone()
    }

    /// Returns the commands with this prefix, in order.
    pub fn heard(&self, beginning: &str) -> Vec<String> {
        let commands = self.exchanges().into_iter().map(|exchange| exchange.command);
        commands.filter(|command| command.starts_with(beginning)).collect()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        *locked(&self.shared.stopped) = true;
        self.shared.wake.notify_all();
        // Wakes the thread that accepts.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        self.accepting.take().map(JoinHandle::join);
        let talks = std::mem::take(&mut *locked(&self.shared.talks));
        let alive = || talks.iter().filter_map(|(talk, _)| talk.upgrade());
        alive().for_each(|talk| talk.end());
        let deadline = Instant::now() + PATIENCE;
        while talks.iter().any(|(talk, _)| talk.strong_count() > 0) && Instant::now() < deadline {
            thread::park_timeout(Duration::from_millis(1));
        }
        alive().for_each(|talk| talk.end_server());
        for thread in talks.into_iter().flat_map(|(_, threads)| threads) {
            // Its panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Waits; returns an error if the proxy ends meanwhile.
    fn pause(&self, time: Duration) -> io::Result<()> {
        let stopped = locked(&self.stopped);
        let waited = self.wake.wait_timeout_while(stopped, time, |stopped| !*stopped);
        let (stopped, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *stopped { Err(io::Error::other("the proxy ends")) } else { Ok(()) }
    }
}

/// Accepts connections until the proxy ends.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in connections(listener) {
        if *locked(&shared.stopped) {
            return;
        }
        // Without a server, the client sees a closed connection.
        let _ = begin(shared, client);
    }
}

fn begin(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let implicit = shared.security == Security::Tls;
    let client = Arc::new(Side::new(client, implicit.then(|| shared.tls.accept()))?);
    let number = {
        let mut state = shared.state();
        state.connections += 1;
        state.connections
    };
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.to))?;
    let server = Side::new(server, implicit.then(|| shared.tls.connect()))?;
    let talk = Arc::new(Talk::new(number, Arc::clone(shared), Arc::clone(&client), server));
    let (weak, upward) = (Arc::downgrade(&talk), Arc::clone(&talk));
    let threads =
        [spawn("proxy-up", move || upward.run_up(&client)), spawn("proxy-down", move || talk.run_down())];
    let mut talks = locked(&shared.talks);
    talks.retain(|(talk, _)| talk.strong_count() > 0);
    talks.push((weak, threads));
    Ok(())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name.into()).spawn(body).expect("a thread for the proxy")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
