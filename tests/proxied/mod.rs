//! The fault proxy: that each fault does what it says, and that what it sees is what was said.

mod client;
mod handles;
mod plain;
