//! Our Python files, compiled into the crate and loaded on first use under names of their own.

use std::ffi::CStr;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::convert::import_error;
use super::runtime::{attached, without_collector};
use crate::error::Result;

/// One of the files in `py/`.
pub(super) struct Module {
    name: &'static CStr,
    file: &'static CStr,
    code: &'static CStr,
    /// What it imports of ours.
    needs: &'static [&'static Module],
    loaded: PyOnceLock<Py<PyModule>>,
}

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

static WIRE: Module = module!("_pymail_wire", "py/_pymail_wire.py", &[]);
static FETCHED: Module = module!("_pymail_fetched", "py/_pymail_fetched.py", &[&WIRE]);
static ANSWERS: Module = module!("_pymail_answers", "py/_pymail_answers.py", &[&FETCHED]);
static IMAP4: Module = module!("_pymail_imap4", "py/_pymail_imap4.py", &[&WIRE, &ANSWERS]);
static CONNECTION: Module = module!("_pymail_connection", "py/_pymail_connection.py", &[&IMAP4]);
static LOGIN: Module = module!("_pymail_login", "py/_pymail_login.py", &[&CONNECTION]);
static RECEIVE: Module = module!("_pymail_receive", "py/_pymail_receive.py", &[&LOGIN]);
pub(super) static IMAP: Module = module!("_pymail_imap", "py/imap.py", &[&RECEIVE]);
static REPLIES: Module = module!("_pymail_replies", "py/_pymail_replies.py", &[&WIRE]);
static AUTH: Module = module!("_pymail_auth", "py/_pymail_auth.py", &[&REPLIES]);
static DIALOGUE: Module = module!("_pymail_dialogue", "py/_pymail_dialogue.py", &[&REPLIES]);
static MESSAGES: Module = module!("_pymail_messages", "py/_pymail_messages.py", &[&DIALOGUE]);
static CHUNKS: Module = module!("_pymail_chunks", "py/_pymail_chunks.py", &[&DIALOGUE]);
pub(super) static SMTP: Module = module!("_pymail_smtp", "py/smtp.py", &[&AUTH, &MESSAGES, &CHUNKS]);

/// Two that load at once would each wait for the other's interpreter; one after the other, the first is on the
/// network while the second loads.
static LOADING: Mutex<()> = Mutex::new(());

impl Module {
    /// Loads the file and what it imports, once.
    pub(super) fn ready(&self) -> Result<()> {
        let _loading = LOADING.lock();
        attached(|py| without_collector(py, || self.load(py).map(drop)))
    }

    /// The class that each dialogue file has: one connection.
    pub(super) fn session_class<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let class = self.load(py)?.getattr("Session");
        class.map_err(|e| import_error(py, &self.name.to_string_lossy(), &e))
    }

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
