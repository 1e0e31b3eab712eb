//! Where a server is, and how the connection to it is protected.

use std::fmt;

use super::Credentials;
use crate::error::{Error, Result};

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Tls,
    StartTls,
    None,
}

/// Where a mail server is, and how the connection to it is protected.
///
/// TLS is verified against the system's trust roots; more can be added with
/// [`trust_pem`](Server::trust_pem). It is as strict on every Python: TLS 1.2 or later with the ciphers that Python 3.10
/// has by default; an authority needs no key usage (Python 3.13 by itself refuses those without). When it fails, the
/// error names the reason. Ports default to the service's own: 993 and 465 for implicit TLS, 143 and 587 for STARTTLS
/// (RFC 8314), 143 and 25 unencrypted. A host may be an absolute name, with a dot at its end, which is looked up so and
/// verified without the dot.
///
/// ```
/// use pymail::Server;
///
/// let imap = Server::tls("imap.example.org");
/// let smtp = Server::starttls("smtp.example.org").port(2587);
/// # let _ = (imap, smtp);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) security: Security,
    pub(crate) roots: Vec<String>,
}

impl Server {
    /// Implicit TLS: encrypted from the first byte. Port 993 (IMAP) or 465 (SMTP).
    pub fn tls(host: impl Into<String>) -> Self {
        Self::new(host, Security::Tls)
    }

    /// STARTTLS: encrypted before anything else is said, or not used at all. Port 143 (IMAP) or 587 (SMTP).
    pub fn starttls(host: impl Into<String>) -> Self {
        Self::new(host, Security::StartTls)
    }

    /// No encryption: everything can be read and changed on the way. Port 143 (IMAP) or 25 (SMTP).
    ///
    /// Credentials are still never sent unencrypted over a network: with them, only a loopback host
    /// (`localhost`, `127.0.0.0/8`, `::1`) is accepted.
    pub fn unencrypted(host: impl Into<String>) -> Self {
        Self::new(host, Security::None)
    }

    fn new(host: impl Into<String>, security: Security) -> Self {
        Self { host: host.into(), port: None, security, roots: Vec::new() }
    }

    /// Another port than the service's own.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Trusts the certificate authorities in this PEM text as well as the system's (RFC 7468).
    ///
    /// A server's own certificate, or that of an authority between, may be among them: it is trusted without the one that
    /// has signed it.
    ///
    /// What stands between the certificates, such as their names, is passed over.
    #[must_use]
    pub fn trust_pem(mut self, pem: impl Into<String>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Returns what tells it from other servers.
    pub(crate) fn address(&self) -> (String, Option<u16>) {
        (self.host.clone(), self.port)
    }

    /// The certificates alone: comments may be in any language, and OpenSSL reads ASCII.
    pub(crate) fn certificates(&self) -> Vec<String> {
        self.roots.iter().map(|pem| certificates(pem)).collect()
    }

    /// Returns the host as certificates and SNI have it: without the dot that ends an absolute name (RFC 6066,
    /// section 3).
    pub(crate) fn host_without_dot(&self) -> &str {
        self.host.strip_suffix('.').unwrap_or(&self.host)
    }

    fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        self.host_without_dot().eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    }

    pub(super) fn check(&self, credentials: &Credentials) -> Result<()> {
        if self.host_without_dot().is_empty()
            || self.host.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(Error::config(format!("{:?} is not a host name", self.host)));
        }
        if self.certificates().iter().any(String::is_empty) {
            return Err(Error::config("there is no certificate in the PEM text to trust"));
        }
        if self.security == Security::None && credentials.login.is_some() && !self.is_loopback() {
            let why = "credentials are not sent unencrypted to another host: use Server::tls or starttls";
            return Err(Error::config(why));
        }
        Ok(())
    }
}

fn certificates(pem: &str) -> String {
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let bodies = pem.split(begin).skip(1).filter_map(|rest| rest.split_once(end));
    let whole = bodies.filter(|(body, _)| body.is_ascii());
    whole.flat_map(|(body, _)| [begin, body, end, "\n"]).collect()
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, security, roots } = self;
        f.debug_struct("Server")
            .field("host", host)
            .field("port", port)
            .field("security", security)
            .field("more_roots", &roots.len())
            .finish()
    }
}
