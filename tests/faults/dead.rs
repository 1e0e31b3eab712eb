//! The fate of the message that the app could not handle.

use std::io;

use crate::app::{Diary, REASON, UNWANTED};
use crate::case::Case;
use crate::checker::{Planted, Verdict};
use crate::scenario::Verb;
use crate::support::other_client::Seen;
use crate::support::{TAG, contains};
use crate::witness::Witness;

/// The flags of a message that stays in the inbox where nothing may be expunged.
const DELETED: &str = "\\Deleted";

/// The mailbox of dead letters on these servers.
const DEAD: &str = "__TEST__.dead";

impl Case {
    /// The message that the app rejects.
    pub fn unwanted(&self) -> Option<&'static str> {
        (self.scenario.verb == Verb::Reject).then_some(UNWANTED)
    }

    /// The note is written first, and again after a fault.
    fn most_reasons(&self) -> usize {
        1 + self.times
    }
}

impl Planted {
    /// Checks that the rejected message is a dead letter, with its note beside it, and is nowhere else.
    pub fn check_dead(
        &self,
        case: &Case,
        witness: &mut Witness,
        diary: &Diary,
        verdict: &mut Verdict,
    ) -> io::Result<()> {
        let raw = self.raw(UNWANTED);
        let (letters, others): (Vec<Seen>, Vec<Seen>) =
            witness.list(DEAD)?.into_iter().partition(|seen| seen.raw == raw);
        let (reasons, others): (Vec<Seen>, Vec<Seen>) = others.into_iter().partition(is_reason);
        check_letters(letters.len(), verdict);
        check_reasons(&reasons, case, diary, verdict);
        if !others.is_empty() {
            verdict.altered(format!("{} other mails are among the dead letters", others.len()));
        }
        let inbox =
            witness.list("INBOX")?.into_iter().filter(|seen| !seen.flags.contains(&DELETED.to_owned()));
        if inbox.chain(witness.list(TAG)?).any(|seen| seen.raw == raw) {
            verdict.duplicated("the dead letter is in the archive or in the inbox, too".to_owned());
        }
        Ok(())
    }
}

/// Checks that no letter is left, and no note, unless the app gave up.
pub fn check_redriven(witness: &mut Witness, diary: &Diary, verdict: &mut Verdict) -> io::Result<()> {
    let mut left = witness.list(DEAD)?;
    left.retain(|seen| !seen.flags.contains(&DELETED.to_owned()));
    let (notes, letters): (Vec<Seen>, Vec<Seen>) = left.into_iter().partition(is_reason);
    if !letters.is_empty() {
        verdict.lost(format!("{} messages are still among the dead letters", letters.len()));
    }
    if !notes.is_empty() && diary.notes.is_empty() {
        verdict.altered(format!("{} notes are left without a dead letter", notes.len()));
    }
    Ok(())
}

fn check_letters(letters: usize, verdict: &mut Verdict) {
    match letters {
        0 => verdict.lost("the message that was rejected is no dead letter".to_owned()),
        1 => {}
        _ => verdict.duplicated(format!("the message is a dead letter {letters} times")),
    }
}

fn check_reasons(reasons: &[Seen], case: &Case, diary: &Diary, verdict: &mut Verdict) {
    let said = reasons.iter().any(|seen| contains(&text(seen), REASON.as_bytes()));
    let rejected = diary.acknowledged.iter().any(|id| id == UNWANTED);
    if reasons.is_empty() || (rejected && !said) {
        verdict.lost(format!("the app's reason is in none of {} beside the dead letter", reasons.len()));
    }
    if reasons.len() > case.most_reasons() {
        verdict.duplicated(format!("{} reasons are beside the dead letter", reasons.len()));
    }
}

/// Returns `true` for the note about the rejected message, marked as seen.
fn is_reason(seen: &Seen) -> bool {
    contains(&seen.raw, b"Subject: Dead letter")
        && contains(&seen.raw, format!("In-Reply-To: <{UNWANTED}@bob>").as_bytes())
}

/// Removes the soft line ends of quoted-printable.
fn text(seen: &Seen) -> Vec<u8> {
    String::from_utf8_lossy(&seen.raw).replace("=\r\n", "").into_bytes()
}
