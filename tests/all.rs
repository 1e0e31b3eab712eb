//! Every integration test, in one binary.
#![allow(unreachable_pub, reason = "the fixtures are shared with the benches and the examples")]

mod bad_input;
mod corpus;
mod extension;
mod fixtures;
mod foreign_mail;
mod judges;
mod line_protocol;
mod manners;
mod promises;
mod properties;
mod protocol_trace;
mod proxied;
mod scripted;
mod shipped;
mod site;
mod smtp_pipelining;
mod strategies;
mod support;
