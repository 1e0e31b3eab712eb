//! The servers: started once, shared by all cases, with a user for each case.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::support::certs::Issued;
use crate::support::dovecot::dovecot_without;
use crate::support::dovecot::{Dovecot, DovecotOptions};
use crate::support::fault_proxy::{FaultProxy, Protocol, Route, Security};
use crate::support::postfix::{Postfix, PostfixOptions};

/// The server of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Dovecot with all its capabilities.
    Move,
    /// Dovecot without MOVE.
    NoMove,
    /// Dovecot without MOVE and UIDPLUS.
    NoUidplus,
    /// Postfix with PIPELINING.
    Pipelining,
    /// Postfix without PIPELINING.
    OneByOne,
}

/// A server's addresses, for a process that didn't start it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    kind: Kind,
    starttls: u16,
    tls: u16,
    /// The port of the IMAP server, or of the one that it delivers to, with STARTTLS or plaintext.
    pub inbox: u16,
    /// The folder of mail that waits for delivery.
    pub queue: Option<PathBuf>,
    /// Its authority, as PEM.
    pub ca_pem: String,
    cert_pem: String,
    key_pem: String,
}

/// The addresses of all servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct World(Vec<Place>);

/// The running servers; gone on drop.
pub struct Servers {
    postfixes: Vec<(Kind, Postfix)>,
    dovecots: Vec<(Kind, Dovecot)>,
}

impl Servers {
    /// Starts all of them.
    pub fn start() -> Self {
        let dovecots = vec![
            (Kind::Move, Dovecot::with(&many(DovecotOptions::default()))),
            (Kind::NoMove, Dovecot::with(&many(dovecot_without(&["MOVE"])))),
            (Kind::NoUidplus, Dovecot::with(&many(dovecot_without(&["MOVE", "UIDPLUS"])))),
        ];
        let postfix = |pipelining| {
            Postfix::with(&dovecots[0].1, &PostfixOptions { pipelining, ..PostfixOptions::default() })
        };
        let postfixes = vec![(Kind::Pipelining, postfix(true)), (Kind::OneByOne, postfix(false))];
        Self { postfixes, dovecots }
    }

    /// Returns their addresses.
    pub fn world(&self) -> World {
        let dovecots =
            self.dovecots.iter().map(|(kind, it)| place(*kind, it, (it.imap_port(), it.imaps_port()), None));
        let first = &self.dovecots[0].1;
        let postfixes = self.postfixes.iter().map(|(kind, it)| {
            place(*kind, first, (it.submission_port(), it.smtps_port()), Some(it.dir().join("queue")))
        });
        World(dovecots.chain(postfixes).collect())
    }
}

/// Options with room for the processes that cases leave behind for a moment.
fn many(options: DovecotOptions) -> DovecotOptions {
    let limits = "default_vsz_limit = 1G\nservice anvil {\n  client_limit = 4000\n}\n";
    DovecotOptions { extra: limits.into(), ..options }
}

fn place(kind: Kind, dovecot: &Dovecot, (starttls, tls): (u16, u16), queue: Option<PathBuf>) -> Place {
    let Issued { cert_pem, key_pem } = dovecot.issue();
    let (inbox, ca_pem) = (dovecot.imap_port(), dovecot.ca_pem().to_owned());
    Place { kind, starttls, tls, inbox, queue, ca_pem, cert_pem, key_pem }
}

impl World {
    /// Returns the address of a kind of server.
    pub fn place(&self, kind: Kind) -> &Place {
        self.0.iter().find(|place| place.kind == kind).expect("all kinds are there")
    }
}

impl Kind {
    /// Returns its protocol.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Move | Self::NoMove | Self::NoUidplus => Protocol::Imap,
            Self::Pipelining | Self::OneByOne => Protocol::Smtp,
        }
    }
}

impl Place {
    /// Starts a proxy to it.
    pub fn proxy(&self, security: Security) -> FaultProxy {
        FaultProxy::start(&Route {
            protocol: self.kind.protocol(),
            security,
            to: if security == Security::Tls { self.tls } else { self.starttls },
            shown: &Issued { cert_pem: self.cert_pem.clone(), key_pem: self.key_pem.clone() },
            trusted_pem: &self.ca_pem,
        })
    }
}
