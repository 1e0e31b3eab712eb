//! The results of a run: a line for the machine, and one for each system in each case, all of them JSON.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::job::{Result, System};
use crate::report::{Machine, Row};

/// What was measured on one machine.
#[derive(Clone, Debug)]
pub struct Results {
    /// Where, and of what.
    pub machine: Machine,
    /// The rows, each of another case, system or number.
    pub rows: Vec<Row>,
}

impl Results {
    /// Nothing yet.
    pub fn new(machine: Machine) -> Self {
        Self { machine, rows: Vec::new() }
    }

    /// Read what was saved.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (machine, rows) = text.split_once('\n').ok_or("no results")?;
        let rows = rows.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
        Ok(Self { machine: serde_json::from_str(machine)?, rows })
    }

    /// Save them for the report, and for machines.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "{}", serde_json::to_string(&self.machine)?)?;
        for row in &self.rows {
            writeln!(file, "{}", serde_json::to_string(row)?)?;
        }
        Ok(file.flush()?)
    }

    /// Add a row, in the place of an older one of the same.
    pub fn put(&mut self, row: Row) {
        match self.rows.iter_mut().find(|old| old.key() == row.key()) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
    }

    /// The row of a system in a case, with that many or, if it is slow and took fewer, with its most.
    pub fn find(&self, case: &str, system: System, n: usize) -> Option<&Row> {
        let rows = self.rows.iter().filter(|row| row.case == case && row.system == system && row.n <= n);
        rows.max_by_key(|row| row.n)
    }
}
