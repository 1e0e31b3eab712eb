//! UID sets as text: in order, as ranges.

/// Returns `1:4,7` for 7, 1, 2, 4 and 3.
pub fn set(uids: impl IntoIterator<Item = u32>) -> String {
    let mut uids = Vec::from_iter(uids);
    uids.sort_unstable();
    let ranges = uids.chunk_by(|before, next| before + 1 == *next);
    let ranges = ranges.map(|range| match range {
        [only] => only.to_string(),
        _ => format!("{}:{}", range[0], range[range.len() - 1]),
    });
    ranges.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(super::set([7, 1, 2, 4, 3]), "1:4,7");
        assert_eq!(super::set([]), "");
    }
}
