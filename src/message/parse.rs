//! From the bytes of a mail to a message, without the interpreter.

use std::panic::{UnwindSafe, catch_unwind};
use std::sync::LazyLock;

use mail_parser::{Address, HeaderName, Message as Parsed, MessageParser};

use super::{Identity, Message, MessageId, body};
use crate::error::{Error, Result};

/// More parts than this, nobody sends in earnest.
const MOST_PARTS: usize = 1_000;

/// A message, and what tells it from others, where something does.
pub(crate) type Known = (Message, Option<Identity>);

/// Reads a mail; `None` when it is not one of ours.
///
/// Ours is what has the tag as the first word of its decoded Subject: a SEARCH finds more than that.
pub(crate) fn parse(octets: &[u8], tag: &str) -> Option<Result<Known>> {
    let begun = catch_unwind(|| begin(octets, tag));
    match begun.unwrap_or_else(|_| is_ours(octets, tag).then_some(Begun::Complex))? {
        Begun::Read(read) => Some(*read),
        Begun::Complex => Some(whole(octets, tag)),
    }
}

/// What is ours, read by the parser, which can read any mail.
pub(super) fn whole(octets: &[u8], tag: &str) -> Result<Known> {
    if has_too_many_parts(octets) {
        return Err(Error::message(format!("it has more than {MOST_PARTS} parts")));
    }
    let read = guarded(|| read(&PARSER.parse(octets)?, tag, body::of));
    read.unwrap_or_else(|| Err(Error::message("it can't be parsed")))
}

/// What the headers alone have made of one of ours.
enum Begun {
    Read(Box<Result<Known>>),
    /// Its body takes a parser.
    Complex,
}

fn begin(octets: &[u8], tag: &str) -> Option<Begun> {
    let headers = parse_headers(octets)?;
    id_behind(tag, subject(&headers)?)?;
    let Some(body) = body::simple(&headers, octets) else { return Some(Begun::Complex) };
    Some(Begun::Read(Box::new(read(&headers, tag, |_| body)?)))
}

/// Whether a mail is one of ours, by its headers alone; its body need not be whole.
pub(crate) fn is_ours(octets: &[u8], tag: &str) -> bool {
    let ours = || id_behind(tag, subject(&parse_headers(octets)?)?).map(drop);
    guarded(ours).is_some()
}

/// Knows the headers that are asked for here, and leaves the others alone.
static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
    MessageParser::new()
        .with_mime_headers()
        .header_text(HeaderName::Subject)
        .header_address(HeaderName::From)
        .header_address(HeaderName::Sender)
        .header_address(HeaderName::To)
        .header_id(HeaderName::MessageId)
        .default_header_ignore()
});

/// The headers of a mail, which may have no body.
pub(super) fn parse_headers(octets: &[u8]) -> Option<Parsed<'_>> {
    PARSER.parse_headers(octets)
}

fn read(parsed: &Parsed<'_>, tag: &str, body: impl FnOnce(&Parsed<'_>) -> Vec<u8>) -> Option<Result<Known>> {
    let id = id_behind(tag, subject(parsed)?)?.to_owned();
    Some(message(parsed, id, body(parsed)).map(|message| (message, Identity::of(parsed))))
}

/// Mail comes from anybody; what no parser has foreseen is one bad message, not the end of a thread.
pub(super) fn guarded<T>(read: impl FnOnce() -> Option<T> + UnwindSafe) -> Option<T> {
    catch_unwind(read).ok().flatten()
}

/// Each mail within a mail takes stack to drop, and an overflow can't be caught. Each needs a header.
fn has_too_many_parts(octets: &[u8]) -> bool {
    let headers = octets.windows(b"content-type".len());
    let headers = headers.filter(|text| text[7] == b'-' && text.eq_ignore_ascii_case(b"content-type"));
    headers.take(MOST_PARTS + 1).count() > MOST_PARTS
}

/// The first Subject, where there are several, as mail programs show it; `Parsed::subject` is the last.
pub(super) fn subject<'a>(parsed: &'a Parsed<'_>) -> Option<&'a str> {
    parsed.header_values(HeaderName::Subject).next()?.as_text()
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

fn message(parsed: &Parsed<'_>, id: String, body: Vec<u8>) -> Result<Message> {
    // Mail of other programs may name nobody: its text is worth having all the same.
    let sent_by = sender(parsed).unwrap_or_default();
    let sent_to =
        parsed.all_to().flat_map(|to| to.clone().into_list()).filter_map(|to| Some(to.address?.into_owned()));
    let message_id = parsed.message_id().and_then(MessageId::received);
    let message_id = message_id.unwrap_or_else(|| MessageId::random(&sent_by));
    body::check(parsed, &body)?;
    Ok(Message { id, sent_to: sent_to.collect(), body, message_id, sent_by })
}

/// The first address of the first From that has one, or else of a Sender.
pub(super) fn sender(parsed: &Parsed<'_>) -> Option<String> {
    let from = parsed.header_values(HeaderName::From);
    from.chain(parsed.header_values(HeaderName::Sender)).find_map(|value| first_address(value.as_address()?))
}

fn first_address(addresses: &Address<'_>) -> Option<String> {
    addresses.iter().find_map(|address| address.address.as_deref()).map(str::to_owned)
}
