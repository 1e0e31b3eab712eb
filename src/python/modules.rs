//! The Python files in `py/`: compiled into the crate, loaded on first use.
//!
//! Their module names begin with `_pymail_`, so that they clash with no module of the host.

use std::ffi::CStr;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::errors::import_error;
use super::runtime::{attached, without_collector};
use crate::error::Result;

/// One of the files in `py/`.
pub(super) struct Module {
    /// The name in `sys.modules`.
    name: &'static CStr,
    /// The path that tracebacks show.
    file: &'static CStr,
    code: &'static CStr,
    /// The other files that it imports, which are loaded before it.
    needs: &'static [&'static Module],
    loaded: PyOnceLock<Py<PyModule>>,
}

/// Makes a [`Module`] of its name, its path, and the modules that it imports.
macro_rules! module {
    ($name:literal, $file:literal, $needs:expr) => {
        Module {
            name: pyo3::ffi::c_str!($name),
            file: pyo3::ffi::c_str!($file),
            code: pyo3::ffi::c_str!(include_str!(concat!("../../", $file))),
            needs: $needs,
            loaded: PyOnceLock::new(),
        }
    };
}

static TRANSPORT: Module = module!("_pymail_transport", "py/_pymail_transport.py", &[]);
static FETCHED: Module = module!("_pymail_fetched", "py/_pymail_fetched.py", &[&TRANSPORT]);
static IMAP_PARSE: Module = module!("_pymail_imap_parse", "py/_pymail_imap_parse.py", &[&FETCHED]);
static IMAPLIB_EXT: Module = module!("_pymail_imaplib_ext", "py/_pymail_imaplib_ext.py", &[&IMAP_PARSE]);
static CONNECTION: Module = module!("_pymail_connection", "py/_pymail_connection.py", &[&IMAPLIB_EXT]);
static LOGIN: Module = module!("_pymail_login", "py/_pymail_login.py", &[&CONNECTION]);
static RECEIVE: Module = module!("_pymail_receive", "py/_pymail_receive.py", &[&LOGIN]);
pub(super) static IMAP: Module = module!("_pymail_imap", "py/imap.py", &[&RECEIVE]);
static SMTPLIB_EXT: Module = module!("_pymail_smtplib_ext", "py/_pymail_smtplib_ext.py", &[&TRANSPORT]);
static AUTH: Module = module!("_pymail_auth", "py/_pymail_auth.py", &[&SMTPLIB_EXT]);
static DIALOGUE: Module = module!("_pymail_dialogue", "py/_pymail_dialogue.py", &[&SMTPLIB_EXT]);
static VERDICTS: Module = module!("_pymail_verdicts", "py/_pymail_verdicts.py", &[&SMTPLIB_EXT]);
static MESSAGES: Module = module!("_pymail_messages", "py/_pymail_messages.py", &[&DIALOGUE, &VERDICTS]);
static BDAT: Module = module!("_pymail_bdat", "py/_pymail_bdat.py", &[&DIALOGUE, &VERDICTS]);
pub(super) static SMTP: Module = module!("_pymail_smtp", "py/smtp.py", &[&AUTH, &MESSAGES, &BDAT]);

/// Held while files are loaded: IMAP and SMTP loading at once would slow each other down by the GIL. One after the
/// other, the first is on the network while the second loads.
static LOADING: Mutex<()> = Mutex::new(());

impl Module {
    /// Loads the file and those that it imports, once.
    ///
    /// # Errors
    ///
    /// `Runtime` when Python can't be started or an import fails.
    pub(super) fn ready(&self) -> Result<()> {
        let _loading = LOADING.lock();
        attached(|py| without_collector(py, || self.load(py).map(drop)))
    }

    /// Returns the class `Session`, which `imap.py` and `smtp.py` have: one connection.
    pub(super) fn session_class<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let class = self.load(py)?.getattr("Session");
        class.map_err(|e| import_error(py, &self.name.to_string_lossy(), &e))
    }

    /// Returns the module, loaded on first use.
    fn load<'py>(&self, py: Python<'py>) -> Result<&Bound<'py, PyModule>> {
        if let Some(module) = self.loaded.get(py) {
            return Ok(module.bind(py));
        }
        for module in self.needs {
            module.load(py)?;
        }
        let load = || PyModule::from_code(py, self.code, self.file, self.name).map(Bound::unbind);
        let module = self.loaded.get_or_try_init(py, load);
        module.map(|module| module.bind(py)).map_err(|e| import_error(py, &self.name.to_string_lossy(), &e))
    }
}
