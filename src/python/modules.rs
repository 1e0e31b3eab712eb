//! The Python files in `py/`: compiled into the crate, loaded on first use.
//!
//! Their module names begin with `_pymail_`, so that they clash with no module of the host.
//!
//! ```text
//!    socket
//!      ▲
//!  transport ◀─┬─ imap_parse ◀── imaplib_ext ◀─┬─ connection ◀─┬─ login ◀── receive ◀── idle ◀── imap.py
//!      ▲       ├─ tls ◀────────────────────────┘               │
//!      │       └─ bearer ◀─┬───────────────────────────────────┘
//!      │                   └─── auth
//!      └──────── smtplib_ext ◀─┬─ auth ◀───────────────────────┐
//!                              ├─ dialogue ◀─┬─ messages ◀─────┼── smtp.py
//!                              └─ verdicts ◀─┴─ bdat ◀─────────┘
//! ```
//!
//! A process that only sends loads neither the files of IMAP nor imaplib.

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
    source: &'static CStr,
    /// Bytecode of `source` for the Python that the crate is built with, behind its magic number; empty if there is
    /// none.
    compiled: &'static [u8],
    /// The other files that it needs, which are loaded before it, and those that they need before them: its own
    /// `import` then finds them in `sys.modules`, and nothing is searched for on `sys.path`.
    needs: &'static [&'static Module],
    loaded: PyOnceLock<Py<PyModule>>,
}

/// Makes a [`Module`] of its name, its path, and the modules that it imports.
macro_rules! module {
    ($name:literal, $file:literal, $needs:expr) => {
        Module {
            name: pyo3::ffi::c_str!($name),
            file: pyo3::ffi::c_str!(concat!("py/", $file)),
            source: pyo3::ffi::c_str!(include_str!(concat!("../../py/", $file))),
            compiled: include_bytes!(concat!(env!("OUT_DIR"), "/", $file, "c")),
            needs: $needs,
            loaded: PyOnceLock::new(),
        }
    };
}

static SOCKET: Module = module!("_pymail_socket", "_pymail_socket.py", &[]);
static TRANSPORT: Module = module!("_pymail_transport", "_pymail_transport.py", &[&SOCKET]);
static IMAP_PARSE: Module = module!("_pymail_imap_parse", "_pymail_imap_parse.py", &[&TRANSPORT]);
static IMAPLIB_EXT: Module = module!("_pymail_imaplib_ext", "_pymail_imaplib_ext.py", &[&IMAP_PARSE]);
static TLS: Module = module!("_pymail_tls", "_pymail_tls.py", &[&TRANSPORT]);
static CONNECTION: Module = module!("_pymail_connection", "_pymail_connection.py", &[&TLS, &IMAPLIB_EXT]);
static BEARER: Module = module!("_pymail_bearer", "_pymail_bearer.py", &[&TRANSPORT]);
static LOGIN: Module = module!("_pymail_login", "_pymail_login.py", &[&CONNECTION, &BEARER]);
static RECEIVE: Module = module!("_pymail_receive", "_pymail_receive.py", &[&LOGIN]);
static IDLE: Module = module!("_pymail_idle", "_pymail_idle.py", &[&RECEIVE]);
pub(super) static IMAP: Module = module!("_pymail_imap", "imap.py", &[&IDLE]);
static SMTPLIB_EXT: Module = module!("_pymail_smtplib_ext", "_pymail_smtplib_ext.py", &[&TRANSPORT]);
static AUTH: Module = module!("_pymail_auth", "_pymail_auth.py", &[&SMTPLIB_EXT, &BEARER]);
static DIALOGUE: Module = module!("_pymail_dialogue", "_pymail_dialogue.py", &[&SMTPLIB_EXT]);
static VERDICTS: Module = module!("_pymail_verdicts", "_pymail_verdicts.py", &[&SMTPLIB_EXT]);
static MESSAGES: Module = module!("_pymail_messages", "_pymail_messages.py", &[&DIALOGUE, &VERDICTS]);
static BDAT: Module = module!("_pymail_bdat", "_pymail_bdat.py", &[&DIALOGUE, &VERDICTS]);
pub(super) static SMTP: Module = module!("_pymail_smtp", "smtp.py", &[&AUTH, &MESSAGES, &BDAT]);

/// Held while modules are imported, for two reasons. From a zip file, Python 3.9 gives one thread the half of a module that
/// another is importing. And IMAP and SMTP loading at once would slow each other down by the GIL: one after the other, the
/// first is on the network while the second loads.
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
        let module = self.loaded.get_or_try_init(py, || self.run(py).map(Bound::unbind));
        module.map(|module| module.bind(py)).map_err(|e| import_error(py, &self.name.to_string_lossy(), &e))
    }

    /// Imports the module: from bytecode, or from the source where the interpreter has bytecode of another kind.
    ///
    /// If it fails, the module is taken out of `sys.modules`, so that a later attempt does not find half of it.
    fn run<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyModule>> {
        let Some(code) = code(py, self.compiled)? else {
            return PyModule::from_code(py, self.source, self.file, self.name);
        };
        let name = self.name.to_string_lossy();
        let module = PyModule::new(py, &name)?;
        let loaded = py.import("sys")?.getattr("modules")?;
        loaded.set_item(&name, &module)?;
        let run = py.import("builtins")?.call_method1("exec", (code, module.dict()));
        if run.is_err() {
            loaded.del_item(&name)?;
        }
        run.map(|_| module)
    }
}

/// Imports `json`, by which `_pymail_bearer.py` reads why a token is refused; without it, the reason is not known.
///
/// # Errors
///
/// `Runtime` when Python can't be started.
pub(super) fn import_json() -> Result<()> {
    let _loading = LOADING.lock();
    attached(|py| {
        let _ = py.import("json");
        Ok(())
    })
}

/// Reads bytecode; nothing where it is not this interpreter's.
///
/// Its first octets are the magic number of a version of CPython. `build.rs` leaves the file empty when it has no
/// interpreter to compile with, as in a cross-compilation.
fn code<'py>(py: Python<'py>, compiled: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
    let magic = py.import("_frozen_importlib_external")?.getattr("MAGIC_NUMBER")?;
    match compiled.strip_prefix(magic.extract::<&[u8]>()?) {
        Some(code) if !code.is_empty() => py.import("marshal")?.call_method1("loads", (code,)).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the name of the file that bytecode was made from.
    fn file_of(compiled: &[u8]) -> Option<String> {
        let file = |code: Bound<'_, PyAny>| code.getattr("co_filename").unwrap().extract().unwrap();
        attached(|py| Ok(code(py, compiled).unwrap().map(file))).unwrap()
    }

    #[test]
    fn bytecode_is_of_the_python_that_is_linked() {
        assert_eq!(file_of(IMAP.compiled).as_deref(), Some("py/imap.py"));
    }

    #[test]
    fn bytecode_is_that_of_the_source() {
        fn check(py: Python<'_>, module: &Module) {
            let name = module.file.to_str().unwrap();
            let source = module.source.to_str().unwrap();
            let compile = py.import("builtins").unwrap().getattr("compile").unwrap();
            // No flags; `dont_inherit`.
            let expected = compile.call1((source, name, "exec", 0, true)).unwrap();
            let found = code(py, module.compiled).unwrap().unwrap();
            assert!(found.eq(expected).unwrap(), "{name}");
            module.needs.iter().for_each(|needed| check(py, needed));
        }
        attached(|py| {
            for module in [&IMAP, &SMTP] {
                check(py, module);
            }
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn bytecode_of_another_python_is_left_alone() {
        let mut other = IMAP.compiled.to_vec();
        other[0] ^= 1;
        assert_eq!([file_of(&other), file_of(&[]), file_of(&IMAP.compiled[..4])], [None, None, None]);
    }

    #[test]
    fn without_bytecode_the_source_is_run() {
        attached(|py| {
            let Module { file, source, .. } = SOCKET;
            let loaded = PyOnceLock::new();
            let module = Module { name: c"_pymail_tried", file, source, compiled: &[], needs: &[], loaded };
            assert!(module.load(py).unwrap().hasattr("Socket").unwrap());
            Ok(())
        })
        .unwrap();
    }
}
