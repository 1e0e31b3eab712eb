//! How long a server asks to be left alone, as it says in the text of a refusal.

use std::time::Duration;

/// No server's word keeps a handle away for longer.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What such a text has besides a time; many texts have a time that means something else.
const WORDS: [&str; 6] = ["backoff", "back off", "try again", "retry", "try later", "wait"];

/// The wait that a server's text asks for, such as Exchange's `Suggested Backoff Time: 5000 milliseconds`.
pub(crate) fn wait_asked(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    let from = WORDS.iter().filter_map(|word| text.find(word)).min()?;
    let words: Vec<&str> = text[from..].split(|c: char| !c.is_ascii_alphanumeric()).collect();
    words.iter().enumerate().find_map(|(at, word)| time(word, words.get(at + 1).copied()))
}

/// A number and its unit, together as in `30s` or apart.
fn time(word: &str, next: Option<&str>) -> Option<Duration> {
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
    Some(Duration::from_millis(number.saturating_mul(milliseconds)).min(LONGEST))
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
        assert_eq!(wait_asked(text), Some(Duration::from_millis(milliseconds)));
    }

    #[rstest]
    #[case("mailbox of 30 minutes of fame")]
    #[case("try again later")]
    #[case("5 seconds ago somebody logged in; retry")]
    #[case("Suggested Backoff Time: soon")]
    #[case("")]
    fn a_text_without_one_asks_for_none(#[case] text: &str) {
        assert_eq!(wait_asked(text), None);
    }
}
