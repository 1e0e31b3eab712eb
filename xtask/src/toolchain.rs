//! A Rust compiler for another system than this one: rustup's, or Debian's with a standard library built from its sources.
//!
//! Debian packages a standard library for Linux only, but also its sources, with a compiler of the same version.

use std::env::consts::ARCH;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Outcome, debian, output_of, run, step, target_folder};

/// A compiler with the standard libraries of some systems.
pub(super) struct Toolchain {
    targets: &'static [&'static str],
    /// The folder of Debian's compiler; `None` for the default compiler.
    unpacked: Option<PathBuf>,
}

impl Toolchain {
    /// Provides a compiler for programs of these systems (`"build"`), or only to check sources for them (`"check"`): the
    /// default one if it has the standard libraries, or else Debian's, unpacked and built once under `target/`.
    ///
    /// # Errors
    ///
    /// The default compiler lacks a standard library, and this is not Debian as root.
    pub(super) fn provide(targets: &'static [&'static str], command: &str) -> Result<Self, String> {
        let sysroot = output_of("rustc", &["--print", "sysroot"])?;
        if lacking(targets, Path::new(sysroot.trim())).is_empty() {
            return Ok(Self { targets, unpacked: None });
        }
        let unpacked = unpack(targets)?;
        let this = Self { targets, unpacked: Some(unpacked.clone()) };
        this.build_std(&unpacked, command)?;
        Ok(this)
    }

    /// Returns a cargo command for all of the systems, with results in `target/other-systems`.
    pub(super) fn cargo(&self, command: &str, args: &[&str]) -> Command {
        self.cargo_into(&target_folder().join("other-systems"), command, args)
    }

    // Not by CARGO_TARGET_DIR, which programs that cargo starts would inherit.
    fn cargo_into(&self, results: &Path, command: &str, args: &[&str]) -> Command {
        let targets = self.targets.iter().flat_map(|target| ["--target", target]);
        let mut cargo = step("cargo", &[command]);
        cargo.arg("--target-dir").arg(results).args(targets).args(args);
        self.use_in(&mut cargo);
        cargo
    }

    /// Has cargo, as this command runs it, use the compiler.
    pub(super) fn use_in(&self, command: &mut Command) {
        if let Some(unpacked) = &self.unpacked {
            let libraries = unpacked.join(format!("usr/lib/{ARCH}-linux-gnu"));
            command.env("RUSTC", unpacked.join("usr/bin/rustc")).env("LD_LIBRARY_PATH", libraries);
        }
    }

    /// Builds the missing standard libraries, and puts them where the compiler looks for them.
    fn build_std(&self, unpacked: &Path, command: &str) -> Outcome {
        let sysroot = unpacked.join("usr");
        let lacking = lacking(self.targets, &sysroot);
        if lacking.is_empty() {
            return Ok(());
        }
        let folder = unpacked.join("empty-crate");
        let failed = |error: io::Error| format!("{}: {error}", folder.display());
        write_empty_crate(&folder).map_err(failed)?;
        let results = folder.join("target");
        let mut build = self.cargo_into(&results, command, &["-Zbuild-std=std,panic_unwind,test"]);
        // The first variable makes unstable options usable on a stable compiler. Cargo builds a standard library in full
        // even for a check, which takes twice as long.
        let flags = if command == "check" { "-Zno-codegen" } else { "" };
        build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags);
        // As the standard libraries that come with compilers: one with the checks of debug builds takes much of the tests' time.
        for (setting, value) in [("OPT_LEVEL", "2"), ("DEBUG_ASSERTIONS", "false"), ("DEBUG", "0")] {
            build.env(format!("CARGO_PROFILE_DEV_{setting}"), value);
        }
        run(build.current_dir(&folder))?;
        let extension = if command == "check" { "rmeta" } else { "rlib" };
        for target in lacking {
            let libraries = results.join(target).join("debug/deps");
            copy_libraries(&libraries, extension, &library_folder(&sysroot, target)).map_err(failed)?;
        }
        fs::remove_dir_all(&folder).map_err(failed)
    }
}

/// Unpacks Debian's compiler, with the sources of its standard library.
fn unpack(targets: &[&str]) -> Result<PathBuf, String> {
    let folder = target_folder().join("toolchain");
    if debian::is_unpacked(&folder) {
        return Ok(folder);
    }
    if !debian::is_root() {
        return Err(format!(
            "the Rust compiler has not every standard library. Run this once, then repeat your command \
             (on Debian as root, its packages are used):\n\n  rustup target add {}",
            targets.join(" ")
        ));
    }
    eprintln!("unpacking a Rust compiler with the sources of its standard library (once)");
    run(&mut debian::apt(&["update", "--quiet"]))?;
    // The name of the compiler's own libraries contains its version.
    let runtime = output_of("apt-cache", &["depends", "--important", "libstd-rust-web-dev"])?;
    let runtime = runtime.split_once("Depends: ").map(|(_, name)| name.trim());
    let runtime = runtime.ok_or("Debian's libstd-rust-web-dev names no runtime library")?;
    debian::unpack(&folder, &["rustc-web", "rust-web-src", "libstd-rust-web-dev", runtime])?;
    Ok(folder)
}

/// Writes the smallest crate: cargo builds the standard library only with a crate that uses it.
fn write_empty_crate(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    fs::write(folder.join("Cargo.toml"), "[package]\nname = \"empty\"\nedition = \"2024\"\n\n[workspace]\n")
}

/// Copies the results of a build, except those of the empty crate, to a folder that has its name when it is complete.
fn copy_libraries(results: &Path, extension: &str, library: &Path) -> io::Result<()> {
    let filling = library.with_extension("new");
    fs::create_dir_all(&filling)?;
    for entry in fs::read_dir(results)?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_wanted = path.extension().is_some_and(|it| it == extension);
        if is_wanted && !name.to_string_lossy().starts_with("libempty-") {
            fs::copy(path, filling.join(name))?;
        }
    }
    fs::rename(filling, library)
}

/// Returns the systems whose standard library a compiler lacks.
fn lacking(targets: &[&'static str], sysroot: &Path) -> Vec<&'static str> {
    targets.iter().copied().filter(|target| !library_folder(sysroot, target).exists()).collect()
}

/// Returns the folder of a system's libraries in a compiler's folder.
fn library_folder(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}
