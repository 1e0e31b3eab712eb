//! The modules of the standard library that pymail imports.

use std::path::Path;
use std::process::Command;

use crate::{Result, output};

/// The modules that pymail's Python files import, without these files themselves.
pub(crate) const ALL: [&str; 7] =
    ["__future__", "encodings.idna", "imaplib", "json", "smtplib", "ssl", "typing"];

/// Has a Python import them, and returns the text that `imports.py` prints.
pub(crate) fn run(python: &Path) -> Result<String> {
    let args = ["-I", "-S", "-c", include_str!("imports.py")];
    output(Command::new(python).args(args).args(ALL))
}

/// Returns the Python in `PYO3_PYTHON` if that is set, else the one on the `PATH`.
#[cfg(test)]
pub(crate) fn python() -> std::path::PathBuf {
    let usual = if cfg!(windows) { "python" } else { "python3" };
    std::env::var_os("PYO3_PYTHON").unwrap_or_else(|| usual.into()).into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn all_that_pymails_files_import_is_imported() {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../py").read_dir().unwrap().flatten();
        let files =
            files.map(|file| file.path()).filter(|file| file.extension().is_some_and(|it| it == "py"));
        let text: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
        let words = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("import ") || line.starts_with("from "));
        let modules =
            words.filter_map(|line| line.split(' ').nth(1)).filter(|name| !name.starts_with("_pymail"));
        let mut script = String::from("import sys\n");
        script.extend(ALL.map(|name| format!("import {name}\n")));
        script.extend(modules.map(|name| format!("assert '{name}' in sys.modules, '{name}'\n")));
        assert!(script.contains("'imaplib'") && script.contains("'contextlib'"), "{script}");
        output(Command::new(python()).args(["-I", "-S", "-c", &script])).unwrap();
    }
}
