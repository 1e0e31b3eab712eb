//! The Pythons on this machine that pymail can be built with, and the tests on one of them.

pub(super) mod newer;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Outcome, parallel, root, run, step, symlink};

/// The oldest CPython that `PyO3` 0.30 embeds.
const OLDEST: (u32, u32) = (3, 9);
/// The newest CPython that `PyO3` 0.30 embeds.
const NEWEST: (u32, u32) = (3, 15);

/// The environment variable with the target folder of the quick tests: in the overlay of [`newer`], the build makes
/// programs that do not run outside of it.
const FOLDER: &str = "PYMAIL_QUICK_TARGET";

/// A script that prints version and library of a CPython with a shared library, and nothing for any other Python.
const DESCRIBE: &str = "\
import os, platform, sys, sysconfig
shared = sysconfig.get_config_var('Py_ENABLE_SHARED')
if platform.python_implementation() == 'CPython' and shared:
    free = 't' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''
    library = os.path.join(sysconfig.get_config_var('LIBDIR'), sysconfig.get_config_var('INSTSONAME'))
    print(*sys.version_info[:2], platform.python_version() + free, library)
";

/// A Python that can be embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Python {
    program: PathBuf,
    minor: (u32, u32),
    version: String,
    library: PathBuf,
}

impl Python {
    /// Describes a program; `None` if it is not a CPython that pymail can be built with.
    pub(super) fn at(program: &Path) -> Option<Self> {
        let output =
            Command::new(program).args(["-I", "-S", "-c", DESCRIBE]).stderr(Stdio::null()).output().ok()?;
        let (minor, version, library) = parse_description(&String::from_utf8(output.stdout).ok()?)?;
        (OLDEST..=NEWEST).contains(&minor).then(|| Self { program: program.into(), minor, version, library })
    }

    /// Runs the tests with this Python, in a target folder of its own.
    pub(super) fn test(&self) -> Outcome {
        self.test_in(&format!("python-{}", self.version), parallel::every_test()?)
    }

    /// Runs the unit tests and those on servers, in a target folder for all Pythons: crates that do not link Python are
    /// built once. The tests of faults and load, and the examples in the docs, take as long again.
    pub(super) fn test_quickly(&self) -> Outcome {
        let folder = env::var(FOLDER).unwrap_or_else(|_| "other-pythons".into());
        self.test_in(&folder, vec![parallel::test(&["--test", "all"]), parallel::test(&["--lib"])])
    }

    fn test_in(&self, folder: &str, mut tests: Vec<Command>) -> Outcome {
        eprintln!("\nPython {} at {}", self.version, self.program.display());
        let folder = root().join("target").join(folder);
        let with_this_python = |command: &mut Command| {
            command.env("PYO3_PYTHON", &self.program).env("CARGO_TARGET_DIR", &folder);
        };
        // With named targets, cargo does not build the examples that some tests run.
        let mut build = step("cargo", &["build", "--locked", "--examples"]);
        with_this_python(&mut build);
        run(&mut build)?;
        tests.iter_mut().for_each(with_this_python);
        parallel::run(tests)
    }
}

/// Returns the Python version that `PyO3` has chosen, as the build script reports it.
fn built_with() -> Result<(u32, u32), String> {
    let mut build = step("cargo", &["build", "--locked", "--message-format", "json"]);
    let output = build.stderr(Stdio::inherit()).output().map_err(|error| format!("cargo build: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    minor_of(&text).ok_or_else(|| "the build does not report its Python version".into())
}

fn minor_of(messages: &str) -> Option<(u32, u32)> {
    let (_, rest) = messages.split_once(r#"["PYMAIL_PYTHON_VERSION",""#)?;
    let (major, minor) = rest.split('"').next()?.trim_end_matches('t').split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Checks that a program that loads another version of Python than it was built with fails with a clear error.
pub(super) fn another_is_refused() -> Outcome {
    super::cargo(&["build", "--locked", "--example", "stdio"])?;
    let (built, pythons) = (built_with()?, all());
    let mut refused = 0;
    for Python { library, minor, .. } in &pythons {
        let folder = root().join("target/another-python");
        // Under the library name of every version, the program gets this one.
        let mut links = pythons.iter().filter_map(|other| Some(folder.join(other.library.file_name()?)));
        let prepared = fs::create_dir_all(&folder);
        let prepared = prepared.and_then(|()| links.try_for_each(|link| link_to(library, &link)));
        prepared.map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut program = Command::new(root().join("target/debug/examples/stdio"));
        program.args(["imap", "localhost", "1", "alice", "secret"]).env("LD_LIBRARY_PATH", &folder);
        let output = program.output().map_err(|error| format!("stdio: {error}"))?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // An older library lacks symbols, so the dynamic linker itself refuses it.
        let is_refused = ["built for Python", "symbol lookup error"].iter().any(|words| text.contains(words));
        let is_taken = *minor == built && text.contains("connecting to IMAP");
        if output.status.success() || !(is_refused || is_taken) {
            return Err(format!("{} was loaded, and the program printed: {text}", library.display()));
        }
        refused += usize::from(is_refused);
    }
    eprintln!("\n{refused} of {} Pythons were of another version, and refused", pythons.len());
    if refused < pythons.len() { Ok(()) } else { Err("every Python was refused".into()) }
}

/// Makes a link, in the place of an older one.
fn link_to(file: &Path, link: &Path) -> io::Result<()> {
    if link.is_symlink() {
        fs::remove_file(link)?;
    }
    symlink(file, link)
}

/// Parses the output of [`DESCRIBE`].
fn parse_description(line: &str) -> Option<((u32, u32), String, PathBuf)> {
    let mut words = line.trim().splitn(4, ' ');
    let minor = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((minor, words.next()?.to_owned(), words.next()?.into()))
}

/// Finds Pythons, one for each version, the oldest first: those of `pyenv`, and those on the PATH.
pub(super) fn all() -> Vec<Python> {
    let mut found = BTreeMap::new();
    for program in programs() {
        if let Some(python) = Python::at(&program) {
            found.entry((python.minor, python.version.clone())).or_insert(python);
        }
    }
    found.into_values().collect()
}

fn programs() -> Vec<PathBuf> {
    let home = env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")));
    let versions = home.and_then(|home| home.join("versions").read_dir().ok());
    let installed =
        versions.into_iter().flatten().flatten().map(|version| version.path().join("bin/python3"));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    let on_path = on_path.map(|entry| entry.path()).filter(|program| is_python(program.file_name()));
    let mut all: Vec<PathBuf> = installed.chain(on_path).filter(|program| program.is_file()).collect();
    all.sort();
    all
}

/// Returns `true` for `python3`, `python3.11` and the free-threaded `python3.14t`, but not for `python3-config`.
fn is_python(name: Option<&OsStr>) -> bool {
    let version = name.and_then(OsStr::to_str).and_then(|name| name.strip_prefix("python3"));
    version.is_some_and(|rest| {
        let minor = rest.strip_prefix('.').map(|minor| minor.strip_suffix('t').unwrap_or(minor));
        rest.is_empty() || minor.is_some_and(|minor| minor.parse::<u32>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interpreters_are_asked() {
        let is = |name: &str| is_python(Some(OsStr::new(name)));
        assert!(is("python3") && is("python3.11") && is("python3.14t"));
        assert!(!is("python3-config") && !is("python3.11-config") && !is("python") && !is("python2.7"));
    }

    #[test]
    fn the_build_reports_its_python() {
        let text = r#"{"reason":"build-script-executed","env":[["PYMAIL_PYTHON_VERSION","3.11"],["A","b"]]}"#;
        assert_eq!(minor_of(text), Some((3, 11)));
        assert_eq!(minor_of(&text.replace("3.11", "3.14t")), Some((3, 14)));
        assert_eq!(minor_of("{}"), None);
    }

    #[test]
    fn a_description_has_version_and_library() {
        let described = parse_description("3 13 3.13.0t /opt/my lib/libpython3.13t.so.1.0\n");
        assert_eq!(described, Some(((3, 13), "3.13.0t".into(), "/opt/my lib/libpython3.13t.so.1.0".into())));
        assert_eq!(parse_description(""), None);
    }
}
