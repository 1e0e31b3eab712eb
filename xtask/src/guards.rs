//! `cargo xtask guards`: the errors and warnings of builds that can't work or whose programs can't start, the public API without `PyO3`, and docs without Python.

use std::env;
use std::fs;
use std::io;
use std::path::Path;

use super::{Outcome, cargo, root, run, step, symlink};

/// A configuration file that `PyO3` takes in place of a Python.
const CONFIG: &str = "implementation=CPython\nversion=3.11\nabi3=false\nlib_name=python3.11\nlib_dir=/nonexistent\n\
                      executable=/opt/bin/python3.11\n";

/// The same of an installed Python of Windows.
const WINDOWS_CONFIG: &str = "implementation=CPython\nversion=3.11\nabi3=false\nlib_name=python311\nshared=true\n\
                              lib_dir=/opt/Python/libs\nexecutable=/opt/Python/python.exe\n";

/// The crate that looks for Python. Without the others, which may fail before for want of a standard library.
const PYO3: &[&str] = &["--package", "pyo3-ffi", "--keep-going"];

/// Checks that a build that can't work, or whose program can't start, names the remedy.
pub(super) fn build_errors_name_the_remedy() -> Outcome {
    let folder = root().join("target/refusals");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let config = |name: &str, text: &str| {
        let file = folder.join(name);
        let written = fs::write(&file, text);
        written.map(|()| file.display().to_string()).map_err(|error| format!("{}: {error}", file.display()))
    };
    check_build_error(
        &folder,
        &[],
        "PYO3_CONFIG_FILE",
        &config("shared-true", &format!("{CONFIG}shared=true\n"))?,
        "install its development files (Debian: libpython3.11-dev;",
    )?;
    check_build_error(
        &folder,
        &[],
        "PYO3_CONFIG_FILE",
        &config("shared-false", &format!("{CONFIG}shared=false\n"))?,
        "an app must be linked with -rdynamic",
    )?;
    check_build_error(
        &folder,
        &["--package", "pymail", "--keep-going", "--target", "x86_64-pc-windows-gnu"],
        "PYO3_CONFIG_FILE",
        &config("windows", WINDOWS_CONFIG)?,
        "has its python311.dll in /opt/Python, which is not on PATH",
    )?;
    check_build_error(
        &folder,
        PYO3,
        "PYO3_PYTHON",
        "/nonexistent/python3",
        "failed to run the Python interpreter at /nonexistent/python3",
    )?;
    check_build_error(
        &folder,
        PYO3,
        "CARGO_BUILD_TARGET",
        "x86_64-pc-windows-gnu",
        "PYO3_CROSS_PYTHON_VERSION or either an abi3-py3* or abi3t-py3* feature must be specified",
    )?;
    // A changed PATH does not make PyO3 search again, so this needs a target folder of its own.
    let folder = root().join("target/refusals-without-python");
    let programs = folder.join("programs");
    link_all_but_python(&programs).map_err(|error| format!("{}: {error}", programs.display()))?;
    check_build_error(
        &folder,
        PYO3,
        "PATH",
        &programs.display().to_string(),
        "no Python 3.x interpreter found",
    )
}

/// Makes a folder of links to all programs on the PATH, except Pythons.
fn link_all_but_python(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let path = env::var_os("PATH").unwrap_or_default();
    let programs = env::split_paths(&path).filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    for program in programs.filter(|program| !program.file_name().to_string_lossy().starts_with("python")) {
        let link = folder.join(program.file_name());
        if !link.is_symlink() {
            symlink(&program.path(), &link)?;
        }
    }
    Ok(())
}

/// Runs `cargo check` with a variable set, and checks that its errors or warnings contain a text.
fn check_build_error(folder: &Path, args: &[&str], name: &str, value: &str, wanted: &str) -> Outcome {
    eprintln!("\n$ {name}={value} cargo check {}", args.join(" "));
    let mut check = step("cargo", &["check", "--locked", "--target-dir"]);
    let output = check
        .arg(folder)
        .args(args)
        .env_remove("VIRTUAL_ENV")
        .env_remove("PYO3_CROSS_PYTHON_VERSION")
        .env(name, value)
        .output()
        .map_err(|error| format!("cargo check: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains(wanted) {
        return Ok(());
    }
    Err(format!("the build's errors lack {wanted:?}:\n{text}"))
}

/// Checks that the documentation builds without a Python, as docs.rs builds it.
pub(super) fn docs_need_no_python() -> Outcome {
    let manifest =
        fs::read_to_string(root().join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
    let args = manifest.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
    let args = args.filter(|arg| arg.starts_with("env.PYO3_CONFIG_FILE")).flat_map(|arg| ["--config", arg]);
    let mut doc =
        step("cargo", &["doc", "--no-deps", "--locked", "--all-features", "--target-dir", "target/refusals"]);
    run(doc.args(args).env("PYO3_PYTHON", "/nonexistent/python3").env("DOCS_RS", "1"))
}

/// Checks that no type of `PyO3` is in the documentation of the public API.
pub(super) fn api_names_no_pyo3() -> Outcome {
    // PyO3's documentation is built too: links to it exist only then.
    cargo(&["doc", "--no-deps", "--locked", "--all-features", "--package", "pymail", "--package", "pyo3"])?;
    let pages = root().join("target/doc/pymail");
    match page_with(&pages, "/pyo3/") {
        None if page_with(&pages, "struct.ImapConfig.html").is_some() => Ok(()),
        None => Err(format!("no documentation in {}", pages.display())),
        Some(page) => Err(format!("{page} names a type of pyo3")),
    }
}

/// Returns a page that contains a text, outside of the blanket implementations.
fn page_with(folder: &Path, text: &str) -> Option<String> {
    let mut paths = folder.read_dir().ok()?.flatten().map(|entry| entry.path());
    paths.find_map(|path| {
        if path.is_dir() {
            return page_with(&path, text);
        }
        let page = fs::read_to_string(&path).ok()?;
        let own = page.split("id=\"blanket-implementations\"").next()?;
        own.contains(text).then(|| path.display().to_string())
    })
}
