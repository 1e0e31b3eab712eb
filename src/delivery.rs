//! A delivery: one message as a fetch returns it, with its place in the inbox.

use std::fmt;
use std::time::SystemTime;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::error::{Error, Result};
use crate::message::{Identity, Message, Parsed, WireBody};
use crate::uid::{Uid, UidSet, UidValidity};

/// A message in the inbox, or the error that stands in its place.
///
/// Acknowledge it by [`Batch::ack`](crate::Batch::ack) or [`Imap::ack`](crate::Imap::ack), or return it by [`Imap::nack`](crate::Imap::nack) or [`Imap::reject`](crate::Imap::reject). Until then it stays in the
/// inbox. Beside the message it has the times at which it was sent and arrived, and the number of its deliveries.
///
/// In JSON it is an object of the line protocol: `{"Id","SentBy","Body"}`, with `"BodyBase64"` in place of `"Body"` for
/// a body that is not UTF-8, and `"Properties"` if there are any; or `{"Error"}`.
///
/// ```no_run
/// # fn handle(_: &pymail::Message) {}
/// # fn receive(imap: &pymail::Imap) -> pymail::Result<()> {
/// for delivery in imap.fetch()? {
///     match delivery.message() {
///         Ok(message) => handle(message),
///         Err(error) => eprintln!("UID {} can't be read: {error}", delivery.uid()),
///     }
///     imap.ack([&delivery])?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Delivery {
    pub(crate) uid: Uid,
    pub(crate) validity: UidValidity,
    /// `None` for a mail without a Message-ID.
    pub(crate) identity: Option<Identity>,
    /// The UIDs of further mails with the same message; they are archived with the first.
    ///
    /// Of this batch only. Those of acknowledged messages are in the inbox's state.
    pub(crate) duplicates: Vec<Uid>,
    pub(crate) message: Result<Message>,
    pub(crate) fate: Fate,
    pub(crate) sent_at: Option<SystemTime>,
    pub(crate) arrived_at: Option<SystemTime>,
    /// The number of this delivery, from 1.
    pub(crate) count: u32,
    /// Ends when the app drops the last clone; disabled before it gets the delivery.
    pub(crate) span: tracing::Span,
}

/// The destination of a delivery's mail. A message that can be read has `Archive`; the other two are for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// An acknowledgement archives it. With dead letters, one that can't be read goes there when it is delivered.
    Archive,
    /// It stays in the inbox: the server withholds it, or nothing shows that it is tagged.
    Stay,
    /// It is moved to the dead letters unread; without dead letters it stays in the inbox.
    DeadLetter,
}

impl Delivery {
    /// Makes a delivery of a mail that arrived whole, or of the error in its place.
    pub(crate) fn new(
        uid: Uid,
        validity: UidValidity,
        parsed: Result<Parsed>,
        arrived_at: Option<SystemTime>,
    ) -> Self {
        let (message, identity, sent_at) = match parsed {
            Ok(Parsed { message, identity, sent_at }) => (Ok(message), identity, sent_at),
            Err(error) => (Err(error), None, None),
        };
        let (duplicates, fate, span) = (Vec::new(), Fate::Archive, tracing::Span::none());
        Self { uid, validity, identity, duplicates, message, fate, sent_at, arrived_at, count: 1, span }
    }

    /// Returns the message.
    ///
    /// # Errors
    /// `Message` for a message that can't be decoded or is not whole, `TooLarge` for one that is over
    /// [`max_message`](crate::ImapConfig::max_message). An acknowledgement archives such a message.
    ///
    /// `Refused`, `Disconnected`, `Timeout` or `Message` for a message that the server withholds: by a NO, by closing
    /// the connection in the middle of it, by a response that does not end, or by one that lacks it. `TooLarge` also
    /// for a mail whose headers can't be had, so that it may be foreign. `Refused`, `StaleUids` or `LeaseLost` for a
    /// message that should go to the [dead letters](crate::ImapConfig::dead_letters) and could not be moved. Such
    /// messages stay in the inbox, also when they are acknowledged, and are retried later.
    pub fn message(&self) -> Result<&Message> {
        self.message.as_ref().map_err(Error::clone)
    }

    /// Returns the message, by value.
    ///
    /// # Errors
    /// As [`message`](Delivery::message).
    pub fn into_message(self) -> Result<Message> {
        self.message
    }

    /// Returns the UID of the message in the inbox.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// Returns the UIDVALIDITY of the inbox that the UID belongs to (RFC 3501, section 2.3.1.1).
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.validity
    }

    /// Returns when the message was sent, by the sender's clock: the time in its Date (RFC 5322, section 3.6.1).
    ///
    /// Each [`send`](crate::Smtp::send) writes the time of its attempt, in whole seconds. Obsolete forms and zones are
    /// read, too; a zone that RFC 5322 does not define is taken for UTC. `None` for a mail without a Date or with one
    /// that is no date, and for a message that can't be read.
    #[must_use]
    pub fn sent_at(&self) -> Option<SystemTime> {
        self.sent_at
    }

    /// Returns when the mail arrived in the mailbox, by the server's clock: its INTERNALDATE (RFC 3501, section 2.3.3).
    ///
    /// In whole seconds. A client that appends or copies a mail may choose it. `None` when the server sent none or no
    /// date, and for a mail that could not be fetched.
    #[must_use]
    pub fn arrived_at(&self) -> Option<SystemTime> {
        self.arrived_at
    }

    /// Returns how often the message was delivered, this time included: 1 for the first.
    ///
    /// | setting | counts |
    /// | --- | --- |
    /// | [`dead_letters`](crate::ImapConfig::dead_letters) | the deliveries by all handles, by keywords on the server |
    /// | the same, on a server without keywords | the deliveries by this handle |
    /// | neither | how often this handle and its clones have fetched the message for the app |
    ///
    /// With `dead_letters`, a further fetch by the handle that has the message is the same delivery. An error in place
    /// of a message is counted as in the last row. The counts of a handle begin anew when UIDVALIDITY changes. A call
    /// that fails after it has fetched may have counted a delivery that the app did not get.
    #[must_use]
    pub fn delivery_count(&self) -> u32 {
        self.count
    }

    /// Returns a copy with an empty body, for the verbs that move messages.
    #[cfg(feature = "async")]
    pub(crate) fn without_body(&self) -> Self {
        Self {
            message: self.message.as_ref().map(Message::without_body).map_err(Error::clone),
            duplicates: self.duplicates.clone(),
            span: tracing::Span::none(), // The copy does not keep the delivery's open.
            ..*self
        }
    }

    /// Returns `true` if an acknowledgement archives it; else it stays in the inbox.
    pub(crate) fn is_archivable(&self) -> bool {
        self.fate == Fate::Archive
    }

    /// Returns the UIDs of the message and of its duplicates.
    pub(crate) fn uids(&self) -> impl Iterator<Item = Uid> {
        std::iter::once(self.uid).chain(self.duplicates.iter().copied())
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
                if !message.properties().is_empty() {
                    map.serialize_entry("Properties", message.properties())?;
                }
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

/// Deliveries that were fetched under one UIDVALIDITY. An acknowledgement may have deliveries of several fetches, and
/// so of several UIDVALIDITYs.
pub(crate) struct ValidityGroup<'a> {
    pub(crate) validity: UidValidity,
    pub(crate) deliveries: Vec<&'a Delivery>,
}

impl ValidityGroup<'_> {
    /// Returns the UIDs of the deliveries and of their duplicates.
    pub(crate) fn uids(&self) -> UidSet {
        UidSet::new(self.validity, self.deliveries.iter().flat_map(|delivery| delivery.uids()))
    }

    /// Returns the identities of the messages that have a Message-ID.
    pub(crate) fn identities(&self) -> impl Iterator<Item = Identity> {
        self.deliveries.iter().filter_map(|delivery| delivery.identity)
    }
}

/// Groups the deliveries that an acknowledgement archives by their UIDVALIDITY.
///
/// Leaves out those that stay in the inbox: to acknowledge an error of theirs does nothing.
pub(crate) fn group_by_validity<'a>(
    deliveries: impl IntoIterator<Item = &'a Delivery>,
) -> Vec<ValidityGroup<'a>> {
    let mut groups: Vec<ValidityGroup<'_>> = Vec::new();
    for delivery in deliveries.into_iter().filter(|delivery| delivery.fate == Fate::Archive) {
        match groups.iter_mut().find(|group| group.validity == delivery.validity) {
            Some(group) => group.deliveries.push(delivery),
            None => {
                groups.push(ValidityGroup { validity: delivery.validity, deliveries: vec![delivery] });
            }
        }
    }
    groups
}

impl UidSet {
    /// Makes a set of the UIDs of these deliveries.
    ///
    /// ```no_run
    /// # fn copy_unreadable(imap: &pymail::Imap) -> pymail::Result<()> {
    /// let batch = imap.fetch()?;
    /// let unreadable = batch.iter().filter(|delivery| delivery.message().is_err());
    /// imap.copy(&pymail::UidSet::from_deliveries(unreadable)?, "Unreadable")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` without deliveries, and for deliveries of several UIDVALIDITYs.
    pub fn from_deliveries<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> Result<Self> {
        let mut uids = Vec::new();
        let mut validity = None;
        for delivery in deliveries {
            if *validity.get_or_insert(delivery.uid_validity()) != delivery.uid_validity() {
                return Err(Error::invalid_input("the deliveries are of several UIDVALIDITYs"));
            }
            uids.push(delivery.uid());
        }
        let validity = validity.ok_or_else(|| Error::invalid_input("there are no deliveries"))?;
        Ok(Self::new(validity, uids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(message: Result<Message>) -> Delivery {
        let (uid, validity) = (Uid::new(1).unwrap(), UidValidity::new(1, "inbox"));
        let parsed = message.map(|message| Parsed { message, identity: None, sent_at: None });
        Delivery::new(uid, validity, parsed, None)
    }

    #[test]
    fn deliveries_of_one_uidvalidity_make_a_uid_set() {
        let here = delivery(Err(Error::message("torn")));
        let later = Delivery { validity: UidValidity::new(2, "inbox"), ..here.clone() };
        let set = UidSet::from_deliveries([&here, &here]).unwrap();
        assert_eq!((set.validity(), set.to_string().as_str()), (here.validity, "1"));
        assert!(UidSet::from_deliveries([&here, &later]).is_err());
    }

    #[test]
    fn a_delivery_is_an_object_of_the_line_protocol() {
        let line = |message| serde_json::to_string(&delivery(message)).unwrap();
        let message = |body: &[u8]| Message::new("1", "a@example.org", "b@example.org", body);
        assert_eq!(line(Ok(message(b"hi"))), r#"{"Id":"1","SentBy":"a@example.org","Body":"hi"}"#);
        assert_eq!(line(Ok(message(b"\xff"))), r#"{"Id":"1","SentBy":"a@example.org","BodyBase64":"/w=="}"#);
        let with_property = message(b"hi").with_property("a", "b");
        let json = r#"{"Id":"1","SentBy":"a@example.org","Properties":{"a":"b"},"Body":"hi"}"#;
        assert_eq!(line(Ok(with_property)), json);
        assert_eq!(line(Err(Error::message("torn"))), r#"{"Error":"torn"}"#);
    }
}
