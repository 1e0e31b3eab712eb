//! The places where a program finds Windows' Python, beside the folder of an embeddable package on PATH.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{python, servers, wine};
use crate::{Outcome, run, ship, target_folder, this};

/// A folder with blanks, umlauts and letters of no code page of Western Europe.
const PLACE: &str = "Zoë Łukasz/Mein Büro";

/// Runs the round trip with a Python beside the program in such a folder, and nothing on PATH; then with Python on PATH in
/// the folders of its installer.
pub(super) fn test(minor: &str, servers: &str) -> Outcome {
    let (beside, installed) = (super::folder().join(PLACE), super::folder().join("Program Files/Python"));
    ship::clear(&beside)?;
    ship::clear(&installed)?;
    let program = beside.join("roundtrip.exe");
    lay_out_beside(minor, &program).map_err(|error| format!("{}: {error}", beside.display()))?;
    round_trip(&program, "", servers)?;
    lay_out_as_installed(minor, &installed)?;
    round_trip(&example(), &installed.display().to_string(), servers)
}

/// Returns the program of the example, as the tests have built it.
fn example() -> PathBuf {
    target_folder().join("other-systems").join(super::TARGETS[0]).join("debug/examples/roundtrip.exe")
}

fn round_trip(program: &Path, path: &str, servers: &str) -> Outcome {
    let mut command = this(&["wine"])?;
    command.arg(program).args(["--messages", "20"]);
    run(command.env(wine::PATH, path).env(servers::ADDRESS, servers))
}

/// Copies an embeddable package and the program into one folder.
fn lay_out_beside(minor: &str, program: &Path) -> io::Result<()> {
    let folder = program.parent().unwrap_or(program);
    fs::create_dir_all(folder)?;
    for file in fs::read_dir(python::folder(minor))?.flatten() {
        fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    fs::copy(example(), program).map(drop)
}

/// Copies the files of an embeddable package to where an installer has them: modules in `Lib`, and in `DLLs` the compiled
/// ones, with their libraries.
fn lay_out_as_installed(minor: &str, folder: &Path) -> Outcome {
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder.join("DLLs")).map_err(failed)?;
    for file in fs::read_dir(python::folder(minor)).map_err(failed)?.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let is_core = name.starts_with("python") || name.starts_with("vcruntime");
        let path = if is_core { folder.join(&name) } else { folder.join("DLLs").join(&name) };
        fs::copy(file.path(), path).map_err(failed)?;
    }
    let version = minor.replace('.', "");
    // A file of search paths, which the installer has not.
    fs::remove_file(folder.join(format!("python{version}._pth"))).map_err(failed)?;
    let zip = folder.join(format!("python{version}.zip"));
    let modules = folder.join("Lib");
    run(Command::new("python3").args(["-I", "-m", "zipfile", "--extract"]).arg(&zip).arg(modules))?;
    fs::remove_file(zip).map_err(failed)
}
