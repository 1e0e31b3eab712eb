//! Servers whose Debian packages conflict with Dovecot or Postfix: unpacked beside them, not installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{apt, is_debian_root};
use crate::{Outcome, root, run};

/// Each server with its packages.
const SERVERS: [(&str, &[&str]); 4] = [
    ("cyrus", &["cyrus-common", "cyrus-imapd"]),
    ("courier", &["courier-authlib", "courier-base", "courier-imap"]),
    ("opensmtpd", &["opensmtpd"]),
    ("exim", &["exim4-daemon-light"]),
];

/// The name of a file in each server's folder that lists the library packages it needs.
const LIBRARIES: &str = "libraries";

/// Unpacks missing servers into the target folder, and installs their libraries.
pub(crate) fn unpack() -> Outcome {
    let missing: Vec<_> = SERVERS.iter().filter(|(name, _)| !is_ready(&folder(name))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_debian_root() {
        return Err("--all-servers needs Debian or a derivative, and root".into());
    }
    eprintln!("unpacking the other mail servers that the tests talk to (once)");
    run(&mut apt(&["update", "--quiet"]))?;
    missing.into_iter().try_for_each(|(name, packages)| unpack_into(&folder(name), packages))
}

/// Returns the folder where the tests expect a server.
fn folder(name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("servers").join(name)
}

fn is_ready(folder: &Path) -> bool {
    let Ok(libraries) = fs::read_to_string(folder.join(LIBRARIES)) else { return false };
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("--status").args(libraries.lines()).stdout(Stdio::null()).stderr(Stdio::null());
    dpkg.status().is_ok_and(|status| status.success())
}

/// Unpacks into a folder beside the server's, and renames it when it is complete.
fn unpack_into(folder: &Path, packages: &[&str]) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let filling = folder.with_extension("new");
    for old in [&filling, folder] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(failed)?;
        }
    }
    let downloads = filling.join("packages");
    fs::create_dir_all(&downloads).map_err(failed)?;
    run(apt(&["download", "--quiet"]).args(packages).current_dir(&downloads))?;
    let mut libraries = Vec::new();
    for entry in fs::read_dir(&downloads).map_err(failed)? {
        let package = entry.map_err(failed)?.path();
        run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&filling))?;
        libraries.extend(needed(&package)?);
    }
    libraries.sort();
    libraries.dedup();
    // `--no-upgrade`: libraries that other programs use stay unchanged.
    let install = ["install", "--quiet", "--yes", "--no-install-recommends", "--no-upgrade"];
    run(apt(&install).args(&libraries))?;
    fs::remove_dir_all(downloads).map_err(failed)?;
    fs::write(filling.join(LIBRARIES), libraries.join("\n")).map_err(failed)?;
    fs::rename(&filling, folder).map_err(failed)
}

/// Returns the library packages that a package depends on, of alternatives the first. Its other dependencies are for a
/// machine that runs it as a service: users, logs, a second mail server.
fn needed(package: &Path) -> Result<Vec<String>, String> {
    let field = Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends").output();
    let field = field.map_err(|error| format!("dpkg-deb: {error}"))?;
    let depends = String::from_utf8_lossy(&field.stdout).into_owned();
    let names = depends.split(',').filter_map(|dependency| dependency.split(['|', '(', ':']).next());
    Ok(names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("lib")).collect())
}
