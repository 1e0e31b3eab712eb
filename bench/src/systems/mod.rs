//! The systems behind two traits: a mailbox that receives, an outbox that sends. One file for each system.

mod async_imap;
mod compose;
pub mod floor;
mod imap;
mod io_imap;
mod io_smtp;
mod lettre;
mod mail_send;
mod pymail;
mod python;
mod smtp_source;
mod subprocess;
mod uids;

use std::process;

use crate::job::{Account, Params, Result, System};
use crate::mails::{Bodies, Seen};

/// A connected mailbox.
pub trait Mailbox: Send {
    /// Receives and archives waiting messages, all or a batch; notes each and returns their number.
    fn receive(&mut self, seen: &mut Seen) -> Result<usize>;
    /// Notes messages that [`drain`](Self::drain) only counted.
    fn account_for(&mut self, _: &mut Seen) -> Result<()> {
        Ok(())
    }
    /// Waits for `n` messages and archives each; calls `handle` with each as soon as it has it.
    fn push(&mut self, _n: usize, _seen: &mut Seen, _handle: &mut dyn FnMut()) -> Result<()> {
        Err("this system does not wait for mail".into())
    }
    /// Has the server announce mail from now on.
    fn listen(&mut self) -> Result<()> {
        Err("this system does not wait for mail by itself".into())
    }
    /// Sends a NOOP.
    fn noop(&mut self) -> Result<()>;
    /// Returns `true` if the system sends heartbeats by itself.
    fn has_heartbeat(&self) -> bool {
        false
    }
    /// Returns the number of commands sent so far, where it is known.
    fn commands(&self) -> Option<u64> {
        None
    }
    /// Returns the processes that do the work.
    fn processes(&self) -> Vec<u32> {
        vec![process::id()]
    }
    /// Logs out.
    fn stop(self: Box<Self>) -> Result<()>;
}

/// A connected sender.
pub trait Outbox: Send {
    /// Prepares before the clock starts.
    fn prepare(&mut self, _: &Bodies) -> Result<()> {
        Ok(())
    }
    /// Sends messages, as fast as the system can on one connection.
    fn send_all(&mut self, bodies: &Bodies) -> Result<()>;
    /// Returns the processes that do the work.
    fn processes(&self) -> Vec<u32> {
        vec![process::id()]
    }
    /// Quits.
    fn stop(self: Box<Self>) -> Result<()>;
}

/// Connects `accounts` at once, in the system's best way.
///
/// # Errors
/// A connection fails, or the system does not receive.
pub fn mailboxes(system: System, params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    match system {
        System::Pymail => pymail::mailboxes(params, accounts),
        System::Subprocess => subprocess::mailboxes(params, accounts),
        System::Imap => imap::mailboxes(params, accounts),
        System::AsyncImap => async_imap::mailboxes(params, accounts),
        System::IoImap => io_imap::mailboxes(params, accounts),
        System::Python => python::mailboxes(params, accounts),
        System::Floor => floor::mailboxes(params, accounts),
        _ => Err(format!("{} does not receive", system.name()).into()),
    }
}

/// Connects one mailbox.
///
/// # Errors
/// As [`mailboxes`].
pub fn mailbox(system: System, params: &Params) -> Result<Box<dyn Mailbox>> {
    Ok(mailboxes(system, params, std::slice::from_ref(&params.imap))?.remove(0))
}

/// Connects an outbox.
///
/// # Errors
/// The connection fails, or the system does not send.
pub fn outbox(system: System, params: &Params) -> Result<Box<dyn Outbox>> {
    match system {
        System::Pymail => pymail::outbox(params),
        System::Subprocess => subprocess::outbox(params),
        System::Lettre => lettre::outbox(params),
        System::MailSend => mail_send::outbox(params),
        System::IoSmtp => io_smtp::outbox(params),
        System::Python => python::outbox(params),
        System::SmtpSource => Ok(smtp_source::outbox(params)),
        _ => Err(format!("{} does not send", system.name()).into()),
    }
}

/// Connects to both servers at the same time.
///
/// # Errors
/// As [`mailboxes`] and [`outbox`].
pub fn both(system: System, params: &Params) -> Result<(Box<dyn Mailbox>, Box<dyn Outbox>)> {
    match system {
        System::Pymail => pymail::both(params),
        System::Subprocess => subprocess::both(params),
        _ => Err(format!("{} has no part in this", system.name()).into()),
    }
}

fn boxed<T: Mailbox + 'static>(mailbox: T) -> Box<dyn Mailbox> {
    Box::new(mailbox)
}
