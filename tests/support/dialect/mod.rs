//! A proxy in front of Dovecot and Postfix that speaks as a mail provider does.
//!
//! **The dialects are from documents, not from the providers' own servers**: from public transcripts in issue trackers
//! and from the providers' help pages, which each table names. They show that pymail gets along with what is written
//! there, and nothing more.
//!
//! ```text
//!  pymail ──TLS──▶ DialectProxy: a table (table.rs, providers/) ──plain──▶ Dovecot
//!                  one thread a connection; one command at a time ──TLS──▶ Postfix
//! ```
//!
//! The proxy checks credentials itself and logs in behind with the servers' own password. A command of an extension that
//! the dialect does not have is refused, as the provider would.

mod imap;
mod link;
mod login;
mod providers;
mod search;
mod smtp;
mod table;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::link::Link;
pub use self::login::TOKEN;
pub use self::providers::{
    ALL, FASTMAIL, GMAIL, GMX, ICLOUD, MICROSOFT, NETEASE, PROTON, QQ, YAHOO, YANDEX, ZOHO,
};
pub use self::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};
use super::certs::Issued;
use super::fault_proxy::side::Side;
use super::fault_proxy::tls::Tls;
use super::listening::connections;

/// The side of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// To a Dovecot's port for plaintext.
    Imap,
    /// To a Postfix's port with implicit TLS.
    Smtp,
}

/// A running proxy of one protocol. A drop ends its connections.
pub struct DialectProxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// The state of all connections.
struct Shared {
    dialect: Dialect,
    protocol: Protocol,
    to: u16,
    tls: Tls,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_stopped: bool,
    /// Commands so far, without tags and secrets.
    heard: Vec<String>,
    planned: Vec<Planned>,
    connections: usize,
    logged_in: usize,
    open: Vec<(Arc<Side>, Arc<Side>, JoinHandle<()>)>,
}

/// A refusal of the next commands with this prefix.
struct Planned {
    prefix: String,
    text: &'static str,
    left: usize,
}

impl DialectProxy {
    /// Listens on a loopback port; the client sees the certificate, and the server's authority is trusted.
    pub fn start(dialect: &Dialect, protocol: Protocol, to: u16, shown: &Issued, trusted_pem: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the proxy");
        let port = listener.local_addr().expect("the proxy's port").port();
        let tls = Tls::new(shown, trusted_pem);
        let shared = Shared { dialect: *dialect, protocol, to, tls, state: Mutex::default() };
        let shared = Arc::new(shared);
        let accepting = Arc::clone(&shared);
        let accepting = spawn("dialect-accept", move || accept(&listener, &accepting));
        Self { port, shared, accepting: Some(accepting) }
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers the next `times` commands with this prefix with a refusal that the table names, in place of the server.
    ///
    /// # Panics
    ///
    /// If the table has no such refusal.
    pub fn refuse(&self, prefix: &str, refusal: &str, times: usize) {
        let refusals = match self.shared.protocol {
            Protocol::Imap => self.shared.dialect.imap.refusals,
            Protocol::Smtp => self.shared.dialect.smtp.refusals,
        };
        let found = refusals.iter().find(|(name, _)| *name == refusal);
        let &(_, text) = found.unwrap_or_else(|| panic!("no refusal {refusal:?} in {refusals:?}"));
        self.shared.state().planned.push(Planned { prefix: prefix.to_owned(), text, left: times });
    }

    /// Ends all planned refusals.
    pub fn refuse_no_more(&self) {
        self.shared.state().planned.clear();
    }

    /// Returns the commands with this prefix, without tags, in order.
    pub fn heard(&self, prefix: &str) -> Vec<String> {
        self.shared.state().heard.iter().filter(|command| command.starts_with(prefix)).cloned().collect()
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }
}

impl Drop for DialectProxy {
    fn drop(&mut self) {
        self.shared.state().is_stopped = true;
        // Wakes the thread that accepts.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        self.accepting.take().map(JoinHandle::join);
        let open = std::mem::take(&mut self.shared.state().open);
        for (client, server, _) in &open {
            client.close();
            server.close();
        }
        for (_, _, thread) in open {
            // Its panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a command; returns the refusal that a test has planned for it.
    fn note(&self, command: &str) -> Option<&'static str> {
        let mut state = self.state();
        state.heard.push(command.to_owned());
        let planned = state.planned.iter_mut().find(|it| it.left > 0 && command.starts_with(&it.prefix))?;
        planned.left -= 1;
        Some(planned.text)
    }
}

/// Accepts connections until the proxy ends.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in connections(listener) {
        if shared.state().is_stopped {
            return;
        }
        // Without a server, the client sees a closed connection.
        let _ = begin(shared, client);
    }
}

fn begin(shared: &Arc<Shared>, client: TcpStream) -> std::io::Result<()> {
    let security = match shared.protocol {
        Protocol::Imap => shared.dialect.imap.security,
        Protocol::Smtp => Security::StartTls,
    };
    let client = Arc::new(Side::new(client, (security == Security::Tls).then(|| shared.tls.accept()))?);
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.to))?;
    let server =
        Arc::new(Side::new(server, (shared.protocol == Protocol::Smtp).then(|| shared.tls.connect()))?);
    let (link, its) = (Link::new(Arc::clone(&client), Arc::clone(&server)), Arc::clone(shared));
    let thread = spawn("dialect", move || match its.protocol {
        Protocol::Imap => imap::talk(&its, link),
        Protocol::Smtp => smtp::talk(&its, link),
    });
    let mut state = shared.state();
    state.connections += 1;
    let (ended, open) = std::mem::take(&mut state.open).into_iter().partition(|(_, _, it)| it.is_finished());
    state.open = open;
    drop::<Vec<_>>(ended);
    state.open.push((client, server, thread));
    Ok(())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name.into()).spawn(body).expect("a thread for the proxy")
}

/// The longest wait for a server behind the proxy.
const PATIENCE: Duration = Duration::from_secs(120);
