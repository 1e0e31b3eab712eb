//! Real mail servers for tests, benches and examples, each gone with its owner.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each user of the fixtures takes the part that it needs"
)]

pub mod certs;
pub mod courier;
pub mod cyrus;
pub mod dovecot;
pub mod embedded;
pub mod events;
pub mod exim;
pub mod fault_proxy;
pub mod jail;
pub mod lmtp;
pub mod opensmtpd;
pub mod other_client;
pub mod passwords;
pub mod postfix;
pub mod process;
pub mod relay;
pub mod script;
pub mod tls_server;
