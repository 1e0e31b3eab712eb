//! Parses the dates of mail: Date in a header (RFC 5322, sections 3.3 and 4.3), INTERNALDATE of IMAP (RFC 3501, section
//! 9, `date-time`).
//!
//! | text | is read as |
//! | --- | --- |
//! | `Fri, 21 Nov 1997 09:55:06 -0600` | 15:55:06 UTC |
//! | `17-Jul-1996 02:44:25 -0700` | INTERNALDATE |
//! | `21 Nov 97 09(comment):   55  :  06 -0600` | obsolete: a year of two digits, comments and blanks anywhere |
//! | `21 Nov 1997 09:55 CST` | without seconds, and with an obsolete zone |
//! | `Fri Nov 21 09:55:06 1997` | C's `asctime`; without a zone it is UTC |
//! | `21 Nov 1997 09:55:06 CET`, `21 Nov 1997 09:55:06 A` | UTC, as the RFC says of zones that it does not define |
//! | `31 Feb 1997 09:55:06 +0000`, `1997-11-21T09:55:06Z`, `21 Nov 1997 9:55 PM` | no date |
//!
//! The weekday is not compared. Of the numbers beside the time, the first is the day, the second the year. Text after a
//! zone in digits is ignored, once the date is complete: some programs add its name there.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// The octets of a text that are read. The longest usual one, with its zone's name in a comment, has some 60.
const MAX_OCTETS: usize = 200;

/// The names of months and weekdays, of which three letters or more are written.
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The obsolete zones with an offset, in hours (RFC 5322, section 4.3).
const ZONES: [(&str, i64); 8] =
    [("edt", -4), ("est", -5), ("cdt", -5), ("cst", -6), ("mdt", -6), ("mst", -7), ("pdt", -7), ("pst", -8)];

/// Returns the time of a date; `None` for a text that is none.
pub(crate) fn parse(text: &[u8]) -> Option<SystemTime> {
    let text = without_comments(&text[..text.len().min(MAX_OCTETS)]);
    let mut tokens = Tokens(&text);
    let mut date = Date::default();
    while !date.is_complete()
        && let Some(token) = tokens.next()
    {
        match token {
            Token::Word(word) => date.add_word(word)?,
            Token::Number(hour, _) if date.seconds.is_none() && tokens.skip(b':') => {
                date.seconds = Some(tokens.seconds_after(hour)?);
            }
            Token::Number(value, digits) => date.add_number(value, digits)?,
            Token::Sign(sign) if date.seconds.is_some() => date.offset = Some(sign * tokens.offset()?),
            Token::Sign(-1) | Token::Comma => {} // between weekday, day, month and year
            Token::Sign(_) | Token::Other => return None,
        }
    }
    date.to_time()
}

/// Replaces comments, which may be nested, by a blank each; one without its end goes to the end of the text.
fn without_comments(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'(') {
        return Cow::Borrowed(text);
    }
    let (mut depth, mut outside) = (0_usize, Vec::with_capacity(text.len()));
    let mut octets = text.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => drop(octets.next()),
            _ if depth == 0 => outside.push(octet),
            _ => continue,
        }
        if depth == 0 && octet == b')' {
            outside.push(b' ');
        }
    }
    Cow::Owned(outside)
}

/// The parts of a date that were found so far.
#[derive(Default)]
struct Date {
    day: Option<i64>,
    /// 0 is January.
    month: Option<usize>,
    year: Option<i64>,
    /// The seconds since midnight, at the zone.
    seconds: Option<i64>,
    /// The zone in digits, in seconds east of Greenwich.
    offset: Option<i64>,
    /// The zone by its name, in the same unit; `GMT` may stand before digits.
    named_offset: Option<i64>,
}

impl Date {
    fn is_complete(&self) -> bool {
        self.year.is_some() && self.month.is_some() && self.seconds.is_some() && self.offset.is_some()
    }

    /// Adds a word in any case: a month, a weekday, or, after the time, a zone.
    fn add_word(&mut self, word: &str) -> Option<()> {
        let begins =
            |name: &str| name.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
        let is_short_of = |name: &&str| word.len() >= 3 && begins(name);
        if self.month.is_none()
            && let Some(month) = MONTHS.iter().position(is_short_of)
        {
            self.month = Some(month);
        } else if self.seconds.is_some() {
            let known = ZONES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(word))
                .map(|(_, hours)| hours * 3_600);
            // Neither AM and PM, nor the beginning of a longer name with other letters.
            let is_zone = word.eq_ignore_ascii_case("ut") || word.len() == 1 || (3..=5).contains(&word.len());
            let offset = known.or_else(|| is_zone.then_some(0))?;
            self.named_offset.get_or_insert(offset);
        } else if !WEEKDAYS.iter().any(is_short_of) {
            return None;
        }
        Some(())
    }

    /// Adds a number that is not of the time: the day, then the year (RFC 5322, section 4.3, for two or three digits).
    fn add_number(&mut self, value: i64, digits: usize) -> Option<()> {
        if self.day.is_none() {
            self.day = Some(value);
            return Some(());
        }
        let year = match digits {
            2 if value < 50 => 2_000 + value,
            2 | 3 => 1_900 + value,
            4 => value,
            _ => return None,
        };
        self.year.replace(year).is_none().then_some(())
    }

    fn to_time(&self) -> Option<SystemTime> {
        let (day, month, year) = (self.day?, self.month?, self.year.filter(|year| *year >= 1_900)?);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        if !(1..=days[month]).contains(&day) {
            return None;
        }
        // The leap days of the years before this one, and the days since 1 January 1970.
        let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
        let of_years = (year - 1_970) * 365 + leap_days(year - 1) - leap_days(1_969);
        let days = of_years + days[..month].iter().sum::<i64>() + day - 1;
        let offset = self.offset.or(self.named_offset).unwrap_or_default();
        let seconds = days * 86_400 + self.seconds? - offset;
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        if seconds < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) }
    }
}

/// A token of a date.
enum Token<'a> {
    Word(&'a str),
    /// A number of at most four digits, and how many they are.
    Number(i64, usize),
    /// 1 for `+`, -1 for `-`.
    Sign(i64),
    Comma,
    Other,
}

/// Splits a text into tokens.
struct Tokens<'a>(&'a [u8]);

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.0 = self.0.trim_ascii_start();
        let first = *self.0.first()?;
        let run = |is: fn(&u8) -> bool| self.0.iter().take_while(|octet| is(octet)).count();
        let length = match first {
            b'0'..=b'9' => run(u8::is_ascii_digit),
            _ => run(u8::is_ascii_alphabetic).max(1),
        };
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        let text = std::str::from_utf8(text).unwrap_or_default();
        Some(match first {
            b'0'..=b'9' if length <= 4 => Token::Number(text.parse().ok()?, length),
            b'a'..=b'z' | b'A'..=b'Z' => Token::Word(text),
            b'+' => Token::Sign(1),
            b'-' => Token::Sign(-1),
            b',' => Token::Comma,
            _ => Token::Other,
        })
    }

    /// Skips this octet, and blanks before it; returns `true` if it is next.
    fn skip(&mut self, octet: u8) -> bool {
        let rest = self.0.trim_ascii_start().strip_prefix(&[octet]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Returns the number that is next, up to `most`, and its digits; `None` for anything else.
    fn number(&mut self, most: i64) -> Option<(i64, usize)> {
        match self.next()? {
            Token::Number(value, digits) if value <= most => Some((value, digits)),
            _ => None,
        }
    }

    /// Returns the seconds since midnight, after the hour and its colon; a fraction of a second is ignored.
    fn seconds_after(&mut self, hour: i64) -> Option<i64> {
        let (minute, _) = self.number(59)?;
        // 60 is a leap second.
        let second = if self.skip(b':') { self.number(60)?.0 } else { 0 };
        if let Some(fraction) = self.0.strip_prefix(b".") {
            self.0 = &fraction[fraction.iter().take_while(|octet| octet.is_ascii_digit()).count()..];
        }
        (hour < 24).then_some(hour * 3_600 + minute * 60 + second)
    }

    /// Returns the offset after its sign, in seconds: `0200`, `02:00`, `200` or `2`.
    fn offset(&mut self) -> Option<i64> {
        let (value, digits) = self.number(9_959)?;
        let (hours, minutes) = match digits {
            3 | 4 => (value / 100, value % 100),
            _ if self.skip(b':') => (value, self.number(59)?.0),
            _ => (value, 0),
        };
        (minutes < 60).then_some(hours * 3_600 + minutes * 60)
    }
}

#[cfg(test)]
mod tests {
    use mail_builder::headers::date::Date as ComposedDate;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        let time = parse(text.as_bytes())?;
        Some(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap(),
            Err(before) => -i64::try_from(before.duration().as_secs()).unwrap(),
        })
    }

    /// 21 November 1997, 15:55:06 UTC.
    const THEN: i64 = 880_127_706;

    #[rstest]
    #[case::usual("Fri, 21 Nov 1997 09:55:06 -0600")]
    #[case::without_a_weekday("21 Nov 1997 15:55:06 +0000")]
    #[case::a_wrong_weekday("Mon, 21 Nov 1997 15:55:06 +0000")]
    #[case::internal_date("21-Nov-1997 09:55:06 -0600")]
    #[case::east("Fri, 21 Nov 1997 21:25:06 +0530")]
    #[case::upper_case("FRI, 21 NOV 1997 09:55:06 CST")]
    #[case::obsolete("21 Nov 97 09(comment):   55  :  06 -0600")]
    #[case::three_digits("21 Nov 097 09:55:06 -0600")]
    #[case::comments("(a (nested \\) one)) Fri(day), 21 Nov 1997 09:55:06 -0600 (CST")]
    #[case::tabs_and_folds("Fri,\t21 Nov 1997\r\n 09:55:06\r\n\t-0600")]
    #[case::asctime("Fri Nov 21 15:55:06 1997")]
    #[case::certificate("Nov 21 15:55:06 1997 GMT")]
    #[case::asctime_with_a_zone("Fri Nov 21 09:55:06 CST 1997")]
    #[case::asctime_with_digits("Fri Nov 21 09:55:06 -0600 1997")]
    #[case::full_names("Friday, 21-November-97 15:55:06 GMT")]
    #[case::a_colon_in_the_zone("21 Nov 1997 09:55:06 -06:00")]
    #[case::a_short_zone("21 Nov 1997 09:55:06 -6")]
    #[case::three_digits_of_zone("21 Nov 1997 09:55:06 -600")]
    #[case::both_zones("Fri Nov 21 1997 09:55:06 GMT-0600 (Central Standard Time)")]
    #[case::a_name_after_the_zone("21 Nov 1997 09:55:06 -0600 Nordamerikanische Zeit \u{fc}")]
    #[case::a_fraction("21 Nov 1997 09:55:06.789 -0600")]
    #[case::ut("21 Nov 1997 15:55:06 UT")]
    #[case::z("21 Nov 1997 15:55:06 Z")]
    #[case::military("21 Nov 1997 15:55:06 A")]
    #[case::unknown("21 Nov 1997 15:55:06 CET")]
    #[case::edt("21 Nov 1997 11:55:06 EDT")]
    #[case::est("21 Nov 1997 10:55:06 EST")]
    #[case::pst("21 Nov 1997 07:55:06 PST")]
    #[case::pdt("21 Nov 1997 08:55:06 pdt")]
    fn a_date_is_parsed_in_every_form(#[case] text: &str) {
        assert_eq!(seconds(text), Some(THEN), "{text}");
    }

    #[rstest]
    #[case::without_seconds("21 Nov 1997 09:55 -0600", THEN - 6)]
    #[case::one_digit(" 7-Jul-1996 02:44:25 -0700", 836_732_665)]
    #[case::the_epoch("1 Jan 1970 00:00:00 +0000", 0)]
    #[case::before_it("31 Dec 1969 23:59:59 +0000", -1)]
    #[case::the_first_year("1 Jan 1900 00:00:00 +0000", -2_208_988_800)]
    #[case::leap_day("29 Feb 2000 00:00:00 +0000", 951_782_400)]
    #[case::leap_second("31 Dec 2016 23:59:60 +0000", 1_483_228_800)]
    #[case::a_year_of_two_digits("1 Jan 49 00:00:00 +0000", 2_493_072_000)]
    #[case::after_32_bits("7 Feb 2106 06:28:16 +0000", 4_294_967_296)]
    fn other_times_are_right_too(#[case] text: &str, #[case] expected: i64) {
        assert_eq!(seconds(text), Some(expected), "{text}");
    }

    #[rstest]
    #[case::nothing("")]
    #[case::words("yesterday at noon")]
    #[case::nil("NIL")]
    #[case::no_time("21 Nov 1997")]
    #[case::no_year("21 Nov 09:55:06 -0600")]
    #[case::no_month("21 1997 09:55:06 -0600")]
    #[case::no_such_day("31 Feb 1997 09:55:06 +0000")]
    #[case::no_leap_day("29 Feb 1900 09:55:06 +0000")]
    #[case::day_0("0 Nov 1997 09:55:06 +0000")]
    #[case::no_such_hour("21 Nov 1997 24:00:00 +0000")]
    #[case::no_such_minute("21 Nov 1997 09:60:00 +0000")]
    #[case::no_such_second("21 Nov 1997 09:55:61 +0000")]
    #[case::no_such_zone("21 Nov 1997 09:55:06 +0060")]
    #[case::half_a_zone("21 Nov 1997 09:55:06 +")]
    #[case::half_a_time("21 Nov 1997 09:")]
    #[case::year_0("1 Jan 0000 00:00:00 +0000")]
    #[case::a_long_year("1 Jan 19970 00:00:00 +0000")]
    #[case::a_short_year("1 Jan 7 00:00:00 +0000")]
    #[case::half_a_day("21 Nov 1997 09:55:06 PM")]
    #[case::iso_8601("1997-11-21T09:55:06Z")]
    #[case::another_language("Fr, 21 Dez 1997 09:55:06 +0100")]
    #[case::a_third_number("21 Nov 1997 5 09:55:06")]
    #[case::in_a_comment("(21 Nov 1997 09:55:06 +0000)")]
    fn a_text_that_is_no_date_is_none(#[case] text: &str) {
        assert_eq!(seconds(text), None, "{text}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_composed_date_is_parsed_to_its_second(expected in -2_208_988_800..253_402_300_800_i64) {
            prop_assert_eq!(seconds(&ComposedDate::new(expected).to_rfc822()), Some(expected));
        }

        #[test]
        fn no_text_makes_the_parser_panic(
            octets in prop::collection::vec(any::<u8>(), 0..40),
            text in "[0-9:+( )\\-,JanFebGMT.]{0,60}",
        ) {
            let _ = parse(&octets);
            let _ = parse(text.as_bytes());
        }
    }
}
