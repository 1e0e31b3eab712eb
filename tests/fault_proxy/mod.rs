//! Tests of the fault proxy: each fault does what its name says, and the log has what was sent.

mod client;
mod handles;
mod plain;
