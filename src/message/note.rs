//! Composes the mail that gives the reason for a dead letter, and reads it again.
//!
//! The note names the message by its id and Message-ID, or the mail by its former UID if it could not be parsed.

use std::time::{Duration, SystemTime};

use mail_builder::MessageBuilder;

use super::headers::{Headers, Name, with_line_feeds};
use super::parse::{catch_panic, message_id, parse, sender, subject};
use super::{Identity, Message};

/// The characters of a reason that are kept.
const MAX_REASON: usize = 2_000;

/// The SEARCH criteria of mail that is no note.
pub(crate) const NO_NOTE: &str = "OR NOT SUBJECT \"Dead letter\" NOT FROM \"pymail@localhost\"";

/// The Subject and the sender of a note.
const SUBJECT: &str = "Dead letter";
const FROM: &str = "pymail@localhost";

/// The words between the message and the reason.
const BECAUSE: &str = " is in this mailbox, because ";

/// Composes a mail to append beside a dead letter; it is a reply to the message, if that could be read.
pub(crate) fn note(message: Option<&Message>, uid: u32, reason: &str) -> Vec<u8> {
    let reason: String = reason.chars().take(MAX_REASON).collect();
    let subject = message.map_or_else(
        || format!("The mail that had UID {uid}"),
        |message| format!("The message {:?} ({}), which had UID {uid},", message.id, message.message_id),
    );
    let note = MessageBuilder::new()
        .from(FROM)
        .subject(SUBJECT)
        .text_body(format!("{subject}{BECAUSE}{reason}.\r\n"));
    let note = match message {
        Some(message) => note.in_reply_to(message.message_id.as_str()),
        None => note,
    };
    note.write_to_vec().unwrap_or_default()
}

/// A mail among the dead letters, by its headers: a letter or a note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadMail {
    pub(crate) is_note: bool,
    /// A hash of the Message-ID, of a note that of the message that it is about; `None` without one.
    pub(crate) message_id: Option<Identity>,
    /// The identity of a letter; `None` without a Message-ID.
    pub(crate) identity: Option<Identity>,
}

impl DeadMail {
    /// Reads Subject, From, Message-ID and In-Reply-To. Headers that make the parser panic are a letter's.
    pub(crate) fn read(octets: &[u8]) -> Self {
        let read = || {
            let fields = with_line_feeds(octets);
            let headers = Headers::of_mail(&fields);
            let is_note = subject(&headers)?.text == SUBJECT && sender(&headers).as_deref() == Some(FROM);
            let id = headers.first(if is_note { Name::InReplyTo } else { Name::MessageId });
            let message_id = id.as_deref().and_then(message_id).map(|id| Identity::of(id, "", ""));
            Some(Self { is_note, message_id, identity: None })
        };
        let read = catch_panic(read).unwrap_or_default();
        Self { identity: if read.is_note { None } else { Identity::read(octets) }, ..read }
    }
}

/// The contents of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) reason: String,
    /// The moment when it was written, just before the message was moved; `None` without a readable Date.
    pub(crate) written: Option<SystemTime>,
}

impl Note {
    /// Reads a note; `None` for a mail that is none.
    pub(crate) fn read(mail: &[u8]) -> Option<Self> {
        let (tag, _) = SUBJECT.split_once(' ')?;
        let (note, _) = parse(mail, tag)?.ok()?;
        let text = note.text_lossy();
        let (_, reason) = text.split_once(BECAUSE)?;
        let reason = reason.trim_end();
        let reason = reason.strip_suffix('.').unwrap_or(reason).to_owned();
        let date = catch_panic(|| Headers::of_mail(&with_line_feeds(mail)).first(Name::Date).map(Vec::from));
        let written = date.and_then(|date| moment(std::str::from_utf8(&date).ok()?));
        Some(Self { reason, written })
    }
}

/// Parses a date as it is written here: `Sat, 28 Nov 2026 06:08:00 +0000` (RFC 5322, section 3.3).
fn moment(date: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = date.split_whitespace().collect();
    let [_, day, month, year, time, zone] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u64;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    if !(1..=31).contains(&day) || !(1970..10_000).contains(&year) {
        return None;
    }
    let clock: Vec<u64> = time.split(':').map_while(|part| part.parse().ok()).collect();
    let [hours @ 0..24, minutes @ 0..60, seconds @ 0..=60] = clock[..] else { return None };
    let zone = zone.parse::<i64>().ok().filter(|zone| (-9_999..=9_999).contains(zone))?;
    // The year begins in March, so that its last day is the leap day.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1;
    let since = (days.checked_sub(719_468)? * 24 + hours) * 3_600 + minutes * 60 + seconds;
    let offset = (zone / 100 * 60 + zone % 100) * 60;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since.checked_add_signed(-offset)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parse;

    #[test]
    fn a_note_names_any_message_and_any_reason() {
        let message = Message::new("42 \r\nBcc: eve@example.org", "alice@example.org", "bob@example.org", "");
        let mail = note(Some(&message), 7, "no such account: Zoë\r\n.\r\n");
        let read = String::from_utf8(mail.clone()).unwrap();
        assert!(read.contains(&format!("\r\nIn-Reply-To: {}\r\n", message.message_id())), "{read}");
        assert!(!read.contains("\nBcc"), "{read}");
        let (note, _) = parse(&mail, "Dead").unwrap().unwrap();
        let text = note.text().unwrap();
        assert!(
            text.contains("42") && text.contains("UID 7") && text.contains("no such account: Zoë"),
            "{text}"
        );
        assert_eq!((&*note.id, note.sent_to), ("letter", Vec::new()));
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let message = Message::new("42", "alice@example.org", "bob@example.org", "");
        for reason in ["no such account: Zoë", "see above...", "a, because b.\r\nc", &"x".repeat(MAX_REASON)]
        {
            for about in [Some(&message), None] {
                let mail = note(about, 7, reason);
                let read = Note::read(&mail).unwrap();
                assert_eq!(read.reason.replace("\r\n", "\n"), reason.replace("\r\n", "\n"));
                let age = SystemTime::now().duration_since(read.written.unwrap()).unwrap();
                assert!(age < Duration::from_secs(3_600), "{age:?}");
                let headers = DeadMail::read(&mail);
                assert!(headers.is_note && headers.identity.is_none());
                assert_eq!(headers.message_id.is_some(), about.is_some());
            }
        }
    }

    #[test]
    fn a_note_is_told_from_a_letter_and_has_the_message_id_of_its_letter() {
        let message = Message::new("letter", "alice@example.org", "bob@example.org", "");
        let letter = DeadMail::read(&crate::message::compose(&message, "Dead").unwrap());
        assert!(!letter.is_note && letter.identity.is_some() && letter.message_id.is_some());
        assert_eq!(DeadMail::read(&note(Some(&message), 7, "no")).message_id, letter.message_id);
        assert_eq!(DeadMail::read(b"\xff\x00"), DeadMail::default());
        assert_eq!(Note::read(b"Subject: Dead letter\r\n\r\nhello\r\n"), None);
    }

    #[test]
    fn dates_are_read_in_any_zone_and_odd_ones_are_none() {
        let seconds =
            |date| moment(date).map(|it| it.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds("Thu, 1 Jan 1970 00:00:00 +0000"), Some(0));
        assert_eq!(seconds("Sat, 28 Nov 2026 06:08:00 +0000"), Some(1_795_846_080));
        assert_eq!(seconds("Thu, 29 Feb 2024 23:59:59 -0130"), Some(1_709_256_599));
        assert_eq!(seconds("Thu, 29 Feb 2024 23:59:59 +0130"), Some(1_709_245_799));
        let odd = ["", "now", "Thu, 0 Jan 1970 00:00:00 +0000", "Thu, 1 Foo 1970 00:00:00 +0000"];
        let wild = ["Thu, 1 Jan 99999999999 00:00:00 +0000", "Thu, 1 Jan 1970 99:00:00 +0000", "a b c d e f"];
        assert!(odd.iter().chain(&wild).all(|date| seconds(date).is_none()));
    }
}
