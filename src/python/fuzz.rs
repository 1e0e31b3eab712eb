//! For `fuzz/`: a server's words on their way to Rust, and Python code of the targets' own.

use std::ffi::CStr;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::convert::{self, Asking, Phase, import_error};
use super::imap::Copied;
use super::modules::{IMAP, SMTP};
use super::runtime::attached;
use crate::error::{Error, Result};
use crate::uid::UidSet;

pub(crate) fn copied(told: &str, asked: &UidSet) -> Copied {
    super::imap::copied(told, asked)
}

/// What is raised with a server's words in it, besides the refusals.
const RAISED: [(&str, &str); 6] = [
    ("imaplib", "IMAP4"),
    ("smtplib", "SMTPServerDisconnected"),
    ("smtplib", "SMTPException"),
    ("ssl", "SSLError"),
    ("builtins", "TimeoutError"),
    ("builtins", "ValueError"),
];

pub(crate) fn errors(words: &[u8], secret: &str) -> Result<Vec<Error>> {
    IMAP.ready()?;
    let secrets = [secret.to_owned()];
    let error = |exception: &Bound<'_, PyBaseException>| {
        [Phase::Connect, Phase::Login, Phase::Dialogue]
            .map(|phase| convert::error(exception, Asking { phase, action: "asking", secrets: &secrets }))
    };
    attached(|py| {
        let exceptions = exceptions(py, words).map_err(|e| import_error(py, "fuzz", &e))?;
        Ok(exceptions.iter().flat_map(error).collect())
    })
}

fn exceptions<'py>(py: Python<'py>, words: &[u8]) -> PyResult<Vec<Bound<'py, PyBaseException>>> {
    let answers = py.import("_pymail_answers")?;
    let text = answers.call_method1("as_text", (PyBytes::new(py, words),))?;
    let mut exceptions = Vec::new();
    for (module, name) in RAISED {
        let class = py.import(module)?.getattr(name)?;
        // imaplib's are within its class.
        let class = if name == "IMAP4" { class.getattr("abort")? } else { class };
        exceptions.push(class.call1((&text,))?);
    }
    exceptions.push(answers.call_method1("refusal", (&text,))?);
    let bad = py.import("_pymail_imap4")?.getattr("Bad")?.call1((&text,))?;
    exceptions.push(py.import("_pymail_connection")?.call_method1("_bad", (bad,))?);
    exceptions.into_iter().map(|exception| exception.cast_into().map_err(Into::into)).collect()
}

pub(crate) fn call(name: &CStr, code: &CStr, function: &str, octets: &[u8], number: usize) -> Result<()> {
    IMAP.ready()?;
    SMTP.ready()?;
    attached(|py| {
        let loaded = py.import(name.to_str().unwrap_or_default());
        let module = loaded.or_else(|_| PyModule::from_code(py, code, name, name));
        let called =
            module.and_then(|module| module.call_method1(function, (PyBytes::new(py, octets), number)));
        called.map(drop).map_err(|e| import_error(py, "fuzz", &e))
    })
}
