//! The test support that needs only Rust and `CPython`: no Dovecot, no Postfix.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "the tests need more of it than this example")]

#[path = "../../tests/support/certs.rs"]
pub mod certs;
#[path = "../../tests/support/embedded.rs"]
pub mod embedded;
#[path = "../../tests/support/other_client.rs"]
pub mod other_client;
