//! The log that consumers share: what an entry says, and who has which message by all of them.
//!
//! An entry is a mail in a mailbox of the log's own. Its UID is its place: a mailbox gives strictly ascending UIDs
//! (RFC 3501, section 2.3.1.1), so every consumer reads the same entries in the same order and comes to the same
//! result. Nothing else of a server is relied on: not that MOVE is atomic, which it is not, nor on keywords, nor
//! on anybody's clock.

use std::fmt;

use crate::uid::{Uid, UidSet, UidValidity};

/// The first word of an entry: what it is, and in which version.
pub(super) const MARK: &str = "pymail-claims-1";

/// The name of the log, within the archive.
const LOG: &str = "claims";

/// The log's name; one of its own for each inbox, and for each tag, where several have one archive.
pub(super) fn name(inbox: &str, tag: &str, archive: &str) -> String {
    // RFC 3501, section 5.1: this name alone is the same in any case.
    let inbox = if inbox.eq_ignore_ascii_case("INBOX") { "INBOX" } else { inbox };
    if inbox == "INBOX" && archive == tag {
        return LOG.to_owned();
    }
    // FNV-1a: the same in every process, of whatever version.
    let octets = inbox.bytes().chain([0]).chain(tag.bytes());
    let hash = octets.fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{LOG}-{hash:016x}")
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
    pub(super) word: Word,
}

/// What a mail in the log is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Entry(Entry),
    /// About an earlier life of the inbox, whose messages are gone.
    Outlived,
    /// No entry: nobody knows how it came there.
    Other,
}

/// What the text of a mail in the log says.
pub(super) fn read(at: Uid, text: &str, validity: UidValidity) -> Line {
    let mut words = text.split_ascii_whitespace();
    let head = (words.next(), words.next().and_then(consumer), words.next().map(str::parse::<u32>));
    let (Some(MARK), Some(by), Some(Ok(number))) = head else { return Line::Other };
    if number != validity.get() {
        // UIDVALIDITY ascends: a higher one is of a life that this connection does not know of yet.
        return if number < validity.get() { Line::Outlived } else { Line::Other };
    }
    word(words, validity).map_or(Line::Other, |word| Line::Entry(Entry { at, by, word }))
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
    /// To how many messages it lays claim.
    pub(super) fn len(&self) -> usize {
        self.uids().map_or(0, UidSet::len)
    }

    pub(super) fn uids(&self) -> Option<&UidSet> {
        match &self.word {
            Word::Claim(uids) | Word::Take { uids, .. } => Some(uids),
            Word::Hold | Word::Bye => None,
        }
    }

    /// Whom it takes from, or tries to.
    pub(super) fn robs(&self) -> Option<Consumer> {
        match self.word {
            Word::Take { from, .. } => Some(from),
            _ => None,
        }
    }
}

/// The text of an entry, with lines that every server takes.
pub(super) fn write(by: Consumer, validity: UidValidity, word: &Word) -> String {
    let (verb, uids) = match word {
        Word::Claim(uids) => ("claim".to_owned(), Some(uids)),
        Word::Take { from, last_seen, uids } => (format!("take {from} {last_seen}"), Some(uids)),
        Word::Hold => ("hold".to_owned(), None),
        Word::Bye => ("bye".to_owned(), None),
    };
    let mut text = format!("{MARK} {by} {} {verb}", validity.get());
    for (n, range) in uids.map(UidSet::to_string).unwrap_or_default().split_inclusive(',').enumerate() {
        text.push_str(if n % 32 == 0 { "\r\n " } else { "" });
        text.push_str(range);
    }
    text
}
