//! A Python extension module with pymail, in `python.exe`.

use std::process::Command;

use super::{TARGETS, wine};
use crate::{ship, target_folder};

/// Returns the commands that build the module, and run it in interpreters that end before their processes. `cargo`
/// returns cargo's commands for Windows.
pub(super) fn test(cargo: impl Fn(&[&str]) -> Result<Command, String>) -> Result<Vec<Command>, String> {
    let build = cargo(&["build", "--manifest-path", ship::EXTENSION])?;
    let results = target_folder().join("other-systems").join(TARGETS[0]);
    let mut test = cargo(&["test", "--test", "all", "--", "--ignored", "extension::"])?;
    test.env("PYMAIL_EXTENSION", wine::windows_path(&results.join("debug/pymail_extension.dll")));
    Ok(vec![build, test])
}
