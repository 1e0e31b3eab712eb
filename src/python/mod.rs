//! The only part of the crate that uses pyo3: the interpreter, and typed calls into `py/`.

mod commands;
mod errors;
mod exit_guard;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod imap;
mod mailboxes;
mod mails;
mod modules;
#[cfg(test)]
mod password_leaks;
mod portions;
mod profile;
mod protocol;
mod py_session;
mod runtime;
mod sigint;
mod smtp;
#[cfg(test)]
mod tests;
mod threads;

pub(crate) use commands::{Copied, Since};
pub(crate) use imap::ImapSession;
pub(crate) use mails::{Failure, Fetching, Mail, Mails, Part, Window};
pub(crate) use portions::in_portions;
pub(crate) use profile::ServerProfile;
pub(crate) use runtime::start_in as start;
pub(crate) use smtp::{Outgoing, Sent, SmtpSession};
