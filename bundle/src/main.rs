//! Makes a folder that runs on a machine without Python, from an app that links pymail.
//!
//! ```text
//! pymail-bundle --binary target/release/app --out dist [--python /usr/bin/python3]
//! ```
//!
//! The folder has the app in `bin`, libpython and what else it links in `lib`, the part of the standard library that
//! pymail needs in `lib/python3.X`, compiled, and the licences of all that in `licences`. It works from any place.

mod libraries;
mod licences;
mod report;
mod stdlib;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use self::libraries::{Library, is_python, linked_by};
use self::report::Report;

const USAGE: &str = "usage: pymail-bundle --binary PATH --out DIR [--python PATH]";

/// A result whose error is one sentence.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match options(env::args().skip(1)).and_then(|options| bundle(&options)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    binary: PathBuf,
    out: PathBuf,
    python: Option<PathBuf>,
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let (mut binary, mut out, mut python) = (None, None, None);
    while let Some(flag) = args.next() {
        let place = match flag.as_str() {
            "--binary" => &mut binary,
            "--out" => &mut out,
            "--python" => &mut python,
            _ => return Err(USAGE.into()),
        };
        *place = Some(PathBuf::from(args.next().ok_or(USAGE)?));
    }
    let (binary, out) = binary.zip(out).ok_or(USAGE)?;
    Ok(Options { binary, out, python })
}

/// Makes the bundle; removes it after a failure.
fn bundle(options: &Options) -> Result<Report> {
    let out = &options.out;
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{} is not empty", out.display()));
    }
    fill(options).inspect_err(|_| drop(fs::remove_dir_all(out)))
}

fn fill(options: &Options) -> Result<Report> {
    let Options { binary, out, python } = options;
    let linked = linked_by(binary)?;
    let libpython = linked.iter().find(|library| is_python(&library.soname));
    let libpython = libpython.ok_or_else(|| format!("{} links no shared libpython", binary.display()))?;
    let name = binary.file_name().ok_or(USAGE)?;
    let (bin, lib) = (out.join("bin"), out.join("lib"));
    copy(binary, &bin.join(name))?;
    let library = stdlib::copy(&stdlib::python_of(libpython, python.as_deref())?, &lib)?;
    let mut native: Vec<Library> = linked.clone();
    for extension in &library.extensions {
        native.extend(linked_by(extension)?);
    }
    native.retain(|library| !library.is_of_the_system());
    native.sort();
    native.dedup_by(|one, other| one.soname == other.soname);
    for library in &native {
        copy(&library.path, &lib.join(&library.soname))?;
    }
    finds_its_own(&bin.join(name), &lib, &libpython.soname)?;
    let missing = licences::copy(&native, library.licence.as_deref(), &out.join("licences"))?;
    Report::of(out, missing)
}

/// Checks that the app in its new place loads the libpython beside it.
fn finds_its_own(app: &Path, lib: &Path, soname: &str) -> Result<()> {
    let wanted = lib.join(soname).canonicalize().map_err(|error| format!("{}: {error}", lib.display()))?;
    let found = linked_by(app)?.into_iter().find(|library| library.soname == soname);
    if found.is_some_and(|library| library.path.canonicalize().is_ok_and(|path| path == wanted)) {
        return Ok(());
    }
    Err(format!(
        "{} does not look for libpython in the folder lib beside bin. Say so in the app's build.rs, before any other \
         rpath, and build it again:\n\n  println!(\"cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib\");",
        app.display()
    ))
}

/// Copies a file, following links, and makes its folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().map_or(Ok(()), fs::create_dir_all);
    let copied = folder.and_then(|()| fs::copy(from, to));
    copied.map(drop).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

/// Returns a program's output.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{name}: {}: {}", output.status, text.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
