//! A Rust compiler for another system than this one: rustup's, or Debian's with a standard library built from its sources.
//!
//! Debian packages a standard library for Linux only, but also its sources, with a compiler of the same version.

use std::env::consts::ARCH;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Outcome, debian, output_of, run, step, target_folder};

/// A compiler with the standard library of a system.
pub(super) struct Toolchain {
    target: &'static str,
    /// The folder of Debian's compiler; `None` for the default compiler.
    unpacked: Option<PathBuf>,
}

impl Toolchain {
    /// Provides a compiler for programs of a system (`"build"`), or only to check sources for it (`"check"`): the default
    /// one if it has the standard library, or else Debian's, unpacked and built once under `target/`.
    ///
    /// # Errors
    ///
    /// The default compiler has no standard library for this system, and this is not Debian as root.
    pub(super) fn provide(target: &'static str, command: &str) -> Result<Self, String> {
        let sysroot = output_of("rustc", &["--print", "sysroot"])?;
        if library_folder(Path::new(sysroot.trim()), target).exists() {
            return Ok(Self { target, unpacked: None });
        }
        let unpacked = unpack(target)?;
        let this = Self { target, unpacked: Some(unpacked.clone()) };
        this.build_std(&unpacked, command)?;
        Ok(this)
    }

    /// Returns a cargo command for the system, with results in `target/other-systems`.
    pub(super) fn cargo(&self, command: &str, args: &[&str]) -> Command {
        let mut cargo = step("cargo", &[&[command, "--target", self.target], args].concat());
        cargo.env("CARGO_TARGET_DIR", target_folder().join("other-systems"));
        if let Some(unpacked) = &self.unpacked {
            let libraries = unpacked.join(format!("usr/lib/{ARCH}-linux-gnu"));
            cargo.env("RUSTC", unpacked.join("usr/bin/rustc")).env("LD_LIBRARY_PATH", libraries);
        }
        cargo
    }

    /// Builds the standard library once, and puts it where the compiler looks for it.
    fn build_std(&self, unpacked: &Path, command: &str) -> Outcome {
        let library = library_folder(&unpacked.join("usr"), self.target);
        if library.exists() {
            return Ok(());
        }
        let folder = unpacked.join("empty-crate");
        let failed = |error: io::Error| format!("{}: {error}", folder.display());
        write_empty_crate(&folder).map_err(failed)?;
        let mut build = self.cargo(command, &["-Zbuild-std=std,panic_unwind,test"]);
        // The first variable makes unstable options usable on a stable compiler.
        build.env("RUSTC_BOOTSTRAP", "1").env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("RUSTFLAGS");
        run(build.env("CARGO_TARGET_DIR", folder.join("target")).current_dir(&folder))?;
        let results = folder.join("target").join(self.target).join("debug/deps");
        let extension = if command == "check" { "rmeta" } else { "rlib" };
        copy_libraries(&results, extension, &library).map_err(failed)?;
        fs::remove_dir_all(&folder).map_err(failed)
    }
}

/// Unpacks Debian's compiler, with the sources of its standard library.
fn unpack(target: &str) -> Result<PathBuf, String> {
    let folder = target_folder().join("toolchain");
    if debian::is_unpacked(&folder) {
        return Ok(folder);
    }
    if !debian::is_root() {
        return Err(format!(
            "the Rust compiler has no standard library for {target}. Run this once, then repeat your command \
             (on Debian as root, its packages are used):\n\n  rustup target add {target}"
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

/// Returns the folder of a system's libraries in a compiler's folder.
fn library_folder(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}
