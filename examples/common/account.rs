//! The account that sends to itself, and its servers.

use std::fmt;

use pymail::{Credentials, ImapConfig, Server, SmtpConfig};
use pymail_test_support::embedded::Embedded;

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
    pub(crate) fn imap(&self, tag: &str) -> ImapConfig {
        ImapConfig::new(self.server(&self.imap), self.credentials()).tag(tag)
    }

    pub(crate) fn smtp(&self, tag: &str) -> SmtpConfig {
        SmtpConfig::new(self.server(&self.smtp), self.credentials()).tag(tag)
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
