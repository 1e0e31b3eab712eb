//! From the bytes of a mail to a message, without the interpreter.

use std::panic::{UnwindSafe, catch_unwind};

use super::address::addresses;
use super::charset::Decoded;
use super::head::{Head, Name, with_line_feeds};
use super::{Identity, Message, MessageId, body, words};
use crate::error::{Error, Result};

/// A message, and what tells it from others, where something does.
pub(crate) type Known = (Message, Option<Identity>);

/// Reads a mail; `None` when it is not one of ours.
///
/// Ours is what has the tag as the first word of its decoded Subject: a SEARCH finds more than that.
///
/// # Errors
/// `Message`: its Subject, its recipients or its body can't be decoded whole, or it costs too much to read.
pub(crate) fn parse(octets: &[u8], tag: &str) -> Option<Result<Known>> {
    let read = catch_unwind(|| read(octets, tag, body::simple));
    read.unwrap_or_else(|_| is_ours(octets, tag).then(|| Err(Error::message("it can't be read"))))
}

/// What is ours, read with the leniency that other programs' mail needs.
#[cfg(test)]
pub(super) fn whole(octets: &[u8], tag: &str) -> Result<Known> {
    read(octets, tag, |_| None).expect("it is ours")
}

/// Whether a mail is one of ours, by its headers alone; its body need not be whole.
pub(crate) fn is_ours(octets: &[u8], tag: &str) -> bool {
    let octets = with_line_feeds(octets);
    let ours = || id_behind(tag, &subject(&Head::of_mail(&octets))?.text).map(drop);
    guarded(ours).is_some()
}

fn read(
    octets: &[u8],
    tag: &str,
    simple: impl FnOnce(&Head<'_>) -> Option<Vec<u8>>,
) -> Option<Result<Known>> {
    let octets = with_line_feeds(octets);
    let head = Head::of_mail(&octets);
    let Decoded { text: subject, lost } = subject(&head)?;
    let id = id_behind(tag, &subject)?.to_owned();
    let body = || simple(&head).map_or_else(|| body::of(&octets), Ok);
    let message = match lost {
        Some(lost) => Err(Error::message(format!("the Subject can't be decoded whole: {lost}"))),
        None => body().and_then(|body| message(&head, id, body)),
    };
    Some(message.map(|message| {
        let identity = Identity::of(&head, &subject, &message.sent_by);
        (message, identity)
    }))
}

/// Runs the reader, which should not panic; if it does, that is one bad message, not the end of a thread.
pub(super) fn guarded<T>(read: impl FnOnce() -> Option<T> + UnwindSafe) -> Option<T> {
    catch_unwind(read).ok().flatten()
}

/// The first Subject, where there are several, as mail programs show it.
pub(super) fn subject(head: &Head<'_>) -> Option<Decoded> {
    Some(words::decode(&head.first(Name::Subject)?))
}

/// The Message-ID as it stands there, without the angle brackets.
pub(super) fn message_id(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let within = value.split_once('<').map_or(value, |(_, rest)| rest.split('>').next().unwrap_or_default());
    Some(within.trim()).filter(|id| !id.is_empty())
}

/// Returns whether a Subject is that of one of ours.
pub(super) fn is_tagged(subject: &str, tag: &str) -> bool {
    id_behind(tag, subject).is_some()
}

/// What follows the tag and one blank.
fn id_behind<'a>(tag: &str, subject: &'a str) -> Option<&'a str> {
    let rest = subject.strip_prefix(tag)?;
    rest.strip_prefix([' ', '\t']).or_else(|| rest.is_empty().then_some(rest))
}

fn message(head: &Head<'_>, id: String, body: Vec<u8>) -> Result<Message> {
    // Mail of other programs may have no sender: its text is worth having all the same.
    let sent_by = sender(head).unwrap_or_default();
    let sent_to = recipients(head)?;
    let given = head.first(Name::MessageId).and_then(|value| MessageId::received(message_id(&value)?));
    let message_id = given.unwrap_or_else(|| MessageId::random(&sent_by));
    body::check(head, &body)?;
    Ok(Message { id, sent_by, sent_to, body, message_id })
}

/// The first address of the first From that has one, or else of a Sender.
pub(super) fn sender(head: &Head<'_>) -> Option<String> {
    let mut values = head.all(Name::From).chain(head.all(Name::Sender));
    values.find_map(|value| addresses(&value).all.into_iter().next())
}

/// The addresses of each To.
///
/// # Errors
/// `Message`: something that should be one can't be read.
fn recipients(head: &Head<'_>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for value in head.all(Name::To) {
        let addresses = addresses(&value);
        if let Some(unread) = addresses.unread {
            let shown: String = unread.chars().take(100).collect();
            return Err(Error::message(format!("a recipient can't be read: {shown:?} in To")));
        }
        all.extend(addresses.all);
    }
    Ok(all)
}
