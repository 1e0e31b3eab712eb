//! The interpreter, for a host that wants a say in it.

use std::path::PathBuf;

use crate::error::Result;
use crate::python;

/// The Python interpreter of this process: one for all handles, started by the first of them, or by the host.
///
/// Most apps never name it. It starts by itself, isolated, with the standard library in the folder above the libpython
/// that was loaded; an interpreter that the host has started is used as it is. It is never finalised.
///
/// ```no_run
/// pymail::Runtime::builder().home("/opt/courier/python").start()?;
/// # Ok::<(), pymail::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Runtime {}

impl Runtime {
    /// With the defaults.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }
}

/// How to start the interpreter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "nothing happens before `start`"]
pub struct RuntimeBuilder {
    home: Option<PathBuf>,
}

impl RuntimeBuilder {
    /// The folder whose `lib/python3.X` is the standard library: the one that fits the libpython in this process.
    ///
    /// Default: the nearest such folder above that libpython, else above the one that the app was built with.
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    /// Starts it; does nothing when it runs already, unless another home was asked for.
    ///
    /// # Errors
    /// `Config` when it runs already with another home, or as the host's own. `Runtime` without a standard library in
    /// that home, and when Python does not start; after that it can't be tried again in the same process.
    pub fn start(self) -> Result<()> {
        python::start(self.home)
    }
}
