//! Servers whose Debian packages conflict with Dovecot or Postfix: unpacked beside them, not installed.

use std::path::PathBuf;

use crate::debian::{self, apt};
use crate::{Outcome, run, target_folder};

/// Each server with its packages.
const SERVERS: [(&str, &[&str]); 4] = [
    ("cyrus", &["cyrus-common", "cyrus-imapd"]),
    ("courier", &["courier-authlib", "courier-base", "courier-imap"]),
    ("opensmtpd", &["opensmtpd"]),
    ("exim", &["exim4-daemon-light"]),
];

/// Unpacks missing servers into the target folder, and installs their libraries.
pub(crate) fn unpack() -> Outcome {
    let missing: Vec<_> = SERVERS.iter().filter(|(name, _)| !debian::is_unpacked(&folder(name))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !debian::is_root() {
        return Err("--all-servers needs Debian or a derivative, and root".into());
    }
    eprintln!("unpacking the other mail servers that the tests talk to (once)");
    run(&mut apt(&["update", "--quiet"]))?;
    missing.into_iter().try_for_each(|(name, packages)| debian::unpack(&folder(name), packages))
}

/// Returns the folder where the tests expect a server.
fn folder(name: &str) -> PathBuf {
    target_folder().join("servers").join(name)
}
