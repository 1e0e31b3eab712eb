//! Every integration test, in one binary.
#![allow(unreachable_pub, reason = "the fixtures are shared with the benches and the examples")]

mod bad_input;
mod corpus;
mod fixtures;
mod foreign_programs;
mod host;
mod judges;
mod line_protocol;
mod promises;
mod properties;
mod proxied;
mod scripted;
mod site;
mod strategies;
mod support;
mod wire;
