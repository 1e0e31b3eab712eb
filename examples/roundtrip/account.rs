//! The account that sends to itself, and its servers.

use std::path::Path;
use std::{env, fmt};

use pymail::{Credentials, Imap, ImapConfig, Server, Smtp, SmtpConfig};

use crate::Result;
use crate::support::embedded::Embedded;
use crate::support::other_client::OtherClient;

/// A user on a real server or on the embedded one.
pub(crate) struct Account {
    pub(crate) imap: Endpoint,
    pub(crate) smtp: Endpoint,
    pub(crate) user: String,
    pub(crate) address: String,
    pub(crate) password: String,
    /// Additional trusted certificates, as PEM.
    pub(crate) ca: Option<String>,
}

/// A service's address; `starttls` is `false` for implicit TLS.
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) starttls: bool,
}

impl Account {
    pub(crate) fn imap(&self, tag: &str) -> pymail::Result<Imap> {
        Imap::connect(ImapConfig::new(self.server(&self.imap), self.credentials()).tag(tag))
    }

    pub(crate) fn smtp(&self, tag: &str) -> pymail::Result<Smtp> {
        Smtp::connect(SmtpConfig::new(self.server(&self.smtp), self.credentials()).tag(tag))
    }

    /// Connects another client: `imaplib` in a process of its own.
    pub(crate) fn other_client(&self) -> Result<OtherClient> {
        let Endpoint { host, port, starttls } = &self.imap;
        let security = if *starttls { "starttls" } else { "tls" };
        let (python, ca) = (python(), self.ca.as_deref());
        OtherClient::connect_with(Path::new(&python), host, *port, security, &self.user, &self.password, ca)
    }

    fn server(&self, at: &Endpoint) -> Server {
        let server = if at.starttls { Server::starttls(&at.host) } else { Server::tls(&at.host) };
        let server = server.port(at.port);
        match &self.ca {
            Some(pem) => server.add_root_certificate_pem(pem),
            None => server,
        }
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(&self.user, &self.password)
    }
}

impl From<&Embedded> for Account {
    fn from(server: &Embedded) -> Self {
        let at = |port, starttls| Endpoint { host: Embedded::HOST.into(), port, starttls };
        Self {
            imap: at(server.imaps_port(), false),
            smtp: at(server.smtp_port(), true),
            user: Embedded::USERS[0].into(),
            address: Embedded::USERS[0].into(),
            password: Embedded::PASSWORD.into(),
            ca: Some(server.ca_pem().into()),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { imap, smtp, user, .. } = self;
        write!(f, "{user}, IMAP at {}:{}, SMTP at {}:{}", imap.host, imap.port, smtp.host, smtp.port)
    }
}

/// Returns the Python of the build, else the default one.
fn python() -> String {
    env::var("PYO3_PYTHON").unwrap_or_else(|_| if cfg!(windows) { "python" } else { "python3" }.into())
}
