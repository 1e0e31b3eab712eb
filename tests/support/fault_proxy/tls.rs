//! TLS on both ends: the proxy is the server to the client, and a client to the server.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use super::super::certs::Issued;
use super::super::dovecot::HOST;

/// The TLS configurations of both ends.
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes configurations with this certificate for the client, and this authority for the server.
    pub(crate) fn new(shown: &Issued, trusted_pem: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(shown.cert_pem.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("the proxy's certificate");
        let key = PrivateKeyDer::from_pem_slice(shown.key_pem.as_bytes()).expect("the proxy's key");
        let ring = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&ring))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the proxy's certificate and key fit");
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(trusted_pem.as_bytes()) {
            roots.add(root.expect("the servers' authority")).expect("the servers' authority");
        }
        let client = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    /// Returns the proxy's end towards the client.
    pub(crate) fn accept(&self) -> Connection {
        ServerConnection::new(Arc::clone(&self.server)).expect("a TLS server").into()
    }

    /// Returns the proxy's end towards the server.
    pub(crate) fn connect(&self) -> Connection {
        let name = ServerName::try_from(HOST).expect("the servers' name");
        ClientConnection::new(Arc::clone(&self.client), name).expect("a TLS client").into()
    }
}
