//! The part of the standard library that pymail needs, found by importing it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::libraries::Library;
use crate::{Result, copy as copy_file, imports, output};

/// The folder `lib`, from `lib/python3.X/lib-dynload`.
const LIB_OF_A_MODULE: &[u8] = b"$ORIGIN/../..";

/// The result of the copy, besides modules.
pub(crate) struct Stdlib {
    /// Extension modules, at their original paths.
    pub(crate) extensions: Vec<PathBuf>,
    pub(crate) licence: Option<PathBuf>,
}

/// Returns the interpreter that belongs to a libpython, or the named one.
pub(crate) fn python_of(libpython: &Library, named: Option<&Path>) -> Result<PathBuf> {
    let version = version_of(&libpython.soname);
    let path =
        libpython.path.canonicalize().map_err(|error| format!("{}: {error}", libpython.path.display()))?;
    let beside = || {
        let homes =
            path.ancestors().filter(|home| home.join("lib").join(format!("python{version}")).is_dir());
        homes.map(|home| home.join("bin").join(format!("python{version}"))).find(|program| program.is_file())
    };
    let none = || format!("no interpreter belongs to {}: name it with --python", path.display());
    let python = named.map(Path::to_owned).or_else(beside).ok_or_else(none)?;
    let ask = "import sys; print('%d.%d' % sys.version_info[:2] + 't' * ('t' in sys.abiflags))";
    let found = output(Command::new(&python).args(["-I", "-S", "-c", ask]))?;
    if found.trim() == version {
        return Ok(python);
    }
    Err(format!("{} is Python {}, and the app links {}", python.display(), found.trim(), libpython.soname))
}

/// Returns the version as its folder in `lib` has it: with a `t` for a free-threaded one, and without any other suffix.
fn version_of(soname: &str) -> &str {
    let name = soname.trim_start_matches("libpython").split(".so").next().unwrap_or_default();
    name.trim_end_matches(|c: char| c.is_alphabetic() && c != 't')
}

/// Copies the imported modules into `lib/python3.X`, and compiles them.
pub(crate) fn copy(python: &Path, lib: &Path) -> Result<Stdlib> {
    let told = imports::run(python)?;
    let mut lines = told.lines();
    let (Some(folder), Some(licence), Some(native)) = (lines.next(), lines.next(), lines.next()) else {
        return Err(format!("{} tells nothing of its standard library", python.display()));
    };
    let name = Path::new(folder).file_name().ok_or("a standard library without a name")?;
    let to = lib.join(name);
    let mut extensions = Vec::new();
    for file in lines.map(Path::new) {
        let place = file.strip_prefix(folder).map_err(|_| format!("{} is elsewhere", file.display()))?;
        copy_file(file, &to.join(place))?;
        if file.extension().is_some_and(|kind| kind == "so") {
            look_beside(&to.join(place), native)?;
            extensions.push(file.to_owned());
        }
    }
    // Valid wherever the folder is, and whatever the times of its files.
    let compile = ["-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"];
    output(Command::new(python).args(compile).arg(&to))?;
    let licence = Some(licence).filter(|path| !path.is_empty()).map(PathBuf::from);
    Ok(Stdlib { extensions, licence })
}

/// Replaces an extension module's rpath: some Pythons' modules look for libraries at the interpreter's original path.
///
/// The path is a text in the file, which a path that is no longer can replace.
fn look_beside(module: &Path, native: &str) -> Result<()> {
    let failed = |error| format!("{}: {error}", module.display());
    let mut octets = fs::read(module).map_err(failed)?;
    match replace(&mut octets, native.as_bytes(), LIB_OF_A_MODULE) {
        0 => Ok(()),
        _ if native.len() < LIB_OF_A_MODULE.len() => Err(format!(
            "{} looks for libraries in {native}, which is too short a path to be changed: take a Python that is \
             installed in a longer one, with --python",
            module.display()
        )),
        _ => fs::write(module, octets).map_err(failed),
    }
}

/// Replaces every text that equals `old`, as far as `new` fits; returns the number of such texts.
fn replace(octets: &mut [u8], old: &[u8], new: &[u8]) -> usize {
    let whole = [b"\0", old, b"\0"].concat();
    let mut padded = [b"\0", new].concat();
    padded.resize(whole.len(), 0);
    let texts = octets.windows(whole.len()).enumerate().filter(|(_, text)| *text == whole);
    let places: Vec<usize> = texts.map(|(at, _)| at).collect();
    for &at in &places {
        octets[at..at + whole.len()].copy_from_slice(&padded);
    }
    places.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_file_is_replaced_where_it_is_all_of_a_text() {
        let replaced = |text: &[u8]| {
            let mut octets = text.to_vec();
            let count = replace(&mut octets, b"/opt/lib", b"$O");
            (octets, count)
        };
        assert_eq!(replaced(b"a\0/opt/lib\0b"), (b"a\0$O\0\0\0\0\0\0\0b".to_vec(), 1));
        assert_eq!(replaced(b"a\0/opt/lib/b\0"), (b"a\0/opt/lib/b\0".to_vec(), 0));
    }

    #[test]
    fn a_module_whose_path_is_too_short_to_be_changed_is_an_error() {
        let module = std::env::temp_dir().join(format!("pymail-bundle-{}.so", std::process::id()));
        for (text, path, is_fine) in [("\0/l\0", "/l", false), ("\0/l\0", "/m", true)] {
            fs::write(&module, text).unwrap();
            assert_eq!(look_beside(&module, path).is_ok(), is_fine, "{path}");
            assert_eq!(fs::read_to_string(&module).unwrap(), text);
        }
        fs::remove_file(module).unwrap();
    }

    #[test]
    fn a_free_threaded_python_is_another_one() {
        let versions = [
            "libpython3.11.so.1.0",
            "libpython3.14t.so.1.0",
            "libpython3.14td.so.1.0",
            "libpython3.11d.so.1.0",
        ];
        assert_eq!(versions.map(version_of), ["3.11", "3.14t", "3.14t", "3.11"]);
    }
}
