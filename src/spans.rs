//! `tracing` spans: one for each verb, and one for each delivery while the app has it.
//!
//! A subscriber may call the handle, so spans begin, change and end where no lock is held.

use std::time::Instant;

use tracing::Span;

use crate::error::Result;

/// Makes the span of a verb, at the level `INFO`.
macro_rules! verb_span {
    ($name:literal) => {
        tracing::info_span!(
            $name,
            messages = tracing::field::Empty,
            elapsed_ms = tracing::field::Empty,
            error = tracing::field::Empty
        )
    };
}
pub(crate) use verb_span;

/// Runs a verb in its span, and records the time that it took, and the kind of its error.
///
/// Not the error's text, which may have the server's words in it.
pub(crate) fn in_span<T>(span: &Span, verb: impl FnOnce() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    let result = span.in_scope(verb);
    if !span.is_disabled() {
        span.record("elapsed_ms", begun.elapsed().as_secs_f64() * 1e3);
        if let Err(error) = &result {
            span.record("error", tracing::field::debug(error.kind()));
        }
    }
    result
}

/// Returns a text's hash (FNV-1a of 64 bits), which logs of other processes can be searched for.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!((hash(""), hash("foobar")), (0xcbf2_9ce4_8422_2325, 0x8594_4171_f739_67e8));
    }
}
