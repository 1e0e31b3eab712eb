//! Settings of the embedded interpreter.

use std::path::PathBuf;

use crate::error::Result;
use crate::python;

/// Settings of the Python interpreter, before it starts.
///
/// The interpreter is shared by all handles of the process. Most apps need no settings: the first handle starts the
/// interpreter, isolated, with the standard library that it finds above the loaded libpython, or uses the one that the
/// host has started. The interpreter is never finalised.
///
/// ```no_run
/// pymail::Runtime::new().home("/opt/courier/python").start()?;
/// # Ok::<(), pymail::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "nothing happens before `start`"]
pub struct Runtime {
    home: Option<PathBuf>,
}

impl Runtime {
    /// Makes the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the interpreter's home: the folder whose `lib/python3.X` is the standard library of the libpython in this
    /// process.
    ///
    /// Default: the nearest such folder above that libpython, else above the one that the app was built with.
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    /// Starts the interpreter. Does nothing when it runs already, with the same home or no home set.
    ///
    /// # Errors
    /// - `Config` when a home is set and the interpreter runs already, with another home or started by the host.
    /// - `Runtime` when the home has no standard library: another home can be tried. When Python does not start, or is
    ///   of another version than the app was built for, no later call of the process can start it. In a forked child.
    /// - `Closed` when the process is exiting, or the host has finalised Python.
    pub fn start(self) -> Result<()> {
        python::start(self.home)
    }
}
