//! A mail server with any certificate and any behaviour of TLS, in a process of its own: Python's ssl supports versions
//! of TLS that rustls, for good reasons, does not.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::certs::Issued;
use super::process::{output, python, started};
#[cfg(windows)]
use super::remote::{self, Call, Lines, Start};

/// The protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Imap,
    Smtp,
}

/// The options of a server.
pub struct TlsServerOptions<'a> {
    pub protocol: Protocol,
    /// `tls`, `starttls`, or one of the attacks by a man in the middle in `tls_server.py`.
    pub way: &'a str,
    pub issued: &'a Issued,
    /// The only TLS version, by Python's name, such as `TLSv1`; else all usual versions.
    pub version: Option<&'a str>,
}

/// The same, and the authority of the certificates that it demands of clients.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TlsServerStart {
    protocol: String,
    way: String,
    version: Option<String>,
    cert_pem: String,
    key_pem: String,
    client_authority: Option<String>,
}

/// The data that the server has received on one connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Heard {
    /// Before TLS, without TLS's own records.
    pub clear: String,
    /// Under TLS.
    pub encrypted: String,
    /// `true` after a handshake.
    pub is_encrypted: bool,
}

/// A running server.
pub struct TlsServer {
    process: Process,
    port: u16,
}

/// The process of a server.
enum Process {
    Child {
        child: Child,
        told: RefCell<BufReader<ChildStdout>>,
        _certificate: TempDir,
    },
    /// One of the system on which Wine runs, where a Python starts in a third of the time.
    #[cfg(windows)]
    Remote(RefCell<Lines>),
}

impl TlsServer {
    /// Starts a server.
    pub fn start(options: &TlsServerOptions<'_>) -> Self {
        Self::launch(options, None)
    }

    /// Starts a server that demands a client certificate by this authority.
    pub fn demanding(options: &TlsServerOptions<'_>, authority_pem: &str) -> Self {
        Self::launch(options, Some(authority_pem))
    }

    fn launch(options: &TlsServerOptions<'_>, client_authority: Option<&str>) -> Self {
        let start = TlsServerStart {
            protocol: format!("{:?}", options.protocol).to_lowercase(),
            way: options.way.to_owned(),
            version: options.version.map(str::to_owned),
            cert_pem: options.issued.cert_pem.clone(),
            key_pem: options.issued.key_pem.clone(),
            client_authority: client_authority.map(str::to_owned),
        };
        #[cfg(windows)]
        if std::env::var_os(remote::ADDRESS).is_some() {
            let (lines, port) = remote::start(&Start::Tls(start)).expect("a server with TLS");
            return Self { process: Process::Remote(RefCell::new(lines)), port };
        }
        Self::of_this_system(&start)
    }

    /// Starts a server in a process of this system.
    pub(crate) fn of_this_system(start: &TlsServerStart) -> Self {
        let folder = TempDir::new().expect("a folder for the certificate");
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        fs::write(&certificate, &start.cert_pem).expect("the certificate");
        fs::write(&key, &start.key_pem).expect("the key");
        let given = serde_json::json!({
            "protocol": start.protocol, "way": start.way, "version": start.version,
            "certificate": certificate, "key": key, "client_authority": start.client_authority,
        });
        let mut command = Command::new(python());
        command.args(["-I", "-W", "ignore", "-c", include_str!("tls_server.py"), &given.to_string()]);
        let mut child = started(|| command.stdout(Stdio::piped()).spawn()).expect("python3 runs");
        let told = RefCell::new(BufReader::new(child.stdout.take().expect("a pipe")));
        let port = line(&told).trim().parse().expect("the port");
        Self { process: Process::Child { child, told, _certificate: folder }, port }
    }

    /// Returns its port on `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects with a client that takes any version and any certificate; returns the version.
    pub fn connect_insecurely(&self) -> String {
        let client = "import socket, ssl, sys\n\
            context = ssl._create_unverified_context()\n\
            context.set_ciphers('ALL:@SECLEVEL=0')\n\
            context.minimum_version = ssl.TLSVersion.TLSv1\n\
            sock = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
            print(context.wrap_socket(sock).version())";
        output(Command::new(python()).args(["-I", "-W", "ignore", "-c", client, &self.port.to_string()]))
    }

    /// Returns the data of the next connection that has ended.
    pub fn heard(&self) -> Heard {
        match &self.process {
            Process::Child { told, .. } => serde_json::from_str(&line(told)).expect("what was heard"),
            #[cfg(windows)]
            Process::Remote(lines) => lines.borrow_mut().call(&Call::Heard),
        }
    }
}

fn line(told: &RefCell<BufReader<ChildStdout>>) -> String {
    let mut line = String::new();
    told.borrow_mut().read_line(&mut line).expect("the server tells");
    line
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        match &mut self.process {
            Process::Child { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
            // It ends with its connection.
            #[cfg(windows)]
            Process::Remote(_) => {}
        }
    }
}
