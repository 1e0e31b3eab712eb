//! Packages of Debian and its derivatives: installed, or unpacked into a folder beside what is installed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Outcome, run, step};

/// The name of a file in each unpacked folder that lists the library packages it needs.
const LIBRARIES: &str = "libraries";

/// Returns an unattended `apt-get` command: Postfix would ask for the kind of mail system.
pub(super) fn apt(args: &[&str]) -> Command {
    let mut command = step("apt-get", args);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("NEEDRESTART_MODE", "l");
    command
}

/// Installs packages, without those that they only recommend.
pub(super) fn install(packages: &[&str]) -> Outcome {
    run(&mut apt(&["update", "--quiet"]))?;
    run(&mut apt(&[&["install", "--quiet", "--yes", "--no-install-recommends"], packages].concat()))
}

/// Returns `true` if packages can be installed: as root on Debian or a derivative.
pub(super) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    let is_root = output.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    is_root && Path::new("/etc/debian_version").exists()
}

/// Returns `true` if a folder was unpacked completely, and the libraries that it needs are installed.
pub(super) fn is_unpacked(folder: &Path) -> bool {
    let Ok(libraries) = fs::read_to_string(folder.join(LIBRARIES)) else { return false };
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("--status").args(libraries.lines()).stdout(Stdio::null()).stderr(Stdio::null());
    dpkg.status().is_ok_and(|status| status.success())
}

/// Unpacks packages that may conflict with installed ones, and installs the libraries that they need. The folder has its
/// name when it is complete.
pub(super) fn unpack(folder: &Path, packages: &[&str]) -> Outcome {
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
    libraries.retain(|library| !packages.contains(&library.as_str()));
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
/// machine that runs it as a service, or compiles with it: users, logs, a second mail server, headers.
fn needed(package: &Path) -> Result<Vec<String>, String> {
    let field = Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends").output();
    let field = field.map_err(|error| format!("dpkg-deb: {error}"))?;
    let depends = String::from_utf8_lossy(&field.stdout).into_owned();
    let names = depends.split(',').filter_map(|dependency| dependency.split(['|', '(', ':']).next());
    let libraries = names.map(str::trim).filter(|name| name.starts_with("lib") && !name.ends_with("-dev"));
    Ok(libraries.map(str::to_owned).collect())
}
