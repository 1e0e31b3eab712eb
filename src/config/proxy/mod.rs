//! The address, the protocol and the login of a proxy.

mod environment;

use std::fmt;
use std::net::IpAddr;

use super::credentials::Password;
use super::server::{is_host_name, is_loopback};
use crate::error::{Error, Result};

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyProtocol {
    Socks5,
    Http,
}

/// The user name and the password for a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyLogin {
    pub(crate) user: String,
    pub(crate) password: Password,
}

/// A proxy between the app and a server: SOCKS5 (RFC 1928) or CONNECT over HTTP (RFC 9110, section 9.3.6).
///
/// The server's host name goes to the proxy as it is configured, and is resolved there: it may be one that only the
/// proxy knows. With TLS, the server is verified as without a proxy, and the proxy sees no more than its name and port.
/// The connection to the proxy itself is not encrypted: its [`login`](Proxy::login) can be read on the way.
///
/// The dialogue with the proxy counts within the [`timeout`](crate::ImapConfig::timeout) of the call. `Debug`, errors
/// and events show the proxy's address and the user name, never the password.
///
/// ```
/// use pymail::{Proxy, Server};
///
/// let proxy = Proxy::socks5("proxy.example.org", 1080).login("alice", "s3cret");
/// assert!(!format!("{proxy:?}").contains("s3cret"));
/// let server = Server::tls("imap.example.org").proxy(proxy);
/// # let _ = server;
/// ```
///
/// # Errors
///
/// Connecting through a proxy can have these errors, besides those of connecting:
///
/// | kind | cause |
/// | --- | --- |
/// | [`Connect`](crate::ErrorKind::Connect) | the proxy is not reached, closes at once, refuses (a SOCKS reply in words; the HTTP status with its reason), wants a login, or does not speak its protocol |
/// | [`Connect`](crate::ErrorKind::Connect), with 1 min of [`retry_after`](crate::Error::retry_after) | the proxy refused the login; the handle does not try sooner, since many refusals could lock the account |
/// | [`Timeout`](crate::ErrorKind::Timeout) | the proxy did not answer within the time of the call |
/// | [`Config`](crate::ErrorKind::Config) | the host name is bad, or the login can't be sent |
///
/// None of them ends a handle: it goes on trying, with backoff. A wrong login of the proxy is not
/// [`Auth`](crate::ErrorKind::Auth), which is about the mail account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub(crate) protocol: ProxyProtocol,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) login: Option<ProxyLogin>,
}

impl Proxy {
    /// Makes a SOCKS5 proxy, at a host name or an IP address without brackets. The usual port is 1080.
    pub fn socks5(host: impl Into<String>, port: u16) -> Self {
        Self { protocol: ProxyProtocol::Socks5, host: host.into(), port, login: None }
    }

    /// Makes an HTTP proxy with the method CONNECT, at a host name or an IP address without brackets. Usual ports are
    /// 3128 and 8080. Many such proxies allow port 443 only.
    pub fn http(host: impl Into<String>, port: u16) -> Self {
        Self { protocol: ProxyProtocol::Http, host: host.into(), port, login: None }
    }

    /// Sets the user name and the password for the proxy: of SOCKS5 1 to 255 octets each (RFC 1929); of HTTP without
    /// control characters, and no colon in the user name (Basic, RFC 7617). Sent in UTF-8.
    ///
    /// A SOCKS5 proxy gets them only if it asks for them; an HTTP proxy in each request.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some(ProxyLogin { user: user.into(), password: Password::new(password.into()) });
        self
    }

    /// Returns the host name or address.
    #[must_use]
    pub fn get_host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn get_port(&self) -> u16 {
        self.port
    }

    /// Returns the user name, if there is a [`login`](Self::login). There is no getter for the password.
    #[must_use]
    pub fn get_user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.user.as_str())
    }

    /// Returns `true` for `localhost` and loopback addresses.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// # Errors
    /// `Config` for a bad host name, and for a login that the protocol can't carry.
    pub(super) fn check(&self) -> Result<()> {
        if !is_host_name(&self.host) {
            return Err(Error::config(format!("{:?} is not a host name of a proxy", self.host)));
        }
        let Some(ProxyLogin { user, password }) = &self.login else { return Ok(()) };
        let password = password.reveal();
        match self.protocol {
            ProxyProtocol::Socks5 if [user, password].iter().any(|text| !(1..=255).contains(&text.len())) => {
                Err(Error::config("user name and password of a SOCKS5 proxy must be 1 to 255 octets each"))
            }
            ProxyProtocol::Http
                if user.contains(':') || [user, password].iter().any(|text| has_control(text)) =>
            {
                let why = "user name and password of an HTTP proxy must have no control characters, and the user name \
                           no colon";
                Err(Error::config(why))
            }
            _ => Ok(()),
        }
    }
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Shows the protocol and the address.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.protocol {
            ProxyProtocol::Socks5 => "SOCKS5",
            ProxyProtocol::Http => "HTTP",
        };
        write!(f, "the {name} proxy {}", authority(&self.host, self.port))
    }
}

/// Returns a host and a port in one word: an IPv6 address within brackets (RFC 3986, section 3.2.2).
pub(crate) fn authority(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}
