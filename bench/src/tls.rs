//! TLS for what is written in Rust: rustls, for the floor and for the peers alike, which take any stream.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::job::{Account, Result};

/// A TLS connection that blocks.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Trust this authority, and no other.
///
/// # Errors
/// When the file has no certificate.
pub fn config(ca_file: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// The server's name, as rustls wants it.
///
/// # Errors
/// When it is none.
pub fn name(account: &Account) -> Result<ServerName<'static>> {
    Ok(ServerName::try_from(account.host.clone())?)
}

/// Connect to a server that begins with TLS.
///
/// # Errors
/// When it is not there. A certificate that is not trusted shows at the first byte.
pub fn connect(account: &Account, config: Arc<ClientConfig>) -> Result<Stream> {
    let socket = TcpStream::connect((account.host.as_str(), account.port))?;
    socket.set_nodelay(true)?;
    Ok(StreamOwned::new(ClientConnection::new(config, name(account)?)?, socket))
}
