//! The mail servers that the tests talk to.

mod unpacked;

use std::path::Path;

pub(super) use self::unpacked::unpack;
use super::{Outcome, debian};

const PACKAGES: [&str; 3] = ["dovecot-imapd", "dovecot-lmtpd", "postfix"];

/// Files of these packages, at their paths on Debian and its derivatives.
const FILES: [&str; 4] =
    ["/usr/sbin/dovecot", "/usr/lib/dovecot/imap", "/usr/lib/dovecot/lmtp", "/usr/sbin/postfix"];

/// Installs Dovecot and Postfix if they are missing and can be installed; without them, the tests that need them say so.
pub(super) fn install_if_possible() -> Outcome {
    if debian::is_root() { install() } else { Ok(()) }
}

/// Installs Dovecot and Postfix if they are missing, or returns the command that does.
pub(super) fn install() -> Outcome {
    if FILES.iter().all(|file| Path::new(file).exists()) {
        return Ok(());
    }
    if !debian::is_root() {
        return Err(format!(
            "this needs mail servers. Run this once, then repeat your command:\n\n  {}",
            advice()
        ));
    }
    eprintln!("installing the mail servers that the tests talk to (once)");
    debian::install(&PACKAGES)
}

/// Returns the install command of the package manager that is present.
fn advice() -> String {
    let exists = |program: &str| Path::new("/usr/bin").join(program).exists();
    if exists("dnf") {
        return "sudo dnf install dovecot postfix".into();
    }
    if exists("pacman") {
        return "sudo pacman -S dovecot postfix".into();
    }
    format!("sudo apt-get install {}", PACKAGES.join(" "))
}
