//! Mail that is signed in one piece with its signature (RFC 5652, section 5), as Outlook does when told not to send clear text.

/// No deeper than this are elements within others.
const MOST_LEVELS: usize = 32;

const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NAME: u8 = 0x06;
const OCTETS_IN_PIECES: u8 = 0x24;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT: u8 = 0xa0;

/// Returns what was signed; `None` when it is not signed, or not like this.
pub(super) fn content(message: &[u8]) -> Option<Vec<u8>> {
    let (info, _) = element(SEQUENCE, message)?;
    let (kind, rest) = element(NAME, info)?;
    let (inner, _) = element(EXPLICIT, rest).filter(|_| kind == SIGNED_DATA)?;
    let (signed, _) = element(SEQUENCE, inner)?;
    let (_version, rest) = element(INTEGER, signed)?;
    let (_digests, rest) = element(SET, rest)?;
    let (within, _) = element(SEQUENCE, rest)?;
    let (_kind, rest) = element(NAME, within)?;
    let (inner, _) = element(EXPLICIT, rest)?;
    let mut octets = Vec::new();
    add_octets(inner, MOST_LEVELS, &mut octets)?;
    Some(octets)
}

/// Reads the element at the beginning, which must have this tag, and what stands behind it.
fn element(tag: u8, octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(octets, MOST_LEVELS)?;
    (found == tag).then_some((content, rest))
}

fn any(octets: &[u8], levels: usize) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = octets.split_first_chunk()?;
    let length = match length {
        0..0x80 => usize::from(length),
        0x80 => return open_ended(tag, rest, levels.checked_sub(1)?),
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = digits.iter().try_fold(0_usize, |length, &digit| {
                length.checked_mul(256)?.checked_add(usize::from(digit))
            })?;
            let (content, rest) = rest.split_at_checked(length)?;
            return Some((tag, content, rest));
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// An element that goes on until two zeros.
fn open_ended(tag: u8, octets: &[u8], levels: usize) -> Option<(u8, &[u8], &[u8])> {
    let mut rest = octets;
    loop {
        if let Some(behind) = rest.strip_prefix(&[0, 0]) {
            return Some((tag, &octets[..octets.len() - rest.len()], behind));
        }
        (_, _, rest) = any(rest, levels)?;
    }
}

/// Adds the octets of the elements, which may be in pieces.
fn add_octets(mut elements: &[u8], levels: usize, octets: &mut Vec<u8>) -> Option<()> {
    while !elements.is_empty() {
        let (tag, content, rest) = any(elements, levels)?;
        match tag {
            OCTETS => octets.extend_from_slice(content),
            OCTETS_IN_PIECES => add_octets(content, levels.checked_sub(1)?, octets)?,
            _ => return None,
        }
        elements = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80\x30\x80\x02\x01\x01\x31\x00\
        \x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\xa0\x80";
    const PIECES: &[u8] = b"\x24\x80\x04\x03hel\x04\x82\x00\x02lo\x00\x00";

    #[test]
    fn what_was_signed_in_pieces_is_whole() {
        let message = [HEAD, PIECES, &[0; 10]].concat();
        assert_eq!(content(&message), Some(b"hello".to_vec()));
        for cut in 0..message.len() {
            assert_eq!(content(&message[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn elements_within_each_other_are_looked_into_no_deeper_than_any_are() {
        assert_eq!(content(&b"\x30\x80".repeat(100_000)), None);
        assert_eq!(content(&[HEAD, &b"\x24\x80".repeat(100_000)].concat()), None);
    }
}
