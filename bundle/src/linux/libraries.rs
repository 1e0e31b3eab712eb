//! The libraries that the dynamic linker loads for a program or a library.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, output};

/// Parts of glibc, which belong to each system: they fit its kernel and its configuration.
const OF_THE_SYSTEM: [&str; 9] = [
    "ld-linux",
    "libc.so",
    "libm.so",
    "libpthread.so",
    "libdl.so",
    "librt.so",
    "libutil.so",
    "libresolv.so",
    "libanl.so",
];

/// A shared library: its soname and its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Library {
    pub(crate) soname: String,
    pub(crate) path: PathBuf,
}

impl Library {
    pub(crate) fn is_of_the_system(&self) -> bool {
        OF_THE_SYSTEM.iter().any(|name| self.soname.starts_with(name))
    }
}

pub(crate) fn is_python(soname: &str) -> bool {
    soname.starts_with("libpython3.")
}

/// Returns all libraries that a file needs, directly or not.
pub(crate) fn linked_by(file: &Path) -> Result<Vec<Library>> {
    if !file.is_file() {
        return Err(format!("{} is no file", file.display()));
    }
    parse_ldd(&output(Command::new("ldd").arg(file))?).map_err(|soname| {
        format!("{} needs {soname}, which is not found: is LD_LIBRARY_PATH missing?", file.display())
    })
}

/// Parses a line of `ldd`: `libssl.so.3 => /lib/libssl.so.3 (0x7f...)`; an error names a library that was not found.
fn parse_ldd(text: &str) -> std::result::Result<Vec<Library>, String> {
    let mut libraries = Vec::new();
    for line in text.lines() {
        let Some((soname, path)) = line.trim().split_once(" => ") else { continue };
        if path.starts_with("not found") {
            return Err(soname.to_owned());
        }
        let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
        libraries.push(Library { soname: soname.to_owned(), path: path.into() });
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_prints_is_read() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibpython3.11.so.1.0 => /opt/my lib/libpython3.11.so.1.0 (0x7f)\n\
                    \tlibc.so.6 => /lib/libc.so.6 (0x7e)\n\t/lib64/ld-linux-x86-64.so.2 (0x7d)\n";
        let libraries = parse_ldd(text).unwrap();
        let names: Vec<_> = libraries.iter().map(|library| library.soname.as_str()).collect();
        assert_eq!(names, ["libpython3.11.so.1.0", "libc.so.6"]);
        assert_eq!(libraries[0].path, Path::new("/opt/my lib/libpython3.11.so.1.0"));
        assert!(is_python(names[0]) && libraries[1].is_of_the_system() && !libraries[0].is_of_the_system());
        assert_eq!(parse_ldd("\tlibssl.so.3 => not found\n"), Err("libssl.so.3".into()));
    }
}
