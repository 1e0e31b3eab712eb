//! `Imap::fetch_and_ack`: a fetch and its acknowledgement in one call.
//!
//! After a failure, messages may be archived that the app never got. They are kept for the next call.
//!
//! | the connection is lost | the messages |
//! | --- | --- |
//! | during the fetch | are in the inbox, and fetched by the next call |
//! | during the acknowledgement | are kept; the next call acknowledges and returns them |
//! | with the process | are in the inbox, or in the archive and lost to the app |

use parking_lot::Mutex;

use super::{Delivery, Imap, acknowledge};
use crate::connection::Session as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::python::ImapSession;
use crate::uid::UidSet;

/// Deliveries of failed calls, which may be archived and were not returned to the app.
#[derive(Debug, Default)]
pub(super) struct UnreturnedDeliveries {
    /// Held for the whole of a call, so that two calls do not return the same delivery.
    ///
    /// Waited for until the deadline, detached. Always taken before the connection's lock and `deliveries`.
    turn: Mutex<()>,
    deliveries: Mutex<Vec<Delivery>>,
}

impl UnreturnedDeliveries {
    /// Drops messages that another call has acknowledged or moved, so that no later call returns them.
    pub(super) fn forget(&self, gone: &UidSet) {
        self.deliveries.lock().retain(|it| it.validity != gone.validity() || !gone.contains(it.uid));
    }
}

/// Fetches and acknowledges a batch, or settles the one of an earlier call that failed.
pub(super) fn fetch_and_ack(imap: &Imap, deadline: Deadline) -> Result<Vec<Delivery>> {
    let call = || {
        let turn = imap.unreturned.turn.try_lock_until(deadline.at());
        let _turn = turn.ok_or_else(|| deadline.error("waiting for another fetch_and_ack"))?;
        let unreturned = imap.unreturned.deliveries.lock().clone();
        if unreturned.is_empty() { fetch_new(imap, deadline) } else { retry_ack(imap, unreturned, deadline) }
    };
    // The other call may need the interpreter to end its turn.
    ImapSession::detached(|| events::deferred(call))
}

/// Fetches and acknowledges a new batch; keeps its deliveries when the acknowledgement fails.
///
/// Messages that another consumer has claimed meanwhile are its own, and are not kept.
fn fetch_new(imap: &Imap, deadline: Deadline) -> Result<Vec<Delivery>> {
    let mut deliveries = imap.fetch_by(deadline)?.into_deliveries();
    match acknowledge::acknowledge(imap, &deliveries, deadline, |_| ()) {
        Ok(()) => Ok(deliveries),
        Err(error) => {
            if error.kind() == ErrorKind::LeaseLost {
                drop_lost(imap, &mut deliveries);
            }
            *imap.unreturned.deliveries.lock() = deliveries;
            Err(error)
        }
    }
}

/// Acknowledges the deliveries of an earlier call again, and returns them.
///
/// Messages that were acknowledged by other calls in between were removed by [`forget`](UnreturnedDeliveries::forget).
/// If none is left, a new batch is fetched.
fn retry_ack(imap: &Imap, mut unreturned: Vec<Delivery>, deadline: Deadline) -> Result<Vec<Delivery>> {
    match acknowledge::acknowledge(imap, &unreturned, deadline, |_| ()) {
        Err(error) if !is_final(&error) => return Err(error),
        Err(error) if error.kind() == ErrorKind::LeaseLost => drop_lost(imap, &mut unreturned),
        _ => {}
    }
    imap.unreturned.deliveries.lock().clear();
    if unreturned.is_empty() { fetch_new(imap, deadline) } else { Ok(unreturned) }
}

/// Drops messages that another consumer has claimed, unless this handle may have archived them before.
fn drop_lost(imap: &Imap, deliveries: &mut Vec<Delivery>) {
    deliveries.retain(|it| imap.claims.iter().any(|claims| claims.may_have_archived(it)));
}

/// Returns `true` if no retry can find out whether the messages are archived. They are returned then: a second delivery
/// is better than a lost message.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::StaleUids)
}
