//! Fuzzes UID sets, COPYUID, and the codes and texts of refusals.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pymail::Error;
use pymail::fuzz::{chunks, copied, errors, uid_set, uids};

/// A password, which the server may send back.
const SECRET: &str = "S3CRET";

fuzz_target!(|octets: &[u8]| {
    let text = String::from_utf8_lossy(octets);
    sets(&text);
    for error in errors(octets, SECRET).expect("Python runs") {
        check(&error);
    }
});

fn sets(text: &str) {
    if let Some(set) = uid_set(text, 1_000) {
        assert!(set.len() <= 1_000);
        assert!(set.is_empty() || uid_set(&set.to_string(), set.len()) == Some(set.clone()));
        assert!(chunks(&set).iter().flat_map(|chunk| chunk.iter().collect::<Vec<_>>()).eq(set.iter()));
    }
    let asked = uids((3..90).chain(4_294_967_290..=u32::MAX));
    if let Some(these) = copied(text, &asked) {
        assert!(these.iter().all(|uid| asked.contains(uid)));
    }
}

fn check(error: &Error) {
    // A secret in place of a code is hidden, too.
    let code = error.code().unwrap_or("NONE").replace("(..)", "");
    let shaped =
        code.bytes().all(|octet| octet.is_ascii_uppercase() || octet.is_ascii_digit() || octet == b'-');
    assert!(shaped && error.code() != Some(""), "{code:?}");
    assert!(!(error.is_transient() && error.is_permanent()), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(SECRET), "a secret shows: {error:?}");
}
