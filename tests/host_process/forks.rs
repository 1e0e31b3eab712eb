//! Handles in a forked process.

use std::ffi::c_int;

use pymail::ErrorKind;
use rstest::rstest;

use super::{child, imap, passes, smtp};
use crate::fixtures::embedded;
use crate::mail_site::{Site, message};

#[rstest]
fn a_forked_childs_handle_is_an_error_and_the_parents_goes_on(#[from(embedded)] site: Site) {
    passes(&mut child("forks::forks", &site));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn forks() {
    let (imap, smtp) = (imap(), smtp());
    // SAFETY: the child only collects errors and exits, without the harness's code and the parent's exit hooks.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_refused = |error: pymail::Error| error.kind() == ErrorKind::Runtime;
        let told = imap.noop().is_err_and(is_refused)
            && smtp.send(&message("1", "")).is_err_and(is_refused)
            && imap.close().is_err_and(is_refused);
        drop((imap, smtp));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(c_int::from(!told)) };
    }
    let mut status: c_int = -1;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    imap.noop().unwrap();
    smtp.noop().unwrap();
    assert_eq!((imap.stats().reconnects, smtp.stats().reconnects), (0, 0));
}
