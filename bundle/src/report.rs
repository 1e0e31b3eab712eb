//! The sizes of the bundle's parts.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// Octets by kind.
pub(crate) struct Report {
    out: PathBuf,
    app: u64,
    openssl: u64,
    python: u64,
    notes: Vec<String>,
}

impl Report {
    /// Sums up a folder's files, of which `apps` are the app's own.
    pub(crate) fn of(out: &Path, apps: &[PathBuf], notes: Vec<String>) -> Result<Self> {
        let mut report = Self { out: out.into(), app: 0, openssl: 0, python: 0, notes };
        report.add(out, apps).map_err(|error| format!("{}: {error}", out.display()))?;
        Ok(report)
    }

    fn add(&mut self, folder: &Path, apps: &[PathBuf]) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.add(&path, apps)?;
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = match () {
                () if apps.contains(&path) => &mut self.app,
                () if name.starts_with("libssl") || name.starts_with("libcrypto") => &mut self.openssl,
                () => &mut self.python,
            };
            *kind += entry.metadata()?.len();
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = |octets: u64| format!("{}.{} MB", octets / 1_000_000, octets / 100_000 % 10);
        let all = self.app + self.openssl + self.python;
        write!(f, "{}: {} (", self.out.display(), mega(all))?;
        write!(f, "app {}, Python {}, OpenSSL {})", mega(self.app), mega(self.python), mega(self.openssl))?;
        for note in &self.notes {
            write!(f, "\n{note}")?;
        }
        Ok(())
    }
}
