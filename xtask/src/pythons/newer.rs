//! CPython 3.14 and 3.15 of a newer Debian, on a Debian that has neither.
//!
//! They need a newer C library, too. All of it is installed in an overlay of this machine's root: the rest of the machine
//! is there as it is outside, and nothing is written outside, but in the home, in the project and in `/tmp`.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::{Outcome, all, root, run, step};
use crate::debian;

/// The release of Debian with these versions.
const RELEASE: &str = "forky";
const MINORS: [u32; 2] = [14, 15];

/// Runs the tests on these versions, with options of `cargo xtask test --python`.
///
/// # Errors
///
/// A test fails, or those of [`provide`].
pub(crate) fn test(versions: &[String], options: &[String]) -> Outcome {
    provide(versions)?;
    let xtask = env::current_exe().map_err(|error| format!("xtask: {error}"))?;
    versions.iter().try_for_each(|version| {
        let python = format!("/usr/bin/python{version}");
        let mut test = in_overlay();
        test.arg(&xtask).args(["test", "--python", &python]).args(options);
        run(test.env(super::FOLDER, "newer-pythons-quick"))
    })
}

/// Returns the names of those that this machine has not itself.
pub(crate) fn missing() -> Vec<String> {
    let here = all();
    let missing = MINORS.iter().filter(|minor| here.iter().all(|python| python.minor != (3, **minor)));
    missing.map(|minor| format!("3.{minor}")).collect()
}

/// Installs the versions in the overlay, once.
///
/// # Errors
///
/// They can't be installed on this machine.
pub(crate) fn provide(versions: &[String]) -> Outcome {
    let names = versions.join(" and ");
    if names.is_empty() {
        return Ok(());
    }
    if !debian::is_root() {
        return Err(format!("CPython {names}, beside the Pythons of this machine, needs root on Debian"));
    }
    let why = match make_folders().and_then(|()| in_overlay().arg("true").output()) {
        Ok(output) if output.status.success() => return install(versions),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!("CPython {names} needs an overlay of this machine's root: {}", why.trim()))
}

fn make_folders() -> io::Result<()> {
    ["upper", "work", "root"].iter().try_for_each(|name| fs::create_dir_all(folder().join(name)))
}

/// Installs the versions, unless they are installed.
fn install(versions: &[String]) -> Outcome {
    let (folder, names) = (folder(), versions.join(" and "));
    if fs::read_to_string(folder.join("installed")).is_ok_and(|it| it == names) {
        return Ok(());
    }
    eprintln!("\ninstalling CPython {names} in {} (once)", folder.display());
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    fs::remove_dir_all(&folder).and_then(|()| make_folders()).map_err(failed)?;
    let of_each = |version| [format!("libpython{version}-dev"), format!("python{version}-venv")];
    // `venv` takes pip from the last package, whose older versions do not run on newer Pythons.
    let packages = versions.iter().flat_map(of_each).chain(["python3-pip-whl".to_owned()]);
    run(in_overlay().args(["sh", "-eu", "xtask/src/pythons/install.sh", RELEASE]).args(packages))?;
    fs::write(folder.join("installed"), names).map_err(failed)
}

/// Returns a command that runs in the overlay the program and the arguments that are added to it.
fn in_overlay() -> Command {
    let mut command = step("unshare", &["--mount", "sh", "-eu", "xtask/src/pythons/in_overlay.sh"]);
    command.arg(folder());
    command
}

fn folder() -> PathBuf {
    root().join("target/newer-pythons")
}
