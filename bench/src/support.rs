//! The servers of the integration tests, borrowed.

#![allow(dead_code, missing_docs)] // the tests use more of them

#[path = "../../tests/support/certs.rs"]
pub mod certs;
#[path = "../../tests/support/dovecot.rs"]
pub mod dovecot;
#[path = "../../tests/support/lmtp.rs"]
pub mod lmtp;
#[path = "../../tests/support/postfix.rs"]
pub mod postfix;
#[path = "../../tests/support/process.rs"]
pub mod process;
