//! The ways in which a script sends a response.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

/// The pause between two octets of a slow line.
const DRIP: Duration = Duration::from_millis(20);

/// The size of the chunks of an endless response, about.
const PIECE: usize = 64 << 10;

/// Puts the client's tag in place of `TAG`.
pub(super) fn tagged(octets: &[u8], tag: &str) -> Vec<u8> {
    if let Ok(text) = std::str::from_utf8(octets) {
        return text.replace("TAG", tag).into_bytes(); // which is quicker by far
    }
    let mut said = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some(at) = rest.windows(3).position(|window| window == b"TAG") {
        said.extend_from_slice(&rest[..at]);
        said.extend_from_slice(tag.as_bytes());
        rest = &rest[at + 3..];
    }
    said.extend_from_slice(rest);
    said
}

/// Sends until the client hangs up.
pub(super) fn say_without_end(mut stream: &TcpStream, first: &[u8], again: &[u8]) -> Option<String> {
    let piece = again.repeat(PIECE.div_ceil(again.len()));
    stream.write_all(first).ok()?;
    loop {
        stream.write_all(&piece).ok()?;
    }
}

pub(super) fn drip(mut stream: &TcpStream, octets: &[u8]) -> Option<String> {
    let (_open, never) = mpsc::channel::<()>();
    for octet in octets {
        stream.write_all(std::slice::from_ref(octet)).ok()?;
        let _ = never.recv_timeout(DRIP);
    }
    Some(String::from_utf8_lossy(octets).into_owned())
}
