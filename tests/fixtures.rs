//! The fixtures, pytest-style: each test has servers of its own.

use rstest::fixture;

use crate::site::Site;
use crate::support::dovecot::{Dovecot, DovecotOptions};
use crate::support::embedded::{Embedded, EmbeddedOptions};
use crate::support::postfix::Postfix;

/// A Dovecot: own folder, free ports, its own certificate authority.
#[fixture]
pub fn dovecot() -> Dovecot {
    Dovecot::start()
}

/// A Postfix that delivers to that Dovecot.
#[fixture]
pub fn postfix(dovecot: Dovecot) -> Site {
    Site::Real { postfix: Postfix::start(&dovecot), dovecot }
}

/// The embedded server.
#[fixture]
pub fn embedded() -> Site {
    Site::Embedded(Embedded::start().expect("the embedded server starts"))
}

/// A Dovecot that does not say that it has these capabilities.
pub fn dovecot_without(hidden: &[&str]) -> DovecotOptions {
    let all =
        "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ UIDPLUS MOVE ESEARCH SEARCHRES CONDSTORE";
    let shown: Vec<&str> = all.split(' ').filter(|name| !hidden.contains(name)).collect();
    DovecotOptions { capability: Some(shown.join(" ")), ..DovecotOptions::default() }
}

/// An embedded server that takes no larger messages than this.
pub fn embedded_with_size_limit(size_limit: u32) -> Site {
    let options = EmbeddedOptions { size_limit, ..EmbeddedOptions::default() };
    Site::Embedded(Embedded::with(&options).expect("the embedded server starts"))
}
