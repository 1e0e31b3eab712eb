//! The folder for Linux: the app in `bin`, and what it needs of an installed Python in `lib`.

mod libraries;
mod licences;
mod stdlib;

use std::path::Path;

use self::libraries::{Library, is_python, linked_by};
use crate::report::Report;
use crate::{Options, Result, USAGE, copy};

/// Fills the folder of the bundle.
pub(crate) fn fill(options: &Options) -> Result<Report> {
    let Options { binary, out, python } = options;
    let linked = linked_by(binary)?;
    let libpython = linked.iter().find(|library| is_python(&library.soname));
    let libpython = libpython.ok_or_else(|| format!("{} links no shared libpython", binary.display()))?;
    let name = binary.file_name().ok_or(USAGE)?;
    let (bin, lib) = (out.join("bin"), out.join("lib"));
    copy(binary, &bin.join(name))?;
    let library = stdlib::copy(&stdlib::python_of(libpython, python.as_deref())?, &lib)?;
    let mut native: Vec<Library> = linked.clone();
    for extension in &library.extensions {
        native.extend(linked_by(extension)?);
    }
    native.retain(|library| !library.is_of_the_system());
    native.sort();
    native.dedup_by(|one, other| one.soname == other.soname);
    for library in &native {
        copy(&library.path, &lib.join(&library.soname))?;
    }
    finds_its_own(&bin.join(name), &lib, &libpython.soname)?;
    let missing = licences::copy(&native, library.licence.as_deref(), &out.join("licences"))?;
    let without_text = |name| format!("no licence text is found for {name}: put it into licences");
    Report::of(out, &[bin.join(name)], missing.into_iter().map(without_text).collect())
}

/// Checks that the app in its new place loads the libpython beside it.
fn finds_its_own(app: &Path, lib: &Path, soname: &str) -> Result<()> {
    let wanted = lib.join(soname).canonicalize().map_err(|error| format!("{}: {error}", lib.display()))?;
    let found = linked_by(app)?.into_iter().find(|library| library.soname == soname);
    if found.is_some_and(|library| library.path.canonicalize().is_ok_and(|path| path == wanted)) {
        return Ok(());
    }
    Err(format!(
        "{} does not look for libpython in the folder lib beside bin. Say so in the app's build.rs, before any other \
         rpath, and build it again:\n\n  println!(\"cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib\");",
        app.display()
    ))
}
