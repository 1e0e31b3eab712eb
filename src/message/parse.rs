//! Parses a mail to a message.
//!
//! The Subject decides if the mail is tagged: the first word of its decoded value is the tag, the rest is the id. The
//! sender is the first address of From, else of Sender; the recipients are all addresses of To. A mail without a usable
//! Message-ID gets a generated one, and no identity.

use std::panic::{UnwindSafe, catch_unwind};
use std::time::SystemTime;

use super::address::addresses;
use super::charset::Decoded;
use super::content::Content;
use super::headers::{Headers, Name, with_line_feeds};
use super::{Identity, Message, MessageId, body, encoded_words, property_headers};
use crate::date;
use crate::error::{Error, Result};

/// A parsed mail.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) message: Message,
    /// The identity by which a duplicate is detected; `None` without a Message-ID.
    pub(crate) identity: Option<Identity>,
    /// The time in the first Date field; `None` without one, or if it is no date.
    pub(crate) sent_at: Option<SystemTime>,
}

/// Parses a mail; `None` when the first word of its decoded Subject is not the tag, as in some SEARCH results.
///
/// A mail that makes the parser panic is an error if its headers alone show the tag, else foreign: nothing proves that
/// it is the app's.
///
/// # Errors
/// `Message` when Subject, recipients, properties or body can't be decoded without loss, or the mail exceeds the parser's limits.
pub(crate) fn parse(octets: &[u8], tag: &str) -> Option<Result<Parsed>> {
    let parsed = catch_unwind(|| parse_with(octets, tag, body::decode_own_format));
    parsed.unwrap_or_else(|_| is_ours(octets, tag).then(|| Err(Error::message("the mail can't be parsed"))))
}

/// Parses a tagged mail without the fast path for pymail's own format.
#[cfg(test)]
pub(super) fn parse_leniently(octets: &[u8], tag: &str) -> Result<Parsed> {
    parse_with(octets, tag, |_| None).expect("it is ours")
}

/// Returns `true` if a mail is tagged, by its headers alone.
pub(crate) fn is_ours(octets: &[u8], tag: &str) -> bool {
    let octets = with_line_feeds(octets);
    let find_tag = || id_after_tag(tag, &subject(&Headers::of_mail(&octets))?.text).map(drop);
    catch_panic(find_tag).is_some()
}

/// Parses a mail; `fast_path` decodes its body if it can.
fn parse_with(
    octets: &[u8],
    tag: &str,
    fast_path: impl FnOnce(&Headers<'_>) -> Option<Vec<u8>>,
) -> Option<Result<Parsed>> {
    let octets = with_line_feeds(octets);
    let headers = Headers::of_mail(&octets);
    let Decoded { text: subject, lost } = subject(&headers)?;
    let id = id_after_tag(tag, &subject)?.to_owned();
    let received_id = headers.first(Name::MessageId);
    let received_id = received_id.as_deref().and_then(message_id);
    let body = || fast_path(&headers).map_or_else(|| body::decode(&octets), Ok);
    let message = match lost {
        Some(lost) => Err(Error::message(format!("the Subject can't be decoded: {lost}"))),
        None => body().and_then(|body| build_message(&headers, id, received_id, body)),
    };
    Some(message.map(|message| {
        let identity = received_id.map(|id| Identity::of(id, &subject, &message.sent_by));
        let sent_at = headers.first(Name::Date).and_then(|value| date::parse(&value));
        Parsed { message, identity, sent_at }
    }))
}

/// Runs a parser and turns a panic, which would be a defect, into `None`: one bad message, not the end of a thread.
pub(super) fn catch_panic<T>(parse: impl FnOnce() -> Option<T> + UnwindSafe) -> Option<T> {
    catch_unwind(parse).ok().flatten()
}

/// Returns the decoded Subject; of several, the first, which mail programs display (RFC 5322, section 3.6, allows one).
pub(super) fn subject(headers: &Headers<'_>) -> Option<Decoded> {
    Some(encoded_words::decode(&headers.first(Name::Subject)?))
}

/// Returns the Message-ID of a header value, without angle brackets and the text around them. Some programs write no
/// brackets.
pub(super) fn message_id(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let inner = value.split_once('<').map_or(value, |(_, rest)| rest.split('>').next().unwrap_or_default());
    Some(inner.trim()).filter(|id| !id.is_empty())
}

/// Returns `true` if the first word of a Subject is the tag.
pub(super) fn is_tagged(subject: &str, tag: &str) -> bool {
    id_after_tag(tag, subject).is_some()
}

/// Returns the id: the rest of a Subject after the tag and one blank. Only one, so that an id that begins with blanks
/// arrives unchanged. The case of the tag counts, unlike in SEARCH.
fn id_after_tag<'a>(tag: &str, subject: &'a str) -> Option<&'a str> {
    let rest = subject.strip_prefix(tag)?;
    rest.strip_prefix([' ', '\t']).or_else(|| rest.is_empty().then_some(rest))
}

/// Assembles the message from its headers and its decoded body.
fn build_message(
    headers: &Headers<'_>,
    id: String,
    received_id: Option<&str>,
    body: Vec<u8>,
) -> Result<Message> {
    // Mail without a sender is delivered, too: its text may matter.
    let sent_by = sender(headers).unwrap_or_default();
    let sent_to = recipients(headers)?;
    let received_id = received_id.and_then(MessageId::received);
    let message_id = received_id.unwrap_or_else(|| MessageId::random(&sent_by));
    let disposition = headers.first(Name::ContentDisposition).map(|value| Content::parse(&value));
    let disposition = disposition.unwrap_or_default();
    body::check_declared_size(&disposition, &body)?;
    let properties = property_headers::read(headers, &disposition)?;
    Ok(Message { id, sent_by, sent_to, body, message_id, properties })
}

/// Returns the first address in From, else in Sender, which names the one that has sent a mail of several authors
/// (RFC 5322, section 3.6.2).
pub(super) fn sender(headers: &Headers<'_>) -> Option<String> {
    let mut values = headers.all(Name::From).chain(headers.all(Name::Sender));
    values.find_map(|value| addresses(&value).all.into_iter().next())
}

/// Returns the addresses of all To fields. RFC 5322, section 3.6, allows one field; section 4.5.3 reads several as one.
///
/// # Errors
/// `Message` when an entry is not a valid address.
fn recipients(headers: &Headers<'_>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for value in headers.all(Name::To) {
        let addresses = addresses(&value);
        if let Some(invalid) = addresses.invalid {
            let shown: String = invalid.chars().take(100).collect();
            return Err(Error::message(format!("{shown:?} in To is not a valid address")));
        }
        all.extend(addresses.all);
    }
    Ok(all)
}
