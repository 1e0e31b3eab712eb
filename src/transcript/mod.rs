//! The lines of a transcript: what was sent and received, without secrets and without text of mail.
//!
//! Shown are the names of commands, the arguments that are known to be safe, and the status lines of the server. The
//! octets of all else are counted. The caller hides the known secrets in the lines as well, as it does in errors: a
//! server can send back what it was sent.

mod imap;
mod smtp;

use std::borrow::Cow;

pub(crate) use self::imap::ImapLines;
pub(crate) use self::smtp::SmtpLines;

/// The protocol, and what is known of the dialogue so far.
pub(crate) enum Lines {
    Imap(ImapLines),
    Smtp(SmtpLines),
}

impl Lines {
    /// Returns the lines to be shown for octets of commands that were sent in one piece.
    pub(crate) fn sent(&mut self, octets: &[u8]) -> Vec<String> {
        match self {
            Self::Imap(lines) => vec![lines.sent(octets)],
            Self::Smtp(lines) => split(octets).map(|line| lines.sent(line)).collect(),
        }
    }

    /// Returns the lines to be shown for lines that were received; SMTP's have their ends, IMAP's need none.
    pub(crate) fn received(&mut self, octets: &[u8]) -> Vec<String> {
        match self {
            Self::Imap(lines) => split(octets).map(|line| lines.received(line)).collect(),
            // Half a line, behind which the connection has ended, may have half a password, which can't be hidden.
            Self::Smtp(_) if !octets.ends_with(b"\n") => vec![counted(octets.len())],
            Self::Smtp(lines) => split(octets).map(|line| lines.received(line)).collect(),
        }
    }
}

/// Returns the line in place of octets that are not shown.
pub(crate) fn counted(octets: usize) -> String {
    match octets {
        1 => "(1 octet)".into(),
        _ => format!("({octets} octets)"),
    }
}

/// Returns the words that are shown, and the count of the octets that are not.
fn with_count(shown: &str, hidden: usize) -> String {
    if hidden == 0 { shown.to_owned() } else { format!("{shown} {}", counted(hidden)) }
}

/// Splits octets into lines, without their ends.
fn split(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    octets.split_inclusive(|&octet| octet == b'\n').map(<[u8]>::trim_ascii_end)
}

fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit())
}

/// Returns `true` for a word in the alphabet of mechanisms and capabilities.
fn is_name(word: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_=+.:/".contains(&octet);
    word.len() <= 60 && word.bytes().all(plain)
}
