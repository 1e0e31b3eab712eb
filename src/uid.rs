//! UIDs, and sets of them that know which life of the mailbox they belong to.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

/// The number that a mailbox gave a message for as long as its UIDVALIDITY stands (RFC 3501, section 2.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Uid(NonZeroU32);

impl Uid {
    /// A UID from its number; `None` for 0.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number.
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

/// Which life of which mailbox UIDs belong to; when it changes, every UID of before means nothing.
///
/// It knows the account and the mailbox too: two mailboxes may well have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UidValidity {
    number: u32,
    mailbox: u64,
}

impl UidValidity {
    /// `mailbox` is whatever tells it from all others.
    pub(crate) fn new(number: u32, mailbox: impl Hash) -> Self {
        // The same for the same mailbox, within this process.
        let mut hasher = DefaultHasher::new();
        mailbox.hash(&mut hasher);
        Self { number, mailbox: hasher.finish() }
    }

    /// Whether both are lives of the same mailbox.
    pub(crate) fn is_of_the_mailbox_of(self, other: Self) -> bool {
        self.mailbox == other.mailbox
    }

    /// Returns another UIDVALIDITY of the same mailbox.
    pub(crate) fn with_number(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// The number that the server gave.
    #[must_use]
    pub fn get(self) -> u32 {
        self.number
    }
}

/// UIDs of one mailbox in one life of it, ascending and without doubles.
///
/// [`Imap::search`](crate::Imap::search) makes one; take from it with [`retain`](UidSet::retain). Verbs refuse a
/// set whose UIDVALIDITY is not the mailbox's any more, so that no other mail is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UidSet {
    validity: UidValidity,
    uids: Vec<Uid>,
}

/// Command lines stay well below the 8,000 octets that servers are told to take (RFC 7162, section 4).
pub(crate) const MAX_SET_LEN: usize = 7_000;

/// The longest text of a range: two numbers of 10 digits, a colon and a comma.
const LONGEST_RANGE: usize = 22;

impl UidSet {
    pub(crate) fn new(validity: UidValidity, uids: impl IntoIterator<Item = Uid>) -> Self {
        let mut uids: Vec<Uid> = uids.into_iter().collect();
        uids.sort_unstable();
        uids.dedup();
        Self { validity, uids }
    }

    pub(crate) fn none(validity: UidValidity) -> Self {
        Self { validity, uids: Vec::new() }
    }

    /// Reads what a server writes in COPYUID: numbers and ranges, in any order (RFC 4315, section 3).
    ///
    /// `None` when it is no such set, or one of more than `limit` UIDs.
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

    /// Which life of the mailbox these UIDs belong to.
    #[must_use]
    pub fn validity(&self) -> UidValidity {
        self.validity
    }

    /// How many UIDs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.uids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// Whether this UID is among them.
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        self.uids.binary_search(&uid).is_ok()
    }

    /// The UIDs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.uids.iter().copied()
    }

    /// Keeps the UIDs that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(Uid) -> bool) {
        self.uids.retain(|&uid| keep(uid));
    }

    /// The lowest UIDs, at most `most`, and whether there are more.
    pub(crate) fn first(mut self, most: usize) -> (Self, bool) {
        let more = self.uids.len() > most;
        self.uids.truncate(most);
        (self, more)
    }

    /// Returns the highest UID.
    pub(crate) fn last(&self) -> Option<Uid> {
        self.uids.last().copied()
    }

    /// Those from this place on.
    pub(crate) fn skip(&self, count: usize) -> UidSet {
        Self { validity: self.validity, uids: self.uids.get(count..).unwrap_or_default().to_vec() }
    }

    /// Two halves, the second one first; a single UID, or none, as it is.
    pub(crate) fn halves(&self) -> Vec<UidSet> {
        let half = self.len().div_ceil(2);
        let mut parts = vec![self.skip(half), self.clone().first(half).0];
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// The set in pieces that each fit on a command line.
    pub(crate) fn chunks(&self) -> Vec<UidSet> {
        self.windows(usize::MAX)
    }

    /// The set in pieces of at most this many UIDs, each of which fits on a command line.
    pub(crate) fn windows(&self, most: usize) -> Vec<UidSet> {
        let (mut windows, mut from) = (Vec::new(), 0);
        while from < self.len() {
            let window = self.window(from, most);
            from += window.len();
            windows.push(window);
        }
        windows
    }

    /// Such a piece, from the UID at this place on.
    pub(crate) fn window(&self, from: usize, most: usize) -> UidSet {
        self.window_within(from, most, MAX_SET_LEN)
    }

    /// Returns such a piece whose text has at most `longest` octets, or is one range.
    pub(crate) fn window_within(&self, from: usize, most: usize, longest: usize) -> UidSet {
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

/// As IMAP writes it: `1:3,7` (RFC 3501, `sequence-set`).
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

    const VALIDITY: UidValidity = UidValidity { number: 7, mailbox: 0 };

    fn set(numbers: &[u32]) -> UidSet {
        UidSet::new(VALIDITY, numbers.iter().filter_map(|&n| Uid::new(n)))
    }

    #[test]
    fn another_mailbox_with_the_same_number_is_another() {
        assert_eq!(UidValidity::new(7, "a"), UidValidity::new(7, "a"));
        assert_ne!(UidValidity::new(7, "a"), UidValidity::new(7, "b"));
        assert_ne!(UidValidity::new(7, "a"), UidValidity::new(8, "a"));
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
    fn what_is_written_is_read_again() {
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
        fn windows_lose_nothing_and_none_is_too_large(
            numbers in vec(prop_oneof![1..3_000_u32, (u32::MAX - 3_000).., any::<u32>()], 0..2_000),
            most in 1..300_usize,
        ) {
            let all = set(&numbers);
            let windows = all.windows(most);
            prop_assert!(windows.iter().flat_map(UidSet::iter).eq(all.iter()));
            prop_assert!(windows.iter().all(|window| window.len() <= most && window.to_string().len() <= MAX_SET_LEN));
        }

        #[test]
        fn whatever_a_server_writes_is_a_set_within_its_limit_or_none(text in "[0-9:,* -]{0,30}", limit in 0..100_usize) {
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
