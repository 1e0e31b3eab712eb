//! pymail inside a Python extension module: in a host's interpreter, which ends before the process.

use std::env;
use std::fs;
use std::process::Command;

use rstest::rstest;

use crate::fixtures::postfix;
use crate::mail_site::{ALICE, Site};
use crate::support::process::{python, started};

/// The host's own state, before and after.
const HOST: &str = "
import imaplib, signal, sys
folder, imaps, submission, user, password, ca = sys.argv[1:]
sys.path.insert(0, folder)
imaplib.mark_of_the_host = 42
before = list(sys.path), signal.getsignal(signal.SIGINT), sys.getswitchinterval(), sys.excepthook
import pymail_extension
print(pymail_extension.round_trip('localhost', int(imaps), int(submission), user, password, open(ca).read()))
assert before == (list(sys.path), signal.getsignal(signal.SIGINT), sys.getswitchinterval(), sys.excepthook)
assert sys.modules['imaplib'].mark_of_the_host == 42
";

/// The name of a module that Python finds.
const MODULE: &str = if cfg!(windows) { "pymail_extension.pyd" } else { "pymail_extension.so" };

/// The number of times that the interpreter ends during calls. Under Wine it takes much longer to start.
const ENDS: usize = if cfg!(windows) { 4 } else { 20 };

#[rstest]
#[ignore = "for cargo xtask test, which builds the module"]
fn inside_an_extension_module_the_round_trip_passes_and_the_interpreter_ends(#[from(postfix)] site: Site) {
    let module = env::var("PYMAIL_EXTENSION").expect("the module's file");
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::copy(module, folder.path().join(MODULE)).unwrap();
    fs::write(&ca, site.ca_pem()).unwrap();
    let ports = site.ports();
    for _ in 0..ENDS {
        let mut host = Command::new(python());
        host.args(["-c", HOST]).arg(folder.path());
        host.args([ports.imaps.to_string(), ports.smtp.to_string(), ALICE.into(), site.password().into()]);
        let host = host.arg(&ca);
        let output = started(|| host.output()).unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!((output.stdout.trim_ascii_end(), output.stderr), (&b"it came back"[..], Vec::new()));
    }
}
