//! The parts of `imaplib` and `smtplib` that `py/` relies on, and that CPython may change without a word.

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::attached;
use super::modules::{IMAP, SMTP};
use super::support::process::needs;

const COMPARE: &std::ffi::CStr = pyo3::ffi::c_str!(include_str!("stdlib.py"));

/// Held by each test: the script imports modules, half of which another thread might get.
static IMPORTING: Mutex<()> = Mutex::new(());

/// Calls a function of `stdlib.py` for each class of the standard library that `py/` extends.
fn of_each_class(function: &str, args: &[&str]) -> Vec<(&'static str, Vec<String>)> {
    let _importing = IMPORTING.lock();
    IMAP.ready().unwrap();
    SMTP.ready().unwrap();
    let found = attached(|py| {
        let compare = PyModule::from_code(py, COMPARE, c"stdlib.py", c"_pymail_stdlib").unwrap();
        let call = |class| {
            let args: Vec<&str> = [class].iter().chain(args).copied().collect();
            let found = compare.getattr(function)?.call1(pyo3::types::PyTuple::new(py, args)?)?;
            Ok((class, found.extract()?))
        };
        Ok(["IMAP4", "SMTP"].into_iter().map(call).collect::<PyResult<Vec<_>>>().unwrap())
    });
    found.unwrap()
}

fn none() -> [(&'static str, Vec<String>); 2] {
    ["IMAP4", "SMTP"].map(|class| (class, vec![]))
}

#[test]
fn the_standard_library_has_all_that_is_taken_from_it() {
    assert_eq!(of_each_class("differences", &[]), none(), "CPython {}", env!("PYMAIL_PYTHON_VERSION"));
}

#[test]
fn all_that_is_taken_from_the_standard_library_is_compared() {
    assert_eq!(of_each_class("unlisted", &[concat!(env!("CARGO_MANIFEST_DIR"), "/py")]), none());
}

#[test]
fn a_name_that_the_standard_library_changes_is_noticed() {
    if of_each_class("without_source", &[]) != none() {
        needs("the sources of Python's standard library", "Windows: Python from its installer");
    }
    assert_eq!(of_each_class("unnoticed", &[]), none());
}
