//! The folder for Windows: the app, and beside it what it needs of Python's embeddable package.
//!
//! Everything lies in one folder, as in that package: Windows looks for DLLs beside the app, and Python for its modules
//! beside its DLL.

mod image;
mod modules;
mod package;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::image::Image;
use self::package::Package;
use crate::report::Report;
use crate::{Options, Result, USAGE, named};

/// Fills the folder of the bundle.
pub(crate) fn fill(options: &Options) -> Result<Report> {
    let Options { binary, out, python } = options;
    let octets = fs::read(binary).map_err(named(binary))?;
    let app = Image::parse(&octets).map_err(named(binary))?;
    let dll = app.python().ok_or_else(|| format!("{} links no python3XX.dll", binary.display()))?;
    let package = Package::open(python.as_deref().ok_or_else(|| no_package(binary, &dll))?)?;
    let mut folder =
        Folder { out, package, binary, written: BTreeSet::new(), apps: Vec::new(), notes: Vec::new() };
    folder.check_processor(&app, &dll)?;
    folder.add_library(&dll)?;
    folder.add_programs(&octets)?;
    folder.note_untested(&dll);
    Report::of(out, &folder.apps, folder.notes)
}

/// Returns the error of an app for Windows without a Python for Windows.
fn no_package(binary: &Path, dll: &str) -> String {
    format!(
        "{} is for Windows and links {dll}: name the embeddable package of that Python with --python, a zip \
         (python-3.X.Y-embed-amd64.zip) from https://www.python.org/downloads/windows/",
        binary.display()
    )
}

/// The folder that is being filled.
struct Folder<'a> {
    out: &'a Path,
    package: Package,
    binary: &'a Path,
    /// The names in lower case: Windows does not tell them apart.
    written: BTreeSet<String>,
    /// The app, and the DLLs that are its own.
    apps: Vec<PathBuf>,
    notes: Vec<String>,
}

impl Folder<'_> {
    fn check_processor(&mut self, app: &Image, dll: &str) -> Result<()> {
        let of_python = self.package.need(dll)?;
        if Image::parse(&of_python).map_err(named(self.package.path()))?.is_for_the_processor_of(app) {
            return Ok(());
        }
        let (app, package) = (self.binary.display(), self.package.path().display());
        Err(format!("{app} and {package} are for different processors"))
    }

    /// Writes the standard library, as far as pymail needs it, and the licences of the package.
    fn add_library(&mut self, dll: &str) -> Result<()> {
        let licences = self.out.join("licences");
        fs::create_dir_all(&licences).map_err(named(&licences))?;
        // Of Python, of OpenSSL, and of the C runtime of Microsoft's compiler.
        fs::write(licences.join("python.txt"), self.package.need("LICENSE.txt")?)
            .map_err(named(&licences))?;
        let zip = dll.replace(".dll", ".zip");
        self.package.trim(&zip, &self.out.join(&zip))
    }

    /// Writes the app, Python's extension modules, and each DLL that any of them imports.
    fn add_programs(&mut self, app: &[u8]) -> Result<()> {
        let name = self.binary.file_name().ok_or(USAGE)?.to_string_lossy().into_owned();
        self.apps.push(self.out.join(&name));
        self.add(&name, app)?;
        for module in modules::EXTENSIONS {
            let octets = self.package.need(module)?;
            self.add(module, &octets)?;
        }
        Ok(())
    }

    /// Notes that this Python may import modules that are not in the list.
    fn note_untested(&mut self, dll: &str) {
        if image::python_minor(dll).is_none_or(|minor| minor > modules::NEWEST) {
            self.notes.push(format!(
                "{dll} is newer than the Pythons, up to 3.{}, with which the list of needed modules was compared: let the \
                 app send and receive a message on Windows before you ship it",
                modules::NEWEST
            ));
        }
    }

    /// Writes a file, and then each DLL that it imports.
    fn add(&mut self, name: &str, octets: &[u8]) -> Result<()> {
        self.written.insert(name.to_lowercase());
        let path = self.out.join(name);
        fs::write(&path, octets).map_err(named(&path))?;
        for dll in Image::parse(octets).map_err(named(&path))?.imports() {
            if !image::is_of_windows(dll) && !self.written.contains(&dll.to_lowercase()) {
                self.add_dll(dll, name)?;
            }
        }
        Ok(())
    }

    /// Writes a DLL of the package, or else one that lies beside the app.
    fn add_dll(&mut self, dll: &str, user: &str) -> Result<()> {
        if let Some(octets) = self.package.read(dll)? {
            return self.add(dll, &octets);
        }
        let own = self.binary.with_file_name(dll);
        if own.is_file() {
            self.apps.push(self.out.join(dll));
            self.notes.push(format!("{dll} is copied from beside the app: put its licence into licences"));
            return self.add(dll, &fs::read(&own).map_err(named(&own))?);
        }
        self.written.insert(dll.to_lowercase());
        self.notes.push(format!(
            "{user} needs {dll}, which is not in the folder: if it is no part of Windows, put it beside {} and bundle again",
            self.binary.display()
        ));
        Ok(())
    }
}
