//! The way to a server: directly, through a proxy, or by a function of the app.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::proxy::Proxy;

/// The way to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Route {
    #[default]
    Direct,
    Proxy(Proxy),
    Connector(Connector),
}

impl Route {
    /// Returns the proxy, if the way leads through one.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        if let Self::Proxy(proxy) = self { Some(proxy) } else { None }
    }
}

/// Ends the sentence "connecting to SERVER".
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => Ok(()),
            Self::Proxy(proxy) => write!(f, " through {proxy}"),
            Self::Connector(_) => f.write_str(" by the app's connector"),
        }
    }
}

/// A request for a connection, by a handle that is about to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// The server's host, as configured: a name, or an IP address without brackets.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The rest of the time that the call has for connecting. A connection that comes later is too late for this call.
    pub timeout: Duration,
}

/// The function of the app that makes connections. Equal to its clones.
#[derive(Clone)]
pub(crate) struct Connector(Arc<dyn Fn(ConnectRequest) -> io::Result<TcpStream> + Send + Sync>);

impl Connector {
    pub(super) fn new(
        connector: impl Fn(ConnectRequest) -> io::Result<TcpStream> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(connector))
    }

    /// Makes a connection. Runs code of the app, which may block or panic.
    pub(crate) fn connect(&self, request: ConnectRequest) -> io::Result<TcpStream> {
        (self.0)(request)
    }
}

impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Connector {}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector(..)")
    }
}
