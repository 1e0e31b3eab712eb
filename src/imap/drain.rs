//! Fetch and acknowledge in one call, and hand out nothing that is not archived, and everything that may be.

use super::{Delivery, Imap, acknowledge};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::link::Session as _;
use crate::python::ImapSession;

/// Waits for its turn without the interpreter: whoever has it may need that.
pub(super) fn drain(imap: &Imap, deadline: Deadline) -> Result<Vec<Delivery>> {
    let drain = || {
        let drained = imap.drained.try_lock_until(deadline.at());
        let mut drained = drained.ok_or_else(|| deadline.error("waiting for another call that drains"))?;
        if drained.is_empty() {
            fresh(imap, &mut drained, deadline)
        } else {
            again(imap, &mut drained, deadline)
        }
    };
    ImapSession::unattached(|| events::deferred(drain))
}

/// When the acknowledgement fails, the messages may be archived all the same: the next call gets them.
fn fresh(imap: &Imap, drained: &mut Vec<Delivery>, deadline: Deadline) -> Result<Vec<Delivery>> {
    let mut deliveries = imap.fetch_by(deadline)?.into_deliveries();
    match acknowledge::acknowledge(imap, &deliveries, deadline) {
        Ok(()) => Ok(deliveries),
        Err(error) => {
            if error.code() == Some("LEASE") {
                // The others are another consumer's, and nothing was done to them.
                let is_archived = |it: &Delivery| imap.claims.iter().any(|claims| claims.has_archived(it));
                deliveries.retain(is_archived);
            }
            *drained = deliveries;
            Err(error)
        }
    }
}

/// Once more for those that an earlier call could not be certain of.
fn again(imap: &Imap, drained: &mut Vec<Delivery>, deadline: Deadline) -> Result<Vec<Delivery>> {
    match acknowledge::acknowledge(imap, drained.iter(), deadline) {
        Err(error) if !is_beyond_reach(&error) => Err(error),
        _ => Ok(std::mem::take(drained)),
    }
}

/// Whether nobody will ever know: then they are handed out, at the price of a second time, rather than lost.
fn is_beyond_reach(error: &Error) -> bool {
    error.kind() == ErrorKind::Refused && matches!(error.code(), Some("LEASE" | "UIDVALIDITY"))
}
