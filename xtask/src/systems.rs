//! Checks of the sources for systems whose programs can't be run here.

use super::toolchain::Toolchain;
use super::{Outcome, run};

/// The systems whose sources are checked, and not run.
const SYSTEMS: &[&str] = &["aarch64-apple-darwin", "x86_64-apple-darwin"];

/// Checks that the library, its tests and examples compile for macOS.
pub(super) fn check() -> Outcome {
    let toolchain = Toolchain::provide(SYSTEMS, "check")?;
    let mut check = toolchain.cargo("check", &["--locked", "--lib"]);
    run(check.env("PYO3_CROSS_PYTHON_VERSION", "3.11"))
}
