//! Fetch and acknowledge in one call, and hand out nothing that is not archived, and everything that may be.

use parking_lot::Mutex;

use super::{Delivery, Imap, acknowledge};
use crate::connection::Session as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::python::ImapSession;
use crate::uid::UidSet;

/// Messages of failed calls of `drain`, which may be archived.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// Held by the call that drains.
    turn: Mutex<()>,
    held: Mutex<Vec<Delivery>>,
}

impl Drained {
    /// Drops messages that have been acknowledged by another call: no later `drain` returns them.
    pub(super) fn forget(&self, gone: &UidSet) {
        self.held.lock().retain(|it| it.validity != gone.validity() || !gone.contains(it.uid));
    }
}

/// Waits for its turn without the interpreter, which the call that drains may need.
pub(super) fn drain(imap: &Imap, deadline: Deadline) -> Result<Vec<Delivery>> {
    let drain = || {
        let turn = imap.drained.turn.try_lock_until(deadline.at());
        let _turn = turn.ok_or_else(|| deadline.error("waiting for another call that drains"))?;
        let held = imap.drained.held.lock().clone();
        if held.is_empty() { fresh(imap, deadline) } else { again(imap, held, deadline) }
    };
    ImapSession::detached(|| events::deferred(drain))
}

/// When the acknowledgement fails, the messages may be archived all the same: the next call gets them.
fn fresh(imap: &Imap, deadline: Deadline) -> Result<Vec<Delivery>> {
    let mut deliveries = imap.fetch_by(deadline)?.into_deliveries();
    match acknowledge::acknowledge(imap, &deliveries, deadline, |_| ()) {
        Ok(()) => Ok(deliveries),
        Err(error) => {
            if error.kind() == ErrorKind::LeaseLost {
                leave_to_others(imap, &mut deliveries);
            }
            *imap.drained.held.lock() = deliveries;
            Err(error)
        }
    }
}

/// Once more for those that an earlier call could not be certain of.
fn again(imap: &Imap, mut held: Vec<Delivery>, deadline: Deadline) -> Result<Vec<Delivery>> {
    match acknowledge::acknowledge(imap, &held, deadline, |_| ()) {
        Err(error) if !is_beyond_reach(&error) => return Err(error),
        Err(error) if error.kind() == ErrorKind::LeaseLost => leave_to_others(imap, &mut held),
        _ => {}
    }
    imap.drained.held.lock().clear();
    if held.is_empty() { fresh(imap, deadline) } else { Ok(held) }
}

/// Drops what is another consumer's by now, and was not archived by this one.
fn leave_to_others(imap: &Imap, deliveries: &mut Vec<Delivery>) {
    deliveries.retain(|it| imap.claims.iter().any(|claims| claims.may_have_archived(it)));
}

/// Whether it can't be found out: then they are handed out, at the price of a second time, rather than lost.
fn is_beyond_reach(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::StaleUids)
}
