//! The servers whose mailboxes are shared, and what is put into these.

use std::fmt;

use pymail::{Credentials, ImapConfig, Server};
use serde::Serialize;

use crate::support::courier::Courier;
use crate::support::cyrus::Cyrus;
use crate::support::dovecot::{Dovecot, DovecotOptions, HOST, PASSWORD};
use crate::support::other_client::{OtherClient, Seen};

/// The tag of the messages.
pub const TAG: &str = "__LOAD__";

/// In each mail that is not ours.
const FOREIGN: &str = "X-Foreign: yes";

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Dovecot, a file a mail.
    DovecotMaildir,
    /// Dovecot, a file a mail, with an index that it can't do without.
    DovecotSdbox,
    /// Dovecot, many mails a file.
    DovecotMdbox,
    /// Cyrus.
    Cyrus,
    /// Courier: no MOVE.
    Courier,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::DovecotMaildir, Self::DovecotSdbox, Self::DovecotMdbox, Self::Cyrus, Self::Courier];

    /// The one of this name.
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

/// One that runs.
pub enum Running {
    /// Dovecot.
    Dovecot(Dovecot),
    /// Cyrus.
    Cyrus(Cyrus),
    /// Courier.
    Courier(Courier),
}

impl Running {
    /// Starts one.
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

    /// Implicit TLS.
    pub fn port(&self) -> u16 {
        match self {
            Self::Dovecot(dovecot) => dovecot.imaps_port(),
            Self::Cyrus(cyrus) => cyrus.imaps_port(),
            Self::Courier(courier) => courier.imaps_port(),
        }
    }

    /// The authority to trust.
    pub fn ca_pem(&self) -> &str {
        match self {
            Self::Dovecot(dovecot) => dovecot.ca_pem(),
            Self::Cyrus(cyrus) => cyrus.ca_pem(),
            Self::Courier(courier) => courier.ca_pem(),
        }
    }

    /// Another client on this account.
    pub fn other_client(&self, user: &str) -> OtherClient {
        let prefix = if matches!(self, Self::Dovecot(_)) { "" } else { "INBOX." };
        let client = OtherClient::connect(HOST, self.port(), "tls", user, PASSWORD, Some(self.ca_pem()));
        client.expect("another client logs in").within(prefix)
    }

    /// Puts messages with these numbers into an inbox.
    pub fn fill(&self, user: &str, numbers: std::ops::Range<usize>) {
        let mails = numbers.map(|number| message(user, number));
        match self {
            Self::Dovecot(dovecot) => dovecot.deliver_all(user, mails),
            Self::Cyrus(cyrus) => cyrus.deliver_all(user, mails),
            // A file on this machine has this machine's line ends.
            Self::Courier(courier) => {
                mails.for_each(|mail| courier.deliver(user, mail.replace('\r', "").as_bytes()));
            }
        }
        if matches!(self, Self::Courier(_)) {
            // It gives new mail UIDs when somebody opens the mailbox for more than reading.
            self.other_client(user).open("INBOX").expect("opened");
        }
    }
}

/// How a consumer connects, but for how long it may take.
pub fn config(port: u16, user: &str, ca_pem: &str) -> ImapConfig {
    let server = Server::tls(HOST).port(port).add_root_certificate_pem(ca_pem);
    ImapConfig::new(server, Credentials::new(user, PASSWORD)).tag(TAG)
}

fn message(user: &str, number: usize) -> String {
    format!(
        "Message-ID: <{number}@load.test>\r\nFrom: judge@example.test\r\nTo: {user}\r\nSubject: {TAG} {number}\r\n\r\n\
         message {number}\r\n"
    )
}

/// The number of a message, by its Message-ID.
pub fn number(mail: &Seen) -> Option<usize> {
    let text = String::from_utf8_lossy(&mail.raw);
    let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: <"))?;
    id.strip_suffix("@load.test>")?.parse().ok()
}

/// Puts mail that is not ours into an inbox: some that looks like ours, some that another client has marked.
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

/// The mail in an inbox that is not ours, but for the flag that each look changes; and how many others there are.
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
