//! Mail that the server does not give out: it is found among what was asked for together, and keeps back no other.

use std::collections::BTreeSet;

use super::Imap;
use super::reader::Reader;
use crate::error::{Error, Result};
use crate::python::Refusal;
use crate::uid::{Uid, UidSet};

/// So many refusals are met in one call; what is not settled by then waits for another one.
pub(super) const PATIENCE: usize = 50;

/// How mails that were asked for in windows came.
pub(super) struct Asked {
    pub(super) refusal: Option<Refusal>,
    pub(super) unasked: UidSet,
}

/// What may still be there of what was to be asked for, and did not come.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Was not asked for, or refused together with others.
    pub(super) waiting: BTreeSet<Uid>,
    /// Was refused by itself.
    pub(super) withheld: BTreeSet<Uid>,
    /// The server's no.
    pub(super) refused: Option<Error>,
    /// Whether nothing more is to be asked for now.
    pub(super) stops: bool,
}

impl Open {
    /// None of these was asked for.
    pub(super) fn of(uids: &UidSet) -> Self {
        Self { waiting: uids.iter().collect(), ..Self::default() }
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.waiting.extend(other.waiting);
        self.withheld.extend(other.withheld);
        self.refused = self.refused.or(other.refused);
        self.stops |= other.stops;
        self
    }

    /// Those of the missing ones that have left the inbox.
    pub(super) fn without(&self, mut missing: UidSet) -> UidSet {
        missing.retain(|uid| !self.waiting.contains(&uid) && !self.withheld.contains(&uid));
        missing
    }
}

/// Asks for mails; and for what did not come with a refusal once more, in halves, so that it is not for the sake of one
/// mail: some servers send what they can, some stop at the one that they can't send, some send nothing.
pub(super) fn ask_for(
    reader: &mut Reader<'_>,
    imap: &Imap,
    uids: &UidSet,
    patience: &mut usize,
    mut ask: impl FnMut(&mut Reader<'_>, &UidSet) -> Result<Asked>,
) -> Result<Open> {
    let (mut open, mut was_refused) = (Open::default(), false);
    let mut parts = vec![uids.clone()];
    while let Some(part) = parts.pop() {
        let Asked { refusal, unasked } = ask(reader, &part)?;
        let Some(Refusal { uids: refused, error }) = refusal else {
            open.waiting.extend(unasked.iter());
            continue;
        };
        *patience = patience.saturating_sub(1);
        was_refused = true;
        let missing = reader.unread(refused);
        if *patience == 0 || is_to_pass(imap, &error) {
            let rest = parts.iter().chain([&unasked, &missing]);
            open.waiting.extend(rest.flat_map(UidSet::iter));
            return Ok(Open { refused: Some(error), stops: true, ..open });
        }
        parts.extend((!unasked.is_empty()).then_some(unasked));
        if part.len() > 1 {
            parts.extend(missing.halves());
        } else if let Some(uid) = missing.iter().next() {
            imap.known.lock().withhold(missing.validity(), uid);
            open.withheld.insert(uid);
            open.refused = Some(error);
        }
    }
    if !was_refused && !uids.is_empty() {
        imap.known.lock().is_put_off(false);
    }
    Ok(open)
}

/// Whether this no will pass, for all that anybody knows. Some servers say so of a single mail, and say it for ever:
/// when the next call is told the same, it looks for that one.
fn is_to_pass(imap: &Imap, error: &Error) -> bool {
    error.is_transient() && (error.retry_after().is_some() || !imap.known.lock().is_put_off(true))
}
