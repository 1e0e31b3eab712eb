//! What the Rust peers send, composed by `mail-builder`, which is also what pymail composes with.

use std::io;

use mail_send::mail_builder::MessageBuilder;

use crate::mails::SENDER;

/// A message as bytes: the builder picks the encoding.
///
/// # Errors
/// Never, in memory.
pub fn mail(tag: &str, recipient: &str, id: usize, body: &str) -> io::Result<Vec<u8>> {
    let message = MessageBuilder::new().from(SENDER).to(recipient).text_body(body);
    message.subject(format!("{tag} {id}")).write_to_vec()
}
