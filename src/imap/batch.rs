//! What a fetch returns.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Imap;
use crate::error::{Error, Result};
use crate::message::{Identity, Message, WireBody};
use crate::uid::{Uid, UidSet, UidValidity};

/// A message that waits in the inbox: read, or the reason why it can't be.
///
/// In JSON it is `{"Id","SentBy","Body"}` (`"BodyBase64"` for a body that is not UTF-8) or `{"Error"}`.
#[derive(Clone)]
pub struct Delivery {
    pub(super) uid: Uid,
    pub(super) validity: UidValidity,
    pub(super) identity: Option<Identity>,
    /// Further copies of the same message in the inbox.
    pub(super) copies: Vec<Uid>,
    pub(super) message: Result<Message>,
    pub(super) fate: Fate,
}

/// What becomes of a delivery's mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// An acknowledgement archives it.
    Archive,
    /// It stays in the inbox: the server did not give it out, or nothing shows that it is ours.
    Stay,
    /// It goes to the dead letters unread, or stays.
    Bury,
}

impl Delivery {
    /// The message.
    ///
    /// # Errors
    /// `Message` when it can't be read, `TooLarge` when it is over
    /// [`max_message`](crate::ImapConfig::max_message). `Refused`, `Disconnected` or `Timeout` when the server does not give
    /// it out: by a NO, by ending the connection in the middle of it, or by an answer that does not end. Such a message
    /// stays in the inbox, whatever is acknowledged, and is tried again later.
    pub fn message(&self) -> Result<&Message> {
        self.message.as_ref().map_err(Error::clone)
    }

    /// The message, taken out.
    ///
    /// # Errors
    /// As [`message`](Delivery::message).
    pub fn into_message(self) -> Result<Message> {
        self.message
    }

    /// Its UID in the inbox, where it was found.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// Returns the UIDVALIDITY of the inbox that the UID belongs to.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.validity
    }
}

/// Shows the UID, and the message without its body or the error.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("uid", &self.uid.get())
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl Serialize for Delivery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.message {
            Ok(message) => {
                map.serialize_entry("Id", &message.id)?;
                map.serialize_entry("SentBy", &message.sent_by)?;
                match WireBody::from(message.body.clone()) {
                    WireBody::Body(text) => map.serialize_entry("Body", &text)?,
                    WireBody::BodyBase64(code) => map.serialize_entry("BodyBase64", &code)?,
                }
            }
            Err(error) => map.serialize_entry("Error", &error.to_string())?,
        }
        map.end()
    }
}

/// Deliveries of one life of the mailbox.
pub(super) struct Life<'a> {
    pub(super) validity: UidValidity,
    pub(super) deliveries: Vec<&'a Delivery>,
}

impl Life<'_> {
    /// The UIDs of the deliveries, and of their copies.
    pub(super) fn uids(&self) -> UidSet {
        let uids =
            self.deliveries.iter().flat_map(|it| std::iter::once(it.uid).chain(it.copies.iter().copied()));
        UidSet::new(self.validity, uids)
    }

    pub(super) fn identities(&self) -> impl Iterator<Item = Identity> {
        self.deliveries.iter().filter_map(|delivery| delivery.identity)
    }
}

/// Deliveries to acknowledge, by the lives of the mailbox that they were fetched in.
pub(super) fn lives<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> Vec<Life<'a>> {
    let mut lives: Vec<Life<'_>> = Vec::new();
    for delivery in deliveries.into_iter().filter(|delivery| delivery.fate == Fate::Archive) {
        match lives.iter_mut().find(|life| life.validity == delivery.validity) {
            Some(life) => life.deliveries.push(delivery),
            None => lives.push(Life { validity: delivery.validity, deliveries: vec![delivery] }),
        }
    }
    lives
}

/// Messages that were fetched together, oldest first, and are still in the inbox until [`ack`](Batch::ack).
///
/// A batch that is dropped without an acknowledgement is delivered again.
#[derive(Clone)]
#[must_use = "nothing is archived before `ack`"]
pub struct Batch {
    imap: Imap,
    deliveries: Vec<Delivery>,
}

impl Batch {
    pub(super) fn new(imap: Imap, deliveries: Vec<Delivery>) -> Self {
        Self { imap, deliveries }
    }

    /// Archives every message of the batch, unreadable ones too, and takes them out of the inbox.
    ///
    /// An empty batch has something to acknowledge too: second copies, which are not delivered, leave the inbox then.
    /// To acknowledge some of them: [`Imap::ack`].
    ///
    /// # Errors
    /// As [`Imap::ack`]; it may be called again.
    pub fn ack(&self) -> Result<()> {
        self.imap.ack(self)
    }

    /// How many deliveries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Whether nothing was waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// The deliveries, oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Delivery> {
        self.deliveries.iter()
    }

    /// The deliveries, without the means to acknowledge them together.
    #[must_use]
    pub fn into_deliveries(self) -> Vec<Delivery> {
        self.deliveries
    }
}

/// Shows the numbers of the messages and of those that can't be read, and no mail text.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unreadable = self.iter().filter(|delivery| delivery.message.is_err()).count();
        f.debug_struct("Batch")
            .field("messages", &self.len())
            .field("unreadable", &unreadable)
            .finish_non_exhaustive()
    }
}

impl IntoIterator for Batch {
    type Item = Delivery;
    type IntoIter = std::vec::IntoIter<Delivery>;

    fn into_iter(self) -> Self::IntoIter {
        self.deliveries.into_iter()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Delivery;
    type IntoIter = std::slice::Iter<'a, Delivery>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(message: Result<Message>) -> Delivery {
        let (uid, validity) = (Uid::new(1).unwrap(), UidValidity::new(1, "inbox"));
        Delivery { uid, validity, identity: None, copies: Vec::new(), message, fate: Fate::Archive }
    }

    #[test]
    fn deliveries_of_one_uidvalidity_make_a_set() {
        let here = delivery(Err(Error::message("torn")));
        let later = Delivery { validity: UidValidity::new(2, "inbox"), ..here.clone() };
        let set = UidSet::from_deliveries([&here, &here]).unwrap();
        assert_eq!((set.validity(), set.to_string().as_str()), (here.validity, "1"));
        assert!(UidSet::from_deliveries([&here, &later]).is_err());
    }

    #[test]
    fn a_delivery_is_a_line_of_the_line_protocol() {
        let line = |message| serde_json::to_string(&delivery(message)).unwrap();
        let message = |body: &[u8]| Message::new("1", "a@example.org", "b@example.org", body);
        assert_eq!(line(Ok(message(b"hi"))), r#"{"Id":"1","SentBy":"a@example.org","Body":"hi"}"#);
        assert_eq!(line(Ok(message(b"\xff"))), r#"{"Id":"1","SentBy":"a@example.org","BodyBase64":"/w=="}"#);
        assert_eq!(line(Err(Error::message("torn"))), r#"{"Error":"torn"}"#);
    }
}
