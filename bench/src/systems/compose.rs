//! Mail of the Rust peers, composed by `mail-builder`, as pymail's is.

use std::io;

use mail_send::mail_builder::MessageBuilder;

use crate::mails::SENDER;

/// Returns a message as bytes: the builder chooses the encoding.
///
/// # Errors
/// None, in memory.
pub fn mail(tag: &str, recipient: &str, id: usize, body: &str) -> io::Result<Vec<u8>> {
    let message = MessageBuilder::new().from(SENDER).to(recipient).text_body(body);
    message.subject(format!("{tag} {id}")).write_to_vec()
}
