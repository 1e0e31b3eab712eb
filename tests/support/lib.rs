//! Support of tests, benches and examples: real and scripted mail servers, each gone on drop, and checkers of whole
//! runs.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "for this repository only"
)]

pub mod books;
pub mod certs;
#[cfg(unix)]
pub mod courier;
#[cfg(unix)]
pub mod cyrus;
pub mod dialect;
#[cfg(unix)]
pub mod dovecot;
pub mod embedded;
pub mod events;
#[cfg(unix)]
pub mod exim;
pub mod fault_proxy;
pub mod files;
#[cfg(unix)]
pub mod jail;
pub mod jwt;
pub mod listening;
pub mod lmtp;
#[cfg(unix)]
pub mod opensmtpd;
pub mod other_client;
#[cfg(unix)]
pub mod passwords;
#[cfg(unix)]
pub mod postfix;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod remote;
pub mod script;
mod server_options;
pub mod strategies;
pub mod tls_server;
pub mod token_server;
pub mod usage;
pub mod verdict;

#[cfg(windows)]
pub use self::remote::absent::{courier, cyrus, exim, opensmtpd};
#[cfg(windows)]
pub use self::remote::{dovecot, postfix};

use std::env;
use std::path::{Path, PathBuf};

/// The tag of every test's messages.
pub const TAG: &str = "__TEST__";

/// Returns `true` if `needle` is in `hay`.
pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Returns cargo's target folder.
pub(crate) fn target_dir() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let repository = repository.expect("this crate is in tests/support");
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from)
}
