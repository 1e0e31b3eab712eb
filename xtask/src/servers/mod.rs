//! The mail servers that the tests talk to.

mod unpacked;

use std::path::Path;
use std::process::Command;

pub(super) use self::unpacked::unpack;
use super::{Outcome, run, step};

const PACKAGES: [&str; 3] = ["dovecot-imapd", "dovecot-lmtpd", "postfix"];

/// A file of each package, where Debian and its kin put it.
const FILES: [&str; 4] =
    ["/usr/sbin/dovecot", "/usr/lib/dovecot/imap", "/usr/lib/dovecot/lmtp", "/usr/sbin/postfix"];

/// Makes sure that Dovecot and Postfix are here, or says how to get them.
pub(super) fn install() -> Outcome {
    if FILES.iter().all(|file| Path::new(file).exists()) {
        return Ok(());
    }
    if !is_debian_root() {
        return Err(format!(
            "the tests need mail servers. Run this once, then again what you ran:\n\n  {}",
            advice()
        ));
    }
    eprintln!("installing the mail servers that the tests talk to (once)");
    run(&mut apt(&["update", "--quiet"]))?;
    run(&mut apt(&[&["install", "--quiet", "--yes", "--no-install-recommends"], &PACKAGES[..]].concat()))
}

/// Unattended: Postfix would ask what kind of mail system this is.
fn apt(args: &[&str]) -> Command {
    let mut command = step("apt-get", args);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("NEEDRESTART_MODE", "l");
    command
}

/// The one command, for the package managers that we know.
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

/// Whether packages can be installed here.
fn is_debian_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    let is_root = output.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    is_root && Path::new("/etc/debian_version").exists()
}
