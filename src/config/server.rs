//! The address of a server, and the encryption of its connections.

use std::fmt;

use super::Credentials;
use crate::error::{Error, Result};

/// The encryption of a connection to a [`Server`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first octet on: [`Server::tls`].
    Tls,
    /// TLS after STARTTLS, which is required: [`Server::starttls`].
    StartTls,
    /// No encryption: [`Server::unencrypted`].
    None,
}

/// The host, port and encryption of a mail server.
///
/// TLS certificates are verified against the system's trust roots and those added by
/// [`add_root_certificate_pem`](Server::add_root_certificate_pem). The rules are the same on every Python: TLS 1.2 or
/// later, with the default ciphers of Python 3.10; a certificate authority needs no key usage extension, which Python
/// 3.13 demands by default. An error names the reason.
///
/// Default ports: 993 and 465 for implicit TLS, 143 and 587 for STARTTLS (RFC 8314), 143 and 25 without encryption. An
/// absolute host name, with a dot at its end, is resolved as such and verified without the dot.
///
/// A host is a name or an IP address, an IPv6 one without brackets: at least one character, without blanks. It is
/// checked when a handle connects.
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
    /// Makes a server that is reached with implicit TLS, from the first byte on. Default port 993 (IMAP) or 465 (SMTP).
    pub fn tls(host: impl Into<String>) -> Self {
        Self::new(host, Security::Tls)
    }

    /// Makes a server that is reached with STARTTLS, which is required: without it, no login is tried. Default port 143
    /// (IMAP) or 587 (SMTP).
    pub fn starttls(host: impl Into<String>) -> Self {
        Self::new(host, Security::StartTls)
    }

    /// Makes a server that is reached without encryption: others can read and change everything. Default port 143
    /// (IMAP) or 25 (SMTP).
    ///
    /// With credentials, the host must be a loopback one (`localhost`, `127.0.0.0/8`, `::1`): they are never sent
    /// unencrypted over a network.
    pub fn unencrypted(host: impl Into<String>) -> Self {
        Self::new(host, Security::None)
    }

    fn new(host: impl Into<String>, security: Security) -> Self {
        Self { host: host.into(), port: None, security, roots: Vec::new() }
    }

    /// Sets the port. Default: see [`Server`]. The encryption does not follow from the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Returns the host name or address.
    #[must_use]
    pub fn get_host(&self) -> &str {
        &self.host
    }

    /// Returns the [`port`](Self::port), if one is set.
    #[must_use]
    pub fn get_port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the encryption.
    #[must_use]
    pub fn get_security(&self) -> Security {
        self.security
    }

    /// Trusts the certificates in this PEM text (RFC 7468) as well as the system's roots. Can be called several times.
    ///
    /// Root, intermediate and server certificates are accepted; each is trusted without the certificate that signed it.
    /// Text between the certificates is ignored; without any certificate, connecting is
    /// [`ErrorKind::Config`](crate::ErrorKind::Config).
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// let pem = std::fs::read_to_string("company-ca.pem")?;
    /// let server = pymail::Server::tls("imap.example.org").add_root_certificate_pem(pem);
    /// # let _ = server;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn add_root_certificate_pem(mut self, pem: impl Into<String>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Returns the host and the port, by which servers are told apart.
    pub(crate) fn address(&self) -> (String, Option<u16>) {
        (self.host.clone(), self.port)
    }

    /// Returns the added certificates without the text between them, which OpenSSL reads as ASCII only.
    pub(crate) fn certificates(&self) -> Vec<String> {
        self.roots.iter().map(|pem| certificates(pem)).collect()
    }

    /// Returns the host name for SNI and verification: without the dot at the end of an absolute name (RFC 6066,
    /// section 3).
    pub(crate) fn host_without_dot(&self) -> &str {
        self.host.strip_suffix('.').unwrap_or(&self.host)
    }

    /// Returns `true` for `localhost` and loopback addresses. Other names are not resolved.
    fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        self.host_without_dot().eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// # Errors
    /// `Config` for a bad host name, PEM text without a certificate, and credentials without encryption to another
    /// host.
    pub(super) fn check(&self, credentials: &Credentials) -> Result<()> {
        if self.host_without_dot().is_empty()
            || self.host.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(Error::config(format!("{:?} is not a host name", self.host)));
        }
        if self.certificates().iter().any(String::is_empty) {
            return Err(Error::config("the PEM text contains no certificate"));
        }
        if self.security == Security::None && credentials.login.is_some() && !self.is_loopback() {
            let why =
                "credentials are not sent unencrypted to another host: use Server::tls or Server::starttls";
            return Err(Error::config(why));
        }
        Ok(())
    }
}

/// Returns the certificates of a PEM text, one after the other.
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
            .field("added_certificates", &roots.len())
            .finish()
    }
}
