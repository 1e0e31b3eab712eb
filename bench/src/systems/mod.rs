//! The contestants behind one face: a mailbox to receive from, an outbox to send with. One file a system.

mod async_imap;
mod compose;
pub mod floor;
mod imap;
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
    /// Receive and archive what is there, all of it or a batch: how many they were, each noted as seen.
    fn receive(&mut self, seen: &mut Seen) -> Result<usize>;
    /// Note what came, where that was not done at once.
    fn account_for(&mut self, _: &mut Seen) -> Result<()> {
        Ok(())
    }
    /// Ask the server for a sign of life.
    fn noop(&mut self) -> Result<()>;
    /// Whether it asks for a sign of life by itself.
    fn has_heartbeat(&self) -> bool {
        false
    }
    /// How many commands were sent so far, where that can be seen.
    fn commands(&self) -> Option<u64> {
        None
    }
    /// The processes that do the work.
    fn processes(&self) -> Vec<u32> {
        vec![process::id()]
    }
    /// Log out.
    fn stop(self: Box<Self>) -> Result<()>;
}

/// A connected sender.
pub trait Outbox: Send {
    /// What is to do before the clock starts.
    fn prepare(&mut self, _: &Bodies) -> Result<()> {
        Ok(())
    }
    /// Send messages, as fast as this contestant can on one connection.
    fn send_all(&mut self, bodies: &Bodies) -> Result<()>;
    /// The processes that do the work.
    fn processes(&self) -> Vec<u32> {
        vec![process::id()]
    }
    /// Quit.
    fn stop(self: Box<Self>) -> Result<()>;
}

/// Connect `accounts` at once, the way that suits the system best.
///
/// # Errors
/// When one can't be connected, or the system does not receive.
pub fn mailboxes(system: System, params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    match system {
        System::Pymail => pymail::mailboxes(params, accounts),
        System::Subprocess => subprocess::mailboxes(params, accounts),
        System::Imap => imap::mailboxes(params, accounts),
        System::AsyncImap => async_imap::mailboxes(params, accounts),
        System::Python => python::mailboxes(params, accounts),
        System::Floor => floor::mailboxes(params, accounts),
        _ => Err(format!("{} does not receive", system.name()).into()),
    }
}

/// Connect one mailbox.
///
/// # Errors
/// As [`mailboxes`].
pub fn mailbox(system: System, params: &Params) -> Result<Box<dyn Mailbox>> {
    Ok(mailboxes(system, params, std::slice::from_ref(&params.imap))?.remove(0))
}

/// Connect an outbox.
///
/// # Errors
/// When it can't be connected, or the system does not send.
pub fn outbox(system: System, params: &Params) -> Result<Box<dyn Outbox>> {
    match system {
        System::Pymail => pymail::outbox(params),
        System::Subprocess => subprocess::outbox(params),
        System::Lettre => lettre::outbox(params),
        System::MailSend => mail_send::outbox(params),
        System::Python => python::outbox(params),
        System::SmtpSource => Ok(smtp_source::outbox(params)),
        _ => Err(format!("{} does not send", system.name()).into()),
    }
}

/// Connect both ways at the same time.
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
