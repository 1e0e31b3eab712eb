//! Servers for tests that run as Windows programs under Wine: `pymail-test-servers`, a program of this system, starts them.
//!
//! Both speak JSON, a line each way, on a connection for each server; the server ends with its connection. Under Wine the
//! ports of this system are those of the Windows programs, too, and its files are on the drive `Z:`.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::embedded::EmbeddedOptions;
use super::server_options::{DovecotOptions, PostfixOptions};
use super::tls_server::TlsServerStart;

#[cfg(windows)]
pub mod absent;
#[cfg(windows)]
pub mod dovecot;
#[cfg(windows)]
pub mod postfix;
#[cfg(unix)]
mod serve;

#[cfg(unix)]
pub use self::serve::serve;

/// The environment variable with the address of that program.
pub const ADDRESS: &str = "PYMAIL_TEST_SERVERS";

/// The first line of a connection: the server that it is for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Start {
    Dovecot(DovecotOptions),
    /// Delivers to the Dovecot in this folder.
    Postfix(PathBuf, PostfixOptions),
    Embedded(EmbeddedOptions),
    Tls(TlsServerStart),
    /// No server: sets the mode of a file.
    SetMode(PathBuf, u32),
}

/// The answer of a Dovecot's start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DovecotStarted {
    pub imap: u16,
    pub imaps: u16,
    pub lmtp: u16,
    pub ca_pem: String,
    pub dir: PathBuf,
}

/// The answer of a Postfix's start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PostfixStarted {
    pub submission: u16,
    pub smtps: u16,
    pub dir: PathBuf,
}

/// The answer of an embedded server's start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EmbeddedStarted {
    pub imap: u16,
    pub imaps: u16,
    pub smtp: u16,
    pub ca_pem: String,
}

/// A method of a server, by its name there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    DisconnectAll,
    DismissAll,
    KillAll,
    Kick(String),
    SignalAll(String),
    Stop,
    Restart,
    Issue,
    Kill,
    Heard,
}

/// The lines of a connection.
#[derive(Debug)]
pub(crate) struct Lines {
    reader: BufReader<TcpStream>,
}

impl Lines {
    pub(crate) fn on(stream: TcpStream) -> Self {
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(value)? + "\n";
        self.reader.get_mut().write_all(line.as_bytes())
    }

    /// Returns the next line; an error of the kind `UnexpectedEof` at the connection's end.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

/// Returns the address of the program that starts servers.
///
/// # Panics
///
/// By [`needs`](super::process::needs) if there is none.
#[cfg(windows)]
pub(crate) fn address() -> String {
    std::env::var(ADDRESS).unwrap_or_else(|_| {
        super::process::needs("Linux", "for Dovecot and Postfix, also for `cargo xtask test --windows`")
    })
}

/// Starts a server; returns its connection, and the answer.
#[cfg(windows)]
pub(crate) fn start<T: DeserializeOwned>(server: &Start) -> io::Result<(Lines, T)> {
    let stream = TcpStream::connect(address())?;
    stream.set_nodelay(true)?;
    let mut lines = Lines::on(stream);
    lines.write(server)?;
    let started = lines.read()?;
    Ok((lines, started))
}

#[cfg(windows)]
impl Lines {
    /// Calls a method of the server.
    ///
    /// # Panics
    ///
    /// If the method panics there.
    pub(crate) fn call<T: DeserializeOwned>(&mut self, call: &Call) -> T {
        let outcome = self.write(call).and_then(|()| self.read());
        outcome.unwrap_or_else(|error| panic!("{call:?} of a server: {error}; its own output says more"))
    }
}

/// Sets the mode of a file of the other system.
#[cfg(windows)]
pub(crate) fn set_mode(path: &std::path::Path, mode: u32) -> io::Result<()> {
    let path = super::files::path_for_servers(path).into();
    start(&Start::SetMode(path, mode)).map(|(_, ())| ())
}

/// Returns the path by which a Windows program finds a file of this system.
#[cfg(windows)]
fn windows_path(path: &std::path::Path) -> PathBuf {
    format!("Z:{}", path.display()).replace('/', "\\").into()
}
