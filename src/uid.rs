//! UIDs, and sets of UIDs bound to the UIDVALIDITY of their mailbox.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

/// A message's unique identifier in its mailbox, valid as long as the [`UidValidity`] does not change (RFC 3501,
/// section 2.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Uid(NonZeroU32);

impl Uid {
    /// Makes a UID of its number; `None` for 0, which is no UID.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A mailbox's UIDVALIDITY (RFC 3501, section 2.3.1.1): when it changes, all earlier UIDs are stale.
///
/// Holds a hash of the account and the mailbox beside the number, since two mailboxes may have the same number. It is
/// comparable within one process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UidValidity {
    number: u32,
    mailbox: u64,
}

impl UidValidity {
    /// Binds the number to the mailbox that `mailbox` identifies.
    pub(crate) fn new(number: u32, mailbox: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        mailbox.hash(&mut hasher);
        Self { number, mailbox: hasher.finish() }
    }

    /// Returns the UIDVALIDITY of another mailbox of the same account.
    pub(crate) fn of_other_mailbox(self, number: u32, mailbox: &str) -> Self {
        Self::new(number, (self.mailbox, mailbox))
    }

    /// Returns `true` if both are of the same mailbox, with the same number or not.
    pub(crate) fn is_same_mailbox(self, other: Self) -> bool {
        self.mailbox == other.mailbox
    }

    /// Returns another UIDVALIDITY of the same mailbox.
    pub(crate) fn with_number(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// Returns the number that the server sent.
    #[must_use]
    pub fn get(self) -> u32 {
        self.number
    }
}

/// A set of UIDs of one mailbox under one UIDVALIDITY, ascending.
///
/// [`Imap::search`](crate::Imap::search) returns one; narrow it by [`retain`](UidSet::retain). The methods that take a
/// set refuse it as [`StaleUids`](crate::ErrorKind::StaleUids) when the mailbox's UIDVALIDITY has changed, so that no
/// other mail is touched.
///
/// ```no_run
/// # fn newest(imap: &pymail::Imap) -> pymail::Result<()> {
/// let mut found = imap.search("SINCE 1-Jan-2026")?;
/// let last = found.iter().last();
/// found.retain(|uid| Some(uid) == last);
/// for mail in imap.fetch_uids(&found)? {
///     println!("UID {}: {} octets", mail.uid, mail.octets.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct UidSet {
    validity: UidValidity,
    uids: Vec<Uid>,
}

/// The longest text of a set in one command: command lines stay below 8,000 octets (RFC 7162, section 4).
pub(crate) const MAX_SET_LEN: usize = 7_000;

/// The longest `sequence-set` that `Debug` shows whole.
const LONGEST_DEBUG: usize = 80;

/// The longest text of a range: two numbers of 10 digits, a colon and a comma.
const LONGEST_RANGE: usize = 22;

impl UidSet {
    /// Makes a set of UIDs in any order, with or without duplicates.
    ///
    /// A UIDVALIDITY comes from another set, or from a delivery: see [`from_deliveries`](Self::from_deliveries).
    pub fn new(validity: UidValidity, uids: impl IntoIterator<Item = Uid>) -> Self {
        let mut uids: Vec<Uid> = uids.into_iter().collect();
        uids.sort_unstable();
        uids.dedup();
        Self { validity, uids }
    }

    /// Makes an empty set.
    pub(crate) fn empty(validity: UidValidity) -> Self {
        Self { validity, uids: Vec::new() }
    }

    /// Parses the numbers and ranges of a COPYUID response, in any order (RFC 4315, section 3).
    ///
    /// `None` for any other text, and for more than `limit` UIDs.
    pub(crate) fn parse(validity: UidValidity, text: &str, limit: usize) -> Option<Self> {
        let mut uids = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            let (first, last) = (first.min(last), first.max(last));
            if (last - first) as usize >= limit.saturating_sub(uids.len()) {
                return None;
            }
            uids.extend((first..=last).filter_map(Uid::new));
        }
        Some(Self::new(validity, uids))
    }

    /// Returns the UIDVALIDITY that the UIDs belong to.
    #[must_use]
    pub fn validity(&self) -> UidValidity {
        self.validity
    }

    /// Returns the number of UIDs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.uids.len()
    }

    /// Returns `true` if the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// Returns `true` if the UID is in the set.
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        self.uids.binary_search(&uid).is_ok()
    }

    /// Iterates over the UIDs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.uids.iter().copied()
    }

    /// Keeps the UIDs for which `keep` returns `true`.
    pub fn retain(&mut self, mut keep: impl FnMut(Uid) -> bool) {
        self.uids.retain(|&uid| keep(uid));
    }

    /// Returns the lowest UIDs, at most `most`, and `true` if there are more.
    pub(crate) fn first(mut self, most: usize) -> (Self, bool) {
        let more = self.uids.len() > most;
        self.uids.truncate(most);
        (self, more)
    }

    /// Returns the highest UID.
    pub(crate) fn last(&self) -> Option<Uid> {
        self.uids.last().copied()
    }

    /// Returns the UIDs after the first `count`.
    pub(crate) fn skip(&self, count: usize) -> UidSet {
        Self { validity: self.validity, uids: self.uids.get(count..).unwrap_or_default().to_vec() }
    }

    /// Splits the set into two halves, the second one first. Returns no empty half.
    pub(crate) fn halves(&self) -> Vec<UidSet> {
        let half = self.len().div_ceil(2);
        let mut parts = vec![self.skip(half), self.clone().first(half).0];
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// Splits the set into chunks that each fit on a command line.
    pub(crate) fn chunks(&self) -> Vec<UidSet> {
        self.chunks_of(usize::MAX)
    }

    /// Splits the set into chunks of at most `most` UIDs that each fit on a command line.
    pub(crate) fn chunks_of(&self, most: usize) -> Vec<UidSet> {
        let (mut chunks, mut from) = (Vec::new(), 0);
        while from < self.len() {
            let chunk = self.chunk(from, most);
            from += chunk.len();
            chunks.push(chunk);
        }
        chunks
    }

    /// Returns one such chunk, from the UID at position `from` on.
    pub(crate) fn chunk(&self, from: usize, most: usize) -> UidSet {
        self.chunk_within(from, most, MAX_SET_LEN)
    }

    /// Returns one such chunk whose text has at most `longest` octets, or is one range.
    pub(crate) fn chunk_within(&self, from: usize, most: usize, longest: usize) -> UidSet {
        let uids = self.uids.get(from..).unwrap_or_default();
        let (mut end, mut length) = (0, 0);
        for run in uids.chunk_by(|one, next| one.get() + 1 == next.get()) {
            length += LONGEST_RANGE;
            if (length > longest && end > 0) || end >= most {
                break;
            }
            end += run.len();
        }
        Self { validity: self.validity, uids: uids[..end.min(most)].to_vec() }
    }
}

impl IntoIterator for UidSet {
    type Item = Uid;
    type IntoIter = std::vec::IntoIter<Uid>;

    fn into_iter(self) -> Self::IntoIter {
        self.uids.into_iter()
    }
}

impl<'a> IntoIterator for &'a UidSet {
    type Item = Uid;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, Uid>>;

    fn into_iter(self) -> Self::IntoIter {
        self.uids.iter().copied()
    }
}

/// Shows the UIDVALIDITY and the `sequence-set`, of which the middle is left out when it is long.
impl fmt::Debug for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.to_string();
        if text.len() > LONGEST_DEBUG {
            text = format!("{}...{}", &text[..LONGEST_DEBUG / 2], &text[text.len() - LONGEST_DEBUG / 2..]);
        }
        let (validity, len) = (self.validity.number, self.len());
        write!(f, "UidSet({len} under UIDVALIDITY {validity}: {text})")
    }
}

/// Writes an IMAP `sequence-set` (RFC 3501), such as `1:3,7`.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.uids.as_slice();
        while let Some(first) = rest.first() {
            let run =
                (0u32..).zip(rest).take_while(|(i, uid)| first.get().checked_add(*i) == Some(uid.get()));
            let run = run.count();
            write!(f, "{first}")?;
            if run > 1 {
                write!(f, ":{}", rest[run - 1])?;
            }
            rest = &rest[run..];
            if !rest.is_empty() {
                f.write_char(',')?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    const VALIDITY: UidValidity = UidValidity { number: 7, mailbox: 0 };

    fn set(numbers: &[u32]) -> UidSet {
        UidSet::new(VALIDITY, numbers.iter().filter_map(|&n| Uid::new(n)))
    }

    #[test]
    fn another_mailbox_with_the_same_number_is_not_the_same() {
        assert_eq!(UidValidity::new(7, "a"), UidValidity::new(7, "a"));
        assert_ne!(UidValidity::new(7, "a"), UidValidity::new(7, "b"));
        assert_ne!(UidValidity::new(7, "a"), UidValidity::new(8, "a"));
    }

    #[test]
    fn debug_shows_little_of_a_long_set() {
        assert_eq!(format!("{:?}", set(&[1, 2, 9])), "UidSet(3 under UIDVALIDITY 7: 1:2,9)");
        let odd: Vec<u32> = (0..100_000).map(|n| 2 * n + 1).collect();
        let text = format!("{:?}", set(&odd));
        assert!(text.len() < 150 && text.contains(": 1,3,5") && text.ends_with("199997,199999)"), "{text}");
    }

    #[test]
    fn a_set_iterates_in_ascending_order() {
        let numbers = |uids: &mut dyn Iterator<Item = Uid>| uids.map(Uid::get).collect::<Vec<_>>();
        assert_eq!(numbers(&mut (&set(&[3, 1, 3])).into_iter()), [1, 3]);
        assert_eq!(numbers(&mut set(&[3, 1, 3]).into_iter()), [1, 3]);
    }

    #[test]
    fn a_set_of_no_deliveries_has_no_uidvalidity() {
        assert_eq!(UidSet::from_deliveries([]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn runs_are_written_as_ranges() {
        assert_eq!(
            set(&[9, 1, 2, 3, 5, 5, u32::MAX, u32::MAX - 1]).to_string(),
            "1:3,5,9,4294967294:4294967295"
        );
        assert_eq!(set(&[]).to_string(), "");
    }

    #[test]
    fn a_set_that_was_written_is_parsed_again() {
        let written = set(&[1, 2, 3, 5, 8, 9]);
        assert_eq!(UidSet::parse(VALIDITY, &written.to_string(), 6), Some(written));
        assert_eq!(UidSet::parse(VALIDITY, "3:1,2", 10), Some(set(&[1, 2, 3])));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_set_is_read_as_it_was_written(
            numbers in vec(prop_oneof![1..40_u32, (u32::MAX - 40).., any::<u32>()], 1..60),
        ) {
            let written = set(&numbers);
            prop_assume!(!written.is_empty());
            let text = written.to_string();
            prop_assert_eq!(UidSet::parse(VALIDITY, &text, written.len()), Some(written.clone()));
            prop_assert_eq!(UidSet::parse(VALIDITY, &text, written.len() - 1), None);
        }

        #[test]
        fn chunks_lose_nothing_and_none_is_too_large(
            numbers in vec(prop_oneof![1..3_000_u32, (u32::MAX - 3_000).., any::<u32>()], 0..2_000),
            most in 1..300_usize,
        ) {
            let all = set(&numbers);
            let chunks = all.chunks_of(most);
            prop_assert!(chunks.iter().flat_map(UidSet::iter).eq(all.iter()));
            prop_assert!(chunks.iter().all(|chunk| chunk.len() <= most && chunk.to_string().len() <= MAX_SET_LEN));
        }

        #[test]
        fn any_text_is_parsed_as_a_set_within_the_limit_or_none(text in "[0-9:,* -]{0,30}", limit in 0..100_usize) {
            if let Some(read) = UidSet::parse(VALIDITY, &text, limit) {
                prop_assert!(read.len() <= limit);
                prop_assert_eq!(UidSet::parse(VALIDITY, &read.to_string(), limit), (!read.is_empty()).then_some(read));
            }
        }
    }

    #[test]
    fn a_set_that_is_none_or_too_large_is_refused() {
        for text in ["", "a", "1:", "-1", "1,,2", "1:*", "1 2"] {
            assert_eq!(UidSet::parse(VALIDITY, text, 100), None, "{text}");
        }
        assert_eq!(UidSet::parse(VALIDITY, "1:4294967295", 500), None);
    }

    #[test]
    fn halves_lose_nothing_however_scattered_the_uids_are() {
        let scattered = UidSet::new(UidValidity::new(1, ""), (1..2_000).filter_map(|n| Uid::new(2 * n)));
        let parts = scattered.halves();
        let all: Vec<Uid> = parts[1].iter().chain(parts[0].iter()).collect();
        assert_eq!((parts.len(), all), (2, scattered.iter().collect()));
        let one = scattered.first(1).0;
        assert_eq!(one.halves(), std::slice::from_ref(&one));
        assert_eq!(one.skip(1).halves(), []);
    }

    #[test]
    fn chunks_fit_on_a_line_and_lose_nothing() {
        let odd = set(&(1..5_000).map(|n| 4_000_000_000 + n * 2).collect::<Vec<_>>());
        let chunks = odd.chunks();
        assert!(chunks.iter().all(|chunk| chunk.to_string().len() <= MAX_SET_LEN));
        assert!(chunks.iter().flat_map(UidSet::iter).eq(odd.iter()));
    }
}
