//! The results of a run as JSON lines: the machine, and a row for each system in each case.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::job::{Result, System};
use crate::report::{Machine, Row};

/// The rows of one machine.
#[derive(Clone, Debug)]
pub struct Results {
    /// The machine and its versions.
    pub machine: Machine,
    /// The rows, each of another case, system or number.
    pub rows: Vec<Row>,
}

impl Results {
    /// Begins without rows.
    pub fn new(machine: Machine) -> Self {
        Self { machine, rows: Vec::new() }
    }

    /// Reads saved results.
    ///
    /// # Errors
    /// There are no results.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (machine, rows) = text.split_once('\n').ok_or("no results")?;
        let rows = rows.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
        Ok(Self { machine: serde_json::from_str(machine)?, rows })
    }

    /// Saves the results, for the report and for other programs.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "{}", serde_json::to_string(&self.machine)?)?;
        for row in &self.rows {
            writeln!(file, "{}", serde_json::to_string(row)?)?;
        }
        Ok(file.flush()?)
    }

    /// Adds a row, in the place of an older one of the same kind.
    pub fn put(&mut self, row: Row) {
        match self.rows.iter_mut().find(|old| old.key() == row.key()) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
    }

    /// Returns a system's row in a case: the one with this number, or with its largest number if the system is slow.
    pub fn find(&self, case: &str, system: System, n: usize) -> Option<&Row> {
        let rows = self.rows.iter().filter(|row| row.case == case && row.system == system && row.n <= n);
        rows.max_by_key(|row| row.n)
    }
}
