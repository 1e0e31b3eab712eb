//! What a build says when it can't work, and what the public API must not name.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Outcome, cargo, root, run, step};

/// As `PyO3` takes it instead of a Python.
const CONFIG: &str = "implementation=CPython\nversion=3.11\nabi3=false\nlib_name=python3.11\nlib_dir=/nonexistent\n\
                      executable=/opt/bin/python3.11\n";

/// Builds that can't work say what to install or to set.
pub(super) fn builds_speak() -> Outcome {
    let folder = root().join("target/refusals");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let config = |shared: bool| {
        let file = folder.join(format!("shared-{shared}"));
        let written = fs::write(&file, format!("{CONFIG}shared={shared}\n"));
        written.map(|()| file.display().to_string()).map_err(|error| format!("{}: {error}", file.display()))
    };
    says(
        &folder,
        "PYO3_CONFIG_FILE",
        &config(true)?,
        "install its development files (Debian: libpython3.11-dev;",
    )?;
    says(&folder, "PYO3_CONFIG_FILE", &config(false)?, "an app must be linked with -rdynamic")?;
    says(
        &folder,
        "PYO3_PYTHON",
        "/nonexistent/python3",
        "failed to run the Python interpreter at /nonexistent/python3",
    )?;
    // Where it looks is no reason for PyO3 to look again.
    let folder = root().join("target/refusals-without-python");
    let programs = folder.join("programs");
    without_python(&programs).map_err(|error| format!("{}: {error}", programs.display()))?;
    says(&folder, "PATH", &programs.display().to_string(), "no Python 3.x interpreter found")
}

/// Everything that is on the PATH, but for Pythons.
fn without_python(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let path = env::var_os("PATH").unwrap_or_default();
    let programs = env::split_paths(&path).filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    for program in programs.filter(|program| !program.file_name().to_string_lossy().starts_with("python")) {
        let link = folder.join(program.file_name());
        if !link.is_symlink() {
            symlink(program.path(), link)?;
        }
    }
    Ok(())
}

fn says(folder: &Path, name: &str, value: &str, wanted: &str) -> Outcome {
    eprintln!("\n$ {name}={value} cargo check");
    let mut check = step("cargo", &["check", "--locked", "--target-dir"]);
    let output = check
        .arg(folder)
        .env_remove("VIRTUAL_ENV")
        .env(name, value)
        .output()
        .map_err(|error| format!("cargo check: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains(wanted) {
        return Ok(());
    }
    Err(format!("the build does not say {wanted:?}, but:\n{text}"))
}

/// The documentation can be built where there is no Python, as docs.rs does it.
pub(super) fn docs_need_no_python() -> Outcome {
    let manifest =
        fs::read_to_string(root().join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
    let args = manifest.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
    let args = args.filter(|arg| arg.starts_with("env.PYO3_CONFIG_FILE")).flat_map(|arg| ["--config", arg]);
    let mut doc = step("cargo", &["doc", "--no-deps", "--locked", "--target-dir", "target/refusals"]);
    run(doc.args(args).env("PYO3_PYTHON", "/nonexistent/python3").env("DOCS_RS", "1"))
}

/// No type of `PyO3` is in the documentation of what is public.
pub(super) fn api_names_no_pyo3() -> Outcome {
    // Its documentation is made too, because only then there are links to it.
    cargo(&["doc", "--no-deps", "--locked", "--package", "pymail", "--package", "pyo3"])?;
    let pages = root().join("target/doc/pymail");
    match linking(&pages, "/pyo3/") {
        None if linking(&pages, "struct.ImapConfig.html").is_some() => Ok(()),
        None => Err(format!("no documentation in {}", pages.display())),
        Some(page) => Err(format!("{page} names a type of pyo3")),
    }
}

/// A page with this text, but for the traits that every type has.
fn linking(folder: &Path, text: &str) -> Option<String> {
    let mut paths = folder.read_dir().ok()?.flatten().map(|entry| entry.path());
    paths.find_map(|path| {
        if path.is_dir() {
            return linking(&path, text);
        }
        let page = fs::read_to_string(&path).ok()?;
        let own = page.split("id=\"blanket-implementations\"").next()?;
        own.contains(text).then(|| path.display().to_string())
    })
}
