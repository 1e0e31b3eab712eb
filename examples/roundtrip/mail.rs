//! The messages of a run, and the foreign mail in the inbox.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use pymail::Message;

/// Pieces of bodies: harmless ones, and ones that mail systems are known to change.
const PIECES: [&str; 16] = [
    "hello ",
    "Grüße ",
    "日本語",
    "🐍",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\r\n.\r\n",
    "\n..",
    "\nFrom here on ",
    "\t",
    "  \n",
    "=20",
    "=\r\n",
    "--\r\n",
];

/// The header that marks this run's foreign mail.
const MARK: &str = "X-Roundtrip";

/// The messages of a run, generated on demand.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) messages: usize,
    pub(crate) size: usize,
    pub(crate) address: String,
}

impl Plan {
    pub(crate) fn message(&self, index: usize) -> Message {
        Message::new(index.to_string(), &*self.address, &*self.address, body(index, self.size))
    }

    /// Returns a message's index by its id.
    pub(crate) fn index(&self, id: &str) -> Option<usize> {
        id.parse().ok().filter(|index: &usize| *index < self.messages && index.to_string() == id)
    }

    /// Returns a message's index by the Subject of its mail on the server.
    pub(crate) fn index_in(&self, raw: &[u8], tag: &str) -> Option<usize> {
        self.index(header(raw, "Subject")?.strip_prefix(tag)?.strip_prefix([' ', '\t'])?.trim_start())
    }

    /// Returns `true` if a message arrived unchanged.
    pub(crate) fn has(&self, index: usize, message: &Message) -> bool {
        message.sent_by == self.address && message.body == body(index, self.size)
    }

    /// Returns `true` if a mail on the server is unchanged, or if the server re-encoded it, so that it can't be compared.
    pub(crate) fn has_in(&self, index: usize, raw: &[u8]) -> bool {
        let encoding = header(raw, "Content-Transfer-Encoding").unwrap_or_default();
        let start = find(raw, b"\r\n\r\n").map_or(raw.len(), |end| end + 4);
        let code: Vec<u8> = raw[start..].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        !encoding.eq_ignore_ascii_case("base64")
            || BASE64_STANDARD.decode(code).is_ok_and(|sent| sent == body(index, self.size))
    }
}

/// Generates the body of a message by its index: text for an even one, bytes for an odd one.
fn body(index: usize, size: usize) -> Vec<u8> {
    let mut random = Xorshift(index as u64 + 1);
    if index % 2 == 1 {
        return std::iter::from_fn(|| Some(random.next().to_le_bytes()[3])).take(size).collect();
    }
    let mut text = String::with_capacity(size + 16);
    while text.len() < size {
        text.push_str(PIECES[(random.next() >> 60) as usize]);
    }
    while text.len() > size {
        text.pop();
    }
    let mut body = text.into_bytes();
    body.resize(size, b' '); // in place of a character that was cut
    body
}

/// Marsaglia's xorshift64*.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Foreign mail for INBOX: each with the flags that it has, or gets from another client.
pub(crate) fn foreign(tag: &str, address: &str) -> Vec<(&'static str, String)> {
    let lower = tag.to_lowercase();
    [
        ("", "lunch?".into()),
        ("", format!("x{tag}y")),
        ("", format!("Re: {tag} 1")),
        (r"\Seen", format!("{tag}s 2")),
        ("", format!("{lower} 3")),
        (r"\Flagged", format!("[list] {tag} 4")),
        (r"\Answered", "with the tag in its text".into()),
        (r"\Deleted", "to be deleted by another client".into()),
        (r"\Deleted", format!("Fwd: {tag} 0")),
        (r"\Deleted", format!("{tag} 0")), // ours by its Subject, and yet not to be touched
    ]
    .into_iter()
    .map(|(flag, subject): (_, String)| (flag, planted(&subject, tag, address)))
    .collect()
}

/// Returns `true` if a mail's Subject begins with the tag.
pub(crate) fn has_tag(raw: &[u8], tag: &str) -> bool {
    header(raw, "Subject").is_some_and(|subject| subject.split_whitespace().next() == Some(tag))
}

/// Returns `true` for foreign mail of this run.
pub(crate) fn is_planted(raw: &[u8], tag: &str) -> bool {
    header(raw, MARK).is_some_and(|value| value == tag)
}

fn planted(subject: &str, tag: &str, address: &str) -> String {
    format!(
        "From: eve@example.org\r\nTo: {address}\r\nSubject: {subject}\r\n\
         Date: Fri, 2 Jan 2026 03:04:05 +0000\r\n{MARK}: {tag}\r\n\r\n{tag} 1\r\n.\r\nFrom here on\r\n"
    )
}

/// Returns the unfolded value of a header.
fn header(raw: &[u8], name: &str) -> Option<String> {
    let end = find(raw, b"\r\n\r\n").unwrap_or(raw.len());
    let head = String::from_utf8_lossy(&raw[..end]).replace("\r\n ", " ").replace("\r\n\t", " ");
    let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
