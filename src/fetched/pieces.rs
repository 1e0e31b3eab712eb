//! Parses octets as if they arrived in pieces, for the tests and the fuzz target.
//!
//! Messages must be the same however the octets are cut, down to single octets.

use super::*;

/// The octets that responses may have.
pub(super) const LIMIT: usize = 1 << 20;

/// The messages, each with UID, size, `true` if flagged deleted, and octets; the other responses, unless there is an
/// error; and the error.
pub(crate) type Outcome = (Vec<(u32, u64, bool, Vec<u8>)>, String, Option<&'static str>);

/// Returns `true` for a message that is complete.
pub(super) fn is_mail(it: &Attributes) -> bool {
    it.size.is_some() && it.mail.is_some()
}

/// Parses octets that arrive in pieces of this length, up to a tagged response.
pub(crate) fn in_pieces(octets: &[u8], length: usize) -> Outcome {
    let mut fetched = Fetched::new(LIMIT, is_mail);
    let (mut mails, mut others, mut expunged) = (Vec::new(), Vec::new(), 0);
    let (mut pieces, mut next) = (octets.chunks(length), &[][..]);
    let error = loop {
        fetched.buffer().extend_from_slice(next);
        let progress = fetched.parse(expunged);
        mails.extend(progress.complete.iter().map(mail));
        others.extend_from_slice(&progress.others);
        expunged += String::from_utf8_lossy(&progress.others).matches("EXPUNGE").count() as u64;
        if progress.error.is_some() {
            break progress.error;
        }
        if progress.is_tagged {
            break None;
        }
        next = &[];
        if progress.needed > 0 {
            let Some(more) = pieces.next() else { break None };
            next = more;
        }
    };
    if error.is_some() {
        return (mails, String::new(), error);
    }
    let rest = fetched.into_incomplete().filter(|it| it.mail.is_some() && it.uid.is_some());
    mails.extend(rest.map(|it| mail(&it)));
    // A blank line between two responses belongs to neither.
    let others = String::from_utf8_lossy(&others);
    let lines = others.split_inclusive('\n').filter(|line| !line.trim().is_empty());
    (mails, lines.collect(), error)
}

fn mail(it: &Attributes) -> (u32, u64, bool, Vec<u8>) {
    let is_deleted = it.flags.unwrap_or_default().is_deleted;
    let octets = it.mail.as_ref().map(|octets| octets.to_vec()).unwrap_or_default();
    (it.uid.map_or(0, Uid::get), it.size.unwrap_or_default(), is_deleted, octets)
}
