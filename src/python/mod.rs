//! The only part of the crate that uses pyo3: the interpreter, and typed calls into `py/`.
//!
//! # Files
//!
//! In this order, each uses only files before it:
//!
//! - `threads` and `sigint`: the state of a thread, and the host's Ctrl-C.
//! - `errors`: Python exceptions as [`Error`](crate::Error)s, without secrets.
//! - `exit_guard` and `runtime`: the start of the interpreter, and `attached`, by which every call enters it.
//! - `modules`: the files in `py/`, loaded on first use.
//! - `bearer`: the responses of logins by access token.
//! - `identity_file`: a client certificate with its key, for Python's `ssl`.
//! - `transcript`: the lines of a connection, as events.
//! - `py_session`: a connection's Python object, with its deadline, traffic and secrets.
//! - `protocol`: the [`Session`](crate::connection::Session) that a connection supervises.
//! - `pending`, `pace` and `smtp`: messages with their outcomes, the time for each, and an SMTP session.
//! - `profile` and `imap`: an IMAP session, and the facts about its server that outlive it.
//! - `mailboxes`, `portions`, `receive`, `commands`, `mails`, `visits`, `copies` and `elsewhere`: the commands of an IMAP session.
//! - `server_info`: the facts about a server, also without a login.
//!
//! # Invariants
//!
//! - Lock, then attach: a lock that is taken while attached, and held by a thread that waits to attach, is a deadlock.
//! - No Python object leaves: values are converted, and exceptions become errors, before the thread detaches.
//! - Every call has a deadline: the waiter shuts the socket down, and Python's meter ends reads that go on.
//!
//! # Adding an IMAP command
//!
//! Add a method that returns plain values to `Session` in `py/imap.py`, and one that calls it to [`ImapSession`] in
//! `commands`. A command about many messages goes through [`in_portions`]; one that needs a mailbox that may be
//! missing, through `ImapSession::creating`.
//!
//! # The way of a call
//!
//! ```text
//!  a verb of src/imap or src/smtp: detached, under the connection's lock, watched until the deadline
//!   │
//!   ▼ ImapSession::search, SmtpSession::send, ...   arguments checked, and converted to plain values
//!   ▼ PySession::with
//!   ▼ runtime::attached                             starts Python on first use
//!   │    is_forked ─────────────▶ Runtime           a forked child never gets the GIL
//!   │    exit_guard::enter ─────▶ Closed            the process is exiting; else the call is counted
//!   │    Python::attach                             takes the GIL
//!   ▼ Session.call(seconds, method, args)           in py/: sets the meter's deadline, runs the method
//!   │    send, recv                                 release the GIL while they wait; the waiter ends the wait
//!   ▼ (value, traffic), or an exception
//!   │    read ──────────────────▶ a Rust value      while attached
//!   │    errors::error ─────────▶ an Error          without secrets
//!   ▼ the GIL is released, the call is no longer counted
//!  the verb decides
//! ```
//!
//! One call brings its deadline and takes its traffic back. A method does a whole dialogue, or hands over up to a
//! megabyte: the fewer calls, the fewer waits for the GIL.
//!
//! A session is used by one thread at a time: the connection's lock is held for the whole call. Other sessions run
//! meanwhile, since the GIL is free during each wait for the network.

mod bearer;
mod commands;
mod copies;
mod elsewhere;
mod errors;
mod exit_guard;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod identity_file;
mod idle;
mod imap;
mod mailboxes;
mod mails;
mod modules;
mod pace;
#[cfg(test)]
mod password_leaks;
mod pending;
mod portions;
mod profile;
mod protocol;
mod py_session;
mod receive;
mod runtime;
mod server_info;
mod sigint;
mod smtp;
#[cfg(test)]
mod tests;
mod threads;
mod transcript;
mod visits;

pub(crate) use commands::{Copied, Since};
pub(crate) use imap::ImapSession;
pub(crate) use mails::{Ahead, Failure, Mail, Part, Window, Windows};
pub(crate) use pending::{Pending, Sent, not_sent};
pub(crate) use portions::in_portions;
pub(crate) use profile::ServerProfile;
pub(crate) use runtime::start_in as start;
pub(crate) use smtp::SmtpSession;
pub(crate) use visits::LogPlace;
