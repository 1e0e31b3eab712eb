//! Asks a session for the facts about its server.

use std::time::SystemTime;

use super::imap::{self, ImapSession};
use super::py_session::{LogIn, PySession, Service};
use super::runtime::detached;
use super::smtp::{self, SmtpSession};
use crate::config::{Common, Credentials, ImapConfig, SmtpConfig};
use crate::date;
use crate::deadline::Deadline;
use crate::error::{Result, bounded};
use crate::events;
use crate::server_info::{ServerInfo, TlsInfo, imap_mechanisms, smtp_mechanisms};

/// The greeting, the facts of TLS, and the capabilities: `describe` in `py/`.
type Described = (String, Option<TlsFacts>, Vec<String>);

/// The version, the cipher, the certificate, and the chain: `TlsFacts` in `py/_pymail_transport.py`.
type TlsFacts = (String, String, (Vec<String>, String, String, String), Vec<String>);

impl ImapSession {
    /// Connects, encrypted as configured, and leaves without a login.
    ///
    /// # Errors
    /// `Connect`, `Tls`, `Timeout`; `Runtime`.
    pub(crate) fn probe(config: &ImapConfig) -> Result<ServerInfo> {
        probe(&imap::SERVICE, &config.common, None, imap_mechanisms)
    }

    /// Returns the facts about the server, with the capabilities after the login.
    pub(crate) fn server_info(&mut self) -> Result<ServerInfo> {
        let mut info = describe(&self.python, imap_mechanisms)?;
        info.capabilities.clone_from(&self.capabilities);
        info.archive = Some(self.archive.clone());
        info.delimiter = Some(self.delimiter.clone());
        Ok(info)
    }
}

impl SmtpSession {
    /// Connects, encrypted as configured, and leaves without a login.
    ///
    /// # Errors
    /// `Connect`, `Tls`, `Timeout`; `Runtime`.
    pub(crate) fn probe(config: &SmtpConfig) -> Result<ServerInfo> {
        let name = config.hello_name.as_deref().unwrap_or_default();
        probe(&smtp::SERVICE, &config.common, Some(name), smtp_mechanisms)
    }
}

fn probe(
    service: &Service,
    common: &Common,
    hello_name: Option<&str>,
    mechanisms: fn(&[String]) -> Vec<String>,
) -> Result<ServerInfo> {
    let common = Common { credentials: Credentials::none(), ..common.clone() };
    let deadline = Deadline::after(common.options.timeout);
    let ask = |python: PySession, _: LogIn<'_>| {
        let info = describe(&python, mechanisms);
        let _ = python.run("end_session", (), "leaving"); // The connection is closed in any case.
        info
    };
    detached(|| events::deferred(|| PySession::open(service, &common, None, hello_name, deadline, ask)))
}

fn describe(python: &PySession, mechanisms: fn(&[String]) -> Vec<String>) -> Result<ServerInfo> {
    let (greeting, tls, capabilities): Described = python.call("describe", (), "reading the greeting")?;
    Ok(ServerInfo {
        greeting: bounded(&greeting),
        tls: tls.map(tls_info),
        mechanisms: mechanisms(&capabilities),
        capabilities: capabilities.iter().map(|text| bounded(text)).collect(),
        archive: None,
        delimiter: None,
    })
}

fn tls_info((version, cipher, (names, issuer, begin, end), chain): TlsFacts) -> TlsInfo {
    let time = |text: &str| date::parse(text.as_bytes()).unwrap_or(SystemTime::UNIX_EPOCH);
    TlsInfo { version, cipher, names, issuer, chain, not_before: time(&begin), not_after: time(&end) }
}
