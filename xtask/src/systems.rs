//! Checks of the sources for systems whose programs can't be run here.

use super::toolchain::Toolchain;
use super::{Outcome, output_of, run, ship};

const MACOS: &[&str] = &["aarch64-apple-darwin", "x86_64-apple-darwin"];

/// Windows with the linker of Visual Studio, of which there is no free one.
const WINDOWS: &[&str] = &["x86_64-pc-windows-msvc"];

/// The examples that are workspaces of their own, but for `outbox`: its `SQLite` is compiled by a C compiler for the system.
const EXAMPLES: [&str; 2] = [ship::EXTENSION, "examples/shipped-app/Cargo.toml"];

/// Checks that all packages that are built there compile for macOS and Windows, with their tests and examples.
pub(super) fn check() -> Outcome {
    check_for(MACOS)?;
    check_for(WINDOWS)
}

fn check_for(systems: &'static [&'static str]) -> Outcome {
    let toolchain = Toolchain::provide(systems, "check")?;
    let check = |packages: &[&str]| -> Outcome {
        let mut check = toolchain.cargo("check", &[&["--locked"], packages].concat());
        for system in systems {
            check.args(["--config", &format!("target.{system}.{}.rustc-cfg=[]", links_of_ring()?)]);
        }
        run(check.env("PYO3_CROSS_PYTHON_VERSION", "3.11").env("RUSTFLAGS", "--deny warnings"))
    };
    check(&["--workspace", "--exclude", "pymail-bench", "--all-features", "--all-targets"])?;
    EXAMPLES.iter().try_for_each(|manifest| check(&["--manifest-path", manifest]))
}

/// Returns the name by which a configuration replaces the build script of ring: without a program to link, the C files
/// that it compiles are not needed, nor is a C compiler for the system.
fn links_of_ring() -> Result<String, String> {
    let metadata = output_of("cargo", &["metadata", "--locked", "--format-version", "1"])?;
    let name = metadata.split_once(r#""links":"ring_core_"#).and_then(|(_, rest)| rest.split('"').next());
    name.map(|version| format!("ring_core_{version}")).ok_or_else(|| "no version of ring found".into())
}
