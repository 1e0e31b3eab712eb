//! Unwraps opaque-signed mail: CMS signed data with its content inside (RFC 5652, section 5), an option of Outlook.
//!
//! Reads as much of DER and BER as is needed to reach the content: tags of one octet, definite and indefinite lengths,
//! constructed octet strings. The signature is not verified.
//!
//! ```text
//! SEQUENCE                          ContentInfo (section 3)
//!   OBJECT IDENTIFIER               id-signedData; any other, such as that of encrypted data, is refused
//!   [0] SEQUENCE                    SignedData (section 5.1)
//!     INTEGER                       version
//!     SET                           digest algorithms
//!     SEQUENCE                      encapsulated content (section 5.2)
//!       OBJECT IDENTIFIER           its type, which is not checked
//!       [0] OCTET STRING            the signed mail, whole or in pieces
//!     ...                           certificates and signatures, which are not read
//! ```

/// The levels of nested DER and BER elements that are read.
const MAX_LEVELS: usize = 32;

/// The object identifier id-signedData, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const CONSTRUCTED_OCTET_STRING: u8 = 0x24;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT: u8 = 0xa0;

/// Returns the signed content; `None` if this is not signed data with its content, such as encrypted data, or a
/// signature without content, which belongs in a part of its own.
pub(super) fn content(message: &[u8]) -> Option<Vec<u8>> {
    let (info, _) = element(SEQUENCE, message)?;
    let (kind, rest) = element(OBJECT_IDENTIFIER, info)?;
    let (inner, _) = element(EXPLICIT, rest).filter(|_| kind == SIGNED_DATA)?;
    let (signed, _) = element(SEQUENCE, inner)?;
    let (_version, rest) = element(INTEGER, signed)?;
    let (_digests, rest) = element(SET, rest)?;
    let (encapsulated, _) = element(SEQUENCE, rest)?;
    let (_kind, rest) = element(OBJECT_IDENTIFIER, encapsulated)?;
    let (inner, _) = element(EXPLICIT, rest)?;
    let mut octets = Vec::new();
    add_octets(inner, MAX_LEVELS, &mut octets)?;
    Some(octets)
}

/// Returns the content of the first element, which must have this tag, and the rest.
fn element(tag: u8, octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any_element(octets, MAX_LEVELS)?;
    (found == tag).then_some((content, rest))
}

/// Returns the tag and the content of the first element, and the rest.
fn any_element(octets: &[u8], levels: usize) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = octets.split_first_chunk()?;
    let length = match length {
        0..0x80 => usize::from(length),
        0x80 => return indefinite_element(tag, rest, levels.checked_sub(1)?),
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

/// Returns the content of an element of indefinite length, which ends at two zero octets, and the rest. Zeros within
/// its elements do not end it: these are skipped whole, down to the limit of levels.
fn indefinite_element(tag: u8, octets: &[u8], levels: usize) -> Option<(u8, &[u8], &[u8])> {
    let mut rest = octets;
    loop {
        if let Some(after) = rest.strip_prefix(&[0, 0]) {
            return Some((tag, &octets[..octets.len() - rest.len()], after));
        }
        (_, _, rest) = any_element(rest, levels)?;
    }
}

/// Appends the octets of octet strings, which may be constructed of others: a program that signs a mail as a stream
/// does not know its length, and writes pieces (BER).
fn add_octets(mut elements: &[u8], levels: usize, octets: &mut Vec<u8>) -> Option<()> {
    while !elements.is_empty() {
        let (tag, content, rest) = any_element(elements, levels)?;
        match tag {
            OCTET_STRING => octets.extend_from_slice(content),
            CONSTRUCTED_OCTET_STRING => add_octets(content, levels.checked_sub(1)?, octets)?,
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
    fn content_in_constructed_octet_strings_is_joined_and_truncated_data_rejected() {
        let message = [HEAD, PIECES, &[0; 10]].concat();
        assert_eq!(content(&message), Some(b"hello".to_vec()));
        for cut in 0..message.len() {
            assert_eq!(content(&message[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn nested_elements_are_read_up_to_the_limit_only() {
        assert_eq!(content(&b"\x30\x80".repeat(100_000)), None);
        assert_eq!(content(&[HEAD, &b"\x24\x80".repeat(100_000)].concat()), None);
    }
}
