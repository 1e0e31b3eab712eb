//! The only part of the crate that names pyo3: the interpreter, and typed calls into `py/`.

mod convert;
mod dialogue;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod gate;
mod imap;
mod mailboxes;
mod mails;
mod modules;
mod pending;
mod portions;
mod runtime;
#[cfg(test)]
mod secret;
mod smtp;
mod speaker;
#[cfg(test)]
mod tests;

pub(crate) use imap::{Copied, ImapSession, Since};
pub(crate) use mails::{Failure, Fetching, Mail, Mails, Part, Window};
pub(crate) use pending::{Pending, Sent, not_sent};
pub(crate) use portions::{Learnt, in_portions};
pub(crate) use runtime::start_in as start;
pub(crate) use smtp::SmtpSession;
