//! From the bytes of a mail to a message, without the interpreter.

use mail_parser::{Address, Message as Parsed, MessageParser, MimeHeaders, PartType};

use super::{Message, MessageId};
use crate::error::{Error, Result};

/// Reads a mail; `None` when it is not one of ours.
///
/// Ours is what has the tag as the first word of its decoded Subject: a SEARCH finds more than that.
pub(crate) fn parse(octets: &[u8], tag: &str) -> Option<Result<Message>> {
    let parsed = MessageParser::default().parse(octets)?;
    let id = id_behind(tag, parsed.subject()?)?.to_owned();
    Some(message(&parsed, id))
}

/// Whether a mail is one of ours, by its headers alone; its body need not be whole.
pub(crate) fn is_ours(octets: &[u8], tag: &str) -> bool {
    let parsed = MessageParser::default().parse_headers(octets);
    parsed.is_some_and(|parsed| parsed.subject().is_some_and(|subject| id_behind(tag, subject).is_some()))
}

/// What follows the tag and one blank.
fn id_behind<'a>(tag: &str, subject: &'a str) -> Option<&'a str> {
    let rest = subject.strip_prefix(tag)?;
    rest.strip_prefix([' ', '\t']).or_else(|| rest.is_empty().then_some(rest))
}

fn message(parsed: &Parsed<'_>, id: String) -> Result<Message> {
    let sender = parsed.from().or_else(|| parsed.sender()).and_then(first_address);
    let sent_by = sender.ok_or_else(|| Error::message(format!("message {id:?} does not say who sent it")))?;
    let sent_to =
        parsed.all_to().flat_map(|to| to.clone().into_list()).filter_map(|to| Some(to.address?.into_owned()));
    let message_id = parsed.message_id().map(|id| MessageId(id.into()));
    let message_id = message_id.unwrap_or_else(|| MessageId::random(&sent_by));
    let body = body(parsed);
    check_size(parsed, &body)?;
    Ok(Message { id, sent_to: sent_to.collect(), body, message_id, sent_by })
}

fn first_address(addresses: &Address<'_>) -> Option<String> {
    addresses.iter().find_map(|address| address.address.as_deref()).map(str::to_owned)
}

/// The text part, decoded; the bytes themselves when a mail is nothing but bytes.
fn body(parsed: &Parsed<'_>) -> Vec<u8> {
    match &parsed.root_part().body {
        PartType::Text(text) => text.as_bytes().into(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes.to_vec(),
        _ => parsed.body_text(0).map(|text| text.as_bytes().into()).unwrap_or_default(),
    }
}

/// What pymail composed says its body's size (RFC 2183, section 2.7); a body of another size is not it.
fn check_size(parsed: &Parsed<'_>, body: &[u8]) -> Result<()> {
    let disposition = parsed.root_part().content_disposition();
    let inline = disposition.filter(|disposition| disposition.c_type.eq_ignore_ascii_case("inline"));
    let size = inline.and_then(|disposition| disposition.attribute("size"));
    match size.and_then(|size| size.parse::<usize>().ok()) {
        Some(size) if size != body.len() => {
            let text = format!("the body says that it has {size} bytes, and has {}", body.len());
            Err(Error::message(text))
        }
        _ => Ok(()),
    }
}
