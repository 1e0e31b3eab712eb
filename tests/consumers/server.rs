//! The servers of the shared mailboxes, and the mail in them.

use std::fmt;

use pymail::{Credentials, ImapConfig, Server};
use serde::Serialize;

use crate::support::courier::Courier;
use crate::support::cyrus::Cyrus;
use crate::support::dovecot::{Dovecot, DovecotOptions, HOST, PASSWORD};
use crate::support::other_client::{OtherClient, Seen};

/// The tag of the messages.
pub const TAG: &str = "__LOAD__";

/// A text in each foreign mail.
const FOREIGN: &str = "X-Foreign: yes";

/// A kind of server and its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Dovecot, one file a mail.
    DovecotMaildir,
    /// Dovecot, one file a mail, with a required index.
    DovecotSdbox,
    /// Dovecot, many mails a file.
    DovecotMdbox,
    /// Cyrus.
    Cyrus,
    /// Courier: no MOVE.
    Courier,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::DovecotMaildir, Self::DovecotSdbox, Self::DovecotMdbox, Self::Cyrus, Self::Courier];

    /// Returns the kind of this name.
    pub fn named(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(|kind| kind.to_string());
        let known = names.iter().position(|known| known == name).map(|at| Self::ALL[at]);
        known.ok_or_else(|| format!("no server {name}: there are {}", names.join(", ")))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A running server.
pub enum Running {
    /// Dovecot.
    Dovecot(Dovecot),
    /// Cyrus.
    Cyrus(Cyrus),
    /// Courier.
    Courier(Courier),
}

impl Running {
    /// Starts a server of this kind.
    pub fn start(kind: Kind) -> Self {
        let dovecot = |format: &str| {
            let options = DovecotOptions { mailbox_format: format.into(), ..DovecotOptions::default() };
            Self::Dovecot(Dovecot::with(&options))
        };
        match kind {
            Kind::DovecotMaildir => dovecot("maildir"),
            Kind::DovecotSdbox => dovecot("sdbox"),
            Kind::DovecotMdbox => dovecot("mdbox"),
            Kind::Cyrus => Self::Cyrus(Cyrus::start()),
            Kind::Courier => Self::Courier(Courier::start()),
        }
    }

    /// Returns the port with implicit TLS.
    pub fn port(&self) -> u16 {
        match self {
            Self::Dovecot(dovecot) => dovecot.imaps_port(),
            Self::Cyrus(cyrus) => cyrus.imaps_port(),
            Self::Courier(courier) => courier.imaps_port(),
        }
    }

    /// Returns the authority to trust.
    pub fn ca_pem(&self) -> &str {
        match self {
            Self::Dovecot(dovecot) => dovecot.ca_pem(),
            Self::Cyrus(cyrus) => cyrus.ca_pem(),
            Self::Courier(courier) => courier.ca_pem(),
        }
    }

    /// Connects another client on this account.
    pub fn other_client(&self, user: &str) -> OtherClient {
        let prefix = if matches!(self, Self::Dovecot(_)) { "" } else { "INBOX." };
        let client = OtherClient::connect(HOST, self.port(), "tls", user, PASSWORD, Some(self.ca_pem()));
        client.expect("another client logs in").within(prefix)
    }

    /// Adds messages with these numbers to an inbox.
    pub fn fill(&self, user: &str, numbers: std::ops::Range<usize>) {
        let mails = numbers.map(|number| message(user, number));
        match self {
            Self::Dovecot(dovecot) => dovecot.deliver_all(user, mails),
            Self::Cyrus(cyrus) => cyrus.deliver_all(user, mails),
            // Files on this machine have LF line ends.
            Self::Courier(courier) => {
                mails.for_each(|mail| courier.deliver(user, mail.replace('\r', "").as_bytes()));
            }
        }
        if matches!(self, Self::Courier(_)) {
            // Courier assigns UIDs to new mail when a client opens the mailbox for writing.
            self.other_client(user).open("INBOX").expect("opened");
        }
    }
}

/// Returns the settings of a consumer, without its timeout.
pub fn config(port: u16, user: &str, ca_pem: &str) -> ImapConfig {
    let server = Server::tls(HOST).port(port).add_root_certificate_pem(ca_pem);
    let config = ImapConfig::new(server, Credentials::new(user, PASSWORD)).tag(TAG);
    // A server that starts again on a busy machine refuses more connections than the limit allows in a minute.
    config.max_connects_per_minute(6_000)
}

fn message(user: &str, number: usize) -> String {
    format!(
        "Message-ID: <{number}@load.test>\r\nFrom: judge@example.test\r\nTo: {user}\r\nSubject: {TAG} {number}\r\n\r\n\
         message {number}\r\n"
    )
}

/// Returns the number of a message, by its Message-ID.
pub fn number(mail: &Seen) -> Option<usize> {
    let text = String::from_utf8_lossy(&mail.raw);
    let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: <"))?;
    id.strip_suffix("@load.test>")?.parse().ok()
}

/// Adds foreign mail to an inbox: some resembles ours, some is marked by another client.
pub fn plant_foreign(other: &OtherClient) {
    for (flags, subject) in [
        (&[][..], "lunch".to_owned()),
        (&["\\Seen"], format!("Re: {TAG} 1")),
        (&["\\Deleted"], format!("x{TAG} 2")),
        (&["\\Deleted", "\\Flagged"], format!("{TAG}x 3")),
    ] {
        let mail = format!("From: eve@example.test\r\n{FOREIGN}\r\nSubject: {subject}\r\n\r\nforeign\r\n");
        other.append("INBOX", flags, mail.as_bytes()).expect("planted");
    }
}

/// Returns the foreign mail in an inbox, without the flag `\Recent`, and the number of the other mails.
pub fn foreign(other: &OtherClient) -> (Vec<Seen>, usize) {
    let mut all = other.list("INBOX").expect("listed").unwrap_or_default();
    let whole = all.len();
    all.retain(|mail| String::from_utf8_lossy(&mail.raw).contains(FOREIGN));
    for mail in &mut all {
        mail.flags.retain(|flag| flag != "\\Recent");
        mail.flags.sort();
    }
    let ours = whole - all.len();
    (all, ours)
}
