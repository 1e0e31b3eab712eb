//! The address of a server, and the encryption of its connections.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, TcpStream};

use super::route::{ConnectRequest, Connector, Route};
use super::{Credentials, Proxy};
use crate::error::{Error, Result};
use crate::idna;

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
/// 3.13 demands by default. The file that `SSL_CERT_FILE` names is trusted besides the system's roots. An error names
/// the reason.
///
/// Default ports: 993 and 465 for implicit TLS, 143 and 587 for STARTTLS (RFC 8314), 143 and 25 without encryption. An
/// absolute host name, with a dot at its end, is resolved as such and verified without the dot.
///
/// A host is a name or an IP address, an IPv6 one without brackets: at least one character, without blanks. A name
/// beyond ASCII is turned into its ASCII form (RFC 5890), which DNS and certificates use: `bücher.example` into
/// `xn--bcher-kva.example`; letters are lower-cased, and `ß` stays `ß`. Names with symbols or decomposed letters have
/// no ASCII form. A host is checked when a handle connects.
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
    pub(crate) route: Route,
    pub(crate) identity: Option<Identity>,
}

/// A client certificate with its chain, and its private key, as PEM texts. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    certificates: String,
    key: String,
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
    /// With credentials, the host must be a loopback one (`localhost`, `127.0.0.0/8`, `::1`), and so must that of a
    /// [`proxy`](Self::proxy): they are never sent unencrypted over a network.
    pub fn unencrypted(host: impl Into<String>) -> Self {
        Self::new(host, Security::None)
    }

    fn new(host: impl Into<String>, security: Security) -> Self {
        let host: String = host.into();
        let host = idna::to_ascii(&host).map(Cow::into_owned).unwrap_or(host);
        Self { host, port: None, security, roots: Vec::new(), route: Route::Direct, identity: None }
    }

    /// Sets the port. Default: see [`Server`]. The encryption does not follow from the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Connects through this proxy; `None` connects directly, which is the default. Replaces a
    /// [`connector`](Self::connector).
    ///
    /// Unencrypted connections with credentials need a proxy on the loopback, too.
    ///
    /// ```
    /// use pymail::{Proxy, Server};
    ///
    /// let server = Server::tls("imap.example.org").proxy(Proxy::http("proxy.example.org", 3128));
    /// assert_eq!(server.get_proxy().unwrap().get_port(), 3128);
    /// ```
    #[must_use]
    pub fn proxy(mut self, proxy: impl Into<Option<Proxy>>) -> Self {
        self.route = proxy.into().map_or(Route::Direct, Route::Proxy);
        self
    }

    /// Connects by a function of the app: through a proxy of another kind, a VPN or a certain interface. Replaces a
    /// [`proxy`](Self::proxy).
    ///
    /// The function returns a connected socket; pymail sets it to blocking, without timeouts, and owns it from then on.
    /// TLS and the login follow on it, and verify the server by its host name. It must be a socket of the operating
    /// system, since Python gets its descriptor.
    ///
    /// The function runs on the thread that connects: that of a call, or one of the background threads that all handles
    /// share. Its time counts within the [`timeout`](crate::ImapConfig::timeout) of the call, in the background within
    /// 20 s; [`ConnectRequest::timeout`] is the rest of that. The interpreter is free meanwhile. The function may ask
    /// the handle for `status()` and `stats()`; other calls of that handle are
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) within it, since they would wait for themselves.
    ///
    /// | the function | the handle |
    /// | --- | --- |
    /// | returns an error | returns [`Connect`](crate::ErrorKind::Connect) with its text, and tries again |
    /// | takes longer than the limit | returns later, with [`Timeout`](crate::ErrorKind::Timeout) |
    /// | panics | returns [`Config`](crate::ErrorKind::Config), and tries again |
    ///
    /// None of these ends the handle. The text of an error is shown, and must not have a secret in it.
    ///
    /// ```
    /// use std::net::TcpStream;
    /// use pymail::Server;
    ///
    /// let server = Server::tls("imap.example.org").connector(|request| {
    ///     let tunnel = "127.0.0.1:5993".parse().unwrap(); // such as `ssh -L 5993:imap.example.org:993`
    ///     TcpStream::connect_timeout(&tunnel, request.timeout)
    /// });
    /// # let _ = server;
    /// ```
    #[must_use]
    pub fn connector(
        mut self,
        connector: impl Fn(ConnectRequest) -> io::Result<TcpStream> + Send + Sync + 'static,
    ) -> Self {
        self.route = Route::Connector(Connector::new(connector));
        self
    }

    /// Returns the [`proxy`](Self::proxy), if one is set.
    #[must_use]
    pub fn get_proxy(&self) -> Option<&Proxy> {
        self.route.proxy()
    }

    /// Returns the host name, in its ASCII form, or the address.
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

    /// Trusts the certificates in this PEM text (RFC 7468) besides the system's roots. Can be called several times.
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

    /// Shows the server a client certificate, if it asks for one. `certificates` is a PEM text (RFC 7468) with the
    /// certificate, followed by those of intermediate authorities; `key` is a PEM text with the private key. Both may
    /// be the same text.
    ///
    /// Some servers demand a certificate before they take a login: without one, or with one that they don't trust,
    /// connecting is [`ErrorKind::Tls`](crate::ErrorKind::Tls). A text without a certificate or a key, an encrypted
    /// key, and a key of another certificate are [`ErrorKind::Config`](crate::ErrorKind::Config). A key is decrypted by
    /// `openssl pkey -in key.pem`, and a PKCS #12 file turned into such a text by `openssl pkcs12 -in file.p12 -nodes`.
    ///
    /// The key appears in no error, log or `Debug`, and stays in memory: for each handshake, OpenSSL reads it from a
    /// file without a name, in memory. On a system without such files, it is a file in the temporary folder, removed
    /// after the handshake. On Unix its owner alone can read it; on Windows, where each user has a temporary folder, it
    /// has the rights of that folder.
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// let (certificates, key) = (std::fs::read_to_string("app.pem")?, std::fs::read_to_string("app.key")?);
    /// let server = pymail::Server::tls("imap.example.org").client_certificate_pem(certificates, key);
    /// # let _ = server;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn client_certificate_pem(mut self, certificates: impl Into<String>, key: impl Into<String>) -> Self {
        self.identity = Some(Identity { certificates: certificates.into(), key: key.into() });
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

    /// Returns `true` if connections stay on this machine: the loopback of a proxy elsewhere is not ours.
    fn is_local(&self) -> bool {
        is_loopback(&self.host) && self.route.proxy().is_none_or(Proxy::is_loopback)
    }

    /// # Errors
    /// `Config` for a bad host name, PEM text without a certificate or a key, a proxy that can't work, and credentials
    /// without encryption to another host.
    pub(super) fn check(&self, credentials: &Credentials) -> Result<()> {
        if !is_host_name(&self.host) {
            return Err(Error::config(format!("{:?} is not a host name", self.host)));
        }
        idna::to_ascii(&self.host)
            .map_err(|why| Error::config(format!("{:?} is not a host name: it {why}", self.host)))?;
        if self.certificates().iter().any(String::is_empty) {
            return Err(Error::config("the PEM text contains no certificate"));
        }
        self.identity.as_ref().map_or(Ok(()), |identity| identity.check(self.security))?;
        if credentials.needs_certificate() && self.identity.is_none() {
            return Err(Error::config("Credentials::external needs Server::client_certificate_pem"));
        }
        self.route.proxy().map_or(Ok(()), Proxy::check)?;
        if self.security == Security::None && credentials.login.is_some() && !self.is_local() {
            let why = "credentials are not sent unencrypted to another host, nor through a proxy on another host: use \
                       Server::tls or Server::starttls";
            return Err(Error::config(why));
        }
        Ok(())
    }
}

/// Returns `true` for a name or an address: at least one character, without blanks.
pub(super) fn is_host_name(host: &str) -> bool {
    !host.is_empty() && host != "." && !host.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Returns `true` for `localhost` and loopback addresses. Other names are not resolved.
pub(crate) fn is_loopback(host: &str) -> bool {
    let is_name = host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost");
    is_name || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Identity {
    /// Returns the certificates and the key, without the text between them.
    pub(crate) fn pem(&self) -> String {
        certificates(&self.certificates) + private_key(&self.key).unwrap_or_default()
    }

    /// # Errors
    /// `Config` for texts without a certificate or a plain key, and without encryption.
    fn check(&self, security: Security) -> Result<()> {
        let key = private_key(&self.key);
        let is_encrypted = |key: &str| key.contains("ENCRYPTED");
        let why = if certificates(&self.certificates).is_empty() {
            "the PEM text of the client certificate contains no certificate"
        } else if key.is_none() {
            "the PEM text of the client certificate's key contains no private key"
        } else if key.is_some_and(is_encrypted) {
            "the client certificate's private key is encrypted: decrypt it first, by openssl pkey -in key.pem"
        } else if security == Security::None {
            "a client certificate needs encryption: use Server::tls or Server::starttls"
        } else {
            return Ok(());
        };
        Err(Error::config(why))
    }
}

/// Returns the first private key of a PEM text, of any kind: `PRIVATE KEY`, `RSA PRIVATE KEY`, `ENCRYPTED PRIVATE KEY`.
fn private_key(pem: &str) -> Option<&str> {
    const LABEL: &str = "PRIVATE KEY-----";
    let label = pem.find(LABEL)?;
    let begin = pem[..label].rfind("-----BEGIN ")?;
    let end = label + LABEL.len() + pem[label + LABEL.len()..].find(LABEL)? + LABEL.len();
    Some(&pem[begin..end]).filter(|key| key.is_ascii())
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
        let Self { host, port, security, roots, route, identity } = self;
        f.debug_struct("Server")
            .field("host", host)
            .field("port", port)
            .field("security", security)
            .field("added_certificates", &roots.len())
            .field("route", route)
            .field("has_client_certificate", &identity.is_some())
            .finish()
    }
}
