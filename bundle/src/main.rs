//! Makes a folder that runs on a machine without Python, from an app that links pymail.
//!
//! ```text
//! pymail-bundle --binary target/release/app --out dist [--python /usr/bin/python3]
//! pymail-bundle --binary target/x86_64-pc-windows-gnu/release/app.exe --out dist --python python-3.11.9-embed-amd64.zip
//! ```
//!
//! For Linux, the folder has the app in `bin`, libpython and what else it links in `lib`, and the part of the standard
//! library that pymail needs in `lib/python3.X`, compiled. For Windows, all that lies beside the app, and the standard
//! library is a zip. The licences of Python and of the libraries are in `licences`. The folder works from any place.
//!
//! The app's file tells which system it is for; the bundler need not run on that system.

mod imports;
mod linux;
mod report;
mod windows;

use std::env;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use object::FileKind;

use self::report::Report;

const USAGE: &str = "\
usage: pymail-bundle --binary PATH --out DIR [--python PATH]

--python names the Python to take: on Linux the program, if it is not found; for Windows the zip of the embeddable package";

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
    let fill = match system_of(&options.binary)? {
        System::Linux => linux::fill,
        System::Windows => windows::fill,
    };
    fill(options).inspect_err(|_| drop(fs::remove_dir_all(out)))
}

/// A system that an app is built for.
enum System {
    Linux,
    Windows,
}

fn system_of(binary: &Path) -> Result<System> {
    let octets = fs::read(binary).map_err(named(binary))?;
    match FileKind::parse(&*octets) {
        Ok(FileKind::Elf32 | FileKind::Elf64) => Ok(System::Linux),
        Ok(FileKind::Pe32 | FileKind::Pe64) => Ok(System::Windows),
        Ok(FileKind::MachO64 | FileKind::MachOFat32 | FileKind::MachOFat64) => Err(format!(
            "{} is for macOS, for which no folder is made: docs/shipping.md has the steps for an .app",
            binary.display()
        )),
        _ => Err(format!("{} is no program of Linux or Windows", binary.display())),
    }
}

/// Returns a function that puts a path before an error.
fn named<E: Display>(path: &Path) -> impl Fn(E) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
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
