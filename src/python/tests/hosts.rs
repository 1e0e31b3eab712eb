//! Tests with the host's interpreter, started before or after pymail, and with our own.

use std::ffi::CStr;

use pyo3::prelude::*;

use super::super::runtime::{attached, home};
use super::support::dovecot::Dovecot;
use super::{ALICE, alice, child, passes};

#[test]
fn an_interpreter_that_the_host_started_is_used_as_it_is() {
    passes(child("python::tests::hosts::host_with_python").env("PYTHONHOME", home().unwrap()));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn host_with_python() {
    let dovecot = Dovecot::start();
    Python::initialize();
    Python::attach(|py| {
        py.run(OF_THE_HOST, None, None).unwrap();
        // The host calls from an attached thread: no other thread may wait for it then.
        archives_a_message(&dovecot);
        py.run(AS_THE_HOST_LEFT_IT, None, None).unwrap();
    });
}

fn archives_a_message(dovecot: &Dovecot) {
    dovecot.deliver(ALICE, b"From: bob@example.test\r\nSubject: __TEST__ 7\r\n\r\nhello\r\n");
    let received = crate::Imap::connect(alice(dovecot).tag("__TEST__")).unwrap().fetch_and_ack().unwrap();
    assert_eq!(received[0].message().unwrap().id, "7");
}

/// Python code of the host, with modules named like files of ours.
const OF_THE_HOST: &CStr = c"
import sys, types
for name in 'imap', 'smtp', 'mark_of_the_host':
    sys.modules[name] = types.ModuleType(name)
sys.path.append('/of/the/host')
sys.mark_of_the_host = [*sys.path], dict(sys.modules)
";

const AS_THE_HOST_LEFT_IT: &CStr = c"
import sys, imap, smtp, mark_of_the_host
path, modules = sys.mark_of_the_host
assert sys.path == path, sys.path
assert all(sys.modules[name] is module for name, module in modules.items())
";

#[test]
fn a_host_may_use_the_interpreter_that_pymail_started() {
    passes(&mut child("python::tests::hosts::host_after_pymail"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn host_after_pymail() {
    let dovecot = Dovecot::start();
    archives_a_message(&dovecot);
    Python::initialize();
    Python::attach(|py| py.run(OF_THE_HOST, None, None)).unwrap();
    archives_a_message(&dovecot);
    Python::attach(|py| py.run(AS_THE_HOST_LEFT_IT, None, None)).unwrap();
}

#[test]
fn our_own_interpreter_is_isolated() {
    let mut child = child("python::tests::hosts::host_without_python");
    passes(child.env("PYTHONHOME", "/nonexistent").env("PYTHONPATH", "/nonexistent"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn host_without_python() {
    attached(|py| {
        let flags = py.import("sys").unwrap().getattr("flags").unwrap();
        let flag = |name: &str| flags.getattr(name).unwrap().extract::<u8>().unwrap();
        assert_eq!((flag("isolated"), flag("no_site"), flag("dont_write_bytecode")), (1, 1, 1));
        let prefix: String = py.import("sys").unwrap().getattr("prefix").unwrap().extract().unwrap();
        assert_eq!(std::path::PathBuf::from(prefix), home().unwrap());
        Ok(())
    })
    .unwrap();
}
