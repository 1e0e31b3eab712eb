//! Connects to a server on its way: directly, through a proxy, or by the app's connector.
//!
//! The connector is code of the app. It runs with no lock of this module held, and detached from the interpreter.
//! Neither its panics nor its errors end a handle.

use std::error::Error as _;
use std::io;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::config::{ConnectRequest, Connector, Route, Server};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result, bounded};
use crate::{proxy, tcp};

/// Connects to the server's port; the socket is blocking, without timeouts, as Python expects it.
///
/// # Errors
/// `Timeout` after the deadline; `Config` for a connector that panics, and for a host that a proxy can't take; else
/// `Connect`. `action` begins the text.
pub(crate) fn connect(server: &Server, port: u16, deadline: Deadline, action: &str) -> Result<TcpStream> {
    let host = &server.host;
    let socket = match &server.route {
        Route::Direct => tcp::connect(host, port, deadline, action),
        Route::Proxy(proxy) => proxy::connect(proxy, (host, port), deadline, action),
        Route::Connector(connector) => by_connector(connector, (host, port), deadline, action),
    }?;
    reset(&socket).map_err(|error| failed(action).with_source(error))?;
    Ok(socket)
}

/// Has the app connect.
fn by_connector(
    connector: &Connector,
    (host, port): (&str, u16),
    deadline: Deadline,
    action: &str,
) -> Result<TcpStream> {
    deadline.check(action)?;
    let request = ConnectRequest { host: host.to_owned(), port, timeout: deadline.left() };
    let connected = catch_unwind(AssertUnwindSafe(|| connector.connect(request)));
    // The panic hook has reported the panic.
    let connected = connected.map_err(|_| Error::config(format!("{action}: the connector panicked")))?;
    deadline.check(action)?;
    connected.map_err(|error| Error::during(ErrorKind::Connect, action, &bounded(&with_causes(&error))))
}

/// Returns the text of an error, with those causes that it does not name itself.
fn with_causes(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let named = cause.to_string();
        if !text.contains(&named) {
            text.extend([": ", &named]);
        }
        source = cause.source();
    }
    text
}

/// Undoes settings of a dialogue before, or of an asynchronous runtime.
fn reset(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)
}

fn failed(action: &str) -> Error {
    Error::new(ErrorKind::Connect, format!("{action} failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_of_a_connectors_error_are_named_once() {
        let inner = Error::new(ErrorKind::Connect, "tunnel down").with_source(io::Error::other("no route"));
        assert_eq!(with_causes(&io::Error::other(inner.clone())), "tunnel down: no route");
        let outer = Error::new(ErrorKind::Connect, "ssh: tunnel down").with_source(inner);
        assert_eq!(with_causes(&io::Error::other(outer)), "ssh: tunnel down: no route");
        assert_eq!(with_causes(&io::Error::other("no")), "no");
    }
}
