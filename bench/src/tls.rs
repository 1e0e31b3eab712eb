//! TLS for the floor and for the Rust peers: rustls for all, since each of them takes any stream.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::job::{Account, Result};

/// A TLS connection that blocks.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Returns a client configuration that trusts this authority and no other.
///
/// # Errors
/// The file has no certificate.
pub fn config(ca_file: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Returns the server's name for rustls.
///
/// # Errors
/// The name is invalid.
pub fn name(account: &Account) -> Result<ServerName<'static>> {
    Ok(ServerName::try_from(account.host.clone())?)
}

/// Connects to a server with implicit TLS.
///
/// # Errors
/// The server is unreachable. An untrusted certificate shows at the first byte.
pub fn connect(account: &Account, config: Arc<ClientConfig>) -> Result<Stream> {
    let socket = TcpStream::connect((account.host.as_str(), account.port))?;
    socket.set_nodelay(true)?;
    Ok(StreamOwned::new(ClientConnection::new(config, name(account)?)?, socket))
}
