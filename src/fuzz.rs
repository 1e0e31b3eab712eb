//! Private functions for the targets in `fuzz/`. Built under `cfg(fuzzing)` only, which `cargo fuzz` sets.
#![allow(missing_docs, reason = "for our own fuzz targets only")]

use std::ffi::CStr;

use crate::error::{Error, Result};
use crate::fetched;
use crate::message::{self, Message};
use crate::python;
use crate::uid::{Uid, UidSet, UidValidity};

pub fn parse(octets: &[u8], tag: &str) -> Option<Result<Message>> {
    Some(message::parse(octets, tag)?.map(|parsed| parsed.message))
}

pub fn is_ours(octets: &[u8], tag: &str) -> bool {
    message::is_ours(octets, tag)
}

pub fn compose(message: &Message, tag: &str) -> Result<Vec<u8>> {
    message::compose(message, tag)
}

pub fn uid_set(text: &str, limit: usize) -> Option<UidSet> {
    UidSet::parse(UidValidity::new(7, "INBOX"), text, limit)
}

pub fn uids(numbers: impl IntoIterator<Item = u32>) -> UidSet {
    UidSet::new(UidValidity::new(7, "INBOX"), numbers.into_iter().filter_map(Uid::new))
}

pub fn chunks(set: &UidSet) -> Vec<UidSet> {
    set.chunks()
}

/// Returns the UIDs that a COPYUID response names as copied; `None` without one that can be read.
pub fn copied(response: &str, asked: &UidSet) -> Option<UidSet> {
    match python::fuzz::copied(response, asked) {
        python::Copied::Uids(set) => Some(set),
        python::Copied::Unknown => None,
    }
}

/// Parses FETCH responses that arrive in pieces of this length; returns the messages, the other responses, and the error.
pub fn fetched(octets: &[u8], length: usize) -> fetched::Outcome {
    fetched::in_pieces(octets, length)
}

/// Returns every error that this text of a server can become, after `secret` was sent to the server.
pub fn errors(text: &[u8], secret: &str) -> Result<Vec<Error>> {
    python::fuzz::errors(text, secret)
}

/// Calls a function of the Python module `code`, which is loaded once under `name`, with octets and a number.
pub fn python(name: &CStr, code: &CStr, function: &str, octets: &[u8], number: usize) -> Result<()> {
    python::fuzz::call(name, code, function, octets, number)
}
