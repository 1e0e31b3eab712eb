//! The log that consumers share: what an entry says, and who has which message by all of them.
//!
//! An entry is a mail in a mailbox of the log's own. Its UID is its place: a mailbox gives strictly ascending UIDs
//! (RFC 3501, section 2.3.1.1), so every consumer reads the same entries in the same order and comes to the same
//! result. Nothing else of a server is relied on: not that MOVE is atomic, which it is not, nor on keywords, nor
//! on anybody's clock.

use std::fmt;
use std::time::Duration;

use crate::python::ImapSession;
use crate::uid::{Uid, UidSet, UidValidity};

/// The first word of an entry: its format and version.
pub(super) const MARK: &str = "pymail-claims-1";

/// The header with the lease of the consumer that wrote an entry, in milliseconds. Earlier versions neither write nor
/// read it: for them the reader's own lease counts.
const LEASE: &str = "X-Pymail-Lease:";

/// The name of the log, within the archive.
const LOG: &str = "claims";

/// The log's name; one of its own for each inbox, and for each tag, where several have one archive.
pub(super) fn name(inbox: &str, tag: &str, archive: &str) -> String {
    // RFC 3501, section 5.1: this name alone is the same in any case.
    let inbox = if inbox.eq_ignore_ascii_case("INBOX") { "INBOX" } else { inbox };
    if inbox == "INBOX" && archive == tag {
        return LOG.to_owned();
    }
    format!("{LOG}-{:016x}", hash(inbox, tag))
}

/// Returns patterns for LIST that find the logs of the same inbox and tag, also in other archives.
pub(super) fn elsewhere(session: &ImapSession, inbox: &str, tag: &str, archive: &str) -> Vec<String> {
    let is_inbox = inbox.eq_ignore_ascii_case("INBOX");
    let prefix = session.archive().strip_suffix(archive).unwrap_or_default();
    let plain = is_inbox.then(|| session.child_name(&format!("{prefix}{tag}"), LOG));
    let inbox = if is_inbox { "INBOX" } else { inbox };
    plain.into_iter().chain([format!("*{LOG}-{:016x}", hash(inbox, tag))]).collect()
}

/// FNV-1a: the same in every process, of whatever version.
fn hash(inbox: &str, tag: &str) -> u64 {
    let octets = inbox.bytes().chain([0]).chain(tag.bytes());
    octets.fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// More UIDs than this, no entry has.
const MOST_UIDS: usize = 100_000;

/// One handle, among all that share the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Consumer(pub(super) u128);

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a consumer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Those of these messages are mine that are nobody's.
    Claim(UidSet),
    /// Those of these that are this one's are mine, unless it has said anything after this entry.
    Take { from: Consumer, last_seen: Uid, uids: UidSet },
    /// I am alive.
    Hold,
    /// What was mine is nobody's.
    Bye,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: Uid,
    pub(super) by: Consumer,
    /// The inbox's UIDVALIDITY for its writer.
    pub(super) life: u32,
    pub(super) lease: Option<Duration>,
    pub(super) word: Word,
}

/// Reads a mail in the log; `None` when it is no entry.
pub(super) fn read(at: Uid, mail: &str, mailbox: UidValidity) -> Option<Entry> {
    let (headers, text) = mail.split_once("\r\n\r\n").unwrap_or(("", mail));
    let lease = headers.lines().find_map(|line| line.strip_prefix(LEASE)?.trim().parse().ok());
    let mut words = text.split_ascii_whitespace();
    words.next().filter(|mark| *mark == MARK)?;
    let by = words.next().and_then(consumer)?;
    let life = words.next()?.parse().ok()?;
    let word = word(words, mailbox.with_number(life))?;
    Some(Entry { at, by, life, lease: lease.map(Duration::from_millis), word })
}

fn word<'a>(mut words: impl Iterator<Item = &'a str>, validity: UidValidity) -> Option<Word> {
    Some(match words.next()? {
        "claim" => Word::Claim(set(words, validity)?),
        "take" => {
            let (from, last_seen) = (consumer(words.next()?)?, Uid::new(words.next()?.parse().ok()?)?);
            Word::Take { from, last_seen, uids: set(words, validity)? }
        }
        "hold" => Word::Hold,
        "bye" => Word::Bye,
        _ => return None,
    })
}

fn consumer(word: &str) -> Option<Consumer> {
    u128::from_str_radix(word, 16).ok().map(Consumer)
}

/// A set may go over several lines.
fn set<'a>(words: impl Iterator<Item = &'a str>, validity: UidValidity) -> Option<UidSet> {
    UidSet::parse(validity, &words.collect::<String>(), MOST_UIDS)
}

impl Entry {
    /// Returns the messages that it claims.
    pub(super) fn uids(&self) -> Option<&UidSet> {
        match &self.word {
            Word::Claim(uids) | Word::Take { uids, .. } => Some(uids),
            Word::Hold | Word::Bye => None,
        }
    }

    /// Forgets claims to messages that `keep` says no to; returns how many there were, and how many are left.
    pub(super) fn retain(&mut self, keep: impl FnMut(Uid) -> bool) -> (usize, usize) {
        match &mut self.word {
            Word::Claim(uids) | Word::Take { uids, .. } => {
                let before = uids.len();
                uids.retain(keep);
                (before, uids.len())
            }
            Word::Hold | Word::Bye => (0, 0),
        }
    }

    /// Returns the consumer that it takes from, or tries to.
    pub(super) fn robs(&self) -> Option<Consumer> {
        match self.word {
            Word::Take { from, .. } => Some(from),
            _ => None,
        }
    }
}

/// Composes an entry, with lines that every server takes.
pub(super) fn write(by: Consumer, lease: Duration, validity: UidValidity, word: &Word) -> String {
    let (verb, uids) = match word {
        Word::Claim(uids) => ("claim".to_owned(), Some(uids)),
        Word::Take { from, last_seen, uids } => (format!("take {from} {last_seen}"), Some(uids)),
        Word::Hold => ("hold".to_owned(), None),
        Word::Bye => ("bye".to_owned(), None),
    };
    let lease = lease.as_millis();
    let headers = format!("Subject: pymail claims\r\nFrom: pymail@localhost\r\n{LEASE} {lease}\r\n");
    let mut mail = format!("{headers}\r\n{MARK} {by} {} {verb}", validity.get());
    for (n, range) in uids.map(UidSet::to_string).unwrap_or_default().split_inclusive(',').enumerate() {
        mail.push_str(if n % 32 == 0 { "\r\n " } else { "" });
        mail.push_str(range);
    }
    mail + "\r\n"
}
