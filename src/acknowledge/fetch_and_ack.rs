//! `Imap::fetch_and_ack`: a fetch and its acknowledgement in one call.
//!
//! After a failure, messages may be archived that the app never got. They are kept for the next call.
//!
//! | the connection is lost | the messages |
//! | --- | --- |
//! | during the fetch | are in the inbox, and fetched by the next call |
//! | during the acknowledgement | are kept; the next call acknowledges and returns them |
//! | not, but the future of the call was dropped | are kept; the next call returns them |
//! | with the process | are in the inbox, or in the archive and lost to the app |

use super::acknowledge;
use crate::deadline::Deadline;
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::imap::{Cursor, Imap, Inbox, receive};
use crate::uid::UidSet;

#[cfg(feature = "async")]
use crate::connection::Session as _;
#[cfg(feature = "async")]
use crate::python::ImapSession;

#[cfg(feature = "async")]
impl Imap {
    /// Keeps deliveries for the next call: the future that should have returned them was dropped.
    pub(crate) fn keep_unreturned(&self, deliveries: Vec<Delivery>) {
        if !ImapSession::is_forked() {
            self.inbox.lock().unreturned.extend(deliveries);
        }
    }
}

/// Fetches and acknowledges a batch, or settles the one of an earlier call that failed.
pub(super) fn fetch_and_ack(imap: &Imap, inbox: &mut Inbox, deadline: Deadline) -> Result<Vec<Delivery>> {
    let unreturned = inbox.unreturned.clone();
    if unreturned.is_empty() {
        fetch_new(imap, inbox, deadline)
    } else {
        retry_ack(imap, inbox, unreturned, deadline)
    }
}

/// Fetches and acknowledges a new batch; keeps its deliveries when the acknowledgement fails.
///
/// Messages that another consumer has claimed meanwhile are its own, and are not kept.
fn fetch_new(imap: &Imap, inbox: &mut Inbox, deadline: Deadline) -> Result<Vec<Delivery>> {
    let mut deliveries = receive(imap, inbox, &mut Cursor::default(), deadline)?;
    match acknowledge(imap, inbox, &deliveries, deadline, |_, _| ()) {
        Ok(()) => Ok(deliveries),
        Err(error) => {
            if error.kind() == ErrorKind::LeaseLost {
                drop_lost(imap, inbox, &mut deliveries);
            }
            inbox.unreturned = deliveries;
            Err(error)
        }
    }
}

/// Acknowledges the deliveries of an earlier call again, and returns them.
///
/// Messages that were acknowledged by other calls in between were removed by [`forget_unreturned`](Inbox::forget_unreturned).
/// If none is left, a new batch is fetched.
fn retry_ack(
    imap: &Imap,
    inbox: &mut Inbox,
    mut unreturned: Vec<Delivery>,
    deadline: Deadline,
) -> Result<Vec<Delivery>> {
    match acknowledge(imap, inbox, &unreturned, deadline, |_, _| ()) {
        Err(error) if !is_final(&error) => return Err(error),
        Err(error) if error.kind() == ErrorKind::LeaseLost => drop_lost(imap, inbox, &mut unreturned),
        _ => {}
    }
    inbox.unreturned.clear();
    if unreturned.is_empty() { fetch_new(imap, inbox, deadline) } else { Ok(unreturned) }
}

/// Drops messages that another consumer has claimed, unless this handle has archived or copied them before, or may have:
/// the other consumer takes a message with a copy in the archive for a duplicate.
fn drop_lost(imap: &Imap, inbox: &Inbox, deliveries: &mut Vec<Delivery>) {
    deliveries.retain(|it| {
        let may_be_copied = !inbox.unconfirmed_copies.among(&UidSet::new(it.validity, it.uids())).is_empty();
        may_be_copied || imap.claims.iter().any(|claims| claims.may_have_archived(it))
    });
}

/// Returns `true` if no retry can find out whether the messages are archived. They are returned then: a second delivery
/// is better than a lost message.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::StaleUids)
}
