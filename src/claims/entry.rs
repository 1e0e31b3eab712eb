//! The format of the claims log: one mail for each entry, in a mailbox of its own.
//!
//! An entry's UID is its place. A mailbox assigns strictly ascending UIDs (RFC 3501, section 2.3.1.1), so every
//! consumer reads the same entries in the same order and computes the same owners. The log relies on nothing else of a
//! server: not on an atomic MOVE, on keywords, or on clocks.
//!
//! ```text
//!  Subject: pymail claims
//!  From: pymail@localhost
//!  X-Pymail-Lease: 300000
//!
//!  pymail-claims-1 000102030405060708090a0b0c0d0e0f 7 take f0e0d0c0b0a090807060504030201000 17
//!   1:2,5
//! ```
//!
//! The words are: the mark, the writer, the inbox's UIDVALIDITY, and the operation:
//!
//! | words | operation |
//! | --- | --- |
//! | `claim SET` | [`Op::Claim`] |
//! | `take CONSUMER UID SET` | [`Op::Take`]: the consumer, its last entry that the writer has seen, the messages |
//! | `hold` | [`Op::Renew`] |
//! | `bye` | [`Op::Release`] |
//!
//! Mail that does not read so, such as a mail that was put there by hand, or an operation of a later version, is
//! ignored by all, and never removed. Headers that servers add do no harm.

use std::fmt;
use std::time::Duration;

use crate::python::ImapSession;
use crate::uid::{Uid, UidSet, UidValidity};

/// The first word of an entry: its format and version.
pub(super) const MARK: &str = "pymail-claims-1";

/// The header with the writer's lease in milliseconds. Earlier versions neither write nor read it; for their entries
/// the reader's own lease counts.
const LEASE: &str = "X-Pymail-Lease:";

/// The name of the log's mailbox, within the archive or beside it.
const MAILBOX: &str = "claims";

/// The most UIDs in an entry; a mail with more is not an entry.
///
/// A UID takes four octets in memory, also of a range that takes twenty in the mail.
const MAX_UIDS: usize = 100_000;

/// Returns the name of the log for an inbox, a tag and an archive. Each inbox and each tag has its own.
///
/// The plain name is for the usual case, which people see in their mail programs. Else a hash keeps the logs of several
/// inboxes or tags apart, which share an archive.
pub(super) fn log_name(inbox: &str, tag: &str, archive: &str) -> String {
    // RFC 3501, section 5.1: the name INBOX, and no other, is case-insensitive.
    let inbox = if inbox.eq_ignore_ascii_case("INBOX") { "INBOX" } else { inbox };
    if inbox == "INBOX" && archive == tag {
        return MAILBOX.to_owned();
    }
    format!("{MAILBOX}-{:016x}", hash(inbox, tag))
}

/// Returns LIST patterns that match the logs of the same inbox and tag in all archives. They match this handle's own
/// log, too.
pub(super) fn other_log_patterns(
    session: &ImapSession,
    inbox: &str,
    tag: &str,
    archive: &str,
) -> Vec<String> {
    let is_inbox = inbox.eq_ignore_ascii_case("INBOX");
    let prefix = session.archive().strip_suffix(archive).unwrap_or_default();
    let plain = is_inbox.then(|| session.child_name(&format!("{prefix}{tag}"), MAILBOX));
    let inbox = if is_inbox { "INBOX" } else { inbox };
    plain.into_iter().chain([format!("*{MAILBOX}-{:016x}", hash(inbox, tag))]).collect()
}

/// Returns the FNV-1a hash, which is the same in every process and version.
///
/// A zero octet is between the two names, so that no two pairs of names have the same octets.
fn hash(inbox: &str, tag: &str) -> u64 {
    let octets = inbox.bytes().chain([0]).chain(tag.bytes());
    octets.fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The random identifier of a handle that shares the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Consumer(pub(super) u128);

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The operation of an entry, on behalf of its writer. Each of them also shows that the writer is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Claims those of the messages that have no owner.
    Claim(UidSet),
    /// Takes those of the messages that `from` owns, unless `from` has written an entry after `last_seen`.
    ///
    /// Decided by the order in the log, not by time: `from` may have renewed its lease between the read and the APPEND,
    /// with an entry that then stands before this one.
    Take { from: Consumer, last_seen: Uid, uids: UidSet },
    /// Renews the lease. Has no other effect, so that the next one replaces it.
    Renew,
    /// Releases all messages.
    ///
    /// Without a list: it stays true after any claim.
    Release,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The entry's UID in the log's mailbox.
    pub(super) uid: Uid,
    pub(super) by: Consumer,
    /// The inbox's UIDVALIDITY when the entry was written.
    pub(super) validity: u32,
    /// The writer's lease; `None` in entries of earlier versions.
    pub(super) lease: Option<Duration>,
    pub(super) op: Op,
}

/// Parses a mail of the log; `None` if it is not an entry.
///
/// Other headers, bare LFs as line ends, and any white space between the words, do no harm. The UIDs get the UIDVALIDITY of the entry, not
/// that of the mailbox.
pub(super) fn read(uid: Uid, mail: &str, mailbox: UidValidity) -> Option<Entry> {
    let parts = mail.split_once("\r\n\r\n").or_else(|| mail.split_once("\n\n"));
    let (headers, text) = parts.unwrap_or(("", mail));
    let lease = headers.lines().find_map(|line| line.strip_prefix(LEASE)?.trim().parse().ok());
    let mut words = text.split_ascii_whitespace();
    words.next().filter(|mark| *mark == MARK)?;
    let by = words.next().and_then(parse_consumer)?;
    let validity = words.next()?.parse().ok()?;
    let op = parse_op(words, mailbox.with_number(validity))?;
    Some(Entry { uid, by, validity, lease: lease.map(Duration::from_millis), op })
}

/// Parses the words of an entry from its operation on.
fn parse_op<'a>(mut words: impl Iterator<Item = &'a str>, validity: UidValidity) -> Option<Op> {
    Some(match words.next()? {
        "claim" => Op::Claim(parse_set(words, validity)?),
        "take" => {
            let (from, last_seen) = (parse_consumer(words.next()?)?, Uid::new(words.next()?.parse().ok()?)?);
            Op::Take { from, last_seen, uids: parse_set(words, validity)? }
        }
        "hold" => Op::Renew,
        "bye" => Op::Release,
        _ => return None,
    })
}

/// Parses the hexadecimal identifier of a consumer.
fn parse_consumer(word: &str) -> Option<Consumer> {
    u128::from_str_radix(word, 16).ok().map(Consumer)
}

/// Parses a set of UIDs, which may be spread over several lines.
///
/// `None` for more than [`MAX_UIDS`], or for a UID that is no number.
fn parse_set<'a>(words: impl Iterator<Item = &'a str>, validity: UidValidity) -> Option<UidSet> {
    UidSet::parse(validity, &words.collect::<String>(), MAX_UIDS)
}

impl Entry {
    /// Returns the messages that it claims or takes.
    pub(super) fn uids(&self) -> Option<&UidSet> {
        match &self.op {
            Op::Claim(uids) | Op::Take { uids, .. } => Some(uids),
            Op::Renew | Op::Release => None,
        }
    }

    /// Removes the UIDs for which `keep` returns `false`; returns the numbers of UIDs before and after.
    ///
    /// The caller sums both up, to bound the UIDs that are parsed and those that are kept.
    pub(super) fn retain(&mut self, keep: impl FnMut(Uid) -> bool) -> (usize, usize) {
        match &mut self.op {
            Op::Claim(uids) | Op::Take { uids, .. } => {
                let before = uids.len();
                uids.retain(keep);
                (before, uids.len())
            }
            Op::Renew | Op::Release => (0, 0),
        }
    }

    /// Returns the consumer that it takes messages from; `None` unless it is a take.
    pub(super) fn takes_from(&self) -> Option<Consumer> {
        match self.op {
            Op::Take { from, .. } => Some(from),
            _ => None,
        }
    }
}

/// Composes the mail of an entry, in lines of at most 32 ranges, about 700 octets: RFC 5322, section 2.1.1, allows 998.
pub(super) fn write(by: Consumer, lease: Duration, validity: UidValidity, op: &Op) -> String {
    let (verb, uids) = match op {
        Op::Claim(uids) => ("claim".to_owned(), Some(uids)),
        Op::Take { from, last_seen, uids } => (format!("take {from} {last_seen}"), Some(uids)),
        Op::Renew => ("hold".to_owned(), None),
        Op::Release => ("bye".to_owned(), None),
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
