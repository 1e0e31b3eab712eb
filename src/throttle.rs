//! The wait that a server asks for in the text of a refusal.

use std::time::Duration;

/// The longest wait that is honoured.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(3_600);

/// Words that precede the wait in such a text; a time without them means something else.
const WORDS: [&str; 6] = ["backoff", "back off", "try again", "retry", "try later", "wait"];

/// Returns the wait that a server's text asks for, such as Exchange's `Suggested Backoff Time: 5000 milliseconds`.
pub(crate) fn requested_wait(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    let from = WORDS.iter().filter_map(|word| text.find(word)).min()?;
    let words: Vec<&str> = text[from..].split(|c: char| !c.is_ascii_alphanumeric()).collect();
    words.iter().enumerate().find_map(|(at, word)| duration(word, words.get(at + 1).copied()))
}

/// Parses a number and its unit, in one word (`30s`) or two.
fn duration(word: &str, next: Option<&str>) -> Option<Duration> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = word.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match if unit.is_empty() { next? } else { unit } {
        "ms" | "msec" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(milliseconds)).min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Request is throttled. Suggested Backoff Time: 299961 milliseconds", 299_961)]
    #[case("4.7.0 too many connections, try again in 30 seconds", 30_000)]
    #[case("4.7.1 Greylisted, please retry after 5 minutes", 300_000)]
    #[case("[LIMIT] wait 10s", 10_000)]
    #[case("try again in 2 hours", 3_600_000)]
    #[case("back off for 99999999999999999999 or 1 min", 60_000)]
    #[case("retry in 18446744073709551615 seconds", 3_600_000)]
    fn a_wait_is_read_from_the_text(#[case] text: &str, #[case] milliseconds: u64) {
        assert_eq!(requested_wait(text), Some(Duration::from_millis(milliseconds)));
    }

    #[rstest]
    #[case("mailbox of 30 minutes of fame")]
    #[case("try again later")]
    #[case("5 seconds ago another user logged in; retry")]
    #[case("Suggested Backoff Time: soon")]
    #[case("")]
    fn a_text_without_one_asks_for_none(#[case] text: &str) {
        assert_eq!(requested_wait(text), None);
    }
}
