//! All integration tests, in one binary.
#![allow(unreachable_pub, reason = "the fixtures are shared with the benches and the examples")]

mod access_tokens;
mod bad_input;
mod checkers;
mod corpus;
mod deliveries;
mod dialects;
mod doctor;
mod extension;
mod fault_proxy;
mod fixtures;
mod foreign_mail;
mod host_process;
mod hostile;
mod introspection;
mod line_protocol;
mod mail_site;
mod monitor;
mod promises;
mod properties;
mod protocol_trace;
mod proxies;
mod scripted;
mod server_info;
#[cfg(unix)]
mod shipped;
mod short_lived_tokens;
mod smtp_pipelining;
mod spans;
mod stats;
mod transcript;

use pymail_test_support as support;
