//! Finds the copies of messages in another mailbox: those with the same size and the same headers, octet for octet.
//!
//! After a COPY or MOVE whose response was lost, messages may be in both mailboxes. Nothing relates a copy to its
//! original but that both have the same octets. So fingerprints are compared, of the messages in the inbox and of:
//!
//! 1. the newest messages of the other mailbox, as many as were to be copied and 200 more;
//! 2. if some have no copy among those, the messages there with their Message-IDs.
//!
//! Only reads: a lost connection changes nothing, and the caller asks again.
//!
//! A false copy would cost a message, which would be deleted without being in the archive. Size and headers differ
//! between two deliveries of one mail by their Received lines. Of identical mails, as many count as copied as have
//! copies.

use std::collections::{BTreeMap, HashMap, HashSet};

use memchr::{memchr, memchr_iter};

use super::imap::ImapSession;
use crate::error::{Error, ErrorKind, Result};
use crate::uid::{Uid, UidSet};

/// The octets of the headers that are compared.
const FINGERPRINT_OCTETS: usize = 4 << 10;

/// Messages of other clients that a mailbox may have received after the copies.
const OTHERS_COPIES: u32 = 200;

/// The most messages of one search whose fingerprints are fetched, and of one command. At most 80 MB of headers of one
/// search in memory, and 2 MB for one command.
const MAX_FINGERPRINTS: usize = 20_000;
const FINGERPRINTS_WINDOW: usize = 500;

/// The Message-IDs of 200 octets that fit on a command line (RFC 7162, section 4).
const MESSAGE_IDS_PER_SEARCH: usize = 30;
const MAX_MESSAGE_ID: usize = 200;

const ACTION: &str = "looking for copies";

/// The size and the first octets of the headers: the same for two copies of one message.
///
/// Without RFC822.SIZE, which some servers leave out, the headers alone are compared.
type Fingerprint = (Option<u64>, Vec<u8>);

impl ImapSession {
    /// Returns which of these messages are in the inbox, and which of those have a copy in another mailbox.
    ///
    /// Of identical messages, as many count as copied as there are copies.
    ///
    /// Messages outside of the first set have left the inbox. A message whose headers the server withholds for good
    /// counts as not copied.
    ///
    /// # Errors
    ///
    /// `StaleUids`; a refused SEARCH in the inbox; any other transient refusal, after which the copies are not known; a
    /// lost connection. Any other permanent refusal is none: the messages are then moved again, at the risk of a second
    /// copy.
    pub(crate) fn copies(&mut self, set: &UidSet, mailbox: &str) -> Result<(UidSet, UidSet)> {
        self.check(set)?;
        let present = self.search_here(&format!("UID {set}"), ACTION)?;
        let mut here = BTreeMap::new();
        let mut refusal = self.fingerprints(&set.to_string(), set.len(), &mut here)?;
        here.retain(|uid, _| set.contains(*uid));
        let mut there = HashMap::<&Fingerprint, usize>::new();
        let mut found = BTreeMap::new();
        if !here.is_empty() {
            let refused = self.fingerprints_there(&here, set.len(), mailbox, &mut found)?;
            refusal = refusal.or(refused);
        }
        // After a permanent refusal, the copies will never be known.
        if let Some(error) = refusal {
            return Err(error);
        }
        for fingerprint in found.values() {
            *there.entry(fingerprint).or_default() += 1;
        }
        let copied = here.iter().filter(|(_, fingerprint)| {
            let left = there.get_mut(fingerprint).filter(|left| **left > 0);
            left.is_some_and(|left| {
                *left -= 1;
                true
            })
        });
        let copied = UidSet::new(set.validity(), copied.map(|(uid, _)| *uid));
        // Both, since some servers' SEARCH or FETCH misses messages.
        let present = present.into_iter().filter(|uid| set.contains(*uid)).chain(here.keys().copied());
        Ok((UidSet::new(set.validity(), present), copied))
    }

    /// Fetches the fingerprints of messages in the mailbox that is selected; returns a refusal that may not be
    /// permanent.
    ///
    /// Some servers send whole mails in place of the headers: these are compared then.
    fn fingerprints(
        &mut self,
        uids: &str,
        count: usize,
        all: &mut BTreeMap<Uid, Fingerprint>,
    ) -> Result<Option<Error>> {
        let items = format!("(UID RFC822.SIZE BODY.PEEK[HEADER]<0.{FINGERPRINT_OCTETS}>)");
        let (some, refusal) = self.fetch_attributes(uids, &items, count * FINGERPRINT_OCTETS, ACTION)?;
        for it in some {
            if let (Some(uid), Some(octets)) = (it.uid, it.section.or(it.mail)) {
                all.insert(uid, (it.size, octets.to_vec()));
            }
        }
        Ok(refusal.filter(may_pass))
    }

    /// Fetches the fingerprints of another mailbox's newest messages, and of those with the Message-ID of a message
    /// that has no copy among them.
    fn fingerprints_there(
        &mut self,
        here: &BTreeMap<Uid, Fingerprint>,
        count: usize,
        mailbox: &str,
        there: &mut BTreeMap<Uid, Fingerprint>,
    ) -> Result<Option<Error>> {
        let mut refusal = None;
        // In the inbox, the original of a dead letter may still lie flagged: no copy, and delivered to no consumer.
        let present = if self.is_elsewhere() { " UNDELETED" } else { "" };
        let visited = self.visit(mailbox, true, ACTION, |session, visited| {
            if visited.exists == 0 {
                return Ok(());
            }
            let before = u32::try_from(count).unwrap_or(u32::MAX).saturating_add(OTHERS_COPIES);
            let newest = format!("{}:*{present}", visited.exists.saturating_sub(before).max(1));
            session.fingerprints_of(&newest, there, &mut refusal)?;
            for criteria in searches(here, there) {
                session.fingerprints_of(&(criteria + present), there, &mut refusal)?;
            }
            Ok(())
        });
        match visited {
            // The mailbox may not exist, or not be readable.
            Err(error) if error.kind() == ErrorKind::Refused => Ok(refusal.or(Some(error).filter(may_pass))),
            visited => visited.map(|()| refusal),
        }
    }

    /// Fetches the fingerprints of the last messages that match; sets `refusal` to the first one that may not be
    /// permanent.
    fn fingerprints_of(
        &mut self,
        criteria: &str,
        there: &mut BTreeMap<Uid, Fingerprint>,
        refusal: &mut Option<Error>,
    ) -> Result<()> {
        let found = self.search_here(criteria, ACTION)?;
        let last = &found[found.len().saturating_sub(MAX_FINGERPRINTS)..];
        for window in self.windows_of(last, FINGERPRINTS_WINDOW, ACTION)? {
            let uids: Vec<String> = window.iter().map(ToString::to_string).collect();
            let refused = self.fingerprints(&uids.join(","), window.len(), there)?;
            *refusal = refusal.take().or(refused);
        }
        Ok(())
    }
}

/// Returns `true` for a refusal after which a later attempt may find the copies.
///
/// SERVERBUG is transient, and mostly about one message that can't be read (Dovecot): waiting for it would never end.
pub(super) fn may_pass(error: &Error) -> bool {
    error.is_transient() && error.code() != Some("SERVERBUG")
}

/// Returns searches for the Message-IDs of the messages here that have no copy among those there.
///
/// OR takes two criteria (RFC 3501, section 6.4.4): before n of them it stands n - 1 times.
fn searches(here: &BTreeMap<Uid, Fingerprint>, there: &BTreeMap<Uid, Fingerprint>) -> Vec<String> {
    let known: HashSet<&Fingerprint> = there.values().collect();
    let missing = here.values().filter(|fingerprint| !known.contains(fingerprint));
    let ids: Vec<String> = missing.filter_map(|(_, headers)| message_id(headers)).collect();
    let search = |some: &[String]| "OR ".repeat(some.len() - 1) + &some.join(" ");
    ids.chunks(MESSAGE_IDS_PER_SEARCH).map(search).collect()
}

/// Returns the search criteria for the Message-ID in these headers; `None` if it can't be searched for.
///
/// A message without such criteria is only looked for among the newest ones. SEARCH HEADER matches any part of a
/// header; the fingerprints decide.
fn message_id(headers: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"Message-ID:";
    let begins = memchr_iter(b'\n', headers).map(|end| end + 1);
    let mut values = std::iter::once(0).chain(begins).filter_map(|at| {
        let (name, value) = headers[at..].split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    });
    // Long ones are folded: they begin on the next line.
    let inner = &values.next()?.trim_ascii_start().strip_prefix(b"<")?;
    let id = &inner[..memchr(b'>', inner)?];
    // Without quotes, parentheses and backslashes, which the command line would have to escape.
    let is_plain = |octet: &u8| matches!(octet, b'!' | b'#'..=b';' | b'=' | b'?'..=b'[' | b']'..=b'~');
    let is_searchable = !id.is_empty() && id.len() <= MAX_MESSAGE_ID && id.iter().all(is_plain);
    is_searchable.then(|| format!("HEADER MESSAGE-ID \"{}\"", String::from_utf8_lossy(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_found_in_the_headers_also_if_it_is_folded() {
        let id = |headers: &str| message_id(headers.as_bytes());
        let found = Some("HEADER MESSAGE-ID \"a.1@b\"".to_owned());
        assert_eq!(id("Message-ID: <a.1@b>\r\n"), found);
        assert_eq!(id("To: a\r\nmessage-id:\r\n <a.1@b> (x)\r\nSubject: b\r\n"), found);
        assert_eq!(id("X-Message-ID: <a@b>\r\nSubject: Message-ID: <c@d>\r\n"), None);
        for odd in ["", "<", "<>", "<a\"b>", "<a b>", "<a\\b>", "a@b"] {
            assert_eq!(id(&format!("Message-ID: {odd}\r\n")), None, "{odd}");
        }
        assert_eq!(id(&format!("Message-ID: <{}>\r\n", "a".repeat(MAX_MESSAGE_ID + 1))), None);
    }
}
