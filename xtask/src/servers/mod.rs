//! The mail servers that the tests talk to.

mod unpacked;

use std::path::Path;
use std::process::Command;

pub(super) use self::unpacked::unpack;
use super::{Outcome, run, step};

const PACKAGES: [&str; 3] = ["dovecot-imapd", "dovecot-lmtpd", "postfix"];

/// Files of these packages, at their paths on Debian and its derivatives.
const FILES: [&str; 4] =
    ["/usr/sbin/dovecot", "/usr/lib/dovecot/imap", "/usr/lib/dovecot/lmtp", "/usr/sbin/postfix"];

/// Installs Dovecot and Postfix if they are missing, or returns the command that does.
pub(super) fn install() -> Outcome {
    if FILES.iter().all(|file| Path::new(file).exists()) {
        return Ok(());
    }
    if !is_debian_root() {
        return Err(format!(
            "the tests need mail servers. Run this once, then repeat your command:\n\n  {}",
            advice()
        ));
    }
    eprintln!("installing the mail servers that the tests talk to (once)");
    run(&mut apt(&["update", "--quiet"]))?;
    run(&mut apt(&[&["install", "--quiet", "--yes", "--no-install-recommends"], &PACKAGES[..]].concat()))
}

/// Returns an unattended `apt-get` command: Postfix would ask for the kind of mail system.
fn apt(args: &[&str]) -> Command {
    let mut command = step("apt-get", args);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("NEEDRESTART_MODE", "l");
    command
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

/// Returns `true` if packages can be installed: as root on Debian or a derivative.
pub(super) fn is_debian_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    let is_root = output.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    is_root && Path::new("/etc/debian_version").exists()
}
