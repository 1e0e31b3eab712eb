//! An app with its own Python, bundled here for Windows, and run in a Windows with nothing else.

use std::env;
use std::path::Path;
use std::process;

use super::python::{self, Python};
use super::wine;
use crate::toolchain::Toolchain;
use crate::{Outcome, run, ship, step};

/// Follows docs/shipping.md for Windows, and runs the result in a new prefix; has each Python import all that pymail
/// needs from its own bundle.
pub(super) fn test(toolchain: &Toolchain) -> Outcome {
    // Outside of this folder, where cargo would make the app a member of the workspace.
    let folder = env::temp_dir().join(format!("pymail-guide-windows-{}", process::id()));
    let prefix = super::folder().join("prefix-without-python");
    let mut shell = step("sh", &[]);
    toolchain.use_in(&mut shell);
    ship::follow_guide("Windows", &folder, shell.env("EMBEDDABLE", python::package(python::DEFAULT)))?;
    ship::clear(&prefix)?;
    wine::make(&prefix)?;
    let test = ["test", "--locked", "--test", "all", "--", "--ignored", "in_windows_without_python"];
    let bundle = folder.join("postbox/dist-windows");
    run(step("cargo", &test).env("PYMAIL_SHIPPED_WINDOWS_APP", bundle).env("WINEPREFIX", &prefix))?;
    python::ALL.iter().try_for_each(|python| import_all(python, &prefix))?;
    ship::clear(&folder)?;
    ship::clear(&prefix)
}

fn import_all(python: &Python, prefix: &Path) -> Outcome {
    let test = ["test", "--locked", "--package", "pymail-bundle", "--", "--ignored", "a_windows_python"];
    run(step("cargo", &test).env("EMBEDDABLE", python::package(python.minor)).env("WINEPREFIX", prefix))
}
