//! The contents of the mailbox of dead letters: which mail is a letter, which a note, and which belong together.
//!
//! A note is written just before its letter is moved, and names it by its Message-ID. After a crash or a lost response
//! there may be a note too many, before or after its letter. Of a letter without a Message-ID, or that could not be
//! read, the note is the mail just before it, if that names no other letter.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, ErrorKind, Result};
use crate::imap::DEAD_LETTERS;
use crate::message::{DeadMail, Identity, IdentityHasher};
use crate::python::ImapSession;
use crate::uid::{Uid, UidValidity};

/// A letter: about 100 octets of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) uid: Uid,
    /// `None` without a Message-ID.
    pub(super) identity: Option<Identity>,
    /// The UIDs of further mails with the same message.
    pub(super) duplicates: Vec<Uid>,
    /// The notes about it, the newest one last.
    pub(super) notes: Vec<Uid>,
}

/// Runs `work` in the mailbox of dead letters; returns `None` if there is none.
///
/// # Errors
///
/// `StaleUids` if `expected` is another UIDVALIDITY; `Refused` for a mailbox that can't be selected; that of `work`; a
/// lost connection.
pub(super) fn within<T>(
    session: &mut ImapSession,
    is_readonly: bool,
    expected: Option<UidValidity>,
    work: impl FnOnce(&mut ImapSession) -> Result<T>,
) -> Result<Option<T>> {
    let Some((mailbox, _)) = session.existing_child(DEAD_LETTERS)? else {
        return if expected.is_some() { Err(stale()) } else { Ok(None) };
    };
    let checked = |session: &mut ImapSession| {
        if expected.is_some_and(|validity| validity != session.validity()) {
            Err(stale())
        } else {
            work(session)
        }
    };
    session.within(&mailbox, is_readonly, checked).map(Some)
}

/// Makes the error for dead letters of another UIDVALIDITY, or whose mailbox is gone.
pub(super) fn stale() -> Error {
    let text = "these dead letters are stale: their mailbox is gone, or its UIDVALIDITY has changed";
    Error::new(ErrorKind::StaleUids, text).with_code(Some("UIDVALIDITY".into()))
}

/// Lists the letters in the mailbox that is selected, oldest first, each with its duplicates and its notes.
///
/// Mail that a client has flagged `\Deleted` is left out. Mail whose headers the server withholds is a letter.
///
/// # Errors
///
/// A refusal that is transient, or of the SEARCH; a lost connection.
pub(super) fn list(session: &mut ImapSession) -> Result<Vec<Letter>> {
    let all = session.search("UNDELETED")?;
    let mut mails: HashMap<Uid, DeadMail> = HashMap::new();
    session.dead_mail_headers(&all, |uid, headers| {
        mails.insert(uid, DeadMail::read(headers));
    })?;
    let mails: Vec<_> = all.iter().map(|uid| (uid, mails.remove(&uid).unwrap_or_default())).collect();
    Ok(relate(&mails))
}

/// A table by identities, or by hashes of Message-IDs.
type Table<T> = HashMap<Identity, T, IdentityHasher>;

/// Relates letters to their duplicates and notes; the mails are ascending.
fn relate(mails: &[(Uid, DeadMail)]) -> Vec<Letter> {
    let (mut notes, mut named) = (Table::<Vec<Uid>>::default(), HashSet::<_, IdentityHasher>::default());
    for (uid, mail) in mails {
        match mail.message_id {
            Some(about) if mail.is_note => notes.entry(about).or_default().push(*uid),
            own => named.extend(own),
        }
    }
    let (mut letters, mut places) = (Vec::<Letter>::new(), Table::<usize>::default());
    let mut before = None;
    for (uid, mail) in mails {
        if mail.is_note {
            before = mail.message_id.is_none_or(|about| !named.contains(&about)).then_some(*uid);
            continue;
        }
        let before = before.take();
        if let Some(&at) = mail.identity.and_then(|identity| places.get(&identity)) {
            letters[at].duplicates.push(*uid);
            continue;
        }
        places.extend(mail.identity.map(|identity| (identity, letters.len())));
        let about = mail.message_id.and_then(|id| notes.get(&id)).cloned();
        let notes = about.unwrap_or_else(|| before.into_iter().collect());
        letters.push(Letter { uid: *uid, identity: mail.identity, duplicates: Vec::new(), notes });
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    fn letter(id: &str) -> DeadMail {
        DeadMail::read(format!("Message-ID: <{id}@a>\r\nSubject: TAG {id}\r\nFrom: bob@a\r\n\r\n").as_bytes())
    }

    fn note(about: Option<&str>) -> DeadMail {
        let about = about.map(|id| format!("In-Reply-To: <{id}@a>\r\n")).unwrap_or_default();
        DeadMail::read(format!("Subject: Dead letter\r\nFrom: pymail@localhost\r\n{about}\r\n").as_bytes())
    }

    /// Returns for each letter its UID, those of its duplicates, and those of its notes.
    fn related(mails: &[DeadMail]) -> Vec<(u32, Vec<u32>, Vec<u32>)> {
        let numbers = |uids: Vec<Uid>| uids.into_iter().map(Uid::get).collect();
        let mails: Vec<_> = (1..).map(uid).zip(mails.iter().copied()).collect();
        let letters = relate(&mails);
        letters.into_iter().map(|it| (it.uid.get(), numbers(it.duplicates), numbers(it.notes))).collect()
    }

    #[test]
    fn a_note_belongs_to_the_letter_that_it_names_wherever_it_lies() {
        let mails = [note(Some("1")), note(Some("2")), letter("1"), letter("2"), note(Some("1"))];
        assert_eq!(related(&mails), [(3, vec![], vec![1, 5]), (4, vec![], vec![2])]);
    }

    #[test]
    fn a_letter_that_no_note_names_has_the_one_just_before_it_if_that_names_no_other() {
        let unread = DeadMail::default();
        let mails = [note(None), unread, note(Some("gone")), unread, note(Some("1")), unread, letter("1")];
        let found = [(2, vec![], vec![1]), (4, vec![], vec![3]), (6, vec![], vec![]), (7, vec![], vec![5])];
        assert_eq!(related(&mails), found);
        assert_eq!(related(&[note(None), note(None)]), []);
        assert_eq!(related(&[unread, unread]), [(1, vec![], vec![]), (2, vec![], vec![])]);
    }

    #[test]
    fn copies_of_one_message_are_one_letter() {
        let mails = [note(Some("1")), letter("1"), letter("1"), letter("2")];
        assert_eq!(related(&mails), [(2, vec![3], vec![1]), (4, vec![], vec![])]);
    }
}
