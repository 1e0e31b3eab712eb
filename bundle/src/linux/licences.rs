//! The licences of the copied files, where this system has their texts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::libraries::{Library, is_python};
use crate::{Result, copy as copy_file, output};

/// Copies the licences, and returns the names of files without one here.
pub(crate) fn copy(libraries: &[Library], of_python: Option<&Path>, to: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let mut missing = Vec::new();
    for library in libraries {
        let own = of_python.filter(|_| is_python(&library.soname));
        let own = own.map(|text| ("python".to_owned(), text.to_owned()));
        match own.or_else(|| of_a_package(&library.path)) {
            Some((name, text)) => copy_file(&text, &to.join(format!("{name}.txt")))?,
            None => missing.push(library.soname.clone()),
        }
    }
    Ok(missing)
}

/// Finds the Debian package of a file, and its licence.
fn of_a_package(file: &Path) -> Option<(String, PathBuf)> {
    let file = file.canonicalize().ok()?;
    let shown = file.to_str()?;
    // Where /lib is a link to /usr/lib, packages list either path.
    let names = [shown, shown.strip_prefix("/usr").unwrap_or(shown)];
    let told =
        names.into_iter().find_map(|name| output(Command::new("dpkg-query").args(["-S", name])).ok())?;
    let package = told.split([':', ',']).next()?.trim().to_owned();
    let text = Path::new("/usr/share/doc").join(&package).join("copyright");
    text.is_file().then_some((package, text))
}
