//! Python's embeddable package: a zip with DLLs, extension modules, and a zip of the standard library's bytecode.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{Cursor, Read as _, Seek, Write};
use std::path::{Path, PathBuf};

use zip::{ZipArchive, ZipWriter};

use super::modules;
use crate::{Result, named};

/// An embeddable package.
pub(super) struct Package {
    path: PathBuf,
    archive: ZipArchive<File>,
}

impl Package {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(named(path))?;
        let archive = ZipArchive::new(file).map_err(named(path))?;
        Ok(Self { path: path.to_owned(), archive })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a file's content, from whichever folder of the zip.
    ///
    /// Windows does not tell capitals from small letters in names, and imports have either.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let is_it = |path: &str| path.rsplit('/').next().is_some_and(|it| it.eq_ignore_ascii_case(name));
        let found = self.archive.file_names().flatten().find(|path| is_it(path)).map(Cow::into_owned);
        let Some(found) = found else { return Ok(None) };
        let mut octets = Vec::new();
        let mut file = self.archive.by_name(&found).map_err(named(&self.path))?;
        file.read_to_end(&mut octets).map_err(named(&self.path))?;
        Ok(Some(octets))
    }

    /// Returns the content of a file that each package of this Python has.
    pub(super) fn need(&mut self, name: &str) -> Result<Vec<u8>> {
        self.read(name)?.ok_or_else(|| {
            format!(
                "{} has no {name}: is it the embeddable package of the app's Python?",
                self.path.display()
            )
        })
    }

    /// Writes a zip of the package with those modules only that pymail needs.
    pub(super) fn trim(&mut self, zip: &str, to: &Path) -> Result<()> {
        let octets = self.need(zip)?;
        let trimmed = trimmed(Cursor::new(&octets), Cursor::new(Vec::new())).map_err(named(to))?;
        fs::write(to, trimmed.into_inner()).map_err(named(to))
    }
}

fn trimmed<W: Write + Seek>(whole: Cursor<&Vec<u8>>, to: W) -> zip::result::ZipResult<W> {
    let (mut from, mut to) = (ZipArchive::new(whole)?, ZipWriter::new(to));
    for index in 0..from.len() {
        let file = from.by_index_raw(index)?;
        if modules::is_needed(&file.name()?) {
            to.raw_copy_file(file)?;
        }
    }
    to.finish()
}

#[cfg(test)]
mod tests {
    use zip::write::SimpleFileOptions;

    use super::*;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, octets) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(octets).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn a_package_is_read_by_any_spelling_of_names_and_its_library_is_trimmed() {
        let folder = std::env::temp_dir();
        let place = |name: &str| folder.join(format!("pymail-bundle-{}-{name}", std::process::id()));
        let (whole, trimmed) = (place("whole.zip"), place("trimmed.zip"));
        let library = packed(&[("ssl.pyc", b"s"), ("asyncio/base.pyc", b"a"), ("email/header.pyc", b"h")]);
        fs::write(&whole, packed(&[("cp311/python311.zip", &library), ("cp311/vcruntime140.dll", b"v")]))
            .unwrap();
        let mut package = Package::open(&whole).unwrap();
        assert_eq!(package.read("VCRUNTIME140.dll").unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(package.read("runtime140.dll").unwrap(), None);
        assert!(package.need("python312.dll").unwrap_err().contains("has no python312.dll"));
        package.trim("python311.zip", &trimmed).unwrap();
        let mut kept = ZipArchive::new(File::open(&trimmed).unwrap()).unwrap();
        let names: Vec<_> = kept.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["ssl.pyc", "email/header.pyc"]);
        let mut text = String::new();
        kept.by_name("email/header.pyc").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "h");
        for file in [whole, trimmed] {
            fs::remove_file(file).unwrap();
        }
    }
}
