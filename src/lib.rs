//! Mail as a message transport: CPython's own `imaplib` and `smtplib`, in the process, behind two handles.
//!
//! [`Smtp`] sends tagged [`Message`]s, [`Imap`] receives them, archives them under the tag and takes them out of
//! the inbox. Both are cheap to clone and usable from any thread.
//!
//! ```no_run
//! use pymail::{Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};
//!
//! # fn main() -> pymail::Result<()> {
//! let account = || Credentials::new("alice@example.org", "correct horse");
//! let smtp = Smtp::connect(SmtpConfig::new(Server::starttls("smtp.example.org"), account()).tag("__APP__"))?;
//! let receipt = smtp.send(&Message::new("42", "alice@example.org", "bob@example.org", "hello"))?;
//! assert!(receipt.all_accepted());
//!
//! let imap = Imap::connect(ImapConfig::new(Server::tls("imap.example.org"), account()).tag("__APP__"))?;
//! for delivery in imap.drain()? {
//!     println!("{}", delivery.into_message()?.text_lossy());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Receiving
//!
//! [`Imap::fetch`] changes nothing on the server. A message leaves the inbox only by [`Batch::ack`] or
//! [`Imap::ack`]; what is not acknowledged is delivered again, by this process or the next one.
//! [`Imap::drain`] does both in one call. Mail that does not carry the tag is not touched; the plain verbs
//! ([`search`](Imap::search), [`fetch_uids`](Imap::fetch_uids), [`copy`](Imap::copy),
//! [`move_to`](Imap::move_to), [`delete`](Imap::delete)) are for any mail.
//!
//! Three things are asked for in the configuration: [`shared`](ImapConfig::shared), to let several processes receive
//! from one mailbox; [`dead_letters`](ImapConfig::dead_letters), to put aside what can't be read or handled; and how
//! many acknowledged messages are [remembered](ImapConfig::remember), so that a second copy is dropped.
//!
//! # Errors
//!
//! There is one [`Error`]; its [`kind`](Error::kind) says what can be done about it,
//! [`is_transient`](Error::is_transient) whether trying again later may help, and
//! [`retry_after`](Error::retry_after) when. A verb that finds its connection lost makes a new one and asks again,
//! once, unless that could do something twice. After [`ErrorKind::OutcomeUnknown`], a message may have been sent:
//! sending it again makes a second copy at worst, under the same [`MessageId`], which [`Imap`] drops;
//! [`resend_unknown`](SmtpConfig::resend_unknown) does that by itself.
//!
//! # Staying connected
//!
//! Every verb is back by its [`deadline`](ImapConfig::deadline), 60 s by the wall clock, whatever the server does.
//! In the background, a thread that all handles share sends a NOOP after 10 s without traffic (30 s for SMTP),
//! notices a dead connection, and replaces it, first after a second and then less and less often. A verb does not wait
//! for that: it makes its own connection, unless there were [too many](ImapConfig::connects_a_minute), the server has
//! asked to wait, or a login was refused a moment ago: then it returns the last error at once, and
//! [`retry_after`](Error::retry_after) says how long to wait. A verb that comes while a NOOP is under way waits for its
//! answer: a round trip, and on a dead connection at most as long as the heartbeat's interval, after which it has a new
//! one.
//!
//! A refused login ends the handle only when the server says clearly that the credentials are wrong. After any other
//! refusal, the login is tried again after 10 s (the server can't now) or a minute (it gives no clear reason), and then
//! less and less often, up to once in 5 min or an hour.
//! [`Imap::status`] and [`Smtp::status`] tell how it goes, [`Imap::stats`] and [`Smtp::stats`] what was done, and so
//! do events of the `tracing` crate.
//!
//! # The host process
//!
//! The interpreter starts on first use, isolated, with the standard library that belongs to the libpython in
//! the process; one that the host has started is used as it is. It is never finalised. Verbs may be called from
//! threads that are attached to the interpreter: they let go of it while they wait. Signal handlers stay the
//! host's. After a `fork`, a child's handles return [`ErrorKind::Runtime`]; a child that runs another program
//! (`std::process::Command`) is not concerned.
//!
//! CPython 3.9 to 3.15, with a shared libpython, on Unix. An app needs an rpath to it: see the README.

mod codes;
mod config;
mod deadline;
mod dial;
mod error;
mod events;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod heartbeat;
mod imap;
mod link;
mod message;
mod python; // the interpreter, of which no other module knows anything
mod runtime;
mod smtp;
mod throttle;
mod uid;
mod watchdog;

pub use crate::config::{Credentials, DEFAULT_TAG, ImapConfig, Server, SmtpConfig};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::imap::{Batch, Deliveries, Delivery, Imap, RawMail};
pub use crate::link::{State, Stats, Status};
pub use crate::message::{Message, MessageId, Recipients};
pub use crate::runtime::{Runtime, RuntimeBuilder};
pub use crate::smtp::{Answer, Receipt, Smtp};
pub use crate::uid::{Uid, UidSet, UidValidity};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
