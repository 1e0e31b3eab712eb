//! Mail as a message transport: CPython's own `imaplib` and `smtplib`, in the Rust process, behind two handles.

mod config;
mod error;
mod heartbeat;
mod imap;
mod link;
mod message;
mod python; // the only module that may name pyo3
mod smtp;
mod uid;

pub use crate::config::{Credentials, DEFAULT_TAG, ImapConfig, Server, SmtpConfig};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::imap::{Batch, Delivery, Imap, RawMail};
pub use crate::link::{State, Status};
pub use crate::message::{Message, MessageId, Recipients};
pub use crate::smtp::{Answer, Receipt, Smtp};
pub use crate::uid::{Uid, UidSet, UidValidity};
