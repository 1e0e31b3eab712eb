//! The servers: started once, shared by all cases, each of which has a user of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fixtures::dovecot_without;
use crate::support::certs::Issued;
use crate::support::dovecot::{Dovecot, DovecotOptions};
use crate::support::fault_proxy::{FaultProxy, Protocol, Route, Security};
use crate::support::postfix::{Postfix, PostfixOptions};

/// Which server a case runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Dovecot with all that it has.
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

/// Where a server is, for a process that didn't start it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    kind: Kind,
    starttls: u16,
    tls: u16,
    /// The IMAP server that it is, or delivers to: its port with STARTTLS or none.
    pub inbox: u16,
    /// Where mail waits that isn't delivered yet.
    pub queue: Option<PathBuf>,
    /// Its authority, as PEM.
    pub ca_pem: String,
    cert_pem: String,
    key_pem: String,
}

/// Where all servers are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct World(Vec<Place>);

/// The servers themselves; gone on drop.
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

    /// Where they are.
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

/// Each case leaves processes behind for a moment.
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
    /// Where the server of this kind is.
    pub fn place(&self, kind: Kind) -> &Place {
        self.0.iter().find(|place| place.kind == kind).expect("all kinds are there")
    }
}

impl Kind {
    /// What it speaks.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Move | Self::NoMove | Self::NoUidplus => Protocol::Imap,
            Self::Pipelining | Self::OneByOne => Protocol::Smtp,
        }
    }
}

impl Place {
    /// A proxy to it.
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
