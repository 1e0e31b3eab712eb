//! Fuzzes FETCH responses: no panic, and the same messages however the octets are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pymail::fuzz::fetched;

fuzz_target!(|octets: &[u8]| {
    let whole = fetched(octets, octets.len().max(1));
    for length in [1, 2, 7, 64] {
        assert_eq!(fetched(octets, length), whole, "in pieces of {length}");
    }
});
