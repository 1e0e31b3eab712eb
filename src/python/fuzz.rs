//! Entry points for `fuzz/`: a server's text as errors and UIDs, and the fuzz targets' own Python code.

use std::ffi::CStr;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::commands::{self, Copied};
use super::errors::{self, CallContext, Phase, import_error};
use super::modules::{IMAP, SMTP};
use super::runtime::attached;
use crate::error::{Error, Result};
use crate::uid::UidSet;

/// Parses COPYUID's words.
pub(crate) fn copied(words: &str, requested: &UidSet) -> Copied {
    commands::copied(words, requested)
}

/// Exceptions that are raised with a server's text, besides refusals: module and class.
const RAISED: [(&str, &str); 6] = [
    ("imaplib", "IMAP4"),
    ("smtplib", "SMTPServerDisconnected"),
    ("smtplib", "SMTPException"),
    ("ssl", "SSLError"),
    ("builtins", "TimeoutError"),
    ("builtins", "ValueError"),
];

/// Returns the errors that a server's text can become, in every phase.
pub(crate) fn errors(words: &[u8], secret: &str) -> Result<Vec<Error>> {
    IMAP.ready()?;
    let secrets = [secret.to_owned()];
    let error = |exception: &Bound<'_, PyBaseException>| {
        [Phase::Connect, Phase::Login, Phase::Command].map(|phase| {
            errors::error(exception, CallContext { phase, action: "fuzzing", secrets: &secrets })
        })
    };
    attached(|py| {
        let exceptions = exceptions(py, words).map_err(|e| import_error(py, "fuzz", &e))?;
        Ok(exceptions.iter().flat_map(error).collect())
    })
}

/// Makes the exceptions that `py/` raises for a server's text.
fn exceptions<'py>(py: Python<'py>, words: &[u8]) -> PyResult<Vec<Bound<'py, PyBaseException>>> {
    let parse = py.import("_pymail_imap_parse")?;
    let text = parse.call_method1("as_text", (PyBytes::new(py, words),))?;
    let mut exceptions = Vec::new();
    for (module, name) in RAISED {
        let class = py.import(module)?.getattr(name)?;
        // imaplib's exceptions are attributes of its class.
        let class = if name == "IMAP4" { class.getattr("abort")? } else { class };
        exceptions.push(class.call1((&text,))?);
    }
    exceptions.push(parse.call_method1("parse_refusal", (&text,))?);
    let bad = py.import("_pymail_imaplib_ext")?.getattr("Bad")?.call1((&text,))?;
    exceptions.push(py.import("_pymail_connection")?.call_method1("bad_as_refused", (bad,))?);
    exceptions.into_iter().map(|exception| exception.cast_into().map_err(Into::into)).collect()
}

/// Calls a function of `code`, which is loaded once under `name`.
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
